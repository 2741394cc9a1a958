"""Does p_open mean what it says? Simulated worlds, later days, against the world's own truth: `make bench-calibration`.

The demo's world of each size and seed, 60 days of sends at random times, through ingest, features and training as a
night does them. Of the last fifth of the days the table gives expected successes against what was observed and against
the truth, which luck does not move: overall, and of how many of the groups (hour, decile, channel) the ratio is within
0.95 to 1.05. Beside it the same trees with a line of two numbers (Platt) in place of one with terms.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from scoring import say
from weeks_loop import CONF, DEMO_USERS, START, base_settings, located, scaled

from sendopt.config.schema import Settings, Training
from sendopt.night.runtime import run_in
from sendopt.propensity import line, model
from sendopt.propensity.calibration import HIGH, LOW, ratios
from sendopt.simulation import delivery
from sendopt.simulation.world import World
from sendopt.spark.engine.lake import Lake
from sendopt.spark.engine.session import open_session
from sendopt.spark.night import Night
from sendopt.spark.propensity.train_propensity import training_rows
from sendopt.stats.losses import log_loss

HISTORY_DAYS = 60
WORLDS = ["8000:20", "2000:20", "2000:1", "2000:2", "2000:3"]
HEAD = (
    "people",
    "seed",
    "line",
    "test sends",
    "log loss over the truth's",
    "truth / expected",
    "observed / expected",
    "groups by truth",
    "furthest",
    "groups by observed",
)


def labelled(home: Path, users: int, seed: int, spark: SparkSession, base: Settings) -> pd.DataFrame:
    """The training rows of the world's next night, with `truth`: the probability that each label was drawn from."""
    settings = scaled(located(base, home), users / DEMO_USERS)
    world = World.create(users, seed, base.campaigns, base.channels, START, base.grid)
    with recorded() as truth:
        delivery.simulate_history(world, home / "landing", HISTORY_DAYS)
    list(run_in(spark, START, settings, CONF, ("ingest",)))
    lake = Lake(spark, settings.paths.data)
    rows = training_rows(Night(lake, settings, START, CONF, retrain=True)).frame()
    sends = lake.read("sends").select("send_key", "notification_id").toPandas()
    found = rows.merge(sends, on="send_key").merge(pd.concat(truth), on="notification_id")
    return found[~found["suspected"]].reset_index(drop=True)


@contextmanager
def recorded() -> Iterator[list[pd.DataFrame]]:
    """What each send of the history was drawn from, collected while it is simulated."""
    truth: list[pd.DataFrame] = []
    nights, react = delivery.legacy_night, delivery.react
    ids: list[object] = []

    def night(*given):  # type: ignore[no-untyped-def]
        made = nights(*given)
        ids[:] = made.ids
        return made

    def reacted(*given, **named):  # type: ignore[no-untyped-def]
        found = react(*given, **named)
        truth.append(pd.DataFrame({"notification_id": ids, "truth": found.p_open}))
        return found

    with patch.object(delivery, "legacy_night", night), patch.object(delivery, "react", reacted):
        yield truth


def platt(raw, target, *_):  # type: ignore[no-untyped-def]
    """A line of two numbers."""
    return FIT(raw, target, np.zeros((len(raw), 0)), (), {})


FIT = line.fit
LINES = {"with terms": FIT, "two numbers": platt}


def measured(rows: pd.DataFrame, settings: Training, users: int, seed: int) -> Iterator[tuple[str, ...]]:
    parts = model.split(rows)
    assert parts is not None
    test = rows[parts.test]
    truth, label = (test[name].to_numpy(np.float64) for name in ("truth", "label"))
    for name, fit in LINES.items():
        with patch.object(model.line, "fit", fit):
            p = model.train(rows, settings, "open").predict(test)
        overall, *groups = ratios(test, truth, p)
        seen, *seen_groups = ratios(test, label, p)
        inside = [LOW <= group["ratio"] <= HIGH for group in groups]
        furthest = max(groups, key=lambda group: abs(group["ratio"] - 1))
        calibrated = sum(group["calibrated"] for group in seen_groups)
        excess = (log_loss(truth, p) - log_loss(truth, truth)).mean()
        yield (
            f"{users:,}",
            str(seed),
            name,
            f"{len(test):,}",
            f"{excess:.4f}",
            f"{overall['ratio']:.3f}",
            f"{seen['ratio']:.3f} [{seen['low']:.3f}, {seen['high']:.3f}]",
            f"{sum(inside)} of {len(inside)} inside",
            f"{furthest['by']} {furthest['name']}: {furthest['ratio']:.3f}",
            f"{calibrated} of {len(seen_groups)} reach in",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", default=WORLDS, metavar="USERS:SEED")
    given = parser.parse_args()
    base = base_settings()
    spark = open_session(base.spark)
    say("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for name in given.worlds:
        users, seed = (int(part) for part in name.split(":"))
        home = Path(tempfile.mkdtemp(prefix="calibration-"))
        try:
            rows = labelled(home, users, seed, spark, base)
        finally:
            shutil.rmtree(home)
        for cells in measured(rows, base.training, users, seed):
            say("| " + " | ".join(cells) + " |")
    spark.stop()


if __name__ == "__main__":
    main()
