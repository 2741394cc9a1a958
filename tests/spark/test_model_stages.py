"""Training and scoring on a small lake with a real MLflow store: reuse, promotion, fallback, byte-equal re-runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from lake_rows import put_frame
from propensity_rows import world
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sendopt.config.schema import (
    AudienceAll,
    Campaign,
    Fatigue,
    Gate,
    LocalWindow,
    Mlflow,
    QuietHours,
    Settings,
    Training,
)
from sendopt.errors import ModelError
from sendopt.propensity.forest import Forest
from sendopt.propensity.model import Model, OpenModel
from sendopt.propensity.shrinkage import USED, ShrunkBaseline, fit
from sendopt.spark.engine.lake import Lake
from sendopt.spark.features import build_features
from sendopt.spark.night import Night, StageResult
from sendopt.spark.propensity import score_slots, slot_scorer, train_propensity
from sendopt.tracking.mlflow import MlflowTracker

pytestmark = pytest.mark.slow

USERS, DAYS = 150, 30
PLAN_DATE = date(2025, 1, 1) + timedelta(days=DAYS + 3)  # a Monday
ZONES = ("Europe/Berlin", "Asia/Kolkata", "America/New_York")
PAIRS = {("push", "news"), ("email", "offers")}
TRAINING = Training(days=DAYS + 6, min_data_in_leaf=20, max_trees=60, bootstrap_samples=50)


@pytest.fixture(scope="module")
def full_lake(spark: SparkSession, lake_of_features: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return copy_of(lake_of_features, spark, tmp_path_factory.mktemp("model") / "lake")


def copy_of(root: Path, spark: SparkSession, to: Path) -> Lake:
    shutil.copytree(root, to)
    return Lake(spark, str(to))


def _fill(lake: Lake, rows: pd.DataFrame) -> None:
    number = rows["user_id"].str[1:].astype(int)
    users = pd.DataFrame({"user_id": [*sorted(rows["user_id"].unique()), "lost"]})
    zone = [ZONES[int(u[1:]) % 3] if u != "lost" else None for u in users["user_id"]]
    sends = pd.DataFrame(
        {
            "send_key": rows["send_key"],
            "source": "test",
            "user_id": rows["user_id"],
            "notification_id": rows["send_key"],
            "campaign_id": "c",
            "channel": rows["channel"],
            "category": rows["category"],
            "sent_at_utc": rows["sent_at_utc"].astype("datetime64[us]"),
            "timezone": [ZONES[n % 3] for n in number],
            "arm": None,
            "pscore": 1 / 16,
            "decision_kind": "slot",
            "plan_version": None,
            "available": True,
            "sent": np.arange(len(rows)) % 10 != 0,
        }
    )
    happened = {"open": rows["label"] == 1, "opt_out": np.arange(len(rows)) % 50 == 1}
    interactions = pd.concat(
        pd.DataFrame(
            {
                "send_key": rows["send_key"][mask],
                "kind": kind,
                "at_utc": (rows["sent_at_utc"][mask] + pd.Timedelta(hours=1)).astype("datetime64[us]"),
                "at_imputed": False,
            }
        )
        for kind, mask in happened.items()
    )
    users = users.assign(
        timezone=zone,
        channels=[["push"]] * len(users),
        opted_out_categories=[[]] * len(users),
        quiet_start=None,
        quiet_end=None,
        created_at=np.datetime64("2024-12-31", "us"),
    )
    for name, frame in {"sends": sends, "interactions": interactions, "users": users}.items():
        put_frame(lake.root, name, frame)


def _night(lake: Lake, mlflow: Mlflow, **changes: object) -> Night:
    campaigns = {f"{c}-{k}": Campaign(channel=c, category=k, audience=AudienceAll(kind="all")) for c, k in PAIRS}
    fatigue = Fatigue(points_per_send={"push": 1.0, "email": 0.5}, max_points=3.0)
    settings = Settings(campaigns=campaigns, training=TRAINING, fatigue=fatigue, mlflow=mlflow, **changes)  # type: ignore[arg-type]
    return Night(lake, settings, PLAN_DATE, Path("conf"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def mlflow(store: Path, request: pytest.FixtureRequest) -> Mlflow:
    name = request.node.name[:70]
    return Mlflow(tracking_uri=f"sqlite:///{store}/mlflow.db", experiment=name, model_name=name)


@pytest.fixture(scope="module")
def trained(full_lake: Lake, store: Path) -> tuple[Night, StageResult]:
    """A night whose champion was just trained, and what its training said; tests may read it and score again."""
    mlflow = Mlflow(tracking_uri=f"sqlite:///{store}/mlflow.db", experiment="trained", model_name="trained")
    night = _night(full_lake, mlflow, gate=Gate(min_calibration_ratio=0.5, max_calibration_ratio=2.0))
    return night, train_propensity.run(night)


def _rows(lake: Lake) -> pd.DataFrame:
    found: DataFrame = lake.read("slot_scores", PLAN_DATE)
    return found.orderBy("user_id", "slot", "category", "channel").toPandas()


def test_train_promote_and_score_twice_with_equal_bytes(full_lake: Lake, trained: tuple[Night, StageResult]) -> None:
    night, result = trained
    mlflow = night.settings.mlflow
    assert result.facts["promoted"] is True, result.facts["gate"]
    assert result.facts["warnings"] == []
    assert result.facts["model_version"] == f"{mlflow.model_name}/1"
    assert result.rows_out == USERS * DAYS * 9 // 10
    json.dumps(result.facts, allow_nan=False)

    scored = score_slots.run(night)
    assert scored.rows_in == scored.rows_out == (USERS + 1) * 24 * 2
    assert scored.dropped == {}
    assert scored.facts["arm"] is None
    first = _rows(full_lake)
    assert first["p_open"].between(1e-6, 1 - 1e-6).all()
    assert set(zip(first["channel"], first["category"], strict=True)) == PAIRS
    assert set(first["model_version"]) == {f"{mlflow.model_name}/1"}
    kolkata = first[(first["user_id"] == "u1") & (first["slot"] == 0)]
    assert set(kolkata["local_hour"]) == {5}

    again = train_propensity.run(night)
    assert again.facts == {"trained": False, "model_version": f"{mlflow.model_name}/1", "arm": None}
    score_slots.run(night)
    pd.testing.assert_frame_equal(_rows(full_lake), first)

    asked = train_propensity.run(replace(night, retrain=True))
    assert asked.facts["trained"] is False, "the same data, settings and code are not trained again"
    assert asked.facts["fingerprint"] == result.facts["fingerprint"]
    assert asked.facts["model_version"] == f"{mlflow.model_name}/1"

    evaluation = MlflowTracker(mlflow).champion_evaluation()
    assert evaluation is not None
    assert "when people walk" in evaluation["placebo"]["note"]
    assert sum(row["n_not_sent"] for row in evaluation["placebo"]["rows"]) == USERS * DAYS // 10


def test_scores_are_the_champions_on_the_scoring_rows(
    full_lake: Lake, trained: tuple[Night, StageResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    night, _ = trained
    assert score_slots.run(night).facts["scored_by"] == "forest"
    champion = MlflowTracker(night.settings.mlflow).champion()
    assert champion is not None
    users = full_lake.read("users").select("user_id", "timezone")
    keys = build_features.scoring_rows(night, score_slots.scoring_keys(night, users, sorted(PAIRS))).toPandas()
    keys = keys.sort_values(["user_id", "slot", "category", "channel"], ignore_index=True)
    all_scores = _rows(full_lake)
    scores = all_scores[all_scores["user_id"] != "lost"].reset_index(drop=True)
    np.testing.assert_array_equal(scores["p_open"], champion.model.predict(keys))
    pd.testing.assert_frame_equal(
        scores[["user_id", "slot", "local_hour"]], keys[["user_id", "slot", "local_hour"]], check_dtype=False
    )
    _require_mean_over_zones(night, champion.model, all_scores)
    monkeypatch.setattr(score_slots, "forest_of", lambda _: "a test")
    assert score_slots.run(night).facts["scored_by"] == "rows (a test)"
    pd.testing.assert_frame_equal(_rows(full_lake), all_scores)  # the plain path gives the same bytes

    def moved(model: OpenModel) -> Forest | str:
        booster = lgb.Booster(model_str=model.booster_text)
        for leaf in range(booster.dump_model()["tree_info"][0]["num_leaves"]):
            booster.set_leaf_output(0, leaf, 9.0)
        return slot_scorer.forest_of(OpenModel(booster.model_to_string(), model.card))

    monkeypatch.setattr(score_slots, "forest_of", moved)
    with pytest.raises(ModelError, match="the fast scorer and the model disagree on"):
        score_slots.run(night)


def _require_mean_over_zones(night: Night, model: Model, scores: pd.DataFrame) -> None:
    """The user of unknown zone has the mean of what each zone's 50 users would have in its place."""
    order = ["slot", "category", "channel"]
    lost = scores[scores["user_id"] == "lost"].sort_values(order, ignore_index=True)
    assert len(lost) == 24 * 2
    assert lost["local_hour"].isna().all()
    total = np.zeros(len(lost))
    for zone in ZONES:
        there = night.spark.createDataFrame([("lost", zone)], "user_id string, timezone string")
        rows = build_features.scoring_rows(night, score_slots.scoring_keys(night, there, sorted(PAIRS))).toPandas()
        p_open = model.predict(rows)
        total += rows.assign(p_open=p_open).sort_values(order)["p_open"].to_numpy() * (USERS / 3) / USERS
    np.testing.assert_allclose(lost["p_open"], total, rtol=1e-12)
    assert lost.groupby(["category", "channel"])["p_open"].nunique().min() > 3, "the slots differ"
    assert lost.groupby("channel")["p_opt_out"].nunique().eq(1).all()


def test_a_refused_challenger_leaves_the_night_in_fallback(full_lake: Lake, mlflow: Mlflow) -> None:
    night = _night(full_lake, mlflow, gate=Gate(min_calibration_ratio=5.0, max_calibration_ratio=6.0))
    trained = train_propensity.run(night)
    assert trained.facts["arm"] == "fallback"
    assert trained.facts["model_version"] == "baseline"
    assert trained.facts["challenger"] == f"{mlflow.model_name}/1"
    assert train_propensity.run(night).facts["trained"] is False, "refused once is not tried again on the same data"
    scored = score_slots.run(night)
    assert (scored.facts["arm"], scored.facts["model_version"]) == ("fallback", "baseline")
    assert set(_rows(full_lake)["model_version"]) == {"baseline"}
    users = full_lake.read("user_features", PLAN_DATE).select("user_id", *USED).toPandas()
    hours = full_lake.read("slot_features", PLAN_DATE).where("NOT weekend").select("local_hour", "hour_rate").toPandas()
    scores = _rows(full_lake).query("user_id != 'lost'")
    on_monday = scores[scores["user_id"].str[1:].astype(int) % 3 < 2]  # in New York it is still Sunday at first
    record = fit(users, night.settings.features.segment_edges)
    assert scored.facts["shrinkage"]["kappa"] == pytest.approx(record.kappa)
    expected = ShrunkBaseline(record).predict(on_monday.merge(users).merge(hours, how="left"))
    np.testing.assert_allclose(on_monday["p_open"], expected)


def test_too_few_sends_go_on_in_fallback(lake: Lake, mlflow: Mlflow) -> None:
    _fill(lake, world(users=5, days=4))
    # from Berlin over Kolkata to New York no slot lies in everyone's waking hours: who may live in any has no scores
    awake = QuietHours(everyone=LocalWindow(start="20:00", end="10:00"))
    night = _night(lake, mlflow, quiet_hours=awake)
    build_features.run(night)
    trained = train_propensity.run(night)
    assert trained.facts["arm"] == "fallback"
    assert trained.facts["kind"] == "baseline"
    assert "18 mature sends" in str(trained.facts["gate"])
    scored = score_slots.run(night)
    assert scored.rows_out == 5 * 24 * 2
    assert scored.dropped == {"zone_unknown": 24 * 2}


def test_a_champion_of_another_label_is_refused(trained: tuple[Night, StageResult]) -> None:
    night, _ = trained
    other = night.settings.model_copy(update={"label": night.settings.label.model_copy(update={"kind": "goal"})})
    with pytest.raises(ModelError, match=r"predicts 'open', label\.kind is 'goal'"):
        score_slots.run(replace(night, settings=other))


def test_opt_outs_are_counted_by_the_fatigue_before_each_send(full_lake: Lake, mlflow: Mlflow) -> None:
    night = _night(full_lake, mlflow)
    counted = score_slots.opt_out_counts(night).toPandas()
    pd.testing.assert_frame_equal(counted, _reference_counts(full_lake, night), check_dtype=False)


def _reference_counts(lake: Lake, night: Night) -> pd.DataFrame:
    """The same straight from the definition, send by send."""
    limits, edges = night.settings.fatigue, night.settings.opt_out.fatigue_edges
    assert limits is not None
    sends = lake.read("sends").where(F.col("sent")).toPandas()
    outs = set(lake.read("interactions").where("kind = 'opt_out'").toPandas()["send_key"])
    found = []
    for _, mine in sends.groupby("user_id"):
        for send in mine.itertuples():
            earlier = mine[mine["sent_at_utc"] < send.sent_at_utc]
            hours = (send.sent_at_utc - earlier["sent_at_utc"]).dt.total_seconds() / 3600
            points = earlier["channel"].map(limits.points_per_send)
            fatigue = float((points * 2.0 ** (-hours / limits.half_life_hours)).sum())
            found.append((send.channel, int(np.digitize(fatigue, edges)), send.send_key in outs))
    frame = pd.DataFrame(found, columns=["channel", "fatigue_bin", "out"])
    grouped = frame.groupby(["channel", "fatigue_bin"])["out"]
    return pd.DataFrame({"sends": grouped.size(), "opt_outs": grouped.sum()}).reset_index()
