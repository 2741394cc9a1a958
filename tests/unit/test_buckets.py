"""Buckets: shares that add up, plans that keep every limit together, the same bytes any way (model ¶11, ¶14)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from allocation_worlds import EXACT, Cell, Message, PastSend, problem, random_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from sendopt.allocation import Problem, allocate, audit_plan
from sendopt.allocation.buckets import bucket_of, solve_buckets, solve_folder, split
from sendopt.allocation.buckets import plan as one_bucket
from sendopt.allocation.buckets.shares import shares
from sendopt.allocation.buckets.store import read_buckets, summaries
from sendopt.allocation.prices import market
from sendopt.allocation.prices.arrange import agreed, arranged, taken
from sendopt.allocation.tables import files
from sendopt.domain.limits import Limits, SolveLimits
from sendopt.errors import AuditError, ConfigError, ContractError, InfeasibleError


def tables(p: Problem) -> tuple[pa.Table, pa.Table]:
    """Return the candidates and the history of a problem as `sendopt solve` reads them."""
    m, c, h = p.messages, p.cells, p.history
    of = c.message
    names = {"message_id": "message_id", "campaign_id": "campaign", "channel": "channel", "category": "category"}
    cells = {
        "user_id": pa.array(p.users[m.user[of]], pa.string()),
        **{name: pa.array(getattr(m, field)[of], pa.string()) for name, field in names.items()},
        "exclusive_group": pa.array(m.exclusive_group[of], pa.string()),
        **{name: getattr(c, name) for name in ("slot", "value", "p_opt_out", "cost", "local_day")},
        "tier": m.tier[of],
    }
    past = {
        "user_id": pa.array(p.users[h.user], pa.string()),
        **{n: pa.array(getattr(h, f), pa.string()) for n, f in list(names.items())[1:]},
        **{name: getattr(h, name) for name in ("minutes_before", "local_day", "p_opt_out", "cost")},
    }
    return pa.table(cells), pa.table(past)


def stored(home: Path, p: Problem, files: int = 1, seed: int | None = None) -> tuple[Path, Path]:
    """Write the problem and return the folder of candidates, in `files` files, and the path of the history.

    `seed` shuffles the rows.
    """
    cells, past = tables(p)
    if seed is not None:
        cells = cells.take(pa.array(np.random.default_rng(seed).permutation(cells.num_rows)))
        past = past.take(pa.array(np.random.default_rng(seed).permutation(past.num_rows)))
    folder = home / f"candidates-{files}-{seed}"
    folder.mkdir(parents=True)
    for i in range(files):
        part = cells.take(pa.array(np.arange(i, cells.num_rows, files)))
        pq.write_table(part, folder / f"{i}.parquet")
    pq.write_table(past, home / "history.parquet")
    return folder, home / "history.parquet"


def limits_of(p: Problem) -> SolveLimits:
    # random problems have slots of 480 minutes, which files do not; nothing else reads the grid
    return SolveLimits.model_construct(**dict(p.limits), slot_minutes=p.slot_minutes)


def rows_planned(p: Problem, out: Path) -> np.ndarray:
    plan = pd.read_parquet(out / "plan.parquet")
    m, c = p.messages, p.cells
    keys = pd.MultiIndex.from_arrays([p.users[m.user[c.message]], m.message_id[c.message], c.slot])
    rows = keys.get_indexer(pd.MultiIndex.from_frame(plan[["user_id", "message_id", "slot"]]))
    assert (rows >= 0).all()
    return np.sort(rows)


def world(users: int = 240, *, tiers: bool = False) -> Problem:
    draw = np.random.default_rng(3)
    messages, cells, history = [], [], []
    for u in range(users):
        for k in range(2):
            c = (u + k) % 5
            messages.append(
                Message(
                    f"u{u:03d}",
                    f"m{u}{k}",
                    campaign=f"c{c}",
                    channel=("push", "sms")[(u + k) % 2],
                    category="k",
                    tier=1 + tiers * (c % 2),
                )
            )
            cells += [
                Cell(message=len(messages) - 1, slot=s, value=float(draw.gamma(2.0, 0.03)), p_opt_out=0.01, cost=1.0)
                for s in range(8)
                if draw.random() < 0.7
            ]
        if u % 4 == 0:
            history.append(
                PastSend(
                    f"u{u:03d}",
                    minutes_before=float(draw.integers(-6, 20)) * 60.0 - 30.0,
                    category="k",
                    campaign=f"c{u % 5}",
                    local_day=100,
                    p_opt_out=0.01,
                    cost=1.0,
                )
            )
    history += [
        PastSend("gone", minutes_before=-90.0, category="k", campaign="c1", local_day=100, p_opt_out=0.01, cost=1.0)
    ] * 3
    limits = {
        "min_gap_minutes": 180,
        "caps": {"day": {"window_minutes": 1440, "max": 1}},
        "capacity": {"push": 14, "sms": 10},
        "campaigns": {f"c{i}": {"max_sends": 30, "min_sends": 24 * (i == 0)} for i in range(5)},
        "opt_outs": {"max_expected": 1.6},
    }
    return problem(messages, cells, limits, history, n_slots=8)


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.booleans()), min_size=1, max_size=8),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
)
@settings(max_examples=200)
def test_shares_add_up_to_the_limit_exactly(rows: list[tuple[int, bool]], users: list[int]) -> None:
    room = np.array([float(limit) if whole else limit / 7 for limit, whole in rows])
    whole = np.array([whole for _, whole in rows])
    names = tuple(f"row{i}" for i in range(len(rows)))
    weights = np.array(users, float)[:, None].repeat(len(rows), axis=1)
    allotted = shares(room, weights, whole, names)
    assert (allotted >= 0).all()
    assert (allotted[:, whole] == np.round(allotted[:, whole])).all()
    assert (allotted.sum(axis=0)[whole] == room[whole]).all()
    assert allotted.sum(axis=0) == pytest.approx(room, abs=1e-9 * room.max(initial=1.0))
    part = np.array(users, float) / sum(users) if sum(users) else np.full(len(users), 1 / len(users))
    quota = room * part[:, None]
    assert (np.abs(allotted - quota)[:, whole] < 1.0 + 1e-6).all()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-3, 3)), max_size=60), st.permutations(range(10)), st.booleans()
)
@settings(max_examples=100)
def test_rows_are_arranged_as_a_stable_sort_would(
    rows: list[tuple[int, int]], owners: list[int], ordered: bool
) -> None:
    rows = sorted(rows) if ordered else rows
    owner, key = np.array(rows, np.int64).reshape(-1, 2).T
    rank = np.argsort(np.array(owners))
    order, start = arranged(owner, np.array(owners), key)
    assert order.tolist() == np.lexsort((key, rank[owner])).tolist()
    assert start.tolist() == [0, *np.cumsum(np.bincount(rank[owner], minlength=10)).tolist()]
    assert taken(key, order, np.int16).tolist() == key[order].tolist()
    value = agreed(key.astype(float), order, start)
    distinct = [set(key[owner == o].tolist()) for o in owners]
    assert (value is None) == any(len(d) > 1 for d in distinct)
    assert value is None or value.tolist() == [max(d, default=0) for d in distinct]


def test_small_limits_do_not_all_fall_to_the_same_buckets() -> None:
    names = tuple(f"campaign_max:c{i}" for i in range(200))
    users = np.array([1000.0] * 9 + [1010.0])[:, None].repeat(200, axis=1)
    per_bucket = shares(np.full(200, 3.0), users, np.ones(200, bool), names).sum(axis=1)
    assert per_bucket.min() > 30
    assert per_bucket.max() < 90


def test_a_bucket_is_a_range_of_the_hash_and_buckets_are_even() -> None:
    users = np.array([f"u{i}" for i in range(20_000)], object)
    ten, hundred = bucket_of(users, 10), bucket_of(users, 100)
    assert (hundred // 10 == ten).all()
    assert np.bincount(ten, minlength=10) == pytest.approx(np.full(10, 2000), rel=0.1)


def test_buckets_hold_the_problem_whatever_the_order_of_rows_and_files(tmp_path: Path) -> None:
    p = world(60)
    split(*stored(tmp_path / "a", p), tmp_path / "one", 3)
    split(*stored(tmp_path / "b", p, files=4, seed=5), tmp_path / "two", 3)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert len(files) == 6
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    again = read_buckets(tmp_path / "one", [0, 1, 2], limits_of(p), p.n_slots)
    rows = [sorted(zip(*(part[name].to_pylist() for name in part.column_names), strict=True)) for part in tables(again)]
    assert rows == [
        sorted(zip(*(part[name].to_pylist() for name in part.column_names), strict=True)) for part in tables(p)
    ]
    assert sum(s.users for s in summaries(tmp_path / "one")) == 60


@pytest.mark.parametrize("tiers", [False, True])
def test_a_plan_of_buckets_keeps_every_limit_and_its_gap(tmp_path: Path, tiers: bool) -> None:
    p = world(tiers=tiers)
    folder, history = stored(tmp_path, p)
    solved = solve_folder(folder, history, limits_of(p), tmp_path / "out", 1e-4, 4)
    chosen = rows_planned(p, tmp_path / "out")
    assert audit_plan(p, chosen) == ()
    assert solved.sends == len(chosen) > 60
    assert solved.solution.value == pytest.approx(p.cells.value[chosen].sum())
    best = allocate(p, EXACT)
    assert solved.solution.tiers[0].bound >= best.tiers[0].objective - 1e-9
    assert solved.solution.bound >= best.objective - 1e-9 or tiers
    assert solved.solution.objective <= best.objective + 1e-9 or tiers
    assert 0 <= solved.solution.gap < 0.12  # sixty users a bucket
    assert {row.row: row.used for row in solved.solution.prices} == pytest.approx(
        {row.row: row.used for row in _stated(p, chosen)}
    )
    manifest = json.loads((tmp_path / "out/solution.json").read_text())
    assert (manifest["sends"], manifest["buckets"], manifest["users"]) == (len(chosen), 4, 240)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["candidates-1-None", "history.parquet", "out"]


def _stated(p: Problem, chosen: np.ndarray):
    from sendopt.allocation.coupling import rows_of
    from sendopt.allocation.solution import Price

    rows = rows_of(p)
    return [
        Price(n, k, 0.0, float(u), 0.0) for n, k, u in zip(rows.names, rows.kinds, rows.used(p, chosen), strict=True)
    ]


def test_bounds_hold_on_random_problems_of_every_rule(tmp_path: Path) -> None:
    for seed in range(12):
        p = random_problem(seed, users=6)
        folder, history = stored(tmp_path / str(seed), p)
        solved = solve_folder(folder, history, limits_of(p), tmp_path / f"out{seed}", 1e-4, 3)
        assert audit_plan(p, rows_planned(p, tmp_path / f"out{seed}")) == (), seed
        best = allocate(p, EXACT)
        assert solved.solution.objective <= best.objective + 1e-6, seed
        assert solved.solution.bound >= best.objective - 1e-6, seed


def test_the_same_bytes_from_any_order_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = world()
    split(*stored(tmp_path, p), tmp_path / "buckets", 5)

    def backwards(work, buckets):
        return [work(b) for b in reversed(range(buckets))]

    monkeypatch.setattr(market, "BLOCK", 16)
    in_order = solve_buckets(tmp_path / "buckets", limits_of(p), tmp_path / "one", 1e-4)
    reversed_order = solve_buckets(tmp_path / "buckets", limits_of(p), tmp_path / "two", 1e-4, backwards)
    monkeypatch.setattr(one_bucket, "Market", lambda compiled: market.Market(compiled, threads=2))
    two_threads = solve_buckets(tmp_path / "buckets", limits_of(p), tmp_path / "three", 1e-4)
    assert in_order.solution.prices == reversed_order.solution.prices
    assert in_order.solution.bound == reversed_order.solution.bound
    assert two_threads.solution.bound == in_order.solution.bound
    for name in (f"{b:05d}.parquet" for b in range(5)):
        same = (tmp_path / "one/plan.parquet" / name).read_bytes()
        assert same == (tmp_path / "two/plan.parquet" / name).read_bytes()
        assert same == (tmp_path / "three/plan.parquet" / name).read_bytes()


def test_the_audit_of_parts_refuses_what_does_not_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share twice too large breaks limits; an earning too high in the sums, the objective. Nothing is written."""
    p = world()
    split(*stored(tmp_path, p), tmp_path / "buckets", 3)
    from sendopt.allocation.buckets import solve

    true = solve.shares
    monkeypatch.setattr(solve, "shares", lambda *given: 2.0 * true(*given))
    with pytest.raises(AuditError, match=r"capacity:push:\d: planned \d+, room for \d+ of 14"):
        solve_buckets(tmp_path / "buckets", limits_of(p), tmp_path / "out", 1e-4)
    monkeypatch.setattr(solve, "shares", true)
    sums = solve._solution
    monkeypatch.setattr(solve, "_solution", lambda task, parts, gap: sums(task, [*parts, parts[0]], gap))
    with pytest.raises(AuditError, match=r"objective of tier 1: stated"):
        solve_buckets(tmp_path / "buckets", limits_of(p), tmp_path / "out", 1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["buckets", "candidates-1-None", "history.parquet"]


def test_what_a_folder_is_refused_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = world(20)
    folder, history = stored(tmp_path, p)
    limits = limits_of(p)
    split(folder, history, tmp_path / "buckets", 2)
    with pytest.raises(ConfigError, match="holds buckets already"):
        solve_folder(tmp_path / "buckets", None, limits, tmp_path / "out", 1e-4, 2)
    with pytest.raises(ConfigError, match="--buckets: got 0, expected 1 to 1000"):
        solve_folder(folder, history, limits, tmp_path / "out", 1e-4, 0)
    with monkeypatch.context() as small:
        small.setattr(files, "free_memory", lambda: 10_000)
        with pytest.raises(ConfigError, match=r"--buckets: 2\d\d candidates of .* give at least \d"):
            solve_folder(folder, history, limits, tmp_path / "out", 1e-4, 2)
    contradictory = Limits.model_validate({"campaigns": {"c0": {"min_sends": 3, "max_sends": 2}}})
    with pytest.raises(InfeasibleError, match=r"campaigns\.c0: min_sends 3 > max_sends 2"):
        solve_folder(folder, history, SolveLimits(**dict(contradictory)), tmp_path / "out", 1e-4, 2)
    (tmp_path / "buckets/bucket-00001.parquet").unlink()
    with pytest.raises(ContractError, match="1 buckets where 2 are expected"):
        solve_buckets(tmp_path / "buckets", limits, tmp_path / "out", 1e-4)
    rows = tables(p)[0]
    bad = {
        "value: not finite in 1 of": rows.set_column(7, "value", pa.array([np.inf, *rows["value"].to_pylist()[1:]])),
        r"\(user_id, message_id, slot\) repeated in 1 of": pa.concat_tables([rows, rows.slice(0, 1)]),
        "column campaign_id: different from the message's first row": rows.set_column(
            2, "campaign_id", pa.array(["other", *rows["campaign_id"].to_pylist()[1:]])
        ),
        "columns slot are missing": rows.drop_columns(["slot"]),
        "column slot: string where whole numbers": rows.set_column(6, "slot", pa.array(["x"] * rows.num_rows)),
        "column user_id: empty in 1 of": rows.set_column(
            0, "user_id", pa.array([None, *rows["user_id"].to_pylist()[1:]])
        ),
    }
    for sentence, table in bad.items():
        pq.write_table(table, folder / "0.parquet")
        with pytest.raises(ContractError, match=sentence):
            solve_folder(folder, history, limits, tmp_path / "out", 1e-4, 2)
    assert not (tmp_path / "out").exists()
