"""A JVM that does not start is one sentence with its own reason; what a JVM says beside its work is kept apart."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

START = """
from sendopt.config.schema import SparkSettings
from sendopt.night.runtime import guarded
from sendopt.process import jvm_log
from sendopt.spark.engine.session import open_session

settings = SparkSettings(master="local[1]", driver_memory="{memory}")
raise SystemExit(guarded(lambda: open_session(settings, jvm_log.opened())))
"""


def test_a_jvm_that_does_not_start_says_why(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", START.format(memory="900000g")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    sentence, _ = done.stderr.splitlines()
    assert sentence.startswith("sendopt: Spark's JVM did not start (")
    assert "heap" in sentence.lower()


def test_what_a_jvm_announces_reaches_nobody_where_all_goes_well(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", START.format(memory="1g")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.rglob("*.log"))
