"""Run stages: arguments → settings → session → stage → record → exit code. The only place that logs and exits."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sendopt import jvm_log, machine, output, private, traces
from sendopt.config.loader import load
from sendopt.config.schema import Settings
from sendopt.errors import ConfigError, SendoptError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from sendopt.spark.stage import Night
    from sendopt.spark.tables import Lake

# Every stage with the tables it reads, in the order of a night.
STAGES: dict[str, tuple[str, ...]] = {
    "ingest": (),
    "build_features": ("sends", "interactions", "sessions", "users"),
    "train_propensity": ("sends", "interactions", "sessions", "users"),
    "score_slots": ("sends", "interactions", "user_features", "slot_features", "group_features"),
    "build_candidates": (
        *("users", "sends", "interactions", "messages", "send_plan"),
        *("slot_scores", "slot_features", "user_features"),
    ),
    "allocate": ("candidates", "sends", "send_plan", "users", "user_features"),
    "publish_schedule": ("candidates", "allocation", "suppressed", "send_plan"),
    "measure": (
        *("send_plan", "sends", "interactions", "candidates", "allocation", "shadow_prices"),
        "user_features",
    ),
}
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
    output.steady()
    parser = argparse.ArgumentParser(prog=f"jobs/{stage}.py", description=f"Run the stage {stage} of one night.")
    parser.add_argument("--plan-date", required=True, help="the date to plan, YYYY-MM-DD")
    parser.add_argument("--conf", default="conf", help="folder of settings")
    parser.add_argument("--env", default="local", help="name of conf/env/NAME.yaml")
    if stage == "train_propensity":
        parser.add_argument("--train", action="store_true", help="train even where a champion exists")
    given = parser.parse_args()
    retrain = bool(getattr(given, "train", False))
    leave(guarded(lambda: _run_job(stage, given.plan_date, Path(given.conf), given.env, retrain)))


def _run_job(stage: str, plan_date: str, conf: Path, env: str, retrain: bool) -> None:
    for report in run(parse_date(plan_date), load(conf, env), conf, [stage], retrain=retrain):
        print_line(report)


def run(
    plan_date: date,
    settings: Settings,
    conf_dir: Path,
    stages: Sequence[str] = tuple(STAGES),
    *,
    retrain: bool = False,
) -> Iterator[StageReport]:
    """Run `stages` of one night in order in one Spark session of its own; yields each one's report as it ends."""
    from sendopt.spark.session import open_session

    make_private(settings)
    spark = open_session(settings.spark, jvm_log.opened())
    try:
        yield from run_in(spark, plan_date, settings, conf_dir, stages, retrain=retrain)
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
    stages: Sequence[str] = tuple(STAGES),
    *,
    retrain: bool = False,
) -> Iterator[StageReport]:
    """The same in a session that the caller keeps."""
    from sendopt.spark.stage import Night
    from sendopt.spark.tables import Lake

    night = Night(Lake(spark, settings.paths.data), settings, plan_date, conf_dir, retrain)
    for stage in stages:
        started, clock = datetime.now(UTC), time.monotonic()
        result = importlib.import_module(f"sendopt.spark.{stage}").run(night)
        seconds = round(time.monotonic() - clock, 3)
        report = StageReport(stage, result.rows_in, result.rows_out, result.dropped, seconds, result.facts)
        _record(night, report, started)
        yield report


def _record(night: Night, report: StageReport, started: datetime) -> None:
    from sendopt.domain.tables import TABLES
    from sendopt.spark.tables import schema_of

    lake, facts = night.lake, report.facts
    versions = {name: lake.version(name) for name in STAGES[report.stage]}
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
    """Exit code of `work`; a failure becomes one sentence on standard error, never a stack trace.

    What `work` writes is private to its user.
    """
    private.keep_private()
    try:
        work()
    except SendoptError as error:
        _say(error.message if not isinstance(error, ConfigError) else str(error), error.exit_code, error.facts)
        return error.exit_code
    except KeyboardInterrupt:
        _say("stopped by the keyboard; finished stages are kept, the running one wrote nothing half", 130, {})
        return 130
    except Exception as error:  # noqa: BLE001  the last line before the user
        return _unforeseen(error)
    jvm_log.remove()
    return 0


def _unforeseen(error: Exception) -> int:
    if fault := machine.named(error):
        _say(fault.message, fault.exit_code, fault.facts)
        return fault.exit_code
    sys.stderr.write("".join(f"{line}\n" for line in jvm_log.lines()))
    where = traces.kept(error, datetime.now(UTC))
    _say(f"unexpected {type(error).__name__}; {where}", UNEXPECTED, {})
    return UNEXPECTED


def _say(message: str, code: int, facts: dict[str, object]) -> None:
    known = {k: v for k, v in facts.items() if v}
    sys.stderr.write(f"sendopt: {machine.shortened(message)}\n")
    sys.stderr.write(json.dumps({"exit_code": code, **known}, sort_keys=True, default=str) + "\n")


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

    make_private(settings)
    spark = open_session(settings.spark, jvm_log.opened())
    try:
        yield Lake(spark, settings.paths.data)
    finally:
        spark.stop()
