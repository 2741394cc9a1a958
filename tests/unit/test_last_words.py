"""No fault of a machine, an argument or a stream ends in a stack trace: one sentence, one JSON line, the right code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sendopt.cli import app
from sendopt.night.runtime import guarded
from sendopt.process import machine, traces

SENDOPT = str(Path(sys.executable).with_name("sendopt"))
LONG = "9" * 5000


def fail():
    raise ZeroDivisionError("nobody foresaw this")


def said(capsys):
    *prose, facts = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line or line.startswith("  File") for line in prose)
    return "\n".join(prose), json.loads(facts)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory and a home of one's own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


def test_a_trace_is_kept_where_the_command_ran(home, capsys):
    assert guarded(fail) == 1
    sentence, facts = said(capsys)
    assert sentence.startswith("sendopt: unexpected ZeroDivisionError; details for a bug report are in out/errors/")
    assert "nobody foresaw this" in next((home / "work/out/errors").iterdir()).read_text()
    assert facts == {"exit_code": 1}


@pytest.mark.parametrize("blocked", ["out", "out/errors"])
def test_a_file_in_the_way_of_traces_does_not_hide_the_fault(home, capsys, blocked):
    (home / "work" / blocked).parent.mkdir(exist_ok=True)
    (home / "work" / blocked).write_text("in the way")
    assert guarded(fail) == 1
    sentence, _ = said(capsys)
    assert f"details for a bug report are in {home}/.cache/sendopt/errors/" in sentence
    assert "nobody foresaw this" in next((home / ".cache/sendopt/errors").iterdir()).read_text()


def test_a_working_directory_that_is_gone_does_not_hide_the_fault(home, capsys):
    (home / "work").rmdir()
    assert guarded(fail) == 1
    assert f"are in {home}/.cache/sendopt/errors/" in said(capsys)[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_where_no_file_can_be_written_the_sentence_says_where_the_fault_arose(home, capsys, monkeypatch, number):
    def refuse(self, *_, **__):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "write_text", refuse)
    assert guarded(fail) == 1
    sentence, _ = said(capsys)
    assert sentence.startswith("sendopt: unexpected ZeroDivisionError; no file could be written for a bug report")
    assert "raised at test_last_words:" in sentence


@pytest.mark.parametrize("folder", ["home", "out"])
def test_neither_home_nor_out(home, capsys, monkeypatch, folder):
    (home / "work/out").write_text("in the way")
    if folder == "home":
        monkeypatch.setenv("HOME", "/proc/none")
    else:
        (home / ".cache").write_text("in the way")
    assert guarded(fail) == 1
    assert "no file could be written for a bug report; raised at test_last_words:" in said(capsys)[0]


def test_traces_never_raise(monkeypatch):
    from datetime import UTC, datetime

    monkeypatch.setattr(traces, "_folders", lambda: iter(()))
    assert "an unknown line" in traces.kept(ValueError("never raised"), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "give yourself the right"),
        (errno.EPERM, "give yourself the right"),
        (errno.EROFS, "on a disk that can be written"),
        (errno.ENAMETOOLONG, "give a shorter name"),
        (errno.ENOTDIR, "a part of its path is a file"),
        (errno.EEXIST, "a folder is expected"),
        (errno.EISDIR, "a file is expected"),
        (errno.ELOOP, "lead in a circle"),
    ],
)
@pytest.mark.parametrize("name", ["out/report.html", b"out/\xff", Path("out")])
def test_a_place_that_cannot_be_used_is_named_with_a_remedy(home, capsys, number, words, name):
    def work():
        raise OSError(number, os.strerror(number), name)

    assert guarded(work) == 2
    sentence, facts = said(capsys)
    assert os.strerror(number) in sentence
    assert words in sentence
    assert "out" in sentence
    assert facts == {"exit_code": 2}
    assert not (home / "work/out").exists()


def test_no_temporary_folder_is_named(home, capsys, monkeypatch):
    import tempfile

    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", none)
    assert guarded(none) == 2
    assert said(capsys)[0] == "sendopt: no temporary folder can be written: set TMPDIR to one that can"


def test_an_argument_of_any_length_is_not_repeated_whole(home, capsys):
    from typer.testing import CliRunner

    for arguments in (
        ["night", "--plan-date", LONG],
        ["check", LONG],
        ["check", "--env", LONG],
        ["explain", "--user", "u", "--plan-date", LONG],
        ["rollback", "--model", LONG, "--conf", LONG],
        ["solve", LONG, "--limits", "l.yaml", "--out", "o"],
        ["solve", "c.csv", "--limits", LONG, "--out", "o"],
        ["solve", "c.csv", "--limits", "l.yaml", "--out", "o", "--method", LONG],
        ["solve", "c.csv", "--limits", "l.yaml", "--out", "o", "--buckets", LONG],
        ["solve", "c.csv", "--limits", "l.yaml", "--out", "o", "--check-prices", LONG],
        ["evaluate", LONG, "--source", "s.yaml", "--out", "o"],
        ["evaluate", "x.csv", "--source", LONG, "--out", "o"],
        ["evaluate", "x.csv", "--source", "s.yaml", "--out", "o", "--window-hours", LONG],
        ["evaluate", "x.csv", "--source", "s.yaml", "--out", "o", "--label", LONG],
        ["ingest", "--source", LONG, "--input", "x"],
        ["demo", "--users", LONG],
        ["demo", "--nights", LONG, "--env", LONG],
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code in (2, 3), (arguments[:2], done.output[:500])
        assert len(done.output) < 1500, arguments[:2]
        assert "Traceback" not in done.output
        assert "unexpected" not in done.output


def sendopt(home, *arguments, **options):
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [SENDOPT, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=False, **options
    )


@pytest.fixture
def solvable(tmp_path):
    rows = {"user_id": ["ann"], "message_id": "m", "campaign_id": "sale", "channel": "push", "category": "shop"}
    pd.DataFrame({**rows, "slot": 9, "value": 0.5}).to_csv(tmp_path / "c.csv", index=False)
    (tmp_path / "limits.yaml").write_text("min_gap_minutes: 60\n")
    return ("solve", "c.csv", "--limits", "limits.yaml", "--out", "plan")


@pytest.mark.parametrize("end", ["| true", ">&- 2>&-", "2>/dev/full"], ids=["pipe", "closed", "full"])
def test_a_reader_that_goes_away_is_no_failure(tmp_path, solvable, end):
    script = f"set -o pipefail; {SENDOPT} {' '.join(solvable)} {end}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "plan/plan.parquet").is_file(), "the work is done all the same"


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_a_failure_keeps_its_code_where_nobody_can_read_it(tmp_path, end):
    done = subprocess.run(
        ["bash", "-c", f"{SENDOPT} check nowhere {end}"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 2


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_text_of_any_script_is_read_and_told_under_any_locale(tmp_path, environment):
    (tmp_path / "límites.yaml").write_text("min_gap_minutés: 60\n", encoding="utf-8")
    pd.DataFrame({"user_id": ["ann"]}).to_csv(tmp_path / "c.csv", index=False)
    done = sendopt(tmp_path, "solve", "c.csv", "--limits", "límites.yaml", "--out", "plan", env=environment)
    assert done.returncode == 2, done.stderr
    assert "unexpected" not in done.stderr
    assert "min_gap_minut" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [{"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}, {"XDG_CACHE_HOME": "/proc/none"}],
    ids=str,
)
def test_a_missing_home_or_temporary_folder_hinders_no_plan(tmp_path, solvable, environment):
    done = sendopt(tmp_path, *solvable, env=environment)
    assert done.returncode == 0, done.stderr


def test_what_a_command_writes_is_private(tmp_path, solvable):
    assert sendopt(tmp_path, *solvable).returncode == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "plan", *(tmp_path / "plan").iterdir())}
    assert modes == {"plan": 0o700, "plan.parquet": 0o600, "solution.json": 0o600}
