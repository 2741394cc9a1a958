"""The incremental value in a night: decision points sent and not sent, their learner, its place in MLflow (¶6)."""

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

P_OPEN, INCREMENTAL = "p_open", "incremental"  # what an order of the decision points follows


def train(night: Night) -> dict[str, object]:
    """What became of the training, as facts of the stage; nothing where a learner is deployed and none is asked for.

    Raises ModelError where the log has no decision points left unsent: then nothing tells what sending adds.
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
    kept = {arm: tracker.trained(f"{fingerprint}-{arm}") for arm, tracker in trackers.items()}
    if all(training is not None for training in kept.values()):
        return {"trained": False, "versions": {arm: k.model_version for arm, k in kept.items() if k}}
    settings, label = night.settings.training, night.settings.label.kind
    try:
        model, learning = effect.train_uplift(rows, settings, label)
    except ModelError as error:  # too little to learn from: the night goes on with a constant share
        return {"trained": False, "gate": {"promoted": False, "reasons": [str(error)]}}
    evaluations = {arm: _evaluation(arm, model, rows, night) for arm in ARMS}
    promoted, reasons = gate(learning, evaluations, night.settings.gate)
    facts: dict[str, object] = {"trained": True, **learning, "gate": {"promoted": promoted, "reasons": reasons}}
    versions = {
        arm: trackers[arm].keep(
            getattr(model, arm),
            {**evaluations[arm], "uplift": learning, "gate": {"promoted": promoted, "reasons": reasons}},
            lineage.of_training(night, f"{fingerprint}-{arm}", label, {}, {"learner": model.learner}),
        )
        for arm in ARMS
    }
    facts["versions"] = {arm: kept.model_version for arm, kept in versions.items()}
    facts["runs"] = {arm: kept.run_id for arm, kept in versions.items()}
    return facts


def rankings(night: Night, model: OpenModel, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What sending adds where it is sent first, for the run of p_open: JSON-ready, None where the log cannot tell.

    `rankings`: Qini of p_open's order of the decision points that are later than any it learned from, and of the
    learner's, where `facts` (of `train`) tell of one; `runs`: the learner's runs by arm.
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
    """(what gives the incremental value, the scores' model version): none where the objective is `open`."""
    if night.settings.objective.kind != "incremental":
        return None, version
    deployed = _deployed(night)
    if deployed is None:
        return _constant(night), version
    model, names = deployed
    return model, "+".join((version, *names))


def gate(learning: dict[str, Any], evaluations: dict[str, assess.Evaluation], settings: Gate) -> tuple[bool, list[str]]:
    """(may the learner value a night, why or why not as sentences)."""
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
    ranks = test["low"] > 0  # an order that is noise would leave out those whom sending helps as much
    reasons.append(
        f"Qini on later days is {test['coefficient']:.4f} ({test['low']:.4f} to {test['high']:.4f}): the order of "
        f"gains is {'' if ranks else 'not shown to be '}better than chance."
    )
    return bool(passed and ranks), reasons


def decision_points(night: Night) -> pd.DataFrame:
    """Mature available decision points with the features of their own night, in a fixed order."""
    rows = build_features.training_rows(night, night.settings.training.days, decided=True).where(~F.col("suspected"))
    points = rows.select(*_COLUMNS).toPandas()
    points["plan_date"] = points["plan_date"].astype(str)
    return points.sort_values(["plan_date", "sent_at_utc", "send_key"], ignore_index=True)


_COLUMNS = (
    *("plan_date", "sent_at_utc", "send_key", "user_id", "label", "pscore", "sent", *shrinkage.USED),
    *learn.FEATURES,
)


def _deployed(night: Night) -> tuple[effect.UpliftModel, tuple[str, ...]] | None:
    """The champions of both arms, of one training, or None. Raises ModelError where their label is another."""
    champions: dict[str, Registered | None] = {
        arm: tracker.champion() for arm, tracker in _trackers(night.settings.mlflow).items()
    }
    sent, not_sent = champions["sent"], champions["not_sent"]
    if sent is None or not_sent is None or _pair(sent) != _pair(not_sent):
        return None
    sent.require_label(night.settings.label.kind)
    learner: effect.Learner = "s" if effect.SENT in sent.model.card.features else "t"
    return effect.UpliftModel(learner, sent.model, not_sent.model), (sent.model_version, not_sent.model_version)


def _pair(registered: Registered) -> str:
    """The fingerprint without its arm."""
    return registered.fingerprint.rpartition("-")[0]


def _constant(night: Night) -> effect.ConstantShare:
    rates = {
        bool(row["sent"]): (row["successes"] + 0.5) / (row["n"] + 1.0)
        for row in build_features.decided_counts(night).collect()
    }
    if set(rates) != {True, False}:
        return effect.ConstantShare(0.0)  # nothing is known of what sending adds: nothing is sent
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
