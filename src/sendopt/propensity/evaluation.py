"""The evaluation of a model: its loss beside simple rules, its calibration, and what timing adds (model ¶17).

Every number comes from test days that neither the model nor a baseline has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.config.schema import FeatureSettings, Training
from sendopt.propensity.calibration import ratios
from sendopt.propensity.model import TIMING, Model, OpenModel, Parts, day_text, describe, split
from sendopt.propensity.rows import Rows
from sendopt.propensity.shrinkage import Shrinkage, ShrunkBaseline
from sendopt.propensity.shrinkage import fit as fit_shrinkage
from sendopt.stats.arrays import Flags, Floats
from sendopt.stats.bootstrap import resampled
from sendopt.stats.intervals import PERCENTILES_95
from sendopt.stats.logistic import clip, expit, fit_logistic, logit
from sendopt.stats.losses import log_loss

Evaluation = dict[str, Any]
SLOT_PRIOR_SENDS = 20.0
BINS = 10
INFLUENCE_ROWS = 2000  # test rows, about, that the features' influence is measured on
FEW_SENDS = 3  # a user with at most so many mature sends is new
BORROW_FROM = 20  # earlier sends that a shuffled row may take its timing from
PLACEBO_NOTE = (
    "This shows when people walk, or are active anyway: this pattern is habit, not an effect of sending, unless sent "
    "minus not sent shows more."
)


def evaluate(
    rows: pd.DataFrame,
    model: Model,
    shuffled: Model | None,
    settings: Training,
    label: str,
    edges: tuple[float, ...] = FeatureSettings().segment_edges,
    rules: Mapping[str, Model] | None = None,
) -> Evaluation:
    """Return the evaluation of `model` on the test days of `rows`, JSON-ready, with an empty gate and no placebo.

    `shuffled` is the model trained on `shuffled_slots(rows)`, where there is one. Gains are baseline loss minus model
    loss, positive where the model is better, with 95 % intervals from resampling users. `rules` are baselines of a
    label that the users' records in `rows` do not count; the baseline shrunk from the records is left out then.
    """
    people, suspected = _without_suspected(rows)
    parts = split(people)
    if parts is None:
        return _nothing_to_test(model, label)
    test = people[parts.test]
    y = test["label"].to_numpy(np.float64)
    shrinkage = shrinkage_of(people[parts.train], edges) if rules is None else None
    p = _predictions(people, parts, model, shrinkage, rules or {})
    if shuffled is not None:
        p["model_shuffled_slots"] = shuffled.predict(shuffled_slots(people, settings.seed)[parts.test])
    losses = {name: log_loss(y, chance) for name, chance in p.items()}
    return {
        "model_version": None,
        "kind": model.kind,
        "label": label,
        "split": describe(people, parts),
        "log_loss": {"model_shuffled_slots": None, **{name: _number(loss.mean()) for name, loss in losses.items()}},
        "gains": _gains(losses, test["user_id"].to_numpy(), settings),
        "calibration": _calibration(y, p["model"]),
        "calibration_groups": ratios(test, y, p["model"]),
        "observed_over_expected": _number(y.sum() / p["model"].sum()),
        "slot_lift": _slot_lift(test["local_hour"].to_numpy(), y, p["model"]),
        "machine_opens": _with_suspected(rows, suspected, model, min(day_text(people)[parts.test])),
        "cold_start": None if shrinkage is None else _cold_start(test, y, p["model"], shrinkage, settings),
        "importance": _importance(model, test),
        "placebo": None,
        "gate": {"promoted": False, "reasons": []},
    }


def _without_suspected(rows: pd.DataFrame) -> tuple[pd.DataFrame, Flags]:
    """Return (the rows whose opens are people's, which of all rows are suspected to be machines')."""
    if "suspected" not in rows:
        return rows, np.zeros(len(rows), bool)
    suspected = rows["suspected"].to_numpy(bool)
    return rows[~suspected].reset_index(drop=True), suspected


def _predictions(
    rows: pd.DataFrame, parts: Parts, model: Model, shrinkage: Shrinkage | None, rules: Mapping[str, Model]
) -> dict[str, Floats]:
    """Return p on the test rows by name: the model first, then the simple rules, then `rules`."""
    test = rows[parts.test]
    p = {"model": model.predict(test), **baselines(rows, parts)}
    if shrinkage is not None:
        p["shrunk"] = ShrunkBaseline(shrinkage).predict(test)
    return p | {name: rule.predict(test) for name, rule in rules.items()}


def _gains(losses: Mapping[str, Floats], user: NDArray[Any], settings: Training) -> list[dict[str, Any]]:
    """Return of each baseline its loss minus the model's, with an interval over users."""
    names = [name for name in losses if name != "model"]
    saved = np.column_stack([losses[name] - losses["model"] for name in names])
    intervals = _cluster_intervals(saved, user, settings)
    return [{"baseline": name, **gain} for name, gain in zip(names, intervals, strict=True)]


def shown_rows(rows: Rows, settings: Training) -> pd.DataFrame:
    """Return the rows to evaluate on: all of them, or those of a sample of users, drawn by hash.

    The sample has about `max_evaluation_rows` rows, which is what memory holds.
    """
    if len(rows) <= settings.max_evaluation_rows:
        return rows.frame()
    return rows.frame(rows.unit_hash("user_id", "evaluation") < settings.max_evaluation_rows / len(rows))


def baselines(rows: pd.DataFrame, parts: Parts) -> dict[str, Floats]:
    """Return p of each simple rule on the test rows, fitted on the days before them (¶17 i to iii).

    The user's rate is the feature `rate_90d`: shrunk, and as of each decision, as the model sees it.
    """
    y = rows["label"].to_numpy(np.float64)
    before = ~parts.test
    base = float(clip(np.asarray([y[before].mean()]))[0])
    hour = rows["local_hour"].to_numpy(np.int64)
    n, x = np.bincount(hour[before], minlength=24), np.bincount(hour[before], y[before], minlength=24)
    slot = logit((x + SLOT_PRIOR_SENDS * base) / (n + SLOT_PRIOR_SENDS))[hour]
    user = logit(rows["rate_90d"].to_numpy(np.float64))
    offset = -float(logit(np.float64(base)))
    fits: dict[str, tuple[Floats, tuple[float, ...]]] = {
        "user": (user[:, None], (0.0, 1.0)),
        "user_slot": (np.column_stack([user, slot]), (offset, 1.0, 1.0)),
    }
    result = {"global_rate": np.full(int(parts.test.sum()), base), "slot": clip(expit(slot[parts.test]))}
    for name, (design, near) in fits.items():
        intercept, *slopes = fit_logistic(design[before], y[before], near)
        result[name] = clip(expit(intercept + design[parts.test] @ np.asarray(slopes)))
    return result


def _with_suspected(rows: pd.DataFrame, suspected: Flags, model: Model, first_day: str) -> dict[str, Any]:
    """Return the model's numbers with the suspected opens counted as people's."""
    later = day_text(rows) >= first_day
    y, p = rows["label"].to_numpy(np.float64)[later], model.predict(rows[later])
    return {
        "suspected": int(suspected[later].sum()),
        "share_of_sends": _number(suspected[later].mean()),
        "log_loss": _number(log_loss(y, p).mean()),
        "observed_over_expected": _number(y.sum() / p.sum()),
    }


def shrinkage_of(rows: pd.DataFrame, edges: tuple[float, ...]) -> Shrinkage:
    """Return the shrinkage of the users' records, each as of the user's last row."""
    order = np.lexsort((rows["send_key"].to_numpy(str), rows["sent_at_utc"].to_numpy()))
    return fit_shrinkage(rows.iloc[order].drop_duplicates("user_id", keep="last"), edges)


def _cold_start(
    test: pd.DataFrame, y: Floats, p: Floats, shrinkage: Shrinkage, settings: Training
) -> dict[str, Any] | None:
    """Return the losses of model and cohort on users of at most three mature sends, and the parameters of shrinkage."""
    mature = test["mature_90d"].to_numpy(np.float64)
    cold = mature <= FEW_SENDS
    weight = shrinkage.weight(mature)
    facts: dict[str, Any] = {
        "kappa": shrinkage.kappa,
        "kappa_segment": shrinkage.kappa_segment,
        "overall": shrinkage.overall,
        "segments": list(shrinkage.segments),
        "mean_weight": _number(weight.mean()),
        "n": int(cold.sum()),
    }
    if not cold.any():
        return facts | {"model": None, "cohort": None, "gain": None, "low": None, "high": None}
    cohort_loss = log_loss(y[cold], ShrunkBaseline(shrinkage, cohort_only=True).predict(test[cold]))
    model_loss = log_loss(y[cold], p[cold])
    gain = _cluster_intervals((cohort_loss - model_loss)[:, None], test["user_id"].to_numpy()[cold], settings)[0]
    return facts | {"model": _number(model_loss.mean()), "cohort": _number(cohort_loss.mean()), **gain}


def shuffled_slots(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the rows with TIMING copied from a random send among the user's last 20 on earlier days.

    A plain permutation would move later features, which contain the row's own outcome, into the past (¶16); features
    of earlier sends do not contain it. A user's first day has no earlier send: its timing is missing (NaN).
    """
    order = np.lexsort((rows["send_key"].to_numpy(str), rows["sent_at_utc"].to_numpy(), rows["user_id"].to_numpy(str)))
    user, day = rows["user_id"].to_numpy()[order], day_text(rows)[order]
    at = np.arange(len(order))
    new_user = np.r_[True, user[1:] != user[:-1]]
    new_day = new_user | np.r_[True, day[1:] != day[:-1]]
    first_of_user = np.maximum.accumulate(np.where(new_user, at, 0))
    first_of_day = np.maximum.accumulate(np.where(new_day, at, 0))
    choices = np.minimum(first_of_day - first_of_user, BORROW_FROM)
    back = 1 + np.floor(np.random.default_rng(seed).random(len(order)) * choices).astype(np.int64)
    source = np.where(choices > 0, first_of_day - back, 0)
    timing = rows[list(TIMING)].astype(np.float64).to_numpy()
    borrowed = np.empty_like(timing)
    borrowed[order] = np.where((choices > 0)[:, None], timing[order][source], np.nan)
    return rows.assign(**{name: borrowed[:, i] for i, name in enumerate(TIMING)})


def placebo(points: pd.DataFrame, settings: Training) -> dict[str, Any] | None:
    """Return success by local hour, sent and not sent, or None where every available decision point was sent (¶17).

    `points` has counts by user_id, local_hour and sent (columns n, successes). The interval of the difference comes
    from resampling users.
    """
    if points.empty or points["sent"].all() or not points["sent"].any():
        return None
    sums = points.groupby(["local_hour", "sent"])[["n", "successes"]].sum().unstack("sent", fill_value=0)
    rows = [
        {
            "slot": f"{hour:02d}:00",
            "sent": _number(s1 / n1),
            "not_sent": _number(s0 / n0),
            "n_sent": int(n1),
            "n_not_sent": int(n0),
        }
        for hour, n0, n1, s0, s1 in sums.itertuples()
        if n0 and n1
    ]
    by_user = (
        points.groupby(["user_id", "sent"])[["n", "successes"]].sum().unstack("sent", fill_value=0).to_numpy(float)
    )
    draws = _resampled_sums(by_user, settings)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = draws[:, 3] / draws[:, 1] - draws[:, 2] / draws[:, 0]
    n0, n1, s0, s1 = by_user.sum(axis=0)
    low, high = np.nanpercentile(difference, PERCENTILES_95) * 100
    difference_text = (
        f" Sent minus not sent: {(s1 / n1 - s0 / n0) * 100:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})."
    )
    return {"note": PLACEBO_NOTE + difference_text, "rows": rows}


def _cluster_intervals(saved: Floats, user: NDArray[Any], settings: Training) -> list[dict[str, float | None]]:
    """Return the mean of each column with its percentile interval from resampling users; `saved` has shape (N, K)."""
    codes, users = pd.factorize(user, sort=True)
    sums = np.zeros((len(users), saved.shape[1] + 1))
    np.add.at(sums, codes, np.column_stack([saved, np.ones(len(codes))]))
    draws = _resampled_sums(sums, settings)
    low, high = np.percentile(draws[:, :-1] / draws[:, -1:], PERCENTILES_95, axis=0)
    mean = saved.mean(axis=0)
    return [
        {"gain": _number(m), "low": _number(a), "high": _number(b)} for m, a, b in zip(mean, low, high, strict=True)
    ]


def _resampled_sums(by_user: Floats, settings: Training) -> Floats:
    """Return sums over users drawn with replacement, shape (bootstrap_samples, K)."""
    return resampled(by_user.T, np.arange(len(by_user)), settings.seed, settings.bootstrap_samples)[:, 1:].T


def _calibration(y: Floats, p: Floats) -> list[dict[str, Any]]:
    parts = np.array_split(np.argsort(p, kind="stable"), min(BINS, len(p)))
    return [
        {"bin": i, "expected": _number(p[at].mean()), "observed": _number(y[at].mean()), "n": len(at)}
        for i, at in enumerate(parts, start=1)
    ]


def _slot_lift(hour: NDArray[Any], y: Floats, p: Floats) -> list[dict[str, Any]]:
    return [
        {
            "local_hour": int(h),
            "observed": _number(y[hour == h].mean()),
            "expected": _number(p[hour == h].mean()),
            "n": int((hour == h).sum()),
        }
        for h in np.unique(hour)
    ]


def _importance(model: Model, test: pd.DataFrame) -> list[dict[str, Any]]:
    if not isinstance(model, OpenModel):
        return []
    sample = test.iloc[:: max(1, len(test) // INFLUENCE_ROWS)]
    return [{"feature": name, "share": share} for name, share in model.influence(sample).items()]


def _nothing_to_test(model: Model, label: str) -> Evaluation:
    nothing: Mapping[str, None] = dict.fromkeys(
        ("model", "global_rate", "slot", "user", "user_slot", "shrunk", "model_shuffled_slots")
    )
    return {
        "model_version": None,
        "kind": model.kind,
        "label": label,
        "split": {"train": 0, "valid": 0, "test": 0, "train_from": None, "test_from": None, "test_to": None},
        "log_loss": dict(nothing),
        "gains": [],
        "calibration": [],
        "calibration_groups": [],
        "observed_over_expected": None,
        "slot_lift": [],
        "machine_opens": None,
        "cold_start": None,
        "importance": [],
        "placebo": None,
        "gate": {"promoted": False, "reasons": []},
    }


def _number(value: float | np.floating[Any]) -> float | None:
    """Return a JSON number; None where the value is not finite."""
    return float(value) if math.isfinite(value) else None
