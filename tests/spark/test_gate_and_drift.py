"""A champion beside challengers on a small lake: both halves of the gate, drift that holds, alerts, the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from test_model_stages import PLAN_DATE, _night, copy_of

from sendopt.config.schema import Gate, Mlflow
from sendopt.spark.measurement import measure
from sendopt.spark.night import Night
from sendopt.spark.propensity import score_slots, train_propensity
from sendopt.tracking.mlflow import MlflowTracker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def night(spark: SparkSession, lake_of_features: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night with its features and a first champion, version 1, trained on it."""
    home: Path = tmp_path_factory.mktemp("gate")
    lake = copy_of(lake_of_features, spark, home / "lake")
    mlflow = Mlflow(tracking_uri=f"sqlite:///{home}/mlflow.db", experiment="e", model_name="m")
    # so few sends tell little: with the default no challenger could show that it is within 1 %
    gate = Gate(min_calibration_ratio=0.5, max_calibration_ratio=2.0, max_log_loss_increase=0.5)
    night = _night(lake, mlflow, gate=gate)
    first = train_propensity.run(night)
    assert first.facts["promoted"] is True, first.facts["gate"]
    assert first.facts["warnings"] == []
    return night


def alerts(night: Night) -> list[tuple[str, str]]:
    rows = night.lake.read("alerts", night.plan_date).orderBy("kind", "name").collect()
    return [(row["kind"], row["name"]) for row in rows]


def watched(night: Night) -> str:
    """A rate of the user that the champion looks at."""
    champion = MlflowTracker(night.settings.mlflow).champion()
    assert champion is not None
    assert champion.reference is not None
    return next(name for name in champion.reference["features"] if name in ("rate_30d", "rate_90d"))


def tags(night: Night) -> dict[str, str]:
    tracker = MlflowTracker(night.settings.mlflow)
    with tracker._reading() as client:
        found: dict[str, str] = client.get_run(tracker._by_alias(client).run_id).data.tags
        return found


def with_seed(night: Night, seed: int) -> Night:
    """The night that trains again with other settings, so that nothing kept is used again."""
    training = night.settings.training.model_copy(update={"seed": seed})
    return replace(night, retrain=True, settings=night.settings.model_copy(update={"training": training}))


def test_the_first_run_shows_policies_valued_on_drawn_sends(night: Night) -> None:
    champion = MlflowTracker(night.settings.mlflow).champion()
    assert champion is not None
    rows = {(r["policy"], r["estimator"]): r for r in champion.evaluation["policies"]}
    assert {name for name, _ in rows} == {"challenger", "hour", "uniform"}
    mine, uniform = rows["challenger", "dr"], rows["uniform", "dr"]
    assert mine["low"] < mine["value"] < mine["high"]
    tested = champion.evaluation["split"]["test"]
    assert mine["sends"] == tested, "every later send was drawn"
    # uniform times are what was done, so their value is what was seen
    seen = champion.evaluation["slot_lift"]
    rate = sum(r["observed"] * r["n"] for r in seen) / tested
    assert uniform["value"] == pytest.approx(rate, abs=0.02)
    assert champion.evaluation["cost"]["train_seconds"] > 0
    assert champion.reference is not None
    assert watched(night)


def test_a_normal_night_has_no_alert(night: Night) -> None:
    assert "warnings" not in measure.run(night).facts
    assert alerts(night) == []
    assert tags(night)["sendopt.alerts"] == f"{PLAN_DATE}: none"


def test_a_shifted_feature_is_an_alert_that_holds_the_champion_and_leaves_the_night_good(night: Night) -> None:
    lake = night.lake
    name = watched(night)
    held = lake.read("user_features", PLAN_DATE).localCheckpoint()
    try:
        shifted = held.withColumn(name, F.least(F.lit(1.0), F.col(name) + 0.3))
        lake.replace("user_features", shifted, PLAN_DATE)
        measured = measure.run(night)
        assert ("inputs", name) in alerts(night)
        assert any(f"Input {name} has moved" in str(w) for w in measured.facts["warnings"])
        assert f"Input {name} has moved" in tags(night)["sendopt.alerts"]
        trained = train_propensity.run(with_seed(night, 11))
        assert trained.facts["promoted"] is False
        assert trained.facts["model_version"] == "m/1"
        assert trained.facts["arm"] is None
        assert f"Held back while this drifts: Input {name}" in str(trained.facts["warnings"])
        assert ("gate", "m/2") in alerts(night)
        json.dumps(trained.facts, allow_nan=False)
    finally:
        lake.replace("user_features", held, PLAN_DATE)
    measure.run(night)
    assert alerts(night) == [("gate", "m/2")], "what is mended is no alert any more"


def test_a_good_challenger_replaces_the_champion_and_rollback_brings_it_back(night: Night) -> None:
    trained = train_propensity.run(with_seed(night, 12))
    assert trained.facts["promoted"] is True, trained.facts["gate"]
    version = trained.facts["challenger"]
    gate = trained.facts["gate"]
    assert gate["champion"] == "m/1"
    assert gate["log_loss"]["low"] <= gate["log_loss"]["value"] <= gate["log_loss"]["high"]
    assert gate["policy_value"] is not None
    assert score_slots.run(night).facts["model_version"] == version
    assert MlflowTracker(night.settings.mlflow).roll_back() == (version, "m/1")
    assert train_propensity.run(night).facts["model_version"] == "m/1"
    assert score_slots.run(night).facts["model_version"] == "m/1", "the next night uses it"
