"""What sending itself brings: p(success | sent) − p(success | not sent), from a log with a not-sent arm (model ¶6).

Two learners compete on rows that neither has seen: T, trees for each arm apart, and S, one forest that sees the arm
as a feature. The one whose ranking gains more by Qini is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.config.schema import Training
from sendopt.errors import ModelError
from sendopt.propensity.model import FEATURES, OpenModel, Parts, fold_of, obstacles, split, train, train_arms
from sendopt.stats.arrays import Floats
from sendopt.stats.bootstrap import times_drawn
from sendopt.stats.intervals import PERCENTILES_95

Learner = Literal["s", "t"]
SENT = "sent"
GRID = 50  # points of a Qini curve


@dataclass(frozen=True)
class UpliftModel:
    """A model for each arm; learner S has the same trees for both, told apart by the feature `sent` and by level."""

    learner: Learner
    sent: OpenModel
    not_sent: OpenModel

    def predict(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """(p(success | sent), p(success | not sent)) of each row, float64 in [1e-6, 1 - 1e-6], shape (N,) each."""
        return self.sent.predict(frame.assign(sent=1.0)), self.not_sent.predict(frame.assign(sent=0.0))

    def incremental(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  a constant share needs it
        """What sending adds to the chance of a success, in [-1, 1], shape (N,)."""
        sent, not_sent = self.predict(frame)
        return sent - not_sent


@dataclass(frozen=True)
class ConstantShare:
    """The fallback where no learner may be trusted: sending brings the same share of every success."""

    share: float  # 1 − (rate where not sent) / (rate where sent), at most 1

    def incremental(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  as the learners'
        """What sending adds to the chance of a success, shape (N,)."""
        return np.asarray(p_open * self.share, dtype=np.float64)


class Gain(Protocol):
    """What gives the incremental value (¶6)."""

    def incremental(self, frame: pd.DataFrame, p_open: Floats) -> Floats: ...


@dataclass(frozen=True)
class Qini:
    """The area between a ranking's curve of gains and that of a random order, in successes a decision point."""

    coefficient: float
    low: float  # 95 %, from resampling users
    high: float
    effect: float  # sending everyone rather than no one, in successes a decision point
    effect_low: float
    effect_high: float
    curve: tuple[tuple[float, float], ...]  # (share of points sent, gain)


def uplift_obstacles(rows: pd.DataFrame, folds: int) -> list[str]:
    """Sentences that say why these decision points cannot tell what sending brings; empty where they can."""
    reasons = []
    for arm, name in ((True, "sent"), (False, "not sent")):
        reasons += [f"Decision points {name}: {reason}" for reason in obstacles(rows[rows[SENT] == arm], folds)]
    return reasons


def train_uplift(rows: pd.DataFrame, settings: Training, label: str) -> tuple[UpliftModel, dict[str, Any]]:
    """The better learner, and how both did, JSON-ready: qini of each on unseen users, of the chosen on later days.

    `rows`: decision points with FEATURES, label 0/1, sent (bool), pscore (the probability of sending, inside (0, 1)),
    plan_date, user_id, send_key. The test days are seen by no learner. Raises ModelError where `uplift_obstacles` finds
    any, or a probability leaves no chance to one arm.
    """
    if reasons := uplift_obstacles(rows, settings.folds):
        raise ModelError(" ".join(reasons))
    chance = rows["pscore"].to_numpy(np.float64)
    if not ((chance > 0) & (chance < 1)).all():
        raise ModelError(
            "a decision point was sent, or held back, with certainty: its pscore is not inside (0, 1), so nothing can "
            "be compared; log the probability of sending with decision_kind send"
        )
    parts = split(rows)
    assert parts is not None
    learned, test = rows[parts.train], rows[parts.test]
    fold = fold_of(learned, settings.folds, "uplift")  # not the folds in which `train` calibrates
    ranked: dict[Learner, Floats] = {}
    for learner in _LEARNERS:
        ranked[learner] = np.empty(len(learned))
        for k in range(settings.folds):
            out = fold == k
            sent, not_sent = fit_learner(learner, learned[~out], settings, label).predict(learned[out])
            ranked[learner][out] = sent - not_sent
    unseen = {learner: qini(learned, score, settings) for learner, score in ranked.items()}
    best = max(_LEARNERS, key=lambda learner: unseen[learner].coefficient)
    model = fit_learner(best, learned, settings, label)
    sent, not_sent = model.predict(test)
    return model, {
        "learner": best,
        "validation": {learner: as_json(ranking) for learner, ranking in unseen.items()},
        "test": as_json(qini(test, sent - not_sent, settings)),
        "share_negative": float((sent < not_sent).mean()),
        "points": {"sent": int(rows[SENT].sum()), "not_sent": int((~rows[SENT].astype(bool)).sum())},
    }


_LEARNERS: tuple[Learner, ...] = ("s", "t")  # in a tie the first: it claims less


def fit_learner(learner: Learner, rows: pd.DataFrame, settings: Training, label: str) -> UpliftModel:
    """A learner of all these rows; none is held back, for the caller has its own to test on."""

    def all_of(points: pd.DataFrame) -> Parts:
        every = np.ones(len(points), bool)
        return Parts(every, ~every)

    if learner == "s":
        with_arm = rows.assign(sent=rows[SENT].astype(np.float64))
        return UpliftModel("s", *train_arms(with_arm, settings, label, (*FEATURES, SENT), SENT, all_of(with_arm)))
    arms = (rows[rows[SENT] == arm] for arm in (True, False))
    return UpliftModel("t", *(train(points, settings, label, FEATURES, all_of(points)) for points in arms))


def qini(points: pd.DataFrame, uplift: Floats, settings: Training) -> Qini:
    """Qini's coefficient of sending in falling order of `uplift`, shape (N,), with intervals over users.

    Each point counts y/e where sent and −y/(1 − e) where not, e its probability of being sent, so that its mean is
    the effect (Horvitz and Thompson 1952) whatever e; the curve is their running sum (Radcliffe 2007). Ties are sent
    together.
    """
    chance, sent = points["pscore"].to_numpy(np.float64), points[SENT].to_numpy(bool)
    y = points["label"].to_numpy(np.float64)
    worth = np.where(sent, y / chance, -y / (1 - chance))
    users = pd.factorize(points["user_id"], sort=True)[0]
    order = np.argsort(-uplift, kind="stable")
    levels = np.unique(-uplift, return_inverse=True)[1]
    curve = _curve(worth, levels, np.ones(len(points)))
    drawn = np.empty((settings.bootstrap_samples, 2))
    for i, times in enumerate(times_drawn(int(users.max()) + 1, settings.seed, settings.bootstrap_samples)):
        weight = times[users].astype(np.float64)
        drawn[i] = _area(_curve(worth, levels, weight)), (weight @ worth) / weight.sum()
    low, high = np.percentile(drawn, PERCENTILES_95, axis=0)
    shown = np.linspace(0, len(curve[0]) - 1, min(GRID, len(order)) + 1).astype(np.int64)
    return Qini(
        _area(curve),
        float(low[0]),
        float(high[0]),
        float(worth.mean()),
        float(low[1]),
        float(high[1]),
        tuple((float(curve[0][i]), float(curve[1][i])) for i in shown),
    )


def _curve(worth: Floats, levels: NDArray[np.int64], weight: Floats) -> tuple[Floats, Floats]:
    """(share sent, gain) after each level of uplift, from (0, 0)."""
    total = weight.sum()
    share = np.cumsum(np.bincount(levels, weight)) / total
    gain = np.cumsum(np.bincount(levels, weight * worth)) / total
    return np.r_[0.0, share], np.r_[0.0, gain]


def _area(curve: tuple[Floats, Floats]) -> float:
    share, gain = curve
    return float(np.trapezoid(gain, share) - gain[-1] / 2)


def as_json(ranking: Qini) -> dict[str, Any]:
    """The fields by name, the curve as lists."""
    return {**vars(ranking), "curve": [list(point) for point in ranking.curve]}
