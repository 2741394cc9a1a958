"""Run stages: arguments → settings → session → stage → record → exit code. The only place that logs and exits."""

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

REPORT = "report"  # a job that is no stage: it reads a night and writes its page, without Spark
UNEXPECTED = 1
HOLDER_CHARACTERS = 300
_LINE_END = "\n"


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
    given = parser.parse_args()
    retrain = bool(getattr(given, "train", False))
    ending.leave(guarded(lambda: _run_job(stage, given, retrain)))


def _about(stage: str) -> str:
    return "Write the report of one night." if stage == REPORT else f"Run the stage {stage} of one night."


def _run_job(stage: str, given: argparse.Namespace, retrain: bool) -> None:
    conf, clock = Path(given.conf), Times.of(given.now, given.started)
    if stage == REPORT:
        page = write_report(load(conf, given.env), parse_date(given.plan_date))
        sys.stdout.write(json.dumps({"stage": stage, "report": str(page)}) + "\n")
        return
    for report in run(parse_date(given.plan_date), load(conf, given.env), conf, [stage], retrain=retrain, times=clock):
        print_line(report)


@dataclass(frozen=True)
class Times:
    """What a caller says of the time: `now` by --now, `started` by a scheduler's clock; None where it says nothing."""

    now: datetime | None = None
    started: datetime | None = None

    @classmethod
    def of(cls, now: str | None, started: str | None = None) -> Times:
        """Raise ConfigError for text that is no time."""
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
    """Take others' access from the folders that a night writes, which hold user ids; says so where they had it."""
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
    """Run `stages` as `run` does, in a Spark session that the caller keeps.

    Each stage has a record of what it reads and a clock of its own, read as it begins: a night may last for hours, and
    what it publishes must still be ahead then.
    """
    from sendopt.spark.engine.failures import as_ours
    from sendopt.spark.engine.lake import Lake
    from sendopt.spark.night import Night

    _require_ahead(plan_date, settings, stages, times)
    for stage in stages:
        _require_ahead(plan_date, settings, [stage], times)
        started, clock = datetime.now(UTC), times.clock(settings, plan_date)
        night = Night(Lake(spark, settings.paths.data), settings, plan_date, conf_dir, retrain, clock)
        begun = time.monotonic()
        with as_ours(f"a table of {stage}"):
            result = importlib.import_module(STAGES[stage].module).run(night)
        seconds = round(time.monotonic() - begun, 3)
        facts = {**result.facts, "clock": clock.facts, "written": dict(night.lake.touched.written)}
        report = StageReport(stage, result.rows_in, result.rows_out, result.dropped, seconds, facts)
        _record(night, report, started)
        yield report


def _require_ahead(plan_date: date, settings: Settings, stages: Sequence[str], times: Times) -> None:
    """Raise ConfigError where a stage would plan a date that is over."""
    if any(STAGES[stage].plans for stage in stages):
        horizon = timedelta(hours=settings.grid.horizon_hours)
        require_ahead(plan_date, horizon, times.clock(settings, plan_date))


def _record(night: Night, report: StageReport, started: datetime) -> None:
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
    """One JSON line per stage on standard output, for machines."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps({**vars(report), "peak_mib": peak}, sort_keys=True) + "\n")
    sys.stdout.flush()


def guarded(work: Callable[[], None]) -> int:
    """Exit code of `work`; a failure becomes one sentence on standard error, never a stack trace.

    What `work` writes is private to its user.
    """
    private.keep_private()
    try:
        work()
    except SendoptError as error:
        _say(error.message if not isinstance(error, ConfigError) else str(error), error.exit_code, error.facts)
        return error.exit_code
    except KeyboardInterrupt as stop:
        return _say_stopped(*(ending.stopped() or (str(stop) or "stopped by the keyboard", 130)))
    except Exception as error:  # noqa: BLE001  the last line before the user
        if ended := ending.stopped():  # what breaks while a signal ends the process
            return _say_stopped(*ended)
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
    known = {k: v for k, v in facts.items() if v}
    sys.stderr.write(f"sendopt: {printable(machine.shortened(message), keep=_LINE_END)}\n")
    sys.stderr.write(json.dumps({"exit_code": code, **known}, sort_keys=True, default=str) + "\n")


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
    """A lake to write for a command that is no stage; its Spark session and its lock end with the block."""
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
    """A block in which this process alone writes the lake; raises LakeBusy where another one does (`lake.lock`)."""
    with only_writer(settings.paths.data, _holder(), datetime.now(UTC)):
        yield


def _holder() -> str:
    """What this process was asked to do, in words for whoever waits for it."""
    name, *arguments = sys.argv
    path = Path(name)
    shown = f"jobs/{path.name}" if path.parent.name == "jobs" else path.name
    return shlex.join([shown, *arguments])[:HOLDER_CHARACTERS]


def write_report(settings: Settings, plan_date: date | None = None) -> Path:
    """The page of a night in `paths.out`/reports, written from its tables without Spark; default: the last night.

    Raise InputNotReady where the night has published no plan.
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
