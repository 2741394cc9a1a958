"""The simulated trial: both arms, the same people, and outcomes at the rates that it says are true (¶6)."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sendopt.config.loader import load
from sendopt.config.schema import Training
from sendopt.errors import ConfigError
from sendopt.ingest import load_mapping
from sendopt.propensity.uplift import qini
from sendopt.simulation.decisions import decision_points
from sendopt.simulation.world import World

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(scope="module")
def world() -> World:
    settings = load(CONF)
    return World.create(400, 5, settings.campaigns, settings.channels, date(2026, 3, 29), settings.grid)


@pytest.fixture(scope="module")
def trial(world: World) -> pd.DataFrame:
    return decision_points(world, days=30)


def test_the_same_world_gives_the_same_trial(world: World, trial: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(decision_points(world, days=30), trial)


def test_arms_and_outcomes_are_as_true_as_they_say(trial: pd.DataFrame) -> None:
    assert trial["sent"].mean() == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / len(trial)))
    for arm, truth in ((True, "p_sent"), (False, "p_not_sent")):
        mine = trial[trial["sent"] == arm]
        error = np.sqrt((mine[truth] * (1 - mine[truth])).sum()) / len(mine)
        assert mine["outcome"].mean() == pytest.approx(mine[truth].mean(), abs=4 * error)
    assert abs(np.corrcoef(trial["sent"], trial["p_not_sent"])[0, 1]) < 4 / np.sqrt(len(trial))
    assert 0.05 < (trial["p_sent"] < trial["p_not_sent"]).mean() < 0.5  # some are put off


def test_the_effect_is_found_with_its_interval(trial: pd.DataFrame) -> None:
    truth = trial["p_sent"] - trial["p_not_sent"]
    points = trial.rename(columns={"user": "user_id", "outcome": "label"})
    found = qini(points, truth.to_numpy(), Training(bootstrap_samples=100))
    assert found.effect_low <= truth.mean() <= found.effect_high
    assert found.low > 0


def test_an_arm_without_points_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="both arms"):
        decision_points(world, days=2, share_sent=1.0)


def test_its_mapping_reads_it(trial: pd.DataFrame) -> None:
    mapping = load_mapping(CONF / "sources" / "trial.yaml")
    assert set(mapping.tables["sends"].raw_columns) <= set(trial.columns)
