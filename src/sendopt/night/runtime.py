"""Run stages: arguments → settings → session → stage → record → exit code. Only this module logs and exits."""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import shlex
import sys
import time
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
from sendopt.domain.outside_text import printable
from sendopt.domain.stages import NAMES, STAGES
from sendopt.errors import ConfigError, InputNotReady, SendoptError, no_space
from sendopt.lake.lock import only_writer
from sendopt.process import ending, jvm_log, machine, output, private, traces

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from sendopt.spark.engine.lake import Lake
    from sendopt.spark.night import Night

REPORT = "report"  # a job that is no stage: it reads a night's tables and writes its page, without Spark
UNEXPECTED = 1
HOLDER_CHARACTERS = 300
_LINE_END = "\n"


@dataclass(frozen=True)
class StageReport:
    """Result of one stage: a line of the log and a row of the table `runs`."""

    stage: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    seconds: float
    facts: dict[str, object]


def job(stage: str) -> NoReturn:
    """Run one stage with the command line's arguments and exit with its code; entry point of `jobs/<stage>.py`."""
    output.steady()
    ending.listen()
    parser = argparse.ArgumentParser(prog=f"jobs/{stage}.py", description=_about(stage))
    parser.add_argument("--plan-date", required=True, help="the date to plan, YYYY-MM-DD")
    parser.add_argument("--conf", default="conf", help="folder of settings")
    parser.add_argument("--env", default="local", help="name of conf/env/NAME.yaml")
    parser.add_argument("--now", help="the time to take for now, like 2026-03-28T23:10:00Z; default: the real one")
    parser.add_argument(
        "--started", help="when a scheduler started this job, read from its clock; stands for this machine's clock"
    )
    if stage == "train_propensity":
        parser.add_argument("--train", action="store_true", help="train even where a champion exists")
    arguments = parser.parse_args()
    retrain = bool(getattr(arguments, "train", False))
    ending.leave(guarded(lambda: _run_job(stage, arguments, retrain)))


def _about(stage: str) -> str:
    return "Write the report of one night." if stage == REPORT else f"Run the stage {stage} of one night."


def _run_job(stage: str, arguments: argparse.Namespace, retrain: bool) -> None:
    conf, times = Path(arguments.conf), Times.of(arguments.now, arguments.started)
    if stage == REPORT:
        page = write_report(load(conf, arguments.env), parse_date(arguments.plan_date))
        sys.stdout.write(json.dumps({"stage": stage, "report": str(page)}) + "\n")
        return
    plan_date, settings = parse_date(arguments.plan_date), load(conf, arguments.env)
    for report in run(plan_date, settings, conf, [stage], retrain=retrain, times=times):
        print_line(report)


@dataclass(frozen=True)
class Times:
    """Times that a caller states: `now` by --now, `started` by a scheduler's clock; None if not stated."""

    now: datetime | None = None
    started: datetime | None = None

    @classmethod
    def of(cls, now: str | None, started: str | None = None) -> Times:
        """Return the times of the texts. Raise ConfigError if a text is no time."""
        return cls(parse_time(now) if now else None, parse_time(started, "--started") if started else None)

    def clock(self, settings: Settings, plan_date: date | None) -> Clock:
        """Return the clock by --now, else the setting clock.now, else the scheduler's time, else this machine's."""
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
    """Run `stages` of one night in order, in a new Spark session; yield the report of each stage as it ends."""
    from sendopt.spark.engine.session import open_session

    _require_ahead(plan_date, settings, stages, times)
    make_private(settings)
    with writing(settings):
        spark = open_session(settings.spark, jvm_log.opened())
        try:
            yield from run_in(spark, plan_date, settings, conf_dir, stages, retrain=retrain, times=times)
        finally:
            spark.stop()


def make_private(settings: Settings) -> None:
    """Remove other users' access to the folders that a night writes; say so on standard error where they had it.

    The folders hold user ids.
    """
    for sentence in private.tighten(settings.paths.data, settings.paths.out):
        sys.stderr.write(f"sendopt: {sentence}\n")


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
    """Run `stages` as `run` does, in the caller's Spark session, which stays open.

    Each stage has its own record of the tables it reads and its own clock, read when it begins: a night may last for
    hours, and its sends must still be ahead when it publishes them.
    """
    from sendopt.spark.engine.failures import as_ours
    from sendopt.spark.engine.lake import Lake
    from sendopt.spark.night import Night

    _require_ahead(plan_date, settings, stages, times)
    for stage in stages:
        _require_ahead(plan_date, settings, [stage], times)
        started, clock = datetime.now(UTC), times.clock(settings, plan_date)
        night = Night(Lake(spark, settings.paths.data), settings, plan_date, conf_dir, retrain, clock)
        start = time.monotonic()
        with as_ours(f"a table of {stage}"):
            result = importlib.import_module(STAGES[stage].module).run(night)
        seconds = round(time.monotonic() - start, 3)
        facts = {**result.facts, "clock": clock.facts, "written": dict(night.lake.touched.written)}
        report = StageReport(stage, result.rows_in, result.rows_out, result.dropped, seconds, facts)
        _record(night, report, started)
        yield report


def _require_ahead(plan_date: date, settings: Settings, stages: Sequence[str], times: Times) -> None:
    """Raise ConfigError if one of `stages` would plan a date that is over."""
    if any(STAGES[stage].plans for stage in stages):
        horizon = timedelta(hours=settings.grid.horizon_hours)
        require_ahead(plan_date, horizon, times.clock(settings, plan_date))


def _record(night: Night, report: StageReport, started: datetime) -> None:
    """Write the stage's row of the table `runs`."""
    from sendopt.domain.tables import TABLES
    from sendopt.spark.engine.lake import schema_of

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
    """Print the report as one JSON line on standard output, for machines."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps({**vars(report), "peak_mib": peak}, sort_keys=True) + "\n")
    sys.stdout.flush()


def guarded(work: Callable[[], None]) -> int:
    """Run `work` and return its exit code; report a failure as one sentence on standard error, without a stack trace.

    Files that `work` writes are private to this user.
    """
    private.keep_private()
    try:
        work()
    except SendoptError as error:
        _say(error.message if not isinstance(error, ConfigError) else str(error), error.exit_code, error.facts)
        return error.exit_code
    except KeyboardInterrupt as stop:
        return _say_stopped(*(ending.stopped() or (str(stop) or "stopped by the keyboard", 130)))
    except Exception as error:  # noqa: BLE001  no stack trace reaches the user
        if stop_report := ending.stopped():  # a signal that ends the process causes further errors
            return _say_stopped(*stop_report)
        return _unforeseen(error)
    jvm_log.remove()
    return 0


def _say_stopped(sentence: str, code: int) -> int:
    _say(sentence, code, {})
    return code


def _unforeseen(error: Exception) -> int:
    if fault := no_space(error) or machine.named(error):
        _say(fault.message, fault.exit_code, fault.facts)
        return fault.exit_code
    sys.stderr.write("".join(f"{line}\n" for line in jvm_log.lines()))
    where = traces.kept(error, datetime.now(UTC))
    _say(f"unexpected {type(error).__name__}; {where}", UNEXPECTED, {})
    return UNEXPECTED


def _say(message: str, code: int, facts: dict[str, object]) -> None:
    stated = {name: value for name, value in facts.items() if value}
    sys.stderr.write(f"sendopt: {printable(machine.shortened(message), keep=_LINE_END)}\n")
    sys.stderr.write(json.dumps({"exit_code": code, **stated}, sort_keys=True, default=str) + "\n")


def machine_time() -> datetime:
    """Return the time of this machine's clock (UTC)."""
    return datetime.now(UTC)


def parse_date(text: str) -> date:
    """Return the date of "YYYY-MM-DD". Raise ConfigError for any other text."""
    try:
        day = date.fromisoformat(text)
        if text != day.isoformat():
            raise ValueError
    except ValueError:
        raise ConfigError(f"--plan-date: got {text!r}, expected a date as YYYY-MM-DD") from None
    return day


@contextmanager
def lake_of(settings: Settings) -> Iterator[Lake]:
    """Open a lake to write, for a command that is no stage; the Spark session and the lock end with the block."""
    from sendopt.spark.engine.failures import as_ours
    from sendopt.spark.engine.lake import Lake
    from sendopt.spark.engine.session import open_session

    make_private(settings)
    with writing(settings):
        spark = open_session(settings.spark, jvm_log.opened())
        try:
            with as_ours("a table of the lake"):
                yield Lake(spark, settings.paths.data)
        finally:
            spark.stop()


@contextmanager
def writing(settings: Settings) -> Iterator[None]:
    """Lock the lake for this process during the block. Raise LakeBusy if another process writes it (`lake.lock`)."""
    with only_writer(settings.paths.data, _holder(), datetime.now(UTC)):
        yield


def _holder() -> str:
    """Return this process's command line, shortened; it is shown to users whose process has to wait for this one."""
    name, *arguments = sys.argv
    path = Path(name)
    shown = f"jobs/{path.name}" if path.parent.name == "jobs" else path.name
    return shlex.join([shown, *arguments])[:HOLDER_CHARACTERS]


def write_report(settings: Settings, plan_date: date | None = None) -> Path:
    """Write the page of a night (default: the last one) to `paths.out`/reports, without Spark; return its path.

    Raise InputNotReady if the night has published no plan.
    """
    from sendopt.lake.tables import read_table
    from sendopt.report import site
    from sendopt.report.data import load as load_report
    from sendopt.tracking import registries
    from sendopt.tracking.mlflow import champion_evaluation

    runs = read_table(settings.paths.data, "runs", plan_date)
    published = runs.loc[runs["stage"] == "publish_schedule", "plan_date"]
    if published.empty:
        day = f"of {plan_date} " if plan_date else ""
        option = plan_date or "D"
        raise InputNotReady(f"no plan {day}has been published yet: run `sendopt night --plan-date {option}` first")
    day = published.max()
    of_goals = registries.goal_evaluations(settings.mlflow, settings.objective.goals)
    data = load_report(settings.paths.data, day, champion_evaluation(settings.mlflow), of_goals)
    return site.write(data, settings.paths.out)
