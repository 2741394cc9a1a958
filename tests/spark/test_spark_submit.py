"""Jobs under spark-submit, in processes of their own; `tests/dags` runs all eight of them as plain Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from worlds import PLAN_DATE, REPO, make_world

from sendopt.config.loader import load
from sendopt.domain.stages import NAMES
from sendopt.lake.tables import read_table

pytestmark = pytest.mark.slow


def submit(stage: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """With the environment's bin first on PATH, as activating it does. Spark puts both outputs into stdout."""
    argv = ["spark-submit", str(REPO / "jobs" / f"{stage}.py"), *arguments]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    return subprocess.run(
        argv,
        cwd=cwd,
        env={**clean, "PATH": path, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_jobs_and_their_exit_codes(tmp_path):
    make_world(tmp_path, users=60, days=14)
    conf = tmp_path / "conf"
    early = submit("allocate", "--plan-date", str(PLAN_DATE), "--conf", str(conf), cwd=tmp_path)
    assert early.returncode == 75, early.stderr
    assert "run score_slots first" in early.stdout
    for stage in NAMES[:2]:
        done = submit(stage, "--plan-date", str(PLAN_DATE), "--conf", str(conf), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (line,) = [json.loads(text) for text in done.stdout.splitlines() if text.startswith('{"dropped"')]
        assert line["stage"] == stage
        assert line["rows_in"] >= line["rows_out"] >= 0
    lake = load(conf).paths.data
    assert set(read_table(lake, "user_features", PLAN_DATE).user_id) == set(read_table(lake, "users").user_id)


def test_a_wrong_date_is_one_sentence_and_exit_2(tmp_path):
    wrong = submit("measure", "--plan-date", "2026-3-9", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "sendopt: --plan-date: got '2026-3-9', expected a date as YYYY-MM-DD" in wrong.stdout
    assert "Traceback" not in wrong.stdout + wrong.stderr
