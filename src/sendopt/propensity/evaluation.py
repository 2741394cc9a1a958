"""Is the model any good, is it calibrated, does timing matter at all (model ¶17).

Everything is measured on test days that neither the model nor a baseline has seen.
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
from sendopt.stats.arrays import Floats
from sendopt.stats.bootstrap import resampled
from sendopt.stats.intervals import PERCENTILES_95
from sendopt.stats.logistic import clip, expit, fit_logistic, logit
from sendopt.stats.losses import log_loss

Evaluation = dict[str, Any]
SLOT_PRIOR_SENDS = 20.0
BINS = 10
INFLUENCE_ROWS = 2000  # test rows, about, that say what the model looks at
FEW_SENDS = 3  # mature sends up to which a user is new
BORROW_FROM = 20  # sends of the past that a shuffled row may take its hour from
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
    """The evaluation of `model` on the test days of `rows`, JSON-ready, with an empty gate and no placebo.

    `shuffled` is the model trained on `shuffled_slots(rows)`, where there is one. Gains are baseline loss minus model
    loss, positive where the model is better, with 95 % intervals from resampling users. `rules`: baselines of a label
    that the users' records in `rows` do not count; those shrunk from the records are left out then.
    """
    everything, suspected = rows, np.zeros(len(rows), bool)
    if "suspected" in rows:
        suspected = rows["suspected"].to_numpy(bool)
        rows = rows[~suspected].reset_index(drop=True)
    parts = split(rows)
    if parts is None:
        return _nothing_to_test(model, label)
    label_all = rows["label"].to_numpy(np.float64)
    test, y = rows[parts.test], label_all[parts.test]
    p = {"model": model.predict(test), **baselines(rows, parts)}
    shrinkage = shrinkage_of(rows[parts.train], edges) if rules is None else None
    if shrinkage is not None:
        p["shrunk"] = ShrunkBaseline(shrinkage).predict(test)
    p |= {name: other.predict(test) for name, other in (rules or {}).items()}
    if shuffled is not None:
        p["model_shuffled_slots"] = shuffled.predict(shuffled_slots(rows, settings.seed)[parts.test])
    losses = {name: log_loss(y, q) for name, q in p.items()}
    others = [name for name in p if name != "model"]
    saved = np.column_stack([losses[name] - losses["model"] for name in others])
    gains = _cluster_intervals(saved, test["user_id"].to_numpy(), settings)
    return {
        "model_version": None,
        "kind": model.kind,
        "label": label,
        "split": describe(rows, parts),
        "log_loss": {"model_shuffled_slots": None, **{name: _number(loss.mean()) for name, loss in losses.items()}},
        "gains": [{"baseline": name, **gain} for name, gain in zip(others, gains, strict=True)],
        "calibration": _calibration(y, p["model"]),
        "calibration_groups": ratios(test, y, p["model"]),
        "observed_over_expected": _number(y.sum() / p["model"].sum()),
        "slot_lift": _slot_lift(test["local_hour"].to_numpy(), y, p["model"]),
        "machine_opens": _with_suspected(everything, suspected, model, min(day_text(rows)[parts.test])),
        "cold_start": shrinkage and _cold_start(test, y, p["model"], shrinkage, settings),
        "importance": _importance(model, test),
        "placebo": None,
        "gate": {"promoted": False, "reasons": []},
    }


def shown_rows(rows: Rows, settings: Training) -> pd.DataFrame:
    """The rows to evaluate on: all, or those of as many users, by hash, as `max_evaluation_rows` lets in memory."""
    if len(rows) <= settings.max_evaluation_rows:
        return rows.frame()
    return rows.frame(rows.unit_hash("user_id", "evaluation") < settings.max_evaluation_rows / len(rows))


def baselines(rows: pd.DataFrame, parts: Parts) -> dict[str, Floats]:
    """p of each simple rule on the test rows, fitted on the days before them (¶17 i to iii).

    The user's rate is that of the features: shrunk, and as of each decision, as the model sees it.
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


def _with_suspected(rows: pd.DataFrame, suspected: NDArray[np.bool_], model: Model, first_day: str) -> dict[str, Any]:
    """What the model's numbers would be if the opens taken for machines' were people's."""
    later = day_text(rows) >= first_day
    y, p = rows["label"].to_numpy(np.float64)[later], model.predict(rows[later])
    return {
        "suspected": int(suspected[later].sum()),
        "share_of_sends": _number(suspected[later].mean()),
        "log_loss": _number(log_loss(y, p).mean()),
        "observed_over_expected": _number(y.sum() / p.sum()),
    }


def shrinkage_of(rows: pd.DataFrame, edges: tuple[float, ...]) -> Shrinkage:
    """The shrinkage of the users' records as they stood at the last of these rows of each."""
    order = np.lexsort((rows["send_key"].to_numpy(str), rows["sent_at_utc"].to_numpy()))
    return fit_shrinkage(rows.iloc[order].drop_duplicates("user_id", keep="last"), edges)


def _cold_start(
    test: pd.DataFrame, y: Floats, p: Floats, shrinkage: Shrinkage, settings: Training
) -> dict[str, Any] | None:
    """The model beside the cohort's curve where a user has at most three mature sends, and the weights of shrinkage."""
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
    """The rows with TIMING borrowed from a random one of the same user's 20 sends on earlier days.

    A plain permutation would move later features, which hold the row's own outcome, into the past (¶16); sends before
    have seen nothing of it. A user's first day has nothing to borrow: its timing is missing.
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
    """Success by local hour, sent beside not sent, or None where no available decision point was left unsent (¶17).

    `points`: counts by user_id, local_hour and sent (columns n, successes). The difference's interval resamples users.
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
    """Mean of each column with its percentile interval from resampling users; `saved` of shape (N, K)."""
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
    """Sums over users drawn with replacement, shape (bootstrap_samples, K)."""
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
    some = test.iloc[:: max(1, len(test) // INFLUENCE_ROWS)]
    return [{"feature": name, "share": share} for name, share in model.influence(some).items()]


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
    """A JSON number; null where it is not finite."""
    return float(value) if math.isfinite(value) else None
