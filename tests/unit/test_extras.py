"""`pip install sendopt` alone plans, evaluates and checks; what an extra brings is named where it is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from sendopt.process import extras

REPO = Path(__file__).resolve().parents[2]
LEFT_OUT = ("pyspark", "py4j", "delta", "deltalake", "mlflow", "airflow", "matplotlib", "sqlalchemy")
WITHOUT = f"""
import sys


class LeftOut:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {LEFT_OUT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, LeftOut())
from sendopt.cli import main

main()
"""
CANDIDATES = {
    "user_id": ["ann", "ann", "bob"],
    "message_id": ["m1", "m2", "m3"],
    "campaign_id": "sale",
    "channel": "push",
    "category": "shop",
    "slot": [9, 12, 10],
    "value": [0.5, 0.4, 0.3],
}
MAPPING = """\
source: shop
tables:
  sends:
    format: csv
    columns: {user_id: who, notification_id: id, sent_at_utc: at, timezone: tz, pscore: p, campaign_id: what}
    constants: {channel: push, category: news, decision_kind: slot, available: true, sent: true}
    outcome: {column: opened, kind: open}
    decision: {slot: part}
"""


def bare(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command `sendopt` in a Python that has the base dependencies only."""
    argv = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["csv", "folder"])
def test_the_base_alone_solves(tmp_path, form):
    frame = pd.DataFrame(CANDIDATES)
    name = {"folder": "candidates", "csv": "candidates.csv"}[form]
    if form == "folder":
        (tmp_path / name).mkdir()
        frame.to_parquet(tmp_path / name / "part.parquet", index=False)
    else:
        frame.to_csv(tmp_path / name, index=False)
    (tmp_path / "limits.yaml").write_text("min_gap_minutes: 60\n")
    done = bare(tmp_path, "solve", name, "--limits", "limits.yaml", "--out", "plan", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sends"] == 3
    assert len(pd.read_parquet(tmp_path / "plan/plan.parquet")) == 3


def test_the_base_alone_evaluates(tmp_path):
    rows = [(f"u{u}", d, (u * 7 + d * 5) % 4) for u in range(30) for d in range(30)]
    log = {
        "who": [u for u, _, _ in rows],
        "id": [f"{u}-{d}" for u, d, _ in rows],
        "what": "sale",
        "tz": "UTC",
        "p": 0.25,
        "at": [f"2026-01-{d + 1:02d}T{8 + 3 * s:02d}:00:00Z" for _, d, s in rows],
        "part": [f"part {s}" for _, _, s in rows],
        "opened": [int((d * 3 + s) % 5 == 0) for _, d, s in rows],
    }
    pd.DataFrame(log).to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "shop.yaml").write_text(MAPPING)
    done = bare(tmp_path, "evaluate", "log.csv", "--source", "shop.yaml", "--out", "timing", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"]["sentence"]
    assert (tmp_path / "timing/evaluation.html").is_file()


def test_the_base_alone_checks_settings():
    done = bare(REPO, "check", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["environments"] == ["local", "prod", "staging"]


def test_help_imports_no_extra(tmp_path):
    commands = ("solve", "evaluate", "check", "night")
    script = WITHOUT.replace("main()", "").replace("import main", "import app") + (
        "from typer.testing import CliRunner\n"
        f"codes = [CliRunner().invoke(app, [name, '--help']).exit_code for name in {commands}]\n"
        f"assert codes == [0] * {len(commands)}, codes\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("night", "--plan-date", "2026-03-29"), "spark"),
        (("ingest", "--source", "conf/sources/demo.yaml", "--input", "x"), "spark"),
        (("explain", "--user", "u", "--plan-date", "2026-03-29"), "spark"),
        (("rollback",), "mlflow"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_a_missing_extra_is_one_sentence_that_installs_it(tmp_path, arguments, extra):
    (tmp_path / "conf").symlink_to(REPO / "conf")
    done = bare(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    sentence, facts = done.stderr.splitlines()
    assert re.fullmatch(
        rf"sendopt: this needs \w+, which is not installed here: pip install 'sendopt\[{extra}\]'", sentence
    )
    assert json.loads(facts) == {"exit_code": 2}


def test_extras_and_the_packages_they_are_told_from_agree():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    named = {name: packages for name, packages in project["optional-dependencies"].items() if name in extras.EXTRAS}
    assert set(named) == set(extras.EXTRAS) == {"spark", "mlflow", "airflow"}
    base = {re.split(r"[=<>\[]", package)[0] for package in project["dependencies"]}
    for packages in extras.EXTRAS.values():
        assert not base & set(packages), "a base dependency is never missing"
    assert {name for names in extras.EXTRAS.values() for name in names} == set(LEFT_OUT)
    assert project["optional-dependencies"]["all"] == ["sendopt[spark,mlflow,airflow]"]


def test_the_lock_holds_what_every_extra_needs():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    lock = (REPO / "requirements.lock").read_text()
    locked = {re.sub(r"[._]", "-", name) for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock, re.M)}
    groups = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(p for name in groups if name != "all" for p in groups[name])]
    assert {re.sub(r"[._]", "-", re.split(r"[=<>\[]", package)[0]) for package in wanted} <= locked
