"""`sendopt check` on bad input: exit 2, the file and line, the words, and nothing that a terminal must not show."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_kinds import KINDS, MAPPING, NEWS, Kind
from test_bad_files import BAD
from typer.testing import CliRunner

from sendopt.cli import app

HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def check(*options: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `sendopt check conf` in this process."""
    done = CliRunner().invoke(app, ["check", "conf", *options])
    return done.exit_code, done.stdout, done.stderr


def write(conf: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def assert_refused(code: int, out: str, err: str) -> None:
    assert code == 2, (code, out, err)
    assert out == ""
    assert "Traceback" not in err
    assert "unexpected" not in err.partition("\n")[0]
    assert HIDDEN.search(err) is None, repr(err)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bad_input_is_refused_with_its_file_line_and_words(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"conf/growth.yaml": NEWS, "conf/env/local.yaml": "", "m.yaml": MAPPING})
    if kind.file == "m.yaml":
        write(
            tmp_path, {"conf/env/local.yaml": "sources:\n  app: {mapping: m.yaml, input: raw}\n", "m.yaml": kind.text}
        )
    else:
        write(tmp_path / "conf", {kind.file: kind.text})
    code, out, err = check()
    assert_refused(code, out, err)
    file = kind.file if kind.file == "m.yaml" else f"conf/{kind.file}"
    where = f"{file}{kind.place}:" if kind.place.startswith(":") else kind.place
    lines = [line for line in err.splitlines() if where in line and all(word in line for word in kind.words)]
    assert lines, (where, kind.words, err)
    assert max(map(len, err.splitlines())) < 1_000
    if kind.secret:
        assert kind.secret not in err


@pytest.mark.parametrize(("file", "text", "expected"), BAD)
def test_bad_files_are_refused_by_the_command_too(
    file: str, text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "conf", {"growth.yaml": NEWS, "env/local.yaml": "", file: text})
    code, out, err = check()
    assert_refused(code, out, err)
    assert all(line in err for line in expected)


def test_there_are_at_least_150_kinds_of_bad_input() -> None:
    distinct = {(kind.file, kind.text) for kind in KINDS} | {(case.values[0], case.values[1]) for case in BAD}
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert len(distinct) >= 150


@pytest.mark.parametrize(
    ("files", "folders", "options", "words"),
    [
        ({}, [], (), "conf: no such folder"),
        ({"conf": "text"}, [], (), "conf: no such folder"),
        ({}, ["conf"], (), "conf/env holds no *.yaml"),
        ({"conf/env/local.yaml": ""}, [], (), "conf/growth.yaml: no such file"),
        ({"conf/env/local.yaml": "", "conf/growth.yml": NEWS}, [], (), "growth.yml is there: name it growth.yaml"),
        ({"conf/growth.yaml": NEWS, "conf/env/x.yml": ""}, [], ("--env", "x"), "x.yml is there: name it x.yaml"),
        ({"conf/growth.yaml": NEWS, "conf/env/local.yaml": ""}, [], ("--env", "locl"), "did you mean local?"),
        ({"conf/growth.yaml": NEWS, "conf/env/local.yaml": ""}, [], ("--env", "e" * 5000), "no environment eee"),
        ({"conf/growth.yaml": NEWS, "conf/env/local.yaml": ""}, [], ("--env", "\x1b[2J"), "no environment \\x1b[2J"),
        ({"conf/growth.yaml": NEWS, "conf/env/local.yaml": ""}, [], ("--env", "../growth"), "no environment ../growth"),
        ({"conf/env/local.yaml": ""}, ["conf/growth.yaml"], (), "conf/growth.yaml: cannot be read: Is a directory"),
        ({"conf/growth.yaml": NEWS}, ["conf/env/local.yaml"], (), "conf/env/local.yaml: cannot be read: Is a dir"),
        (
            {"conf/growth.yaml": NEWS, "conf/env/local.yaml": ""},
            ["conf/defaults.yaml"],
            (),
            "conf/defaults.yaml: cannot be read: Is a directory",
        ),
    ],
)
def test_files_that_are_not_there_or_no_files_are_named(
    files: dict[str, str],
    folders: list[str],
    options: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, dict(files))
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    code, out, err = check(*options)
    assert_refused(code, out, err)
    assert words in err


def test_a_link_that_leads_nowhere_is_no_absent_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"conf/growth.yaml": NEWS, "conf/env/local.yaml": ""})
    (tmp_path / "conf/defaults.yaml").symlink_to("gone.yaml")
    code, out, err = check()
    assert_refused(code, out, err)
    assert "conf/defaults.yaml: cannot be read: No such file" in err


def test_a_bad_name_of_a_file_is_shown_without_its_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"conf/growth.yaml": NEWS, "conf/env/a\x1b[31m\u202e.yaml": "cap: {}\n"})
    code, out, err = check()
    assert_refused(code, out, err)
    assert "conf/env/a\\x1b[31m\\u202e.yaml:1: cap: unknown key, did you mean caps?" in err


GOOD: list[Callable[[str], str | bytes]] = [
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text + "cost: {max_total: -0.0}\n",
    lambda text: text + "caps: {'Täglich – Σ': {max: 2, calendar: day}}\n",
    lambda text: "",
    lambda text: "# nothing\n",
]


@pytest.mark.parametrize("change", GOOD)
def test_what_is_sound_is_not_refused(
    change: Callable[[str], str | bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    local = (
        "mlflow: {tracking_uri: 'https://mlflow.internal:5000/a@1'}\n"
        "paths: {data: 'abfss://box@account.dfs.core.windows.net/data', out: out}\n"
        "spark:\n"
        "  conf:\n"
        "    spark.hadoop.fs.s3a.aws.credentials.provider: software.amazon.DefaultCredentialsProvider\n"
        "    spark.security.credentials.hive.enabled: 'false'\n"
        "    spark.executor.memory: 4g\n"
    )
    local += "sources:\n  app: {mapping: m.yaml, input: s3a://bucket/raw}\n" if "push" in str(change(NEWS)) else ""
    write(tmp_path, {"conf/growth.yaml": change(NEWS), "conf/env/local.yaml": local, "m.yaml": MAPPING})
    code, out, err = check()
    assert (code, err) == (0, "")
    assert "conf is valid for local" in out
    assert "-0" not in out


def test_thousands_of_faults_are_counted_and_a_hundred_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faults = "".join(f"  c{i}: {{max: 1, calendar: dya}}\n" for i in range(140))
    write(tmp_path, {"conf/growth.yaml": f"caps:\n{faults}", "conf/env/local.yaml": ""})
    code, out, err = check()
    assert_refused(code, out, err)
    assert err.startswith("sendopt: 140 problems in conf:\n")
    assert "\nand 40 more\n" in err
    assert len(err.splitlines()) == 103
