"""`sendopt solve`: gap, start prices, reasons, the line of progress, and Ctrl-C as a wish to finish."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.instances import instance
from typer.testing import CliRunner

from sendopt import live_line, summary
from sendopt.allocation.control import Progress
from sendopt.cli import app
from sendopt.night.runtime import guarded
from sendopt.process import ending

LIMITS = "slot_minutes: 60\nmin_gap_minutes: 120\ncapacity: {push: 1}\n"
ROWS = {
    "user_id": ["ann", "ann", "ann", "bob", "bob"],
    "message_id": ["m1", "m1", "m2", "m3", "m3"],
    "campaign_id": ["sale", "sale", "news", "sale", "sale"],
    "channel": ["push"] * 5,
    "category": ["shop", "shop", "info", "shop", "shop"],
    "slot": [9, 10, 10, 9, 10],
    "value": [0.5, 0.4, 0.3, 0.6, 0.45],
}


def solve(home: Path, *more: str, candidates: str = "candidates.parquet") -> subprocess.CompletedProcess[str]:
    (home / "folder").mkdir(exist_ok=True)
    pd.DataFrame(ROWS).to_parquet(home / "candidates.parquet", index=False)
    pd.DataFrame(ROWS).to_parquet(home / "folder/part.parquet", index=False)
    (home / "limits.yaml").write_text(LIMITS)
    argv = ["solve", candidates, "--limits", "limits.yaml", "--out", "plan", *more]
    with chdir(home):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, argv)
    return subprocess.CompletedProcess(argv, done.exit_code, done.stdout, done.stderr)


def test_reasons_are_a_file_and_counts(tmp_path):
    done = solve(tmp_path, "--reasons", "--method", "prices")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Left out: [a-z ]+ 1; each message with its reason is in plan/reasons.parquet\.", done.stdout)
    reasons = pd.read_parquet(tmp_path / "plan/reasons.parquet")
    assert reasons[["user_id", "message_id", "reason"]].to_numpy().tolist() == [["ann", "m2", "min_gap"]]
    document = json.loads((tmp_path / "plan/solution.json").read_text())
    assert document["left_out"] == {"min_gap": 1}
    done = solve(tmp_path, "--json")
    assert "left_out" not in json.loads(done.stdout)
    assert not (tmp_path / "plan/reasons.parquet").exists()  # it would be of the plan before


def test_the_greedy_value_stands_beside_the_plan(tmp_path):
    done = solve(tmp_path)
    assert (
        "Taking sends by value, the largest first, under the same rules comes to 1.0000: planning adds 0.0000"
        in done.stdout
    )
    assert json.loads((tmp_path / "plan/solution.json").read_text())["greedy"] == pytest.approx(1.0)


def test_prices_of_an_earlier_solve_start_the_next_one(tmp_path):
    assert solve(tmp_path, "--method", "prices").returncode == 0
    before = json.loads((tmp_path / "plan/solution.json").read_text())
    for candidates in ("candidates.parquet", "folder"):
        done = solve(tmp_path, "--start-prices", "plan/solution.json", "--method", "prices", candidates=candidates)
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "plan/solution.json").read_text())["objective"] == before["objective"]


@pytest.mark.parametrize("candidates", ["candidates.parquet", "folder"])
@pytest.mark.parametrize(
    ("more", "code", "sentence"),
    [
        (("--gap", "0.2"), 2, "--gap: got 0.2, expected a share of the objective from 0 to 0.1"),
        (("--gap", "-1"), 2, "--gap: got -1.0, expected a share"),
        (("--gap", "nan"), 2, "--gap: got nan, expected a share"),
        (("--start-prices", "gone.json"), 75, "gone.json: no such file; give the solution.json of an earlier solve"),
        (
            ("--start-prices", "limits.yaml"),
            3,
            "limits.yaml: holds no prices of an earlier solve",
        ),
    ],
)
def test_options_that_cannot_be_are_sentences(tmp_path, candidates, more, code, sentence):
    done = solve(tmp_path, *more, candidates=candidates)
    assert done.returncode == code, done.stderr
    assert sentence in re.sub(r"\s+", " ", done.stderr)
    assert not (tmp_path / "plan").exists()


def test_a_start_price_of_no_row_is_said(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps({"prices": [{"row": "capacity:sms:4", "price": 0.5}]}))
    for candidates in ("candidates.parquet", "folder"):
        done = solve(tmp_path, "--start-prices", "old.json", candidates=candidates)
        assert "warning: start prices: 1 of 1 are of no row of these limits (capacity:sms:4)" in done.stdout


def test_reasons_of_a_folder_are_refused(tmp_path):
    done = solve(tmp_path, "--reasons", candidates="folder")
    assert done.returncode == 2
    assert "--reasons is for one file, and folder is a folder" in done.stderr


def test_nothing_but_the_document_is_printed_where_nobody_watches(tmp_path):
    done = solve(tmp_path, "--json")
    assert json.loads(done.stdout)["termination"]
    assert done.stderr == ""


def test_the_line_says_how_far_a_solve_is():
    assert live_line.in_words(Progress("prices", 3)) == "looking for prices, 3 passes"
    line = live_line.in_words(Progress("pacing", 12, 1234.5, 1230.0, 0.00366))
    assert line == "pacing, 12 passes, bound 1,234.5000, plan 1,230.0000, gap 0.366 %"
    assert live_line.in_words(Progress("buckets", 4)) == "planning buckets, 4 buckets done"


def test_what_was_left_out_is_counted_in_words(tmp_path):
    assert list(summary.of_left_out({}, tmp_path)) == []


def test_the_first_interrupt_is_a_wish_and_the_second_ends(monkeypatch):
    ended = []
    monkeypatch.setattr(ending, "_on_signal", lambda number, _: ended.append(number))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        finish = ending.Finish()
        finish.listen()
        finish.listen()
        os.kill(os.getpid(), signal.SIGINT)
        assert (finish.asked.is_set(), ended) == (True, [])
        os.kill(os.getpid(), signal.SIGINT)
        assert ended == [signal.SIGINT]
        finish.end()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_wish_to_finish_ends_with_the_code_of_an_interrupt(capsys):
    def work() -> None:
        raise ending.Stopped("stopped by the keyboard; the best plan so far is written")

    assert guarded(work) == 130
    assert "the best plan so far is written" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupt_on_a_terminal_writes_the_best_plan_so_far(tmp_path):
    p = instance(12_000, seed=1, limits="minimums")
    m, c = p.messages, p.cells
    of = c.message
    names = {"message_id": m.message_id, "campaign_id": m.campaign, "channel": m.channel, "category": m.category}
    frame = pd.DataFrame({"user_id": p.users[m.user[of]], **{name: column[of] for name, column in names.items()}})
    frame.assign(slot=c.slot, value=c.value, p_opt_out=c.p_opt_out).to_parquet(tmp_path / "candidates.parquet")
    limits = {"slot_minutes": 60, **p.limits.model_dump(exclude_none=True, exclude_defaults=True)}
    (tmp_path / "limits.yaml").write_text(json.dumps(limits))
    terminal, inside = pty.openpty()
    command = [str(Path(sys.executable).with_name("sendopt")), "solve", "candidates.parquet", "--limits", "limits.yaml"]
    process = subprocess.Popen(
        [*command, "--out", "plan", "--gap", "0"],
        cwd=tmp_path,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )
    os.close(inside)
    shown = b""
    while process.poll() is None or shown[-1:]:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if b"passes" not in shown and b"passes" in shown + part:
            process.send_signal(signal.SIGINT)
        shown += part
    assert process.wait() == 130, shown
    assert b"the best plan so far is written" in shown
    document = json.loads((tmp_path / "plan/solution.json").read_text())
    assert document["termination"] == "cancelled"
    assert len(pd.read_parquet(tmp_path / "plan/plan.parquet")) == document["sends"] > 0
