"""What every command prints: its version, completion, one JSON document where asked, lines where nobody watches."""

from __future__ import annotations

import inspect
import json
import stat
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sendopt import cli, summary
from sendopt import demo as demo_world
from sendopt.commands import night as night_command
from sendopt.config.loader import load
from sendopt.night import runtime
from sendopt.night.runtime import StageReport

REPO = Path(__file__).resolve().parents[2]
CONF = str(REPO / "conf")
STAGES = [StageReport("ingest", 5, 4, {"bad_time": 1}, 0.5, {}), StageReport("allocate", 4, 2, {}, 0.1, {"gap": 0.0})]


def run(*arguments: str):
    return CliRunner().invoke(cli.app, arguments)


def test_the_version_is_told_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"sendopt {version('sendopt')}\n")


def test_shells_can_complete_commands():
    assert "--install-completion" in run("--help").stdout


def test_a_command_is_still_asked_for():
    done = run()
    assert done.exit_code == 2
    assert "Usage" in done.output


@pytest.mark.parametrize("command", sorted(command.callback.__name__ for command in cli.app.registered_commands))
def test_every_command_that_prints_results_can_print_json(command):
    callback = next(c.callback for c in cli.app.registered_commands if c.callback.__name__ == command)
    assert "as_json" in inspect.signature(callback).parameters


@pytest.fixture
def night(monkeypatch, tmp_path):
    """A night whose stages are given."""
    monkeypatch.setattr(runtime, "run", lambda *_, **__: iter(STAGES))
    monkeypatch.setattr(night_command, "report_of", lambda day, settings: tmp_path / "report.html")
    monkeypatch.setattr(demo_world, "prepare", lambda *_: True)
    monkeypatch.setattr(demo_world, "play", lambda *_: None)
    monkeypatch.setattr(summary, "of_night", lambda *_: iter(["prose"]))
    monkeypatch.setattr(summary, "where_next", lambda *_: iter(["more prose"]))
    return tmp_path / "report.html"


def test_a_night_is_one_document(night):
    done = run("night", "--plan-date", "2026-03-29", "--conf", CONF, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["plan_date"], document["report"]) == ("2026-03-29", str(night))
    assert document["stages"] == [vars(stage) for stage in STAGES]


def test_a_demo_is_one_document_of_its_nights(night):
    done = run("demo", "--nights", "2", "--conf", CONF, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [n["plan_date"] for n in document["nights"]] == ["2026-03-29", "2026-03-30"]
    assert document["users"] == 2000


def test_where_nobody_watches_a_night_prints_lines_without_control_characters(night):
    done = run("night", "--plan-date", "2026-03-29", "--conf", CONF)
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert "\r" not in done.output
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["ingest", "allocate"]
    assert done.stdout == "prose\n"


def test_an_ingest_is_one_document(monkeypatch, tmp_path):
    @dataclass
    class Result:
        rows_in: int = 7
        rows_out: int = 5
        dropped: dict[str, int] | None = None
        facts: dict[str, object] = field(default_factory=lambda: {"tables": {}})

    monkeypatch.setattr(runtime, "lake_of", lambda settings: nullcontext("lake"))
    monkeypatch.setattr("sendopt.spark.ingest.ingest.ingest", lambda *_: Result(dropped={"bad_time": 2}))
    source = str(REPO / "conf/sources/demo.yaml")
    done = run("ingest", "--source", source, "--input", str(tmp_path), "--conf", CONF, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "rows_in": 7,
        "rows_out": 5,
        "dropped": {"bad_time": 2},
        "tables": {},
    }


def test_a_check_is_one_document():
    done = run("check", CONF, "--json")
    document = json.loads(done.stdout)
    assert document["environments"] == ["local", "prod", "staging"]
    assert document["forecast"]


def test_a_failure_with_json_leaves_standard_output_empty(tmp_path):
    done = run("check", str(tmp_path), "--json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == 2


def test_the_folders_of_a_night_are_closed_to_others_and_that_is_told_once(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    settings = load(REPO / "conf", "local")
    paths = settings.paths.model_copy(update={"data": str(tmp_path / "data"), "out": str(tmp_path / "out")})
    settings = settings.model_copy(update={"paths": paths})
    runtime.make_private(settings)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("data", "out")] == [0o700, 0o700]
    assert capsys.readouterr().err.startswith(f"sendopt: {tmp_path / 'data'} was open to others")
    runtime.make_private(settings)
    assert capsys.readouterr().err == ""
