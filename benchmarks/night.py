"""What a night costs, stage by stage: the demo's world, real stages, first and second night apart (`make bench-night`).

A line is a stage: wall seconds, CPU seconds of all processes, rows written, microseconds of wall time a user, the
largest memory of the JVM and of all Python processes together (MiB, sampled five times a second), and Spark jobs.
`write`, the last line, writes one table of one row: the least that a stage can cost. The machine's speed (a loop of 2e7
additions) stands above the table, because shared machines differ by a factor of three.

Worlds are kept in --home, so that a second call begins with the nights.
"""

from __future__ import annotations

import argparse
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession
from scoring import say
from weeks_loop import CONF, located

from sendopt import demo
from sendopt.config.loader import load
from sendopt.config.schema import Settings
from sendopt.domain.stages import NAMES
from sendopt.night import runtime
from sendopt.process import jvm_log
from sendopt.spark.engine.session import open_session

FIRST = date(2026, 3, 29)
DAYS = 60
SAMPLE_SECONDS = 0.2
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
HEADER = "| night | stage | wall s | CPU s | rows | µs a user | JVM MiB | Python MiB | jobs |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, action="append", help="size of the world; may be repeated; default 2000")
    parser.add_argument("--nights", type=int, default=2)
    parser.add_argument("--home", type=Path, default=Path("out/bench-night"), help="where worlds are kept")
    given = parser.parse_args()
    say(f"a loop of 2e7 additions: {loop_seconds():.2f} s")
    for users in given.users or [2000]:
        nights(given.home / f"{users}", users, given.nights)


def nights(home: Path, users: int, number: int) -> None:
    """Print the table of `number` nights in a row of a world of `users` people; its tables begin empty."""
    home = home.resolve()
    settings = demo.at_its_own_time(located(load(CONF), home))
    raw = Path(settings.sources["demo"].input)
    say(f"\n{users:,} people, {DAYS} days of log\n\n{HEADER}\n|{'---|' * HEADER.count(' | ')}---|")
    if not (home / "first").is_dir():
        demo.prepare(home / "first", settings, users, FIRST, DAYS)
    for folder in (raw, settings.paths.data, settings.paths.out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home / "first", raw)
    with measured(None) as opened:
        spark = open_session(settings.spark, jvm_log.opened())
    try:
        line("", "session", users, opened, 0)
        for n in range(number):
            day = FIRST + timedelta(days=n)
            night(spark, settings, day, users, f"{n + 1}")
            demo.play(raw, settings, day)
        with measured(spark, "write") as written:
            target = str(home / "data" / "yardstick")
            spark.range(1).write.format("delta").mode("overwrite").save(target)
        line("", "write", users, written, 1)
    finally:
        spark.stop()


def night(spark: SparkSession, settings: Settings, day: date, users: int, label: str) -> None:
    """Run every stage, a line each, then a line for the whole."""
    total = Cost()
    for stage in NAMES:
        with measured(spark, f"{label}-{stage}") as cost:
            [report] = runtime.run_in(spark, day, settings, CONF, [stage])
        line(label, stage, users, cost, report.rows_out)
        total.add(cost)
    line(label, "whole", users, total, 0)


@dataclass
class Cost:
    """What a stretch of work cost, of this process and all below it."""

    wall: float = 0.0  # seconds
    cpu: float = 0.0  # seconds, of all processes
    jvm: float = 0.0  # MiB, the most at any sample
    python: float = 0.0  # MiB, the same
    jobs: int = 0

    def add(self, cost: Cost) -> None:
        self.wall, self.cpu, self.jobs = self.wall + cost.wall, self.cpu + cost.cpu, self.jobs + cost.jobs
        self.jvm, self.python = max(self.jvm, cost.jvm), max(self.python, cost.python)


@contextmanager
def measured(spark: SparkSession | None, group: str = "") -> Iterator[Cost]:
    """A block whose cost is known when it ends; its Spark jobs are those of the job group `group`."""
    cost, watch = Cost(), Watch()
    if spark is not None:
        spark.sparkContext.setJobGroup(group, group)
    begun, before = time.monotonic(), sum(process.cpu for process in processes())
    with watch.watching():
        yield cost
    cost.wall = time.monotonic() - begun
    cost.cpu = sum(process.cpu for process in processes()) - before
    cost.jvm, cost.python = watch.jvm, watch.python
    if spark is not None:
        cost.jobs = len(spark.sparkContext.statusTracker().getJobIdsForGroup(group))


@dataclass
class Watch:
    """The largest memory seen, MiB."""

    jvm: float = 0.0
    python: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            running = processes()
            self.jvm = max(self.jvm, sum(process.mib for process in running if process.name == "java"))
            self.python = max(self.python, sum(process.mib for process in running if process.name != "java"))


@dataclass(frozen=True)
class Process:
    name: str
    cpu: float  # seconds of its own and of children that have ended
    mib: float


def processes() -> list[Process]:
    """Return this process and all below it."""
    facts = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                fields = rest.split()
                resident = int((folder / "statm").read_text().split()[1])
            except OSError:
                continue  # it has ended
            spent = sum(int(fields[n]) for n in (11, 12, 13, 14)) / TICKS
            facts[int(folder.name)] = (int(fields[1]), Process(name, spent, resident * PAGE_MIB))
    below, added = {os.getpid()}, True
    while added:
        children = {pid for pid, (parent, _) in facts.items() if parent in below} - below
        added = bool(children)
        below |= children
    return [process for pid, (_, process) in facts.items() if pid in below]


def line(label: str, stage: str, users: int, cost: Cost, rows: int) -> None:
    figures = (f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{rows:,}", f"{cost.wall / users * 1e6:,.0f}")
    say(f"| {label} | {stage} | {' | '.join(figures)} | {cost.jvm:.0f} | {cost.python:.0f} | {cost.jobs} |")


def loop_seconds() -> float:
    """Return the seconds that a Python loop of 2e7 additions takes."""
    begun, total = time.perf_counter(), 0
    for n in range(20_000_000):
        total += n
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
