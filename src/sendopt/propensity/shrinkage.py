"""How far a user's own record is believed: user → segment → everyone, by empirical Bayes (model ¶17).

A user's rate is drawn around the segment's, a segment's around everyone's, both as beta laws. κ, the sends that the
prior is worth, follows from how much rates differ beyond chance: nobody sets it. A user of n sends is believed with
weight n / (n + κ); one without any has the segment's rate, and nobody is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from sendopt.propensity.model import require_columns
from sendopt.stats.arrays import Floats
from sendopt.stats.logistic import clip, expit, logit

MOST, LEAST = 1e6, 0.1  # of κ: no difference between users beyond chance, nothing but differences
USED = ("mature_90d", "successes_90d", "sessions_30d")


@dataclass(frozen=True)
class Shrinkage:
    """Rates of everyone and of each segment, and what they are worth in sends."""

    edges: tuple[float, ...]  # sessions in 30 days, where segments begin
    overall: float
    segments: tuple[float, ...]  # from few sessions to many, shrunk to `overall`
    kappa: float  # sends that a segment's rate is worth beside a user's own
    kappa_segment: float  # sends that `overall` is worth beside a segment's

    def weight(self, mature: Floats) -> Floats:
        """n / (n + κ): how far a user's own record is believed, in [0, 1), shape (N,)."""
        return np.asarray(mature / (mature + self.kappa), dtype=np.float64)

    def rate(self, frame: pd.DataFrame) -> Floats:
        """The user's shrunk rate of each row, inside (0, 1), shape (N,); needs the columns of `USED`."""
        require_columns(frame, USED)
        mature, successes, sessions = (frame[name].to_numpy(np.float64) for name in USED)
        prior = self.cohort_rate(sessions)
        return np.asarray((successes + self.kappa * prior) / (mature + self.kappa), dtype=np.float64)

    def cohort_rate(self, sessions: Floats) -> Floats:
        """The rate of each row's segment, shape (N,)."""
        return np.asarray(self.segments)[segment_of(sessions, self.edges)]


@dataclass(frozen=True)
class ShrunkBaseline:
    """The user's shrunk rate, moved by the hour's on the logit scale: what a night has where no model is trusted.

    With `cohort_only` the user's own record is not looked at: the cohort's curve.
    """

    shrinkage: Shrinkage
    cohort_only: bool = False
    kind: str = field(default="baseline", init=False)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """p_open of each row, float64 in [1e-6, 1 - 1e-6], shape (N,); needs `USED` and hour_rate."""
        require_columns(frame, ("hour_rate", *USED))
        shrinkage = self.shrinkage
        rate = (
            shrinkage.cohort_rate(frame["sessions_30d"].to_numpy(np.float64))
            if self.cohort_only
            else shrinkage.rate(frame)
        )
        hour = logit(frame["hour_rate"].to_numpy(np.float64)) - logit(np.float64(shrinkage.overall))
        return clip(expit(logit(rate) + hour))


def fit(users: pd.DataFrame, edges: tuple[float, ...]) -> Shrinkage:
    """The shrinkage of users' records: mature_90d, successes_90d, sessions_30d and optionally `users`, how many of it.

    κ by moments of the beta-binomial law (Kleinman 1973), about each segment's own rate; without any record every rate
    is one half.
    """
    n, x, sessions = (users[name].to_numpy(np.float64) for name in USED)
    times = users["users"].to_numpy(np.float64) if "users" in users else np.ones(len(n))
    segment = segment_of(sessions, edges)
    count = len(edges) + 1
    sends = np.bincount(segment, times * n, minlength=count).astype(np.float64)
    wins = np.bincount(segment, times * x, minlength=count).astype(np.float64)
    overall = float((wins.sum() + 1) / (sends.sum() + 2))
    kappa_segment = kappa_by_moments(wins, sends, np.ones(count), np.zeros(count, np.int64))
    rates = (wins + kappa_segment * overall) / (sends + kappa_segment)
    kappa = kappa_by_moments(x, n, times, segment)
    return Shrinkage(tuple(edges), overall, tuple(float(r) for r in rates), kappa, kappa_segment)


def kappa_by_moments(x: Floats, n: Floats, times: Floats, group: NDArray[np.int64]) -> float:
    """κ of units with x of n successes, `times` of each, around a mean of their group's own; in [0.1, 1e6].

    E x(x − 1) = n(n − 1) E p², so both moments of p come without bias from units of two sends or more; var p =
    m (1 − m) / (κ + 1). Units weigh by n.
    """
    two = n >= 2
    x, n, times, group = x[two], n[two], times[two], group[two]
    if not len(n):
        return MOST
    size = np.bincount(group, times * n)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(group, times * x) / size
        square = np.bincount(group, times * x * (x - 1) / (n - 1)) / size
    seen = size > 0
    within = float((size[seen] * mean[seen] * (1 - mean[seen])).sum())
    between = float((size[seen] * (square[seen] - mean[seen] ** 2)).sum())
    return MOST if between <= 0 else float(np.clip(within / between - 1, LEAST, MOST))


def kappa_by_likelihood(label: Floats, x: Floats, n: Floats, prior: Floats) -> float:
    """κ that makes each outcome likeliest given the x of n before it: where every send follows its user's record, the
    product of these chances is the beta-binomial's marginal likelihood. All shapes (N,)."""

    def loss(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        p = clip((x + kappa * prior) / (n + kappa))
        return float(-(label * np.log(p) + (1 - label) * np.log1p(-p)).mean())

    optimum = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(optimum.x))


def segment_of(sessions: Floats, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """The segment, from 0, of users with so many sessions in 30 days (missing: none); shape (N,)."""
    return np.digitize(np.nan_to_num(sessions), edges).astype(np.int64)
