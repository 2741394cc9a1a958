"""Stage measure: outcomes of the last mature night by arm, the gain of timing (¶15 to ¶18), and drift (¶17)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain.tables import TABLES
from sendopt.experiment.arms import UNIFORM_TIME
from sendopt.measurement.off_policy import Estimate, difference, matched
from sendopt.spark import drift, history
from sendopt.spark.engine.lake import schema_of
from sendopt.spark.features.feature_counts import exposures_of, rules_of_night
from sendopt.spark.night import Night, StageResult
from sendopt.spark.propensity import goals
from sendopt.spark.propensity.opt_outs import with_opt_out
from sendopt.tracking.mlflow import MlflowTracker


def run(night: Night) -> StageResult:
    """Write `outcomes` and `lift` of the last mature plan date, and `goal_outcomes` of each goal's last mature date.

    Where no date is mature, the fact `note` says so and the stage succeeds. Then check for drift (table `alerts`): its
    sentences are the fact `warnings` and fail no night.
    """
    result = _measure(night)
    facts = dict(result.facts)
    if night.settings.objective.goals:
        facts["goals"] = goals.measure(night)
    if warnings := drift.look(night, MlflowTracker(night.settings.mlflow)):
        facts["warnings"] = warnings
    return replace(result, facts=facts)


def _measure(night: Night) -> StageResult:
    day = history.last_mature_plan(night, timedelta(hours=night.settings.label.window_hours))
    if day is None:
        return StageResult(0, 0, facts={"measured": None, "note": "no planned night is mature yet"})
    sent = _delivered(night, day).persist()
    try:
        outcomes = _outcomes(sent, day)
        lift = _lift(sent.toPandas(), night, day)
        rows = night.lake.replace("outcomes", outcomes, day)
        frame = night.spark.createDataFrame(lift, schema_of(TABLES["lift"]))
        night.lake.replace("lift", frame, day)
        planned = sent.count()
    finally:
        sent.unpersist()
    return StageResult(planned, planned, facts={"measured": str(day), "outcomes": rows})


def _delivered(night: Night, day: date) -> DataFrame:
    """Return every planned send of `day` with its outcome: sent, suspected, success, opted_out (0 or 1).

    A success is what the model learns, so a suspected send has none. A send that was not made and whose message a later
    night has planned again belongs to that night.
    """
    log = exposures_of(night, day, rules_of_night(night)).join(
        history.planned_again(night, day), "send_key", "left_anti"
    )
    log = with_opt_out(night, log).select(
        "send_key",
        F.lit(1).alias("sent"),
        F.col("suspected").cast("int").alias("suspected"),
        F.col("opted_out").cast("int").alias("opted_out"),
        F.when(F.col("suspected"), 0).otherwise(F.col("label")).alias("success"),
    )
    plan = night.lake.read("send_plan").where(F.col("plan_date") == F.lit(day))
    return plan.join(log, "send_key", "left").fillna({"sent": 0, "suspected": 0, "success": 0, "opted_out": 0})


def _outcomes(sent: DataFrame, day: date) -> DataFrame:
    trusted = F.col("sent") - F.col("suspected")
    return sent.groupBy("arm", "channel").agg(
        F.lit(day).alias("plan_date"),
        F.count("*").alias("planned"),
        F.sum("sent").cast("bigint").alias("sent"),
        F.sum("success").cast("bigint").alias("successes"),
        F.sum("opted_out").cast("bigint").alias("opt_outs"),
        F.sum("suspected").cast("bigint").alias("suspected"),
        F.sum(trusted * F.col("p_open")).alias("expected_successes"),
        F.sum(F.col("sent") * F.col("p_opt_out")).alias("expected_opt_outs"),
    )


def _lift(planned: pd.DataFrame, night: Night, day: date) -> pd.DataFrame:
    sent = planned[(planned["sent"] == 1) & (planned["suspected"] == 0)].sort_values("send_key")
    users = pd.factorize(sent["user_id"], sort=True)[0].astype("int64")
    uniform = (sent["arm"] == UNIFORM_TIME).to_numpy()
    success = sent["success"].to_numpy(float)
    best = _best_slots(night, day)
    drawn = sent[uniform].merge(best, on=["user_id", "notification_id"], how="left")
    agrees = (drawn["send_at_utc"] == drawn["best_at_utc"]).to_numpy()
    rates = {
        "treatment_minus_uniform_time": difference(success, ~uniform, users),
        "off_policy_best_slot": matched(
            drawn["success"].to_numpy(float), agrees, drawn["pscore"].to_numpy(float), users[uniform]
        ),
        "off_policy_uniform": matched(
            drawn["success"].to_numpy(float), agrees | True, drawn["pscore"].to_numpy(float), users[uniform]
        ),
    }
    return pd.DataFrame([_row(day, name, e, sent) for name, e in rates.items()])


def _best_slots(night: Night, day: date) -> pd.DataFrame:
    """Return the slot of highest value of each uniform-time message: the one that personal timing would choose."""
    cells = night.lake.read("candidates").where((F.col("plan_date") == F.lit(day)) & F.col("eligible"))
    drawn = cells.where(F.col("arm") == UNIFORM_TIME).select("user_id", "notification_id", "slot", "value").toPandas()
    drawn = drawn.sort_values(["user_id", "notification_id", "value", "slot"], ascending=[True, True, False, True])
    best = drawn.drop_duplicates(["user_id", "notification_id"])
    start = pd.Timestamp(day)
    minutes = best["slot"] * night.settings.grid.slot_minutes
    return best.assign(best_at_utc=start + pd.to_timedelta(minutes, unit="m"))[
        ["user_id", "notification_id", "best_at_utc"]
    ]


def _row(day: date, metric: str, estimate: Estimate, sent: pd.DataFrame) -> dict[str, object]:
    return {
        "plan_date": day,
        "metric": metric,
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "users": int(sent["user_id"].nunique()),
        "sends": len(sent),
        "note": estimate.refusal,
    }
