"""The incremental value of a send, p(success | sent) − p(success | not sent), from a log with unsent points (model ¶6).

Two learners are compared on rows that neither has seen: T has separate trees for each arm, S has one forest with the
arm as a feature. The learner with the greater Qini coefficient is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.config.schema import Training
from sendopt.errors import ModelError
from sendopt.propensity.model import FEATURES, OpenModel, Parts, fold_of, obstacles, split, train, train_arms
from sendopt.stats.arrays import Floats
from sendopt.stats.bootstrap import times_drawn
from sendopt.stats.intervals import PERCENTILES_95

SENT = "sent"
GRID = 50  # intervals of a stored Qini curve, at most


class Learner(StrEnum):
    """The learners of the incremental value. In a tie the first is used, since its trees separate the arms less."""

    S = "s"
    T = "t"


@dataclass(frozen=True)
class UpliftModel:
    """A model for each arm; learner S has the same trees for both, and separates the arms by `sent` and intercept."""

    learner: Learner
    sent: OpenModel
    not_sent: OpenModel

    def predict(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Return (p(success | sent), p(success | not sent)) of each row, float64 in [1e-6, 1 - 1e-6], shape (N,)."""
        return self.sent.predict(frame.assign(sent=1.0)), self.not_sent.predict(frame.assign(sent=0.0))

    def incremental(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  a constant share needs it
        """Return what sending adds to the chance of a success, in [-1, 1], shape (N,)."""
        sent, not_sent = self.predict(frame)
        return sent - not_sent


@dataclass(frozen=True)
class ConstantShare:
    """The fallback where no learner is deployed: sending brings the same share of every success."""

    share: float  # 1 − (success rate where not sent) / (success rate where sent), at most 1

    def incremental(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  a learner needs it
        """Return what sending adds to the chance of a success, shape (N,).

        >>> ConstantShare(0.25).incremental(pd.DataFrame(), np.array([0.2, 0.4])).tolist()
        [0.05, 0.1]
        """
        return np.asarray(p_open * self.share, dtype=np.float64)


class Gain(Protocol):
    """A model or rule of the incremental value (¶6)."""

    def incremental(self, frame: pd.DataFrame, p_open: Floats) -> Floats:
        """Return what sending adds to the chance of a success of each row, shape (N,)."""
        ...


@dataclass(frozen=True)
class Qini:
    """Qini of a ranking, with 95 % intervals from resampled users; in successes per decision point."""

    coefficient: float  # area between the ranking's curve of gains and that of a random order
    low: float
    high: float
    effect: float  # of sending everyone rather than no one
    effect_low: float
    effect_high: float
    curve: tuple[tuple[float, float], ...]  # (share of points sent, gain)


def uplift_obstacles(rows: pd.DataFrame, folds: int) -> list[str]:
    """Return sentences that say why these decision points cannot train a learner; an empty list where they can."""
    reasons = []
    for arm, name in ((True, "sent"), (False, "not sent")):
        reasons += [f"Decision points {name}: {reason}" for reason in obstacles(rows[rows[SENT] == arm], folds)]
    return reasons


def train_uplift(rows: pd.DataFrame, settings: Training, label: str) -> tuple[UpliftModel, dict[str, Any]]:
    """Return the better learner and the evaluation of both, JSON-ready.

    The evaluation has Qini of each learner on unseen users, and of the better one on the test days, which neither sees.
    `rows` are decision points with FEATURES, label (0 or 1), sent (bool), pscore (probability of sending, inside
    (0, 1)), plan_date, user_id and send_key. Raises ModelError where `uplift_obstacles` returns any, or a pscore is 0
    or 1.
    """
    if reasons := uplift_obstacles(rows, settings.folds):
        raise ModelError(" ".join(reasons))
    pscore = rows["pscore"].to_numpy(np.float64)
    if not ((pscore > 0) & (pscore < 1)).all():
        raise ModelError(
            "a decision point was sent, or held back, with certainty: its pscore is not inside (0, 1), so nothing can "
            "be compared; log the probability of sending with decision_kind send"
        )
    parts = split(rows)
    assert parts is not None
    learned, test = rows[parts.train], rows[parts.test]
    fold = fold_of(learned, settings.folds, "uplift")  # not the folds in which `train` calibrates
    unseen: dict[Learner, Qini] = {}
    for learner in Learner:
        uplift = np.empty(len(learned))
        for k in range(settings.folds):
            held_out = fold == k
            sent, not_sent = fit_learner(learner, learned[~held_out], settings, label).predict(learned[held_out])
            uplift[held_out] = sent - not_sent
        unseen[learner] = qini(learned, uplift, settings)
    best = max(Learner, key=lambda learner: unseen[learner].coefficient)
    model = fit_learner(best, learned, settings, label)
    sent, not_sent = model.predict(test)
    return model, {
        "learner": best.value,
        "validation": {learner.value: as_json(ranking) for learner, ranking in unseen.items()},
        "test": as_json(qini(test, sent - not_sent, settings)),
        "share_negative": float((sent < not_sent).mean()),
        "points": {"sent": int(rows[SENT].sum()), "not_sent": int((~rows[SENT].astype(bool)).sum())},
    }


def fit_learner(learner: Learner, rows: pd.DataFrame, settings: Training, label: str) -> UpliftModel:
    """Return the learner trained on all rows. None is held out: the caller tests on rows of its own."""

    def all_of(points: pd.DataFrame) -> Parts:
        every = np.ones(len(points), bool)
        return Parts(every, ~every)

    if learner is Learner.S:
        with_arm = rows.assign(sent=rows[SENT].astype(np.float64))
        return UpliftModel(learner, *train_arms(with_arm, settings, label, (*FEATURES, SENT), SENT, all_of(with_arm)))
    arms = (rows[rows[SENT] == arm] for arm in (True, False))
    return UpliftModel(learner, *(train(points, settings, label, FEATURES, all_of(points)) for points in arms))


def qini(points: pd.DataFrame, uplift: Floats, settings: Training) -> Qini:
    """Return Qini of sending in falling order of `uplift`, shape (N,), with intervals over users.

    A point counts y/e where it was sent and −y/(1 − e) where not, with e its probability of being sent. The mean of
    these values estimates the effect for any e (Horvitz and Thompson 1952); the curve is their running sum (Radcliffe
    2007). Points with equal uplift are sent together.
    """
    pscore, sent = points["pscore"].to_numpy(np.float64), points[SENT].to_numpy(bool)
    label = points["label"].to_numpy(np.float64)
    value = np.where(sent, label / pscore, -label / (1 - pscore))
    users = pd.factorize(points["user_id"], sort=True)[0]
    levels = np.unique(-uplift, return_inverse=True)[1]
    curve = _curve(value, levels, np.ones(len(points)))
    resamples = np.empty((settings.bootstrap_samples, 2))
    for i, times in enumerate(times_drawn(int(users.max()) + 1, settings.seed, settings.bootstrap_samples)):
        weight = times[users].astype(np.float64)
        resamples[i] = _area(_curve(value, levels, weight)), (weight @ value) / weight.sum()
    low, high = np.percentile(resamples, PERCENTILES_95, axis=0)
    stored = np.linspace(0, len(curve[0]) - 1, min(GRID, len(points)) + 1).astype(np.int64)
    return Qini(
        _area(curve),
        float(low[0]),
        float(high[0]),
        float(value.mean()),
        float(low[1]),
        float(high[1]),
        tuple((float(curve[0][i]), float(curve[1][i])) for i in stored),
    )


def _curve(value: Floats, levels: NDArray[np.int64], weight: Floats) -> tuple[Floats, Floats]:
    """Return (share sent, gain) after each level of uplift, beginning with (0, 0)."""
    total = weight.sum()
    share = np.cumsum(np.bincount(levels, weight)) / total
    gain = np.cumsum(np.bincount(levels, weight * value)) / total
    return np.r_[0.0, share], np.r_[0.0, gain]


def _area(curve: tuple[Floats, Floats]) -> float:
    """Return the area between the curve and the straight line to its end."""
    share, gain = curve
    return float(np.trapezoid(gain, share) - gain[-1] / 2)


def as_json(ranking: Qini) -> dict[str, Any]:
    """Return the fields by name, with the curve as lists."""
    return {**vars(ranking), "curve": [list(point) for point in ranking.curve]}
