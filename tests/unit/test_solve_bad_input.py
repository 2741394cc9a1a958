"""`sendopt solve` on bad input of every kind: one sentence that says what and where, an exit code, nothing written.

A kind is a way to be wrong, not a value. Data of a wrong kind are tried as one file and as a folder.
"""

from __future__ import annotations

import json
import os
from contextlib import chdir
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from solve_bad_calls import CALLS
from solve_bad_files import FILES, LIMIT_FILES
from solve_bad_kinds import CANDIDATES, FORMS, HISTORY
from solve_rows import LIMITS, PAST, ROWS, Columns, bytes_of, of
from typer.testing import CliRunner

from sendopt.cli import app


def refused(home: Path, argv: list[str], code: int, words: str, keeps: tuple[str, ...] = ()) -> None:
    """Run the command. It must end with `code` and one sentence that holds `words`, and write nothing."""
    with chdir(home):
        done = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["solve", *argv])
    shown = " ".join(done.stderr.replace("│", " ").split())
    assert done.exit_code == code, done.stderr
    assert " ".join(words.split()) in shown
    assert "Traceback" not in shown
    assert "unexpected" not in shown
    assert done.stdout == ""
    assert not any(name in shown for name in ("secret", "SECRET"))
    out = home / "out"
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*")) if out.is_dir() else []
    assert [name for name in left if not any(kept.startswith(name) for kept in keeps)] == []
    assert all((out / name).exists() for name in keeps)
    assert not [path for path in home.iterdir() if path.name.startswith(".")]
    if done.exit_code != 2 or "sendopt: " in done.stderr:
        sentence, *rest = done.stderr.splitlines()
        assert sentence.startswith("sendopt: ")
        assert len(sentence) < 1200
        assert json.loads(rest[-1])["exit_code"] == code


def usual(home: Path, limits: str = LIMITS, candidates: str = "c.parquet") -> list[str]:
    (home / "limits.yaml").write_text(limits)
    return [candidates, "--limits", "limits.yaml", "--out", "out"]


def put(path: Path, content: Columns | pa.Table | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else bytes_of(content))


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", CANDIDATES)
def test_candidates_of_a_wrong_kind(kind: str, folder: bool, tmp_path: Path) -> None:
    code, words, change = CANDIDATES[kind]
    put(tmp_path / ("parts/c.parquet" if folder else "c.parquet"), change())
    refused(tmp_path, usual(tmp_path, candidates="parts" if folder else "c.parquet"), code, words)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_cannot_be_read(kind: str, folder: bool, tmp_path: Path) -> None:
    bad = FILES[kind]
    if folder and "read;" not in bad.words and "not read" in bad.words:
        pytest.skip("files of other endings in a folder are a warning")
    put(tmp_path / ("parts" if folder else ".") / bad.name, bad.content)
    if folder:
        put(tmp_path / "parts/a.parquet", of(ROWS, user_id=["x", "y", "z"]))
    refused(tmp_path, usual(tmp_path, candidates="parts" if folder else bad.name), bad.exit_code, bad.words)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", HISTORY)
def test_a_history_of_a_wrong_kind(kind: str, folder: bool, tmp_path: Path) -> None:
    code, words, change = HISTORY[kind]
    put(tmp_path / ("parts/c.parquet" if folder else "c.parquet"), ROWS)
    put(tmp_path / "h.parquet", change())
    argv = usual(tmp_path, candidates="parts" if folder else "c.parquet")
    refused(tmp_path, [*argv, "--history", "h.parquet"], code, words)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", FORMS)
def test_ids_of_two_forms(kind: str, folder: bool, tmp_path: Path) -> None:
    ids, before, words = FORMS[kind]
    put(tmp_path / ("parts/c.parquet" if folder else "c.parquet"), of(ROWS, user_id=ids))
    put(tmp_path / "h.parquet", of(PAST, user_id=before))
    argv = [*usual(tmp_path, candidates="parts" if folder else "c.parquet"), "--history", "h.parquet"]
    refused(tmp_path, [*argv, "--buckets", "3"] if folder else argv, 3, words)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("kind", LIMIT_FILES)
def test_limits_of_a_wrong_kind(kind: str, folder: bool, tmp_path: Path) -> None:
    text, code, words = LIMIT_FILES[kind]
    put(tmp_path / ("parts/c.parquet" if folder else "c.parquet"), ROWS)
    refused(tmp_path, usual(tmp_path, text, candidates="parts" if folder else "c.parquet"), code, words)


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_of_a_wrong_kind(kind: str, tmp_path: Path) -> None:
    call = CALLS[kind]
    put(tmp_path / "c.parquet", ROWS)
    with chdir(tmp_path):
        call.before()
    refused(tmp_path, [*usual(tmp_path, candidates=call.candidates), *call.argv], call.code, call.words, call.keeps)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_without_permission_to_write(tmp_path: Path) -> None:
    put(tmp_path / "c.parquet", ROWS)
    (tmp_path / "shut").mkdir(mode=0o500)
    refused(tmp_path, [*usual(tmp_path), "--out", "shut/plan"], 2, "no folder can be written there (Permission denied)")


def test_these_are_at_least_150_kinds() -> None:
    assert sum(map(len, (CANDIDATES, FILES, HISTORY, FORMS, LIMIT_FILES, CALLS))) >= 150


def test_what_is_sound_is_planned(tmp_path: Path) -> None:
    put(tmp_path / "c.parquet", ROWS)
    with chdir(tmp_path):
        done = CliRunner().invoke(app, ["solve", *usual(tmp_path)])
    assert done.exit_code == 0, done.stderr
    assert np.isclose(json.loads((tmp_path / "out/solution.json").read_text())["objective"], 1.75)
