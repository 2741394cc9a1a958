"""A simulated trial's log, through its mapping, becomes the points that the value of sending is learnt from."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sendopt.config.loader import load
from sendopt.config.schema import Label
from sendopt.ingest import load_mapping
from sendopt.simulation.decisions import GOAL_HOURS, decision_points
from sendopt.simulation.world import World
from sendopt.spark.engine.lake import Lake
from sendopt.spark.ingest.ingest import ingest
from sendopt.spark.night import Night
from sendopt.spark.propensity import uplift

pytestmark = pytest.mark.slow
CONF = Path(__file__).resolve().parents[2] / "conf"
PLAN_DATE = date(2026, 3, 29)


def test_every_decision_is_a_point_with_its_arm_chance_and_outcome(lake: Lake, tmp_path: Path) -> None:
    settings = load(CONF).model_copy(update={"label": Label(kind="goal", window_hours=GOAL_HOURS)})
    world = World.create(60, 5, settings.campaigns, settings.channels, PLAN_DATE, settings.grid)
    trial = decision_points(world, days=8)
    log = tmp_path / "trial.csv"
    trial.drop(columns=["p_sent", "p_not_sent"]).to_csv(log, index=False)

    read = ingest(lake, load_mapping(CONF / "sources" / "trial.yaml"), log, settings, datetime.now(UTC))
    assert read.dropped == {}
    assert read.facts["tables"]["sends"]["rows_out"] == len(trial)

    points = uplift.decision_points(Night(lake, settings, PLAN_DATE, CONF))
    known = trial[trial["tz"].notna() & (trial["at"] < "2026-03-28T22:00:00Z")]  # mature an hour before the night
    assert len(points) == len(known)
    assert set(points["pscore"]) == {0.6}
    for sent in (True, False):
        there = known[known["sent"] == sent]
        assert int(points.loc[points["sent"] == sent, "label"].sum()) == int(there["outcome"].sum())
