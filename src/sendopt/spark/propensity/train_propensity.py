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
    """Rows learned from, and which model the night has (facts: model_version, or arm `fallback` without one).

    Nothing is trained where a champion exists and the night does not ask for it, or where a training of the same data,
    settings and code is kept already. Too few sends, or a gate that refuses, leave the night without a champion: it
    goes on in arm `fallback`. Raises InputNotReady where the registry is out of reach.
    """
    tracker: Tracker = MlflowTracker(night.settings.mlflow)
    champion = tracker.champion_version()
    facts: dict[str, object]
    gains: dict[str, dict[str, object]] = {}
    if night.settings.objective.kind == "incremental":
        gains["uplift"] = uplift.train(night)
    if champion is not None and not night.retrain:
        further = goals.train(night)
        if further.refused:
            drift.keep(night, further.refused, (GATE,))
        facts = {"trained": False, "model_version": champion, "arm": None, **gains, **further.as_facts()}
        warned = [*further.warnings, *(alert.sentence for alert in further.refused)]
        return StageResult(0, 0, facts=facts | ({"warnings": warned} if warned else {}))
    rows = training_rows(night)
    mark = fingerprint(rows, night.settings)
    kept = tracker.trained(mark)
    facts = {"trained": kept is None, **gains}
    refused: list[Alert] = []
    if kept is None:
        kept, found = _train(night, rows, mark, tracker, gains.get("uplift", {}))
        facts |= {key: found[key] for key in ("kind", "log_loss", "gains", "observed_over_expected", "gate")}
        refused = challenge.refusal(champion, kept, found["gate"])
    further = goals.train(night)  # after p_open, which they are compared with
    refused += further.refused
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
        **further.as_facts(),
        "warnings": [*kept.warnings, *further.warnings, *(alert.sentence for alert in refused)],
    }
    dropped = build_features.training_left_out(night, night.settings.training.days)
    return StageResult(len(rows) + sum(dropped.values()), len(rows), dropped, facts)


def training_rows(night: Night) -> arrow.Rows:
    """The labelled sends with their features, kept as table `training_rows`, in an order free of partitions."""
    rows = build_features.training_rows(night, night.settings.training.days)
    night.lake.overwrite("training_rows", rows.orderBy("plan_date", "sent_at_utc", "send_key"))
    return arrow.Rows.of_delta(night.lake.path("training_rows"))


def fingerprint(rows: arrow.Rows, settings: Settings) -> str:
    """32 hex digits of training data, settings and code; equal ones give the same model."""
    return challenge.fingerprint(
        rows, {name: getattr(settings, name) for name in ("training", "label", "gate", "drift")}
    )


def _train(
    night: Night, rows: arrow.Rows, mark: str, tracker: Tracker, gains: Mapping[str, object]
) -> tuple[Kept, assess.Evaluation]:
    settings, label = night.settings.training, night.settings.label
    edges = night.settings.features.segment_edges

    def evaluated(model: learn.OpenModel | None, shown: pd.DataFrame) -> assess.Evaluation:
        if model is None:
            fallback = shrinkage.ShrunkBaseline(assess.shrinkage_of(shown, edges))
            found = assess.evaluate(shown, fallback, None, settings, label.kind, edges)
        else:
            shuffled = learn.train(assess.shuffled_slots(shown, settings.seed), settings, label.kind)
            found = assess.evaluate(shown, model, shuffled, settings, label.kind, edges)
        found["placebo"] = assess.placebo(_decision_points(night), settings)
        found["sending"] = None if model is None else uplift.rankings(night, model, gains)
        return found

    parameters = {"window_hours": label.window_hours, "features": len(learn.FEATURES)}
    made_from = lineage.of_training(night, mark, label.kind, parameters, tables=(*lineage.LEARNT_FROM, "training_rows"))
    return challenge.train(night, rows, made_from, tracker, evaluated)


def _decision_points(night: Night) -> pd.DataFrame:
    """Counts by user, local hour and sent of the mature available decision points, or none if all were sent (¶17)."""
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
