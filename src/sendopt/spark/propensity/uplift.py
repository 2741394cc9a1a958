"""The incremental value in a night: decision points, training of the learner, and its registered models (model ¶6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pyspark.sql import functions as F

from sendopt.config.schema import Gate, Mlflow
from sendopt.errors import ModelError
from sendopt.propensity import evaluation as assess
from sendopt.propensity import model as learn
from sendopt.propensity import shrinkage
from sendopt.propensity import uplift as effect
from sendopt.propensity.model import OpenModel
from sendopt.spark import lineage
from sendopt.spark.features import build_features
from sendopt.spark.night import Night
from sendopt.spark.propensity import challenge
from sendopt.tracking import Registered, registries
from sendopt.tracking.mlflow import MlflowTracker
from sendopt.tracking.registries import ARMS

P_OPEN, INCREMENTAL = "p_open", "incremental"  # scores that rank the decision points


def train(night: Night) -> dict[str, object]:
    """Train the learner unless one is deployed or already trained, and return the facts of the stage.

    Raises ModelError where the log has no unsent decision point: without one the effect of sending is not identified.
    """
    if not night.retrain and _deployed(night) is not None:
        return {"trained": False}
    rows = decision_points(night)
    if rows.empty or rows["sent"].all():
        raise ModelError(
            "objective.kind is incremental, but the log has no mature decision point (decision_kind send, available) "
            "that was left unsent; log some, or set objective.kind to open"
        )
    fingerprint = _fingerprint(rows, night)
    trackers = _trackers(night.settings.mlflow)
    earlier = {arm: tracker.trained(f"{fingerprint}-{arm}") for arm, tracker in trackers.items()}
    if all(training is not None for training in earlier.values()):
        return {"trained": False, "versions": {arm: kept.model_version for arm, kept in earlier.items() if kept}}
    settings, label = night.settings.training, night.settings.label.kind
    try:
        model, learning = effect.train_uplift(rows, settings, label)
    except ModelError as error:  # too few rows to train on: the night uses a constant share
        return {"trained": False, "gate": {"promoted": False, "reasons": [str(error)]}}
    evaluations = {arm: _evaluation(arm, model, rows, night) for arm in ARMS}
    promoted, reasons = gate(learning, evaluations, night.settings.gate)
    facts: dict[str, object] = {"trained": True, **learning, "gate": {"promoted": promoted, "reasons": reasons}}
    versions = {
        arm: trackers[arm].keep(
            getattr(model, arm),
            {**evaluations[arm], "uplift": learning, "gate": {"promoted": promoted, "reasons": reasons}},
            lineage.of_training(night, f"{fingerprint}-{arm}", label, {}, {"learner": model.learner.value}),
        )
        for arm in ARMS
    }
    facts["versions"] = {arm: kept.model_version for arm, kept in versions.items()}
    facts["runs"] = {arm: kept.run_id for arm, kept in versions.items()}
    return facts


def rankings(night: Night, model: OpenModel, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return Qini of the rankings by p_open and by the learner, for the run of p_open; JSON-ready.

    Returns None where the log has no later decision points of both arms with pscore inside (0, 1). `rankings` has Qini
    of p_open on the decision points from its test days on, and of the learner where `facts` (of `train`) have it;
    `runs` has the learner's runs by arm.
    """
    unsent = F.col("available") & ~F.col("sent") & (F.col("decision_kind") == "send")
    if night.lake.read("sends").where(unsent).isEmpty():
        return None
    rows = decision_points(night)
    later = rows[rows["plan_date"] >= str(model.card.split["test_from"])]
    if later["sent"].nunique() < 2 or not later["pscore"].between(0, 1, inclusive="neither").all():
        return None
    by_ranking = {P_OPEN: effect.as_json(effect.qini(later, model.predict(later), night.settings.training))}
    if "test" in facts:
        by_ranking[INCREMENTAL] = facts["test"]
    return {
        "rankings": [{"ranking": name, **qini} for name, qini in by_ranking.items()],
        "points": len(later),
        "since": str(later["plan_date"].min()),
        "learner": facts.get("learner"),
        "gate": facts.get("gate"),
        "runs": facts.get("runs", {}),
    }


def of_night(night: Night, version: str) -> tuple[effect.Gain | None, str]:
    """Return (model or rule of the incremental value, the scores' model version); no model if the objective is open."""
    if night.settings.objective.kind != "incremental":
        return None, version
    deployed = _deployed(night)
    if deployed is None:
        return _constant(night), version
    model, names = deployed
    return model, "+".join((version, *names))


def gate(learning: dict[str, Any], evaluations: dict[str, assess.Evaluation], settings: Gate) -> tuple[bool, list[str]]:
    """Return (whether the learner may be deployed, the reasons as sentences)."""
    passed, reasons = True, []
    for arm, evaluation in evaluations.items():
        ratio = evaluation["observed_over_expected"]
        inside = ratio is not None and settings.min_calibration_ratio <= ratio <= settings.max_calibration_ratio
        passed &= inside
        reasons.append(
            f"Decision points {arm.replace('_', ' ')}: observed over expected is "
            f"{'not known' if ratio is None else f'{ratio:.3f}'}, {'within' if inside else 'outside'} "
            f"{settings.min_calibration_ratio:g} to {settings.max_calibration_ratio:g}."
        )
    test = learning["test"]
    ranks = test["low"] > 0  # a ranking by noise would exclude people whom sending helps as much
    reasons.append(
        f"Qini on later days is {test['coefficient']:.4f} ({test['low']:.4f} to {test['high']:.4f}): the order of "
        f"gains is {'' if ranks else 'not shown to be '}better than chance."
    )
    return bool(passed and ranks), reasons


def decision_points(night: Night) -> pd.DataFrame:
    """Return the mature available decision points with the features of their nights, in a fixed order."""
    rows = build_features.training_rows(night, night.settings.training.days, decided=True).where(~F.col("suspected"))
    points = rows.select(*_COLUMNS).toPandas()
    points["plan_date"] = points["plan_date"].astype(str)
    return points.sort_values(["plan_date", "sent_at_utc", "send_key"], ignore_index=True)


_COLUMNS = (
    *("plan_date", "sent_at_utc", "send_key", "user_id", "label", "pscore", "sent", *shrinkage.USED),
    *learn.FEATURES,
)


def _deployed(night: Night) -> tuple[effect.UpliftModel, tuple[str, ...]] | None:
    """Return the champions of both arms, or None where they are not of one training.

    Raises ModelError where they predict another label than label.kind.
    """
    champions: dict[str, Registered | None] = {
        arm: tracker.champion() for arm, tracker in _trackers(night.settings.mlflow).items()
    }
    sent, not_sent = champions["sent"], champions["not_sent"]
    if sent is None or not_sent is None or _training(sent) != _training(not_sent):
        return None
    sent.require_label(night.settings.label.kind)
    learner = effect.Learner.S if effect.SENT in sent.model.card.features else effect.Learner.T
    return effect.UpliftModel(learner, sent.model, not_sent.model), (sent.model_version, not_sent.model_version)


def _training(registered: Registered) -> str:
    """Return the fingerprint of the training, without the suffix of the arm."""
    return registered.fingerprint.rpartition("-")[0]


def _constant(night: Night) -> effect.ConstantShare:
    rates = {
        bool(row["sent"]): (row["successes"] + 0.5) / (row["n"] + 1.0)
        for row in build_features.decided_counts(night).collect()
    }
    if set(rates) != {True, False}:
        return effect.ConstantShare(0.0)  # without both arms the effect is unknown, and nothing is sent
    return effect.ConstantShare(1.0 - rates[False] / rates[True])


def _trackers(settings: Mlflow) -> dict[str, MlflowTracker]:
    return {arm: MlflowTracker(registries.of_arm(settings, arm)) for arm in ARMS}


def _evaluation(arm: str, model: effect.UpliftModel, rows: pd.DataFrame, night: Night) -> assess.Evaluation:
    points = rows[rows["sent"] == (arm == "sent")]
    arm_model: OpenModel = getattr(model, arm)
    edges = night.settings.features.segment_edges
    return assess.evaluate(points, arm_model, None, night.settings.training, night.settings.label.kind, edges)


def _fingerprint(rows: pd.DataFrame, night: Night) -> str:
    sections = {name: getattr(night.settings, name) for name in ("training", "label", "gate", "objective")}
    return lineage.fingerprint([rows], sections, (*challenge.CODE, effect))
