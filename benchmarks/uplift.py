"""Does sending add anything, and for whom? A simulated trial whose truth is known, and HeartSteps: `make bench-uplift`.

Each log goes through its mapping into decision points with features as of their own night; both learners compete on
users that neither has seen, and the chosen one's order is judged on later days. The real trial is read beside the
project and left out where it is absent.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession
from scoring import say
from weeks_loop import CONF, START, base_settings

from sendopt.config.loader import load
from sendopt.config.schema import Label, Settings
from sendopt.ingest import load_mapping
from sendopt.propensity.uplift import train_uplift
from sendopt.simulation.decisions import GOAL_HOURS, decision_points
from sendopt.simulation.world import World
from sendopt.spark.engine.lake import Lake
from sendopt.spark.engine.session import open_session
from sendopt.spark.ingest.ingest import ingest
from sendopt.spark.night import Night
from sendopt.spark.propensity import uplift

HEARTSTEPS = CONF.parents[1] / "shared" / "data" / "heartsteps_v1" / "decisions.csv"
PEOPLE, DAYS, SEED = 1_000, 30, 5
HEAD = (
    "log",
    "points",
    "people",
    "learner",
    "Qini of S, of T, unseen people",
    "Qini, later days",
    "all sent, later",
    "all sent, before",
    "in truth, all days",
)


def simulated(home: Path) -> tuple[Path, Path, Settings, date, float]:
    """(log, mapping, settings, night, what sending adds in truth)."""
    settings = load(CONF).model_copy(update={"label": Label(kind="goal", window_hours=GOAL_HOURS)})
    world = World.create(PEOPLE, SEED, settings.campaigns, settings.channels, START, settings.grid)
    trial = decision_points(world, days=DAYS)
    log = home / "trial.csv"
    trial.drop(columns=["p_sent", "p_not_sent"]).to_csv(log, index=False)
    truth = float((trial["p_sent"] - trial["p_not_sent"]).mean())
    return log, CONF / "sources" / "trial.yaml", settings, START, truth


def heartsteps(_: Path) -> tuple[Path, Path, Settings, date, float | None]:
    return HEARTSTEPS, CONF / "sources" / "heartsteps.yaml", load(CONF / "heartsteps"), date(2015, 12, 20), None


def measured(spark: SparkSession, name: str, log: Callable[[Path], Any]) -> tuple[str, ...]:
    home = Path(tempfile.mkdtemp(prefix="uplift-"))
    try:
        path, mapping, settings, day, truth = log(home)
        lake = Lake(spark, str(home / "data"))
        ingest(lake, load_mapping(mapping), path, settings, datetime.now(UTC))
        points: pd.DataFrame = uplift.decision_points(Night(lake, settings, day, CONF))
    finally:
        shutil.rmtree(home)
    _, said = train_uplift(points, settings.training, settings.label.kind)
    unseen, test = said["validation"], said["test"]
    before = unseen[said["learner"]]
    return (
        name,
        f"{len(points):,}",
        str(points["user_id"].nunique()),
        said["learner"].upper(),
        f"{unseen['s']['coefficient']:.4f}, {unseen['t']['coefficient']:.4f}",
        f"{test['coefficient']:.4f} [{test['low']:.4f}, {test['high']:.4f}]",
        f"{test['effect']:.3f} [{test['effect_low']:.3f}, {test['effect_high']:.3f}]",
        f"{before['effect']:.3f} [{before['effect_low']:.3f}, {before['effect_high']:.3f}]",
        "–" if truth is None else f"{truth:.3f}",
    )


def main() -> None:
    spark = open_session(base_settings().spark)
    say("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    logs = {f"simulated trial, seed {SEED}": simulated}
    if HEARTSTEPS.is_file():
        logs["HeartSteps"] = heartsteps
    for name, log in logs.items():
        say("| " + " | ".join(measured(spark, name, log)) + " |")
    spark.stop()


if __name__ == "__main__":
    main()
