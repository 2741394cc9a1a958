"""A night that plans by what sending adds: harm is never sent, whatever its chance of success (model ¶6)."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lake_rows import put_frame
from propensity_rows import points

from sendopt.config.schema import (
    AudienceAll,
    Campaign,
    Channel,
    ClockSettings,
    Gate,
    Label,
    Mlflow,
    Objective,
    Paths,
    Settings,
    Support,
    Training,
)
from sendopt.errors import ModelError
from sendopt.night import runtime
from sendopt.spark.engine.lake import Lake
from sendopt.spark.features import build_features
from sendopt.spark.night import Night
from sendopt.spark.propensity import score_slots, train_propensity
from sendopt.tracking.mlflow import MlflowTracker

pytestmark = pytest.mark.slow
DAYS = 20
PLAN_DATE = date(2025, 1, 1) + timedelta(days=DAYS + 2)


def _fill(lake: Lake, log: pd.DataFrame) -> None:
    sends = pd.DataFrame(
        {
            "send_key": log["send_key"],
            "source": "test",
            "user_id": log["user_id"],
            "notification_id": log["send_key"],
            "campaign_id": "c",
            "channel": log["channel"],
            "category": log["category"],
            "sent_at_utc": log["sent_at_utc"].astype("datetime64[us]"),
            "timezone": "UTC",
            "arm": None,
            "pscore": log["pscore"],
            "decision_kind": "send",
            "plan_version": None,
            "available": True,
            "sent": log["sent"],
        }
    )
    won = log[log["label"] == 1]
    goals = pd.DataFrame({"send_key": won["send_key"], "kind": "goal", "at_imputed": False})
    goals["at_utc"] = (won["sent_at_utc"] + pd.Timedelta(minutes=20)).astype("datetime64[us]")
    users = pd.DataFrame({"user_id": sorted(log["user_id"].unique()), "timezone": "UTC"})
    users = users.assign(
        channels=[["push", "email"]] * len(users),
        opted_out_categories=[[]] * len(users),
        quiet_start=None,
        quiet_end=None,
        created_at=np.datetime64("2024-12-31", "us"),
    )
    for name, frame in {"sends": sends, "interactions": goals, "users": users}.items():
        put_frame(lake.root, name, frame)


def _night(lake: Lake, folder: Path) -> Night:
    settings = Settings(
        channels={"push": Channel(), "email": Channel()},
        campaigns={
            c: Campaign(channel=c, category="news", audience=AudienceAll(kind="all")) for c in ("push", "email")
        },
        label=Label(kind="goal", window_hours=1.0),
        objective=Objective(kind="incremental"),
        support=Support(min_sends=10),
        training=Training(days=DAYS + 5, folds=2, max_trees=60, min_data_in_leaf=40, bootstrap_samples=50),
        gate=Gate(min_calibration_ratio=0.5, max_calibration_ratio=2.0),
        paths=Paths(data=lake.root),
        mlflow=Mlflow(tracking_uri=f"sqlite:///{folder}/mlflow.db"),
        clock=ClockSettings(now="as_of"),
    )
    return Night(lake, settings, PLAN_DATE, Path("conf"))


def test_a_night_plans_what_sending_adds(lake: Lake, tmp_path: Path) -> None:
    """Mail does harm here and succeeds often all the same; push helps."""
    _fill(lake, points(users=200, days=DAYS, seed=1, effect=0.9))
    night = _night(lake, tmp_path)
    build_features.run(night)

    untrained = score_slots.run(night)
    assert untrained.facts["arm"] == "fallback"
    assert lake.read("slot_scores", PLAN_DATE).where("incremental IS NULL").isEmpty()

    trained = train_propensity.run(night)
    assert trained.facts["uplift"]["gate"]["promoted"] is True, trained.facts["uplift"]
    assert trained.facts["uplift"]["test"]["low"] > 0
    shown = MlflowTracker(night.settings.mlflow).champion_evaluation()["sending"]
    assert [row["ranking"] for row in shown["rankings"]] == ["p_open", "incremental"]
    assert shown["rankings"][1] == {"ranking": "incremental", **trained.facts["uplift"]["test"]}
    assert all(row["low"] < row["coefficient"] < row["high"] for row in shown["rankings"])
    assert shown["rankings"][0]["curve"] != shown["rankings"][1]["curve"]
    assert shown["runs"] == trained.facts["uplift"]["runs"]
    again = train_propensity.run(night).facts
    assert (again["trained"], again["uplift"]) == (False, {"trained": False})

    stages = ["score_slots", "build_candidates", "allocate"]
    scored, *_ = runtime.run_in(lake.spark, PLAN_DATE, night.settings, night.conf_dir, stages)
    assert scored.facts["objective"] == "incremental"
    assert scored.facts["model_version"] == "+".join(
        ("sendopt-p-open/1", "sendopt-p-open-sent/1", "sendopt-p-open-not-sent/1")
    )
    scores = lake.read("slot_scores", PLAN_DATE).toPandas()
    mail = scores["channel"] == "email"
    assert (scores["incremental"][mail] < 0).mean() > 0.9
    assert (scores["incremental"][~mail] > 0).mean() > 0.75
    assert scores["p_open"][mail].mean() > 0.1

    cells = lake.read("candidates", PLAN_DATE).where("eligible").toPandas()
    expected = cells["incremental"] - night.settings.objective.opt_out_cost * cells["p_opt_out"]
    np.testing.assert_allclose(cells["value"], expected)
    plan = lake.read("allocation", PLAN_DATE).where("planned").toPandas()
    sent = plan.merge(cells, on=["user_id", "notification_id", "slot"])
    assert len(sent) == len(plan) > 100
    assert (sent[sent["arm_x"] == "treatment"]["value"] > 0).all()
    assert (sent["channel"] == "push").mean() > 0.9


def test_a_log_without_unsent_points_is_refused(lake: Lake, tmp_path: Path) -> None:
    log = points(users=20, days=DAYS, seed=1, effect=0.9)
    _fill(lake, log[log["sent"]])
    night = _night(lake, tmp_path)
    build_features.run(night)
    with pytest.raises(ModelError, match=r"has no mature decision point.*left unsent"):
        train_propensity.run(night)
