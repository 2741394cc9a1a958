"""`sendopt solve`: the same bytes in any order of rows and files; folders of any cells, buckets and forms of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from allocation_worlds import Cell, Message, problem
from solve_rows import PAST, ROWS, of
from typer.testing import CliRunner

from sendopt.allocation.buckets import solve_folder, split
from sendopt.allocation.buckets.store import path_of, read_buckets, summaries
from sendopt.allocation.problem import Problem
from sendopt.allocation.tables import columns, files
from sendopt.allocation.tables.out_folder import MANIFEST, OUTPUT
from sendopt.cli import app
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ContractError
from sendopt.lake.files import both_or_neither

LIMITS = """
caps: {day: {window_minutes: 1440, max: 2}}
min_gap_minutes: 120
capacity: {push: 9, email: 9}
campaigns: {c0: {min_sends: 12}, c1: {max_sends: 8}}
opt_outs: {max_expected: 0.9}
cost: {max_total: 12.0}
"""


def world(users: int = 60) -> pd.DataFrame:
    """Return two messages a user over eight hours, some in a second tier; opt-outs and costs are no round numbers."""
    draw = np.random.default_rng(5)
    rows = [
        {
            "user_id": f"u{u:03d}",
            "message_id": f"m{k}",
            "campaign_id": f"c{(u + k) % 3}",
            "channel": ("push", "email")[(u + k) % 2],
            "category": "k",
            "slot": slot,
            "value": float(draw.gamma(2.0, 0.1)),
            "p_opt_out": float(draw.uniform(0, 0.02)),
            "cost": float(draw.uniform(0, 0.3)),
            "tier": 1 + (u + k) % 3 // 2,
        }
        for u in range(users)
        for k in range(2)
        for slot in range(8)
        if draw.random() < 0.8
    ]
    return pd.DataFrame(rows)


def past(users: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(6)
    return pd.DataFrame(
        {
            "user_id": [f"u{u:03d}" for u in range(0, users, 2)],
            "channel": "push",
            "category": "k",
            "campaign_id": "c1",
            "minutes_before": draw.integers(-5, 20, (users + 1) // 2) * 60.0 - 7.0,
            "p_opt_out": draw.uniform(0, 0.02, (users + 1) // 2),
            "cost": draw.uniform(0, 0.3, (users + 1) // 2),
        }
    )


@pytest.mark.parametrize("how", ["exact", "prices", "folder"])
def test_the_plan_and_its_proof_are_the_same_bytes_in_any_order_of_rows(how: str, tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text(LIMITS)
    solutions, plans = set(), set()
    for seed in range(4):
        draw = np.random.default_rng(seed)
        home = tmp_path / str(seed)
        (home / "parts").mkdir(parents=True)
        rows = world()
        rows = rows if seed == 0 else rows.iloc[draw.permutation(len(rows))]
        for part in range(seed + 1):
            rows.iloc[part :: seed + 1].to_parquet(home / f"parts/{part}.parquet")
        rows.to_parquet(home / "c.parquet")
        before = past() if seed == 0 else past().sample(frac=1, random_state=seed)
        before.to_parquet(home / "h.parquet")
        source = home / ("parts" if how == "folder" else "c.parquet")
        more = ("--buckets", "3") if how == "folder" else ("--method", how)
        argv = ["solve", str(source), "--limits", str(tmp_path / "limits.yaml"), "--out", str(home / "out")]
        done = CliRunner().invoke(app, [*argv, "--history", str(home / "h.parquet"), *more])
        assert done.exit_code == 0, done.stderr
        manifest = json.loads((home / "out/solution.json").read_text())
        del manifest["seconds"]
        assert manifest["sends"] > 20
        solutions.add(json.dumps(manifest))
        plan = home / "out/plan.parquet"
        plans.add(b"".join(p.read_bytes() for p in (sorted(plan.iterdir()) if plan.is_dir() else [plan])))
    assert len(solutions) == 1
    assert len(plans) == 1


def test_the_use_of_a_budget_is_the_exact_sum_in_any_order_of_cells() -> None:
    from sendopt.allocation.coupling import rows_of

    costs = [0.1, 1e9, -0.0, 0.3, 1e-7, 0.7] * 7
    messages = [Message(f"u{i}", f"m{i}", campaign="c", channel="push", category="k") for i in range(len(costs))]
    cells = [Cell(message=i, slot=0, value=1.0, p_opt_out=0.001 * i, cost=abs(cost)) for i, cost in enumerate(costs)]
    p = problem(messages, cells, {"opt_outs": {"max_expected": 9.0}, "cost": {"max_total": 1e12}})
    every = np.arange(len(costs))
    used = [rows_of(p).used(p, np.random.default_rng(seed).permutation(every)).tolist() for seed in range(5)]
    assert all(uses == used[0] for uses in used)


# --- One schema of buckets, whatever the cells ------------------------------------------------------------------------


def some_vary(column: str, users: int = 40) -> pd.DataFrame:
    """Return rows in which `column` varies by slot for a few users only, and is 0 for most."""
    rows = world(users).drop(columns=["p_opt_out", "cost"])
    return rows.assign(**{column: np.where(rows["user_id"] < "u004", 0.001 * (1 + rows["slot"]), 0.0)})


def same_cells(left: Problem, right: Problem) -> None:
    def cells_of(p: Problem) -> list[tuple[object, ...]]:
        of = p.cells.message
        arrays = (p.users[p.messages.user[of]], p.messages.message_id[of], p.cells.slot, p.cells.value)
        return sorted(zip(*(a.tolist() for a in (*arrays, p.cells.p_opt_out, p.cells.cost)), strict=True))

    assert cells_of(left) == cells_of(right)


@pytest.mark.parametrize("column", ["p_opt_out", "cost"])
@pytest.mark.parametrize("buckets", [1, 5, 60])
def test_buckets_have_one_schema_whatever_their_cells(column: str, buckets: int, tmp_path: Path) -> None:
    """Where a number varies by slot in one bucket and not in another, and with more buckets than users."""
    rows = some_vary(column)
    rows.to_parquet(tmp_path / "c.parquet")
    past(40).to_parquet(tmp_path / "h.parquet")
    split(tmp_path / "c.parquet", tmp_path / "h.parquet", tmp_path / "buckets", buckets)
    assert len({pq.read_schema(path_of(tmp_path / "buckets", b)).remove_metadata() for b in range(buckets)}) == 1
    limits = SolveLimits()
    whole = read_buckets(tmp_path / "buckets", list(range(buckets)), limits, 8)
    same_cells(whole, files.read_problem(tmp_path / "c.parquet", limits, tmp_path / "h.parquet"))
    bounds = SolveLimits.model_validate({"capacity": {"push": 9}, "opt_outs": {"max_expected": 1.0}})
    done = solve_folder(tmp_path / "buckets", None, bounds, tmp_path / "out", 1e-4, None)
    assert done.sends > 20


def test_a_plan_has_one_file_a_bucket_though_most_are_empty(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    world(5).to_parquet(tmp_path / "parts/a.parquet")
    done = solve_folder(tmp_path / "parts", None, SolveLimits(), tmp_path / "out", 1e-4, 50)
    assert done.users == 5
    assert len(list((tmp_path / "out/plan.parquet").iterdir())) == 50
    assert len(pd.read_parquet(tmp_path / "out/plan.parquet")) == done.sends > 0


def test_a_folder_is_solved_again_into_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    world(5).to_parquet(tmp_path / "parts/a.parquet")
    plans = []
    for _ in range(2):
        solve_folder(tmp_path / "parts", None, SolveLimits(), tmp_path / "out", 1e-4, 2)
        plans.append([path.read_bytes() for path in sorted((tmp_path / "out/plan.parquet").iterdir())])
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plan.parquet", "solution.json"]
    assert plans[0] == plans[1]


def test_files_of_a_folder_may_differ_in_order_types_and_presence_of_columns(tmp_path: Path) -> None:
    rows = world(30).drop(columns=["tier"])
    rows["user_id"] = rows["user_id"].str[1:].astype(int)
    rows["p_opt_out"] = np.float32(0.25)
    rows["cost"] = 1.0
    parts = [rows[rows["user_id"] % 6 == i] for i in range(6)]
    (tmp_path / "parts").mkdir()
    tables = [pa.Table.from_pandas(part, preserve_index=False) for part in parts]
    text = pa.string()
    forms = [
        tables[0],
        tables[1].select(tables[1].column_names[::-1]),
        tables[2].set_column(0, "user_id", tables[2]["user_id"].cast(text).dictionary_encode()),
        tables[3].set_column(0, "user_id", tables[3]["user_id"].cast(text).cast(pa.large_string())),
        tables[4]
        .set_column(5, "slot", tables[4]["slot"].cast(pa.decimal128(20, 0)))
        .append_column("local_day", pa.array([7] * tables[4].num_rows, pa.int16())),
        tables[5].set_column(6, "value", tables[5]["value"].cast(pa.float32()).cast(pa.float64())),
    ]
    for number, form in enumerate(forms):
        pq.write_table(form, tmp_path / f"parts/{number}.parquet")
    pq.write_table(forms[0].slice(0, 0), tmp_path / "parts/empty.parquet")
    pa.csv.write_csv(forms[0].slice(0, 0), tmp_path / "parts/empty.csv")
    split(tmp_path / "parts", None, tmp_path / "buckets", 3)
    buckets = summaries(tmp_path / "buckets")
    assert sum(s.users for s in buckets) == 30
    assert not any(s.days for s in buckets if s.cells)
    whole = read_buckets(tmp_path / "buckets", [0, 1, 2], SolveLimits(), 8)
    assert sorted(whole.users, key=int) == [str(u) for u in range(30)]
    assert len(whole.cells.slot) == len(rows)
    assert set(whole.cells.p_opt_out.tolist()) == {0.25}


def test_one_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    world(5).to_parquet(tmp_path / "parts/a.parquet")
    (tmp_path / "parts/b.parquet").write_bytes((tmp_path / "parts/a.parquet").read_bytes()[:-9])
    (tmp_path / "limits.yaml").write_text("")
    argv = ["solve", str(tmp_path / "parts"), "--limits", str(tmp_path / "limits.yaml"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 3
    assert f"{tmp_path}/parts/b.parquet cannot be read" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", [False, True])
def test_more_limits_than_memory_holds_are_refused_before_solving(
    folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One slot of many days makes a limit of each slot before it."""
    (tmp_path / "parts").mkdir()
    pd.DataFrame(of(ROWS, slot=[9, 10, 32_000])).to_parquet(tmp_path / "parts/c.parquet")
    limits = SolveLimits.model_validate({"capacity": {"push": 5}})
    monkeypatch.setattr(files, "free_memory", lambda: 2**30)
    source = tmp_path / ("parts" if folder else "parts/c.parquet")

    def solves() -> None:
        if folder:
            solve_folder(source, None, limits, tmp_path / "out", 1e-4, 1)
        else:
            files.read_problem(source, limits, None)

    with pytest.raises(ContractError, match=r"to slot 32,000, the last, 32,001 limits .* 23\.8 GiB of memory, 1\.0"):
        solves()


# --- What is read and what is left out is told ------------------------------------------------------------------------


def test_files_of_a_folder_that_are_not_read_are_a_warning_and_linked_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "away").mkdir()
    rows = world(10)
    rows[rows["user_id"] < "u005"].to_parquet(tmp_path / "parts/part-0000")
    rows[rows["user_id"] >= "u005"].to_parquet(tmp_path / "away/b.parquet")
    (tmp_path / "parts/linked").symlink_to(tmp_path / "away")
    (tmp_path / "away/circle").symlink_to(tmp_path / "parts")
    (tmp_path / "parts/notes.txt").write_text("x")
    (tmp_path / "parts/_SUCCESS").write_text("")
    done = solve_folder(tmp_path / "parts", None, SolveLimits(), tmp_path / "out", 1e-4, 2)
    assert done.users == 10
    assert done.warnings == (f"{tmp_path}/parts: 1 of its files are not read, for their endings: notes.txt",)


def test_a_numeric_column_of_csv_may_begin_with_whole_numbers(tmp_path: Path) -> None:
    """More than the first block that types are guessed from."""
    lines = [f"u{i},m,c,push,k,1,{1 if i < 60_000 else 0.5}" for i in range(60_010)]
    header = ",".join(ROWS)
    (tmp_path / "c.csv").write_text("\n".join([header, *lines]))
    assert files.read_problem(tmp_path / "c.csv", SolveLimits(), None).cells.value[-1] == 0.5


def test_two_spellings_of_a_limited_name_are_refused(tmp_path: Path) -> None:
    pd.DataFrame(of(ROWS, channel=["push", "Push", "push"])).to_parquet(tmp_path / "c.parquet")
    (tmp_path / "limits.yaml").write_text("capacity: {push: 1}")
    argv = ["solve", str(tmp_path / "c.parquet"), "--limits", str(tmp_path / "limits.yaml"), "--out"]
    done = CliRunner().invoke(app, [*argv, str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "capacity.push: candidates also have the channel Push, which it does not limit" in done.stderr


@pytest.mark.parametrize("kind", ["no worth", "empty history"])
def test_what_may_be_meant_is_a_warning(kind: str, tmp_path: Path) -> None:
    value = [0.0, -1.0, 0.0] if kind == "no worth" else ROWS["value"]
    pd.DataFrame(of(ROWS, value=value)).to_parquet(tmp_path / "c.parquet")
    pd.DataFrame(PAST).iloc[:0].to_parquet(tmp_path / "h.parquet")
    history = None if kind == "no worth" else tmp_path / "h.parquet"
    _, warnings = files.read_checked(tmp_path / "c.parquet", SolveLimits(), history, files.Expectation())
    words = {"no worth": "no candidate has a value above 0, so none is sent", "empty history": "no row; it keeps"}
    assert len(warnings) == 1
    assert words[kind] in warnings[0]


# --- The folder of a plan ---------------------------------------------------------------------------------------------


def test_an_earlier_plan_stays_whole_where_a_solve_fails_and_goes_where_it_does_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("plan.parquet", "solution.json", "reasons.parquet", "mine.txt"):
        (out / name).write_text("old")

    def fails() -> None:
        with both_or_neither(out, MANIFEST, OUTPUT) as staged:
            (staged / "plan.parquet").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(
        ("plan.parquet", "solution.json", "reasons.parquet", "mine.txt"), "old"
    )
    with both_or_neither(out, MANIFEST, OUTPUT) as staged:
        for name in ("plan.parquet", "solution.json"):
            (staged / name).write_text("new")
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "plan.parquet": "new",
        "solution.json": "new",
        "mine.txt": "old",
    }


def test_the_manifest_goes_first_and_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends while the plan is exchanged leaves no manifest of another plan."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("plan.parquet", "solution.json"):
        (out / name).write_text("old")
    moved = []
    rename = Path.rename

    def told(path: Path, target: Path) -> Path:
        moved.append((path.name, (out / "solution.json").exists()))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", told)
    with both_or_neither(out, MANIFEST, OUTPUT) as staged:
        for name in ("solution.json", "plan.parquet"):
            (staged / name).write_text("new")
    assert moved == [("plan.parquet", False), ("solution.json", False)]


def test_a_link_to_a_folder_is_an_out_folder(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "c.parquet")
    (tmp_path / "limits.yaml").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    argv = ["solve", str(tmp_path / "c.parquet"), "--limits", str(tmp_path / "limits.yaml"), "--out"]
    done = CliRunner().invoke(app, [*argv, str(tmp_path / "out")])
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["plan.parquet", "solution.json"]


# --- Columns as codes -------------------------------------------------------------------------------------------------


def test_names_are_coded_as_pandas_would(tmp_path: Path) -> None:
    """Chunks with other dictionaries, names that no row has, names that are there twice."""
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 1], pa.int32()), pa.array(["b", "a", "none"])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["c", "a", "c"])),
    ]
    text = columns.coded(pa.chunked_array(chunks))
    assert text.at(slice(None)).tolist() == ["a", "b", "a", "c", "a", "c"]
    assert sorted(text.names.to_pylist()) == ["a", "b", "c"]


@pytest.mark.parametrize("shuffled", [False, True])
def test_messages_and_repeats_are_those_of_pandas(shuffled: bool) -> None:
    draw = np.random.default_rng(2)
    rows = pd.DataFrame(
        {"user": draw.integers(0, 9, 400), "name": draw.integers(0, 3, 400), "slot": draw.integers(0, 9, 400)}
    )
    rows = rows if shuffled else rows.sort_values(["user", "name", "slot"], ignore_index=True)
    codes = {
        c: columns.coded(pa.chunked_array([pa.array(rows[c].astype(str)).dictionary_encode()]))
        for c in ("user", "name")
    }
    same = columns.coded(pa.chunked_array([pa.array(["x"] * 400).dictionary_encode()]))
    given = {"user_id": codes["user"], "message_id": codes["name"]}
    given |= dict.fromkeys(("campaign_id", "channel", "category", "exclusive_group"), same)
    message, first = columns.messages_of(Path("c"), given, np.ones(400, np.int64))
    groups = rows.groupby(["user", "name"]).ngroup()
    assert (pd.factorize(groups)[0] == pd.factorize(message)[0]).all()
    assert first.tolist() == [int(np.flatnonzero(message == m)[0]) for m in range(len(first))]
    slot = rows["slot"].to_numpy()
    assert columns.repeated(message, slot).tolist() == rows.duplicated().tolist()
    once = rows.drop_duplicates()
    assert len(columns.repeated(message[once.index], slot[once.index])) == 0
