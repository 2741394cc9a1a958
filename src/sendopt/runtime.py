"""Run stages: arguments → settings → session → stage → record → exit code. The only place that logs and exits."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sendopt.config.loader import load
from sendopt.config.schema import Settings
from sendopt.domain import slots
from sendopt.domain.clock import Clock, StatedBy, parse_time, require_ahead
from sendopt.domain.stages import NAMES, STAGES
from sendopt.errors import ConfigError, SendoptError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from sendopt.spark.stage import Night
    from sendopt.spark.tables import Lake

UNEXPECTED = 1


@dataclass(frozen=True)
class StageReport:
    """One stage as it went: the line that the log shows and the `runs` table keeps."""

    stage: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    seconds: float
    facts: dict[str, object]


def job(stage: str) -> NoReturn:
    """Entry of `jobs/<stage>.py`: run one stage on the command line's arguments and exit with its code."""
    parser = argparse.ArgumentParser(prog=f"jobs/{stage}.py", description=f"Run the stage {stage} of one night.")
    parser.add_argument("--plan-date", required=True, help="the date to plan, YYYY-MM-DD")
    parser.add_argument("--conf", default="conf", help="folder of settings")
    parser.add_argument("--env", default="local", help="name of conf/env/NAME.yaml")
    parser.add_argument("--now", help="the time to take for now, like 2026-03-28T23:10:00Z; default: the real one")
    parser.add_argument(
        "--started", help="when a scheduler started this job, read from its clock; stands for this machine's clock"
    )
    if stage == "train_propensity":
        parser.add_argument("--train", action="store_true", help="train even where a champion exists")
    given = parser.parse_args()
    retrain = bool(getattr(given, "train", False))
    leave(guarded(lambda: _run_job(stage, given, retrain)))


def _run_job(stage: str, given: argparse.Namespace, retrain: bool) -> None:
    conf, clock = Path(given.conf), Times.of(given.now, given.started)
    for report in run(parse_date(given.plan_date), load(conf, given.env), conf, [stage], retrain=retrain, times=clock):
        print_line(report)


@dataclass(frozen=True)
class Times:
    """What a caller says of the time: `now` by --now, `started` by a scheduler's clock; None where it says nothing."""

    now: datetime | None = None
    started: datetime | None = None

    @classmethod
    def of(cls, now: str | None, started: str | None = None) -> Times:
        """Raises ConfigError for text that is no time."""
        return cls(parse_time(now) if now else None, parse_time(started, "--started") if started else None)

    def clock(self, settings: Settings, plan_date: date | None) -> Clock:
        """--now, else the setting clock.now, else the scheduler's time, else this machine's, read at this moment."""
        machine = self.started or datetime.now(UTC)
        if self.now is not None:
            return Clock(self.now, StatedBy.ARGUMENT, machine)
        stated = settings.clock.now
        if stated == "machine" or (stated == "as_of" and plan_date is None):
            return Clock(machine, StatedBy.MACHINE, machine)
        if stated == "as_of":
            assert plan_date is not None
            return Clock(slots.as_of(plan_date, settings.grid.lead_minutes), StatedBy.SETTINGS, machine)
        return Clock(parse_time(stated, "clock.now"), StatedBy.SETTINGS, machine)


def run(
    plan_date: date,
    settings: Settings,
    conf_dir: Path,
    stages: Sequence[str] = NAMES,
    *,
    retrain: bool = False,
    times: Times = Times(),
) -> Iterator[StageReport]:
    """Run `stages` of one night in order in one Spark session of its own; yields each one's report as it ends."""
    from sendopt.spark.session import open_session

    _require_ahead(plan_date, settings, stages, times)
    spark = open_session(settings.spark)
    try:
        yield from run_in(spark, plan_date, settings, conf_dir, stages, retrain=retrain, times=times)
    finally:
        spark.stop()


def run_in(
    spark: SparkSession,
    plan_date: date,
    settings: Settings,
    conf_dir: Path,
    stages: Sequence[str] = NAMES,
    *,
    retrain: bool = False,
    times: Times = Times(),
) -> Iterator[StageReport]:
    """The same in a session that the caller keeps.

    Each stage has a record of what it reads and a clock of its own, read as it begins: a night may last for hours, and
    what it publishes must still be ahead then.
    """
    from sendopt.spark.stage import Night
    from sendopt.spark.tables import Lake

    _require_ahead(plan_date, settings, stages, times)
    for stage in stages:
        _require_ahead(plan_date, settings, [stage], times)
        started, clock = datetime.now(UTC), times.clock(settings, plan_date)
        night = Night(Lake(spark, settings.paths.data), settings, plan_date, conf_dir, retrain, clock)
        begun = time.monotonic()
        result = importlib.import_module(f"sendopt.spark.{stage}").run(night)
        seconds = round(time.monotonic() - begun, 3)
        facts = {**result.facts, "clock": clock.facts, "written": dict(night.lake.touched.written)}
        report = StageReport(stage, result.rows_in, result.rows_out, result.dropped, seconds, facts)
        _record(night, report, started)
        yield report


def _require_ahead(plan_date: date, settings: Settings, stages: Sequence[str], times: Times) -> None:
    """Raises ConfigError where a stage would plan a date that is over."""
    if any(STAGES[stage].plans for stage in stages):
        horizon = timedelta(hours=settings.grid.horizon_hours)
        require_ahead(plan_date, horizon, times.clock(settings, plan_date))


def _record(night: Night, report: StageReport, started: datetime) -> None:
    from sendopt.domain.tables import TABLES
    from sendopt.spark.tables import schema_of

    lake, facts, versions = night.lake, report.facts, night.lake.touched.read
    row = {
        "plan_date": night.plan_date,
        "stage": report.stage,
        "plan_version": str(facts.get("plan_version", "")),
        "delta_versions": json.dumps(versions, sort_keys=True),
        "mlflow_run_id": facts.get("mlflow_run_id"),
        "started_utc": started,
        "seconds": report.seconds,
        "rows_in": report.rows_in,
        "rows_out": report.rows_out,
        "dropped_by_reason": json.dumps(report.dropped, sort_keys=True),
        "facts": json.dumps(facts, sort_keys=True),
    }
    rows = night.spark.createDataFrame([row], schema_of(TABLES["runs"]))
    lake.replace("runs", rows, night.plan_date, only=f"stage = '{report.stage}'")


def print_line(report: StageReport) -> None:
    """One JSON line per stage on standard output, for machines."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps({**vars(report), "peak_mib": peak}, sort_keys=True) + "\n")
    sys.stdout.flush()


def leave(code: int) -> NoReturn:
    """End the process with this code, its output written, and without the interpreter's own end.

    Threads that libraries leave behind can abort that end when all work is done ("terminate called without an active
    exception", seen after a night that had ended well), and the code would be a signal's.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def guarded(work: Callable[[], None]) -> int:
    """Exit code of `work`; a failure becomes one sentence on standard error, never a stack trace."""
    try:
        work()
    except SendoptError as error:
        _say(error.message if not isinstance(error, ConfigError) else str(error), error.exit_code, error.facts)
        return error.exit_code
    except KeyboardInterrupt:
        _say("stopped by the keyboard; finished stages are kept, the running one wrote nothing half", 130, {})
        return 130
    except Exception as error:  # noqa: BLE001  the last line before the user
        _say(f"unexpected {type(error).__name__}; details for a bug report are in {_keep_trace()}", UNEXPECTED, {})
        return UNEXPECTED
    return 0


def _say(message: str, code: int, facts: dict[str, object]) -> None:
    known = {k: v for k, v in facts.items() if v}
    sys.stderr.write(f"sendopt: {message}\n")
    sys.stderr.write(json.dumps({"exit_code": code, **known}, sort_keys=True, default=str) + "\n")


def _keep_trace() -> Path:
    path = Path("out") / "errors" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc())
    return path


def parse_date(text: str) -> date:
    """The date of "YYYY-MM-DD"; raises ConfigError for anything else."""
    try:
        found = date.fromisoformat(text)
        if text != found.isoformat():
            raise ValueError
    except ValueError:
        raise ConfigError(f"--plan-date: got {text!r}, expected a date as YYYY-MM-DD") from None
    return found


@contextmanager
def lake_of(settings: Settings) -> Iterator[Lake]:
    """A lake for a command that is no stage; its Spark session ends with the block."""
    from sendopt.spark.session import open_session
    from sendopt.spark.tables import Lake

    spark = open_session(settings.spark)
    try:
        yield Lake(spark, settings.paths.data)
    finally:
        spark.stop()
