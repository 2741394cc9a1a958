"""A challenger from rows to registry, and the inputs of its gate (model ¶17, ¶18).

The gate sees the losses of challenger and champion on the same later sends, the values of timing policies, and drift.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from sendopt.errors import ModelError
from sendopt.measurement import gate, slot_policies
from sendopt.measurement.drift import GATE, Alert
from sendopt.measurement.gate import Rivals, Verdict, compare_losses
from sendopt.measurement.gate import judge as verdict_of
from sendopt.measurement.slot_policies import CHALLENGER, CHAMPION, PolicyValues
from sendopt.propensity import calibration, line, shrinkage
from sendopt.propensity import evaluation as assess
from sendopt.propensity import model as learn
from sendopt.propensity import rows as arrow
from sendopt.propensity.evaluation import Evaluation
from sendopt.spark import drift, lineage
from sendopt.spark.night import Night
from sendopt.spark.propensity import drawn_slots
from sendopt.stats import beta_binomial, bootstrap, logistic, losses
from sendopt.stats.losses import log_loss
from sendopt.tracking import REFERENCE, Kept, Lineage, Registered, Tracker

TIMED_ROWS = 20_000
COLUMNS = (
    *("plan_date", "sent_at_utc", "send_key", "user_id", "label", "suspected", *shrinkage.USED),
    *learn.FEATURES,
)  # of the rows that a challenger is learnt from and evaluated on
CODE = (  # modules whose source is part of a training's fingerprint
    *(learn, line, assess, arrow, calibration, shrinkage, gate, slot_policies),
    *(beta_binomial, bootstrap, logistic, losses),
)


def fingerprint(rows: arrow.Rows, settings: Mapping[str, BaseModel], *code: ModuleType) -> str:
    """Return 32 hex digits of training data, settings and code (CODE and `code`); equal ones give the same model."""
    return lineage.fingerprint((batch.to_pandas() for batch in rows.batches(COLUMNS)), settings, (*CODE, *code))


def train(
    night: Night,
    rows: arrow.Rows,
    made_from: Lineage,
    tracker: Tracker,
    evaluate: Callable[[learn.OpenModel | None, pd.DataFrame], Evaluation],
    by_policy: bool = True,
) -> tuple[Kept, Evaluation]:
    """Train a challenger, and return it as kept in the registry, and its evaluation with the gate's verdict.

    `evaluate` gives the evaluation of the model on the rows that fit in memory; the model is None where the rows could
    not train one.
    """
    settings = night.settings.training
    obstacles = learn.obstacles(rows, settings.folds)
    clock = time.monotonic()
    model = None if obstacles else learn.train(rows, settings, str(made_from.parameters["label"]))
    seconds = time.monotonic() - clock
    shown = assess.shown_rows(rows, settings)[[*COLUMNS]]
    evaluation = evaluate(model, shown)
    verdict, facts = judge(night, model, evaluation, shown, tracker, seconds, by_policy)
    decision = {**verdict.as_json(), "reasons": [*obstacles, *verdict.reasons]}
    evaluation = {**evaluation, **facts, "gate": decision}
    documents = {} if model is None else {REFERENCE: drift.reference(night, evaluation["importance"])}
    return tracker.keep(model, evaluation, made_from, documents), evaluation


def judge(
    night: Night,
    model: learn.OpenModel | None,
    evaluation: Evaluation,
    rows: pd.DataFrame,
    tracker: Tracker,
    train_seconds: float,
    by_policy: bool = True,
) -> tuple[Verdict, dict[str, Any]]:
    """Return the verdict on `model`, and what to keep beside its evaluation: policy values and cost in time.

    A champion that cannot be read, or that predicts another label, is not compared: the simple rules decide. Without
    `by_policy` no timing policies are valued, because a goal is only a part of what times are chosen by.
    """
    if model is None:
        return verdict_of(evaluation, night.settings.gate), {**({"policies": []} if by_policy else {}), "cost": None}
    champion, objection = _rival(tracker, model, rows)
    rivals = None if champion is None else _rivals(night, champion, model, rows)
    policies = _policies(night, model, champion, evaluation["split"]["test_from"]) if by_policy else None
    holding = [] if champion is None or not night.settings.drift.hold_promotion else drift.holding(night, champion)
    verdict = verdict_of(evaluation, night.settings.gate, rivals, policies, holding, by_policy)
    if objection:
        verdict = replace(verdict, reasons=(*verdict.reasons, objection))
    facts: dict[str, Any] = {"cost": _cost(model, rows, train_seconds)}
    if by_policy:
        facts["policies"] = [] if policies is None else policies.rows()
    return verdict, facts


def _rival(tracker: Tracker, model: learn.OpenModel, rows: pd.DataFrame) -> tuple[Registered | None, str | None]:
    """Return (the champion, or None where it cannot be compared; the reason as a sentence, or None)."""
    try:
        champion = tracker.champion()
    except ModelError as error:
        return None, f"The champion cannot be compared with: {error.message}."
    if champion is None:
        return None, None
    name, card = champion.model_version, champion.model.card
    if card.label != model.card.label:
        return None, f"Champion {name} predicts {card.label!r} and is no rival."
    missing = [feature for feature in card.features if feature not in rows]
    if missing:
        return None, f"Champion {name} looks at {', '.join(missing)}, no feature any more, and is no rival."
    return champion, None


def refusal(champion: str | None, kept: Kept, gate: Mapping[str, Any]) -> list[Alert]:
    """Return the alert of a challenger that the gate refused while a champion exists, else none."""
    if champion is None or gate["promoted"]:
        return []
    name = kept.model_version or "the challenger"
    sentence = f"{name} was not promoted, {champion} stays: {' '.join(gate['reasons'])}"
    return [Alert(GATE, name, None, None, sentence)]


def _rivals(night: Night, champion: Registered, model: learn.OpenModel, rows: pd.DataFrame) -> Rivals | None:
    if "suspected" in rows:
        rows = rows[~rows["suspected"].to_numpy(bool)]
    parts = learn.split(rows)
    if parts is None:
        return None
    test = rows[parts.test]
    y, user = test["label"].to_numpy(np.float64), pd.factorize(test["user_id"], sort=True)[0].astype(np.int64)
    challenger_loss, champion_loss = (log_loss(y, m.predict(test)) for m in (model, champion.model))
    settings = night.settings.training
    return compare_losses(
        champion.model_version, challenger_loss, champion_loss, user, settings.seed, settings.bootstrap_samples
    )


def _policies(
    night: Night, model: learn.OpenModel, champion: Registered | None, test_from: str | None
) -> PolicyValues | None:
    if test_from is None:
        return None
    models = {CHALLENGER: model} | ({} if champion is None else {CHAMPION: champion.model})
    scored = drawn_slots.score(night, date.fromisoformat(test_from), models)
    if scored is None:
        return None
    settings = night.settings.training
    return slot_policies.value(scored.sends, scored.predictions, settings.seed, settings.bootstrap_samples)


def _cost(model: learn.OpenModel, rows: pd.DataFrame, train_seconds: float) -> dict[str, float]:
    """Return seconds of training, microseconds of scoring per row (measured on one thread), and the number of trees."""
    sample = rows.head(TIMED_ROWS)
    model.predict(sample.head(1))  # the trees are read first
    clock = time.monotonic()
    model.predict(sample)
    microseconds = (time.monotonic() - clock) / len(sample) * 1e6
    return {
        "train_seconds": train_seconds,
        "score_microseconds_per_row": microseconds,
        "trees": float(model.card.trees),
    }
