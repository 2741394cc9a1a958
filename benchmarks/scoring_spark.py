"""Scoring users × slots within Spark, from stored features to rows of scores: `make bench-scoring-spark`.

Features of one night are made and stored in Delta; then the scores of one channel and category are made by the night's
own code with the trees of `bench-scoring`, on two cores of one machine. Timed after a small night, so that the start
of Spark, of its Python workers and of the compiled kernel is not in it: the scores alone, counted in the JVM and
dropped; with --with-stage also the whole stage `score_slots` with its contract check and the write to Delta. CPU is
that of the JVM and of all it started.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from deltalake import write_deltalake
from pyspark.sql import functions as F
from scoring import BOTH, KINDS, about, machine, model, say, world

from sendopt.config.schema import AudienceAll, Campaign, Settings, SparkSettings
from sendopt.domain.tables import SLOT_FEATURES, TABLES, USER_FEATURES, USER_SLOT_FEATURES
from sendopt.propensity.line import NUMBERS, Line, Term
from sendopt.propensity.model import Card, OpenModel
from sendopt.propensity.opt_out import OptOutRates
from sendopt.spark.engine.lake import Lake
from sendopt.spark.engine.session import open_session
from sendopt.spark.features.build_features import stored_features
from sendopt.spark.night import Night
from sendopt.spark.propensity import score_slots
from sendopt.spark.propensity.slot_scorer import fast_scores, forest_of
from sendopt.tracking import Registered

PLAN_DATE = dt.date(2026, 4, 7)
ZONES = (
    "Europe/London",
    "Europe/Berlin",
    "Europe/Athens",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Asia/Kolkata",
)
WORDS = {"channel": ("email", "push", "sms"), "category": ("a", "b", "c", "d", "e", "f")}
TERMS = (
    *(number for number in NUMBERS if number[0] in KINDS),
    *((name, word, None) for name, words in WORDS.items() for word in words),
)
LINE = Line(-0.01, 0.98, tuple(Term(*name, 0.0, 0.001) for name in TERMS))  # its time counts, not its sense
AS_OF = dt.datetime(2026, 4, 6, 23, tzinfo=dt.UTC)
BATCH = 50_000


def store(folder: Path, n_users: int) -> None:
    """The night's feature tables of so many users."""
    for start in range(0, n_users, BATCH):
        n = min(BATCH, n_users - start)
        user, slot, both, _ = world(n, 48, seed=start + 1)
        named = dict(zip(KINDS, user.T, strict=False)) | dict(zip(BOTH, np.moveaxis(both, 2, 0), strict=True))
        zones = np.array(ZONES)[np.random.default_rng(start).integers(0, len(ZONES), n)]
        columns = {
            "plan_date": pa.array([PLAN_DATE] * n, pa.date32()),
            "as_of": pa.array([AS_OF] * n, pa.timestamp("us", "UTC")),
            "user_id": pa.array(np.char.mod("user-%08d", np.arange(start, start + n))),
            "timezone": pa.array(zones),
        }
        for c in USER_FEATURES:
            columns[c.name] = _numbers(named.get(c.name, np.zeros(n)), c.type)
        for c in USER_SLOT_FEATURES:
            values = _numbers(named.get(c.name, np.zeros((n, 48))).ravel(), c.type)
            columns[c.name] = pa.ListArray.from_arrays(np.arange(0, 48 * n + 1, 48, dtype=np.int32), values)
        _write(folder, "user_features", columns)
    places = np.arange(48)
    of_slot = {"hour_rate": slot[:, 3]}
    _write(
        folder,
        "slot_features",
        {
            "plan_date": pa.array([PLAN_DATE] * 48, pa.date32()),
            "local_hour": pa.array(places % 24, pa.int32()),
            "weekend": pa.array(places >= 24),
            **{c.name: _numbers(of_slot.get(c.name, np.zeros(48)), c.type) for c in SLOT_FEATURES},
        },
    )
    kinds = [("all", "all", 0.12), ("channel", "push", 0.12), ("category", "b", 0.08)]
    _write(
        folder,
        "group_features",
        {
            "plan_date": pa.array([PLAN_DATE] * 3, pa.date32()),
            "kind": pa.array([k for k, _, _ in kinds]),
            "name": pa.array([n for _, n, _ in kinds]),
            "group_mature": pa.array([1000] * 3),
            "group_successes": pa.array([120] * 3),
            "group_rate": pa.array([r for _, _, r in kinds]),
        },
    )


def _numbers(values, kind: str) -> pa.Array:
    if kind == "bigint":
        return pa.array(values.astype(np.int64))
    return pa.array(values.astype(np.float64), from_pandas=True)  # NaN is NULL


def _write(folder: Path, name: str, columns: dict[str, pa.Array]) -> None:
    table = pa.table({c: columns[c] for c in TABLES[name].names})
    write_deltalake(str(folder / name), table, mode="append", partition_by=["plan_date"])


def cpu(jvm: psutil.Process) -> float:
    """CPU seconds so far of the JVM and of everything it started."""
    total = 0.0
    for process in (jvm, *jvm.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--with-stage", action="store_true", help="also the whole stage with its write to Delta")
    given = parser.parse_args()
    booster = model()
    say(machine())
    say(about(booster))
    card = Card("open", tuple(KINDS), WORDS, LINE, booster.num_trees(), {})
    trees = OpenModel(booster.model_to_string(), card)
    folder = Path(tempfile.mkdtemp(prefix="scoring-spark-"))
    try:
        for name, n_users in (("small", 2_000), ("large", given.users)):
            store(folder / name, n_users)
        run(folder, trees, given)
    finally:
        shutil.rmtree(folder)


def run(folder: Path, trees: OpenModel, given: argparse.Namespace) -> None:
    spark = open_session(SparkSettings(master="local[2]", driver_memory="3g"))
    (jvm,) = (p for p in psutil.Process().children(recursive=True) if p.name() == "java")
    settings = Settings(campaigns={"one": Campaign(channel="push", category="b", audience=AudienceAll(kind="all"))})
    small, large = (
        Night(Lake(spark, str(folder / name)), settings, PLAN_DATE, Path("conf")) for name in ("small", "large")
    )
    rates = OptOutRates((0.5, 1.0), 0.01, {"push": (0.001, 0.002, 0.004)})
    forest = forest_of(trees)
    assert not isinstance(forest, str), forest

    def scores(night: Night) -> int:
        features = stored_features(night)
        found = fast_scores(night, trees, forest, rates, features, features["user_features"], [("push", "b")])
        counted = found.agg(F.count("*"), F.sum("p_open"), F.sum("slot"), F.max("user_id"), F.sum("local_hour")).head()
        return counted[0]

    def stage(night: Night) -> int:
        return score_slots.run(night).rows_out

    score_slots.MlflowTracker = lambda _: _Champion(trees)
    methods = {"scores": scores} | ({"stage, with its write to Delta": stage} if given.with_stage else {})
    say("| what | users × slots | scores | seconds | CPU seconds |")
    say("|---|---|---|---|---|")
    for what, method in methods.items():
        method(small)
        wall, busy = [], []
        for _ in range(given.rounds):
            began, before = time.monotonic(), cpu(jvm)
            count = method(large)
            wall.append(time.monotonic() - began)
            busy.append(cpu(jvm) - before)
        say(f"| {what} | {given.users:,} × 24 | {count:,} | {median(wall)} | {median(busy)} |")


def median(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


class _Champion:
    """A registry that holds the bench's trees."""

    def __init__(self, trees: OpenModel) -> None:
        self.trees = trees

    def champion(self) -> Registered:
        return Registered("bench/1", "", "", self.trees, {})


if __name__ == "__main__":
    sys.exit(main())
