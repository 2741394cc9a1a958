"""Shrinkage of a user's rate to the segment's and the overall one, by empirical Bayes (model ¶17).

A user's rate is drawn around the segment's, a segment's around the overall one, both from beta distributions. κ, the
weight of the prior in sends, is estimated from how much rates differ beyond chance: it is no setting. The record of a
user with n sends has weight n / (n + κ); a user without sends has the segment's rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.propensity.model import require_columns
from sendopt.stats.arrays import Floats
from sendopt.stats.beta_binomial import shrunk_rate
from sendopt.stats.logistic import clip, expit, logit

MOST, LEAST = 1e6, 0.1  # range of κ: from users that do not differ beyond chance to users that share nothing
USED = ("mature_90d", "successes_90d", "sessions_30d")


@dataclass(frozen=True)
class Shrinkage:
    """The overall rate and each segment's, and their weights in sends."""

    edges: tuple[float, ...]  # sessions in 30 days, where segments begin
    overall: float
    segments: tuple[float, ...]  # from few sessions to many, shrunk to `overall`
    kappa: float  # weight of a segment's rate beside a user's record, in sends
    kappa_segment: float  # weight of `overall` beside a segment's record, in sends

    def weight(self, mature: Floats) -> Floats:
        """Return n / (n + κ), the weight of a user's own record, in [0, 1), shape (N,).

        >>> shrinkage = Shrinkage(edges=(), overall=0.1, segments=(0.1,), kappa=20.0, kappa_segment=50.0)
        >>> shrinkage.weight(np.array([0.0, 20.0, 60.0])).tolist()
        [0.0, 0.5, 0.75]
        """
        return np.asarray(mature / (mature + self.kappa), dtype=np.float64)

    def rate(self, frame: pd.DataFrame) -> Floats:
        """Return the user's shrunk rate of each row, inside (0, 1), shape (N,); needs the columns of `USED`."""
        require_columns(frame, USED)
        mature, successes, sessions = (frame[name].to_numpy(np.float64) for name in USED)
        prior = self.cohort_rate(sessions)
        return shrunk_rate(successes, mature, prior, self.kappa)

    def cohort_rate(self, sessions: Floats) -> Floats:
        """Return the rate of each row's segment, shape (N,)."""
        return np.asarray(self.segments)[segment_of(sessions, self.edges)]


@dataclass(frozen=True)
class ShrunkBaseline:
    """The user's shrunk rate plus the hour's effect on the logit scale: the model of a night without a champion.

    With `cohort_only` the segment's rate stands for the user's: the cohort's curve.
    """

    shrinkage: Shrinkage
    cohort_only: bool = False
    kind: str = field(default="baseline", init=False)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Return p_open of each row, float64 in [1e-6, 1 - 1e-6], shape (N,); needs `USED` and hour_rate."""
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
    """Return the shrinkage of users' records: mature_90d, successes_90d, sessions_30d and, optionally, a count `users`.

    κ comes from moments of the beta-binomial distribution (Kleinman 1973) around each segment's rate. Without any
    record every rate is one half.
    """
    n, x, sessions = (users[name].to_numpy(np.float64) for name in USED)
    times = users["users"].to_numpy(np.float64) if "users" in users else np.ones(len(n))
    segment = segment_of(sessions, edges)
    count = len(edges) + 1
    sends = np.bincount(segment, times * n, minlength=count).astype(np.float64)
    wins = np.bincount(segment, times * x, minlength=count).astype(np.float64)
    overall = float((wins.sum() + 1) / (sends.sum() + 2))
    kappa_segment = kappa_by_moments(wins, sends, np.ones(count), np.zeros(count, np.int64))
    rates = shrunk_rate(wins, sends, overall, kappa_segment)
    kappa = kappa_by_moments(x, n, times, segment)
    return Shrinkage(tuple(edges), overall, tuple(float(r) for r in rates), kappa, kappa_segment)


def kappa_by_moments(x: Floats, n: Floats, times: Floats, group: NDArray[np.int64]) -> float:
    """Return κ of units with x successes in n sends, each counted `times`, around their group's mean; in [0.1, 1e6].

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


def segment_of(sessions: Floats, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the segment, from 0, of users by sessions in 30 days (a missing count is 0), shape (N,).

    >>> segment_of(np.array([0.0, 3.0, np.nan, 40.0]), (1.0, 10.0)).tolist()
    [0, 1, 0, 2]
    """
    return np.digitize(np.nan_to_num(sessions), edges).astype(np.int64)
