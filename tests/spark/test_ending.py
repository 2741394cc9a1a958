"""A signal ends a command with one sentence and its code, and leaves neither JVM nor Python worker behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REPO = Path(__file__).resolve().parents[2]
PATIENCE = 120.0

# A command in the midst of a stage: a Python worker computes, the JVM waits for it, the lake is held.
BUSY = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from sendopt.night import runtime
from sendopt.process import ending, jvm_log
from sendopt.config.schema import SparkSettings
ending.listen()

def work():
    from sendopt.lake.lock import only_writer
    from sendopt.spark.engine import workers
    from sendopt.spark.engine.session import open_session
    def slow(batches):
        for batch in batches:
            Path("ready").touch()
            time.sleep(600)
            yield batch
    with only_writer("lake", "busy", datetime.now(UTC)):
        spark = open_session(SparkSettings(master="local[2]", shuffle_partitions=2), jvm_log.opened())
        try:
            workers.map_frames(spark.range(4), slow, "id long").write.format("delta").save("lake/table")
        finally:
            spark.stop()

ending.leave(runtime.guarded(work))
"""
# A command in compiled code that comes back to Python too late.
STUBBORN = """
import ctypes, sys, threading
from pathlib import Path
from sendopt.night import runtime
from sendopt.process import ending
ending.PATIENCE_SECONDS = 1.0
ending.listen()

def work():
    Path("ready").touch()
    libc = ctypes.CDLL(None)
    for _ in range(600):
        libc.usleep(900_000)  # interrupted by the signal, and goes on
        if ending.stopped():
            libc.sleep(600)

ending.leave(runtime.guarded(work))
"""


def processes(session: int) -> list[str]:
    """The command lines of all processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session, *_ = stat.read_text().rsplit(")", 1)[1].split()
            if int(its_session) == session and state != "Z":
                found.append(stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()[:60])
        except OSError:
            continue
    return found


def begin(code: str, home: Path) -> subprocess.Popen[str]:
    """The command in a session of its own, at work."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait(lambda: (home / "ready").exists() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def wait(done: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def to_group(process: subprocess.Popen[str], number: int) -> None:
    os.killpg(process.pid, number)


def to_process(process: subprocess.Popen[str], number: int) -> None:
    os.kill(process.pid, number)


@pytest.mark.parametrize(
    ("send", "number"),
    [(to_group, signal.SIGINT), (to_process, signal.SIGINT), (to_group, signal.SIGTERM)],
    ids=["Ctrl-C pressed twice", "SIGINT", "SIGTERM to all"],
)
def test_a_signal_ends_all_with_one_sentence(tmp_path: Path, send: Callable[..., None], number: signal.Signals) -> None:
    process = begin(BUSY, tmp_path)
    before = processes(process.pid)
    assert any("java" in line for line in before)
    assert any("pyspark.daemon" in line for line in before)
    for _ in range(2 if (send, number) == (to_group, signal.SIGINT) else 1):
        send(process, number)
        time.sleep(0.1)
    out, err = process.communicate(timeout=PATIENCE)
    assert processes(process.pid) == [], "nothing is left in the moment in which the command has ended"
    assert process.returncode == 128 + number
    sentence, facts = err.splitlines()
    who = "the keyboard" if number == signal.SIGINT else "SIGTERM"
    assert sentence.startswith(f"sendopt: stopped by {who}; finished stages are kept")
    assert json.loads(facts) == {"exit_code": 128 + number}
    assert out == ""
    assert not list((tmp_path / "lake" / "table" / "_delta_log").glob("*.json")), "nothing was committed"


def test_compiled_code_that_does_not_come_back_is_ended(tmp_path: Path) -> None:
    process = begin(STUBBORN, tmp_path)
    to_process(process, signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "sendopt: stopped by SIGTERM" in err
    assert "Traceback" not in err


def test_the_jvm_of_a_killed_job_ends_itself_and_commits_nothing(tmp_path: Path) -> None:
    """The lake is free at once; the orphan's write never comes."""
    from datetime import UTC, datetime

    from sendopt.lake.lock import only_writer

    process = begin(BUSY, tmp_path)
    process.kill()
    process.wait()
    with only_writer(str(tmp_path / "lake"), "the retry", datetime.now(UTC)):
        pass
    wait(lambda: processes(process.pid) == [])
    assert not list((tmp_path / "lake" / "table" / "_delta_log").glob("*.json"))
    process.communicate()


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5])
def test_a_signal_while_modules_load_is_a_sentence_too(tmp_path: Path, seconds: float) -> None:
    command = [str(Path(sys.executable).with_name("sendopt")), "check", str(REPO / "conf")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(seconds)
    to_group(process, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, 0, -signal.SIGINT)  # ended before, or before Python ran a line of ours
    assert "site-packages" not in err
