"""`sendopt solve`: the command on files, what it refuses, and that it writes both files or none."""

from __future__ import annotations

import json
import subprocess
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from sendopt.cli import app

CANDIDATES = {
    "user_id": ["ann", "ann", "ann", "bob", "bob"],
    "message_id": ["m1", "m1", "m2", "m3", "m3"],
    "campaign_id": ["sale", "sale", "news", "sale", "sale"],
    "channel": ["push"] * 5,
    "category": ["shop", "shop", "info", "shop", "shop"],
    "slot": [9, 10, 10, 9, 10],
    "value": [0.5, 0.4, 0.3, 0.6, 0.5],
}
LIMITS = "slot_minutes: 60\nmin_gap_minutes: 120\ncapacity: {push: 1}\n"


def solve(
    home: Path,
    candidates: dict | pd.DataFrame,
    limits: str = LIMITS,
    *more: str,
    history: dict | None = None,
    suffix: str = "parquet",
) -> subprocess.CompletedProcess[str]:
    frame = pd.DataFrame(candidates)
    files = {"candidates": frame} | ({} if history is None else {"history": pd.DataFrame(history)})
    for name, table in files.items():
        if suffix == "csv":
            table.to_csv(home / f"{name}.csv", index=False)
        else:
            table.to_parquet(home / f"{name}.parquet", index=False)
    (home / "limits.yaml").write_text(limits)
    argv = [
        *("solve", f"candidates.{suffix}", "--limits", "limits.yaml", "--out", "out/plan"),
        *(*more, *(() if history is None else ("--history", f"history.{suffix}"))),
    ]
    # in this process: `tests/docs` and `tests/spark` start the command in processes of its own
    with chdir(home):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, argv)
    return subprocess.CompletedProcess(argv, done.exit_code, done.stdout, done.stderr)


@pytest.mark.parametrize("method", ["exact", "prices"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_plan_and_its_proof(tmp_path, method, suffix):
    done = solve(tmp_path, CANDIDATES, LIMITS, "--method", method, suffix=suffix)
    assert done.returncode == 0, done.stderr
    assert "2 sends worth 1.0000, proven within" in done.stdout
    plan = pd.read_parquet(tmp_path / "out/plan/plan.parquet")
    assert plan.to_dict("list") == {"user_id": ["ann", "bob"], "message_id": ["m1", "m3"], "slot": [10, 9]} or (
        plan.to_dict("list") == {"user_id": ["ann", "bob"], "message_id": ["m1", "m3"], "slot": [9, 10]}
    )
    solution = json.loads((tmp_path / "out/plan/solution.json").read_text())
    assert solution["objective"] == pytest.approx(1.0)
    assert solution["bound"] >= solution["objective"]
    assert solution["method"] == method
    assert {"row", "kind", "limit", "used", "price", "gain_of_10_percent"} == set(solution["prices"][0])
    assert [t["tier"] for t in solution["tiers"]] == [1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan"]


def test_history_groups_and_tiers_count(tmp_path):
    """Bob was sent one an hour before; Ann's two messages exclude each other; the lower tier keeps off the higher."""
    rows = {**CANDIDATES, "exclusive_group": ["g", "g", "g", None, None], "tier": [2, 2, 1, 1, 1]}
    past = {
        "user_id": ["bob"],
        "channel": ["push"],
        "category": ["shop"],
        "campaign_id": ["sale"],
        "minutes_before": [-480.0],
    }
    for method in ("exact", "prices"):
        done = solve(tmp_path, rows, "min_gap_minutes: 120\n", "--method", method, "--json", history=past)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        plan = pd.read_parquet(tmp_path / "out/plan/plan.parquet")
        assert plan.to_dict("list") == {"user_id": ["ann", "bob"], "message_id": ["m2", "m3"], "slot": [10, 10]}
        assert [(t["tier"], t["value"]) for t in told["tiers"]] == [(1, pytest.approx(0.8)), (2, 0.0)]


def column(name: str, value: object) -> dict:
    return {**CANDIDATES, name: [value, *CANDIDATES[name][1:]]}


@pytest.mark.parametrize(
    ("candidates", "limits", "code", "sentence"),
    [
        (column("value", float("nan")), LIMITS, 3, "candidates.parquet, column value: empty in 1 of 5 rows (first"),
        (column("value", float("inf")), LIMITS, 3, "column value: not finite in 1 of 5 rows"),
        (column("slot", 10), LIMITS, 3, "(user_id, message_id, slot): repeated in 1 of 5 rows (first rows [1])"),
        (column("slot", -1), LIMITS, 3, "column slot: negative in 1 of 5 rows"),
        (column("campaign_id", "news"), LIMITS, 3, "column campaign_id: different from the message's first row"),
        (column("user_id", None), LIMITS, 3, "column user_id: empty in 1 of 5 rows"),
        ({**CANDIDATES, "value": ["high"] * 5}, LIMITS, 3, "column value: string where numbers are expected"),
        ({**CANDIDATES, "p_opt_out": [1.5, 0, 0, 0, 0]}, LIMITS, 3, "column p_opt_out: outside [0, 1] in 1 of 5 rows"),
        ({k: v for k, v in CANDIDATES.items() if k != "slot"}, LIMITS, 3, "columns slot are missing; found: user"),
        (CANDIDATES, "caps: {d: {calendar: day, max: 1}}", 3, "column local_day is missing; caps.d counts"),
        (CANDIDATES, "caps: {d: {scope: 'team:x', window_minutes: 9, max: 1}}", 2, "unknown scope 'team:x'"),
        (CANDIDATES, "min_gap_minuts: 60", 2, "limits.yaml:1: min_gap_minuts: unknown key, did you mean"),
        (CANDIDATES, "capacity: {push: -4}", 2, "limits.yaml:1: capacity.push: out of range; got -4"),
        (CANDIDATES, "slot_minutes: 45", 2, "limits.yaml:1: slot_minutes: not one of the choices; got 45"),
        (CANDIDATES, "campaigns: {sale: {min_sends: 3, max_sends: 2}}", 4, "campaigns.sale: min_sends 3 > max_sends 2"),
        (
            CANDIDATES,
            "caps: {a: {window_minutes: 60, max: 1}, b: {window_minutes: 60, max: 2}}",
            4,
            "caps.a: max 1 and caps.b: max 2 for the same scope and window",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, candidates, limits, code, sentence):
    done = solve(tmp_path, candidates, limits)
    assert sentence in done.stderr, done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there_or_too_large(tmp_path, monkeypatch):
    from sendopt.allocation.tables import files
    from sendopt.domain.limits import SolveLimits
    from sendopt.errors import ContractError, InputNotReady

    with pytest.raises(InputNotReady, match=r"gone\.parquet: no such file"):
        files.read_problem(tmp_path / "gone.parquet", SolveLimits(), None)
    pd.DataFrame(CANDIDATES).to_parquet(tmp_path / "c.parquet")
    monkeypatch.setattr(files, "BYTES_PER_CANDIDATE", 10**13)
    with pytest.raises(ContractError, match=r"5 candidates need about .* GiB of memory"):
        files.read_problem(tmp_path / "c.parquet", SolveLimits(), None)
