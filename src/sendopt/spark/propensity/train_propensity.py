"""Stage train_propensity: a challenger on the labelled sends, through the gate to champion (model ¶5, ¶17)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pandas as pd
from pyspark.sql import functions as F

from sendopt.config.schema import Settings
from sendopt.measurement.drift import GATE, Alert
from sendopt.propensity import evaluation as assess
from sendopt.propensity import model as learn
from sendopt.propensity import rows as arrow
from sendopt.propensity import shrinkage
from sendopt.spark import drift, lineage
from sendopt.spark.engine.zones import with_local_time
from sendopt.spark.features import build_features
from sendopt.spark.night import Night, StageResult
from sendopt.spark.propensity import challenge, goals, uplift
from sendopt.spark.reactions import with_reaction
from sendopt.tracking import Kept, Tracker
from sendopt.tracking.mlflow import MlflowTracker


def run(night: Night) -> StageResult:
    """Train a challenger where one is needed, and return which model the night has.

    Facts name the model_version, or the arm `fallback` without one. Nothing is trained where a champion exists and the
    night does not ask for a training, or where a training of the same data, settings and code is kept already. With
    too few sends, or a gate that refuses, the night has no champion and goes on in arm `fallback`. Raises
    InputNotReady where the registry cannot be reached.
    """
    tracker: Tracker = MlflowTracker(night.settings.mlflow)
    champion = tracker.champion_version()
    facts: dict[str, object]
    gains: dict[str, dict[str, object]] = {}
    if night.settings.objective.kind == "incremental":
        gains["uplift"] = uplift.train(night)
    if champion is not None and not night.retrain:
        return _keep_champion(night, champion, gains)
    rows = training_rows(night)
    mark = fingerprint(rows, night.settings)
    kept = tracker.trained(mark)
    facts = {"trained": kept is None, **gains}
    refused: list[Alert] = []
    if kept is None:
        kept, evaluation = _train(night, rows, mark, tracker, gains.get("uplift", {}))
        facts |= {key: evaluation[key] for key in ("kind", "log_loss", "gains", "observed_over_expected", "gate")}
        refused = challenge.refusal(champion, kept, evaluation["gate"])
    of_goals = goals.train(night)  # after p_open, which they are compared with
    refused += of_goals.refused
    if facts["trained"] or refused:
        drift.keep(night, refused, (GATE,))
    deployed = tracker.champion_version()
    facts |= {
        "model_version": deployed or "baseline",
        "challenger": kept.model_version,
        "fingerprint": mark,
        "promoted": kept.promoted,
        "mlflow_run_id": kept.run_id,
        "arm": None if deployed else "fallback",
        **of_goals.as_facts(),
        "warnings": [*kept.warnings, *of_goals.warnings, *(alert.sentence for alert in refused)],
    }
    dropped = build_features.training_left_out(night, night.settings.training.days)
    return StageResult(len(rows) + sum(dropped.values()), len(rows), dropped, facts)


def _keep_champion(night: Night, champion: str, gains: Mapping[str, object]) -> StageResult:
    """Train goals without a champion, and return the result of a night that keeps its champion of p_open."""
    of_goals = goals.train(night)
    if of_goals.refused:
        drift.keep(night, of_goals.refused, (GATE,))
    facts = {"trained": False, "model_version": champion, "arm": None, **gains, **of_goals.as_facts()}
    warnings = [*of_goals.warnings, *(alert.sentence for alert in of_goals.refused)]
    return StageResult(0, 0, facts=facts | ({"warnings": warnings} if warnings else {}))


def training_rows(night: Night) -> arrow.Rows:
    """Return the labelled sends with features, written as table `training_rows`, in an order free of partitions."""
    rows = build_features.training_rows(night, night.settings.training.days)
    night.lake.overwrite("training_rows", rows.orderBy("plan_date", "sent_at_utc", "send_key"))
    return arrow.Rows.of_delta(night.lake.path("training_rows"))


def fingerprint(rows: arrow.Rows, settings: Settings) -> str:
    """Return 32 hex digits of training data, settings and code; equal fingerprints give the same model."""
    return challenge.fingerprint(
        rows, {name: getattr(settings, name) for name in ("training", "label", "gate", "drift")}
    )


def _train(
    night: Night, rows: arrow.Rows, fingerprint: str, tracker: Tracker, gains: Mapping[str, object]
) -> tuple[Kept, assess.Evaluation]:
    settings, label = night.settings.training, night.settings.label
    edges = night.settings.features.segment_edges

    def evaluate(model: learn.OpenModel | None, shown: pd.DataFrame) -> assess.Evaluation:
        if model is None:
            fallback = shrinkage.ShrunkBaseline(assess.shrinkage_of(shown, edges))
            evaluation = assess.evaluate(shown, fallback, None, settings, label.kind, edges)
        else:
            shuffled = learn.train(assess.shuffled_slots(shown, settings.seed), settings, label.kind)
            evaluation = assess.evaluate(shown, model, shuffled, settings, label.kind, edges)
        placebo = assess.placebo(_decision_points(night), settings)
        sending = None if model is None else uplift.rankings(night, model, gains)
        return {**evaluation, "placebo": placebo, "sending": sending}

    parameters = {"window_hours": label.window_hours, "features": len(learn.FEATURES)}
    made_from = lineage.of_training(
        night, fingerprint, label.kind, parameters, tables=(*lineage.LEARNT_FROM, "training_rows")
    )
    return challenge.train(night, rows, made_from, tracker, evaluate)


def _decision_points(night: Night) -> pd.DataFrame:
    """Return counts by user, local hour and sent of mature available decision points; empty if all were sent (¶17)."""
    settings = night.settings
    window = timedelta(hours=settings.label.window_hours)
    since = night.as_of - timedelta(days=settings.training.days)
    at = F.col("sent_at_utc")
    points = night.lake.read("sends").where(
        F.col("available") & (at >= F.lit(since)) & (at <= F.lit(night.as_of - window))
    )
    if points.where(~F.col("sent")).isEmpty():
        return pd.DataFrame(columns=["user_id", "local_hour", "sent", "n", "successes"])
    local = with_local_time(points, "sent_at_utc", "timezone").where(F.col("local_hour").isNotNull())
    return (
        with_reaction(night, local, settings.label.kind, "success")
        .groupBy("user_id", "local_hour", "sent")
        .agg(F.count("*").alias("n"), F.count_if("success").alias("successes"))
        .orderBy("user_id", "local_hour", "sent")
        .toPandas()
    )
