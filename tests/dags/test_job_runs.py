"""A job's end is what Airflow makes of it: real subprocesses, run by Airflow's own task runner through dag.test()."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600, method="thread")]  # Airflow's own timeouts use SIGALRM

FakeJob = Callable[..., "DAG"]
_days = count()


def run(dag: DAG, **params: str) -> Any:
    """One run on a logical date of its own; the task instance of `measure` afterwards."""
    logical_date = datetime(2026, 1, 1, 4, tzinfo=UTC) + timedelta(days=next(_days))
    return dag.test(logical_date=logical_date, run_conf=params or None).get_task_instance("measure")


EXIT = "import pathlib, sys; pathlib.Path('tries').open('a').write('x'); sys.exit({code})"
KILL = "import os, pathlib; pathlib.Path('tries').open('a').write('x'); os.kill(os.getpid(), {number})"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 6, 7, 99])
def test_an_answer_is_taken_at_once(code: int, fake_job: FakeJob, tmp_path: Path) -> None:
    measured = run(fake_job(EXIT.format(code=code)))
    assert measured.state == ("success" if code == 0 else "failed")
    assert (tmp_path / "tries").read_text() == "x"


@pytest.mark.parametrize("code", [5, 75, 137, 143])
def test_what_may_pass_is_tried_again(code: int, fake_job: FakeJob, tmp_path: Path) -> None:
    measured = run(fake_job(EXIT.format(code=code)))
    assert measured.state == "failed"
    assert (tmp_path / "tries").read_text() == "xx"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_killed_job_is_tried_again(number: int, fake_job: FakeJob, tmp_path: Path) -> None:
    states: list[str] = []
    body = f"import pathlib\nif pathlib.Path('tries').exists(): raise SystemExit(0)\n{KILL.format(number=int(number))}"
    dag = fake_job(body, on_retry_callback=[lambda context: states.append(context["ti"].state.value)])
    measured = run(dag)
    assert states == ["up_for_retry"]
    assert (measured.state, measured.try_number) == ("success", 2)


def test_a_job_that_cannot_start_fails_without_retry(fake_job: FakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDOPT_JOB_COMMAND", '["no-such-program"]')
    measured = run(fake_job("raise SystemExit(0)"))
    assert (measured.state, measured.try_number) == ("failed", 1)


def test_the_job_gets_plain_arguments_and_no_shell(
    fake_job: FakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "import json, os, pathlib, sys; pathlib.Path('argv').write_text(json.dumps([os.getcwd(), *sys.argv]))"
    run(fake_job(body), plan_date="2026-05-04", conf="$(touch owned); conf", env="prod")
    *argv, name, _started = json.loads((tmp_path / "argv").read_text())
    given = ["jobs/measure.py", "--plan-date", "2026-05-04", "--conf", "$(touch owned); conf", "--env", "prod"]
    assert argv == [str(tmp_path), *given]
    assert name == "--started"
    assert not (tmp_path / "owned").exists()


BAD = ["2026-01-01; rm -rf /", "2026-02-30", "20260101", "tomorrow", ""]


@pytest.mark.parametrize("plan_date", BAD)
def test_a_run_with_a_bad_plan_date_is_refused_before_any_job(
    plan_date: str, fake_job: FakeJob, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="Invalid input for param plan_date"):
        run(fake_job(EXIT.format(code=0)), plan_date=plan_date)
    assert not (tmp_path / "tries").exists()


FAMILY = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
time.sleep(0.5)
pathlib.Path("group.part").write_text(str(__import__("os").getpid()))
pathlib.Path("group.part").rename("group")
{then}
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3000)"


def group_of(home: Path) -> int:
    while not (home / "group").exists():
        time.sleep(0.05)
    return int((home / "group").read_text())


def members(group: int) -> list[str]:
    """The processes of a group that still run, as lines of /proc; a zombie runs no more."""
    stats = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats.append(stat.read_text())
        except OSError:
            continue
    fields = [(line, line.rsplit(")", 1)[1].split()) for line in stats]
    return [line for line, (state, _, pgrp, *_) in fields if int(pgrp) == group and state != "Z"]


def test_sigterm_to_the_task_ends_the_job_and_all_its_children(fake_job: FakeJob, tmp_path: Path) -> None:
    seen: list[int] = []

    def terminate() -> None:
        group = group_of(tmp_path)
        seen.append(len(members(group)))
        os.kill(os.getpid(), signal.SIGTERM)  # what the supervisor sends; the task runner's handler calls on_kill

    killer = threading.Thread(target=terminate)
    killer.start()
    measured = run(fake_job(FAMILY.format(child=STUBBORN, then="time.sleep(3000)"), retries=0))
    killer.join()
    assert seen == [2]
    assert members(group_of(tmp_path)) == []
    assert measured.state == "failed"


def test_a_timeout_ends_the_job_and_all_its_children(fake_job: FakeJob, tmp_path: Path) -> None:
    body = FAMILY.format(child=STUBBORN, then="time.sleep(3000)")
    measured = run(fake_job(body, retries=0, execution_timeout=timedelta(seconds=8)))
    assert measured.state == "failed"
    assert members(group_of(tmp_path)) == []


def test_nothing_is_left_behind_by_a_job_that_ended(fake_job: FakeJob, tmp_path: Path) -> None:
    measured = run(fake_job(FAMILY.format(child=STUBBORN, then="raise SystemExit(0)")))
    assert measured.state == "success"
    assert members(group_of(tmp_path)) == []
