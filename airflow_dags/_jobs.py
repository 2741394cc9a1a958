"""Jobs of sendopt as Airflow tasks: only this module names an operator, an exit code or an environment variable.

It imports Airflow and the standard library only: parsing stays cheap, and a scheduler needs neither Spark nor sendopt.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from airflow.sdk import Asset, BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

SEND_PLAN = Asset("sendopt_send_plan", group="sendopt")
MODEL = Asset("sendopt_model", group="sendopt")

# Meaning of each exit code of a job (docs/adr/0001). Only the last two may succeed on another try.
MEANINGS = {
    1: "an error nobody foresaw",
    2: "a setting, the command line or the installation is wrong",
    3: "data breaks the contract of its table",
    4: "limits contradict each other",
    6: "no model could be trained, loaded or trusted",
    7: "the audit refused the plan and nothing was published",
    5: "the solver gave no answer",
    75: "an input has not arrived yet, the lake is in use or a disk is full",
}
RETRYABLE = frozenset({5, 75})
# Exit codes of a job that a signal ended, as a shell, a container or the job itself reports them.
KILLED = frozenset(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM))

# A job's message to people starts with SENTENCE and ends before a line that starts with FACTS.
SENTENCE, FACTS = "sendopt: ", '{"'
SENTENCE_CHARACTERS = 1500
LINE_CHARACTERS = 20_000

# Airflow's supervisor sends SIGKILL five seconds after SIGTERM. The job's processes must have ended before that.
GRACE_SECONDS = 3.0
POLL_SECONDS = 0.1

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "growth-ml",
    "retries": 5,  # about an hour in all: another run may lock the lake that long
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=30),
    "execution_timeout": timedelta(hours=2),
}


def job_params() -> dict[str, Param]:
    """Return the parameters of every DAG; Airflow checks them when a run is triggered, `JobOperator` checks again."""
    return {
        "plan_date": Param(
            None,
            type=["null", "string"],
            format="date",
            pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            title="Plan date",
            description="The UTC day to work on, YYYY-MM-DD. Empty: taken from the logical date or the asset event.",
        ),
        "now": Param(
            None,
            type=["null", "string"],
            format="date-time",
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})$",
            title="Now",
            description="The UTC time to take for now, like 2026-03-28T23:10:00Z. Empty: when each task starts.",
        ),
        "conf": Param(
            os.environ.get("SENDOPT_CONF", "conf"),
            type="string",
            pattern="^[^-]",
            title="Config directory",
            description="Relative to SENDOPT_HOME, or absolute.",
        ),
        "env": Param(
            os.environ.get("SENDOPT_ENV", "local"),
            type="string",
            pattern="^[A-Za-z0-9_][A-Za-z0-9_-]*$",
            title="Environment",
            description="Which conf/env/NAME.yaml is laid over the config.",
        ),
    }


class JobOperator(BaseOperator):
    """An operator that runs `jobs/<stage>.py` as a subprocess (no shell) and maps its exit code to success or failure.

    It returns the plan date as YYYY-MM-DD and puts it into the event of every outlet. It raises AirflowException
    (retry) for the codes 5 and 75 and for a killed job, and AirflowFailException (no retry) for every other code and
    for a missing plan date. `days_ahead`: days from the logical date's UTC day to the plan date; 1 for a run on the
    evening before.
    """

    def __init__(self, *, stage: str, flags: Sequence[str] = (), days_ahead: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.flags = tuple(flags)
        self.days_ahead = days_ahead
        self._process: subprocess.Popen[str] | None = None
        self._sentence = Sentence()

    def execute(self, context: Mapping[str, Any]) -> str:
        """Run the job; return the plan date."""
        plan_date = plan_date_of(context, self.days_ahead).isoformat()
        params = context["params"]
        job = [f"jobs/{self.stage}.py", "--plan-date", plan_date, "--conf", params["conf"], "--env", params["env"]]
        self._sentence = Sentence()
        code = self._run([*_command(), *job, *clock_of(context), *self.flags], _home())
        if code != 0:
            raise failure_of(self.stage, code, self._sentence.text)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {"plan_date": plan_date}
        return plan_date

    def on_kill(self) -> None:
        """End the job and its child processes (Spark's JVM is one); Airflow calls this inside a signal handler."""
        if self._process is not None:
            _end_group(self._process)

    def _run(self, argv: list[str], home: Path) -> int:
        self.log.info("Running %s in %s", argv, home)
        # A new session makes a process group that can be ended as a whole, without ending Airflow's group.
        try:
            process = subprocess.Popen(
                argv,
                cwd=home,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise AirflowFailException(
                f"{self.stage} did not start: {error}. Check SENDOPT_HOME and SENDOPT_JOB_COMMAND (or SENDOPT_PYTHON)."
            ) from error
        self._process = process
        reader = threading.Thread(target=self._stream, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            # Not wait(): it holds a lock that on_kill, called inside a signal handler, would need.
            while (code := process.poll()) is None:
                time.sleep(POLL_SECONDS)
        finally:
            # Also after a normal end: a JVM that is left could write during the retry and would keep the pipe open.
            _end_group(process)
            reader.join(GRACE_SECONDS)
            self._process = None
        return code

    def _stream(self, output: IO[str]) -> None:
        with output:
            while line := output.readline(LINE_CHARACTERS):
                self._sentence.add(line)
                self.log.info("%s", printable(line.rstrip()))


class Sentence:
    """The last message to people in a job's output, collected line by line: one line, short and printable."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open = False

    def add(self, line: str) -> None:
        """Take the next line of the job's output."""
        if line.startswith(SENTENCE):
            self._lines, self._open = [], True
        elif line.startswith(FACTS):
            self._open = False
        if self._open and sum(map(len, self._lines)) <= SENTENCE_CHARACTERS:
            self._lines.append(line.removeprefix(SENTENCE).strip())

    @property
    def text(self) -> str:
        """The message; empty if the job printed none."""
        text = printable(" | ".join(line for line in self._lines if line))
        return text if len(text) <= SENTENCE_CHARACTERS else text[: SENTENCE_CHARACTERS - 1] + "…"


def printable(text: str) -> str:
    """Return the text with control characters escaped (`\\x1b`), so that no log page or terminal executes them."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


def plan_date_of(context: Mapping[str, Any], days_ahead: int) -> date:
    """Return the plan date of a run: its parameter, else its logical date + days_ahead, else its asset event's extra.

    Raise AirflowFailException if there is none or it is no day: another try would fail in the same way.
    """
    parameter = context["params"].get("plan_date")
    if parameter is not None:
        return _parse(parameter, "the parameter plan_date")
    logical_date: datetime | None = context.get("logical_date")
    if logical_date is not None:
        moment = logical_date.astimezone(UTC)
        return date(moment.year, moment.month, moment.day) + timedelta(days=days_ahead)
    events = [event for events in (context.get("triggering_asset_events") or {}).values() for event in events]
    if not events:
        raise AirflowFailException(
            "no plan date: the run has no parameter plan_date, no logical date and no asset event that names one; "
            'trigger it with {"plan_date": "YYYY-MM-DD"}.'
        )
    # The events of the time while the DAG was paused arrive as one run; it works on the newest plan.
    return max(_parse(event.extra.get("plan_date"), f"the event of {event.asset.name}") for event in events)


def clock_of(context: Mapping[str, Any]) -> list[str]:
    """Return a job's arguments about the time: the run's parameter `now`, else the start of this try of the task.

    The logical date is never used: a run that is late, or tried again, must not plan sends for a time that has passed.
    """
    stated = context["params"].get("now")
    if stated is not None:
        return ["--now", stated]
    started: datetime | None = getattr(context.get("ti"), "start_date", None)
    return [] if started is None else ["--started", started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")]


def failure_of(stage: str, code: int, sentence: str = "") -> AirflowException:
    """Return the exception for a job that ended with `code` ≠ 0; negative codes are signals, as in `subprocess`.

    `sentence` is the job's message; the exception's text begins with it.
    """
    message = f"{sentence.rstrip('.')}. " if sentence else ""
    if code < 0 or code in KILLED:
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return AirflowException(f"{message}{stage} was killed by {name}; it is tried again while tries are left.")
    meaning = MEANINGS.get(code, "a code that sendopt does not use")
    if code in RETRYABLE:
        ended = f"{stage} ended with {code}: {meaning}"
        return AirflowException(f"{message}{ended}; it is tried again while tries are left.")
    hint = "" if message else "; see the job's last line"
    return AirflowFailException(
        f"{message}{stage} ended with {code}: {meaning}{hint}. It is not tried again: the same would happen."
    )


def _parse(text: object, source: str) -> date:
    # fromisoformat alone would also take 20260101 and 2026-W01-4.
    if isinstance(text, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise AirflowFailException(f"{source} is {text!r}; expected a day as YYYY-MM-DD.")


def _home() -> Path:
    configured = os.environ.get("SENDOPT_HOME")
    return Path(configured) if configured else Path(__file__).resolve().parent.parent


def _command() -> list[str]:
    """Return the command that runs a job's file: SENDOPT_JOB_COMMAND (a JSON list), SENDOPT_PYTHON or this Python."""
    configured = os.environ.get("SENDOPT_JOB_COMMAND")
    if not configured:
        return [os.environ.get("SENDOPT_PYTHON") or sys.executable]
    try:
        command = json.loads(configured)
    except json.JSONDecodeError:
        command = None
    if isinstance(command, list) and command and all(isinstance(part, str) and part for part in command):
        return command
    raise AirflowFailException(
        f"SENDOPT_JOB_COMMAND is {configured!r}; expected a JSON list of strings such as "
        '["spark-submit", "--master", "local[*]"].'
    )


def _end_group(process: subprocess.Popen[str]) -> None:
    """End the process group that `process` leads: SIGTERM, then SIGKILL for processes left after GRACE_SECONDS."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()  # reaps the leader: a zombie would keep the group alive
                os.killpg(process.pid, 0)
                time.sleep(POLL_SECONDS / 2)
        except ProcessLookupError:
            return
