"""Observed over expected successes, overall and by slot, decile and channel, with intervals (model ¶5).

Sends of one person are not independent, so users, not sends, are the draws of every interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.stats.arrays import Floats
from sendopt.stats.intervals import NORMAL_95

DECILES = 10
LOW, HIGH = 0.95, 1.05  # range of the ratio of a calibrated group
FEW = 5  # successes below which the error is at least that of a Poisson count


def ratios(test: pd.DataFrame, y: Floats, p: Floats) -> list[dict[str, Any]]:
    """Return observed over expected of every group, JSON-ready, overall first.

    `test` has user_id, local_hour and channel; y is 0/1 and p its expectation, shape (N,). Keys: by (overall, slot:
    the local hour, decile: of p, channel), name, n, observed, expected (both sums), ratio, low, high (95 %), calibrated
    (whether the interval overlaps 0.95 to 1.05). Groups whose expected sum is 0 are left out.
    """
    users = pd.factorize(test["user_id"], sort=True)[0].astype(np.int64)
    groups = []
    for by, name, members in _groups(test, p):
        observed, expected = float(y[members].sum()), float(p[members].sum())
        if expected > 0:
            ratio, low, high = ratio_interval(y[members], p[members], users[members])
            groups.append(
                {
                    "by": by,
                    "name": name,
                    "n": int(members.sum()),
                    "observed": observed,
                    "expected": expected,
                    "ratio": ratio,
                    "low": low,
                    "high": high,
                    "calibrated": bool(low <= HIGH and high >= LOW),
                }
            )
    return groups


def ratio_interval(y: Floats, p: Floats, users: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return (ratio of sums, low, high): 95 % by linearisation with users as clusters (Cochran 1977, 6.3); shapes (N,).

    Each user's residual Σ (y − ratio · p) is one draw. With fewer than five successes, or a single user, the error is
    at least that of a Poisson count.

    >>> y, p, users = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.6, 0.4, 0.7, 0.3]), np.arange(4)
    >>> [round(float(end), 2) for end in ratio_interval(y, p, users)]
    [1.0, 0.0, 2.39]
    """
    expected = float(p.sum())
    ratio = float(y.sum()) / expected
    _, codes = np.unique(users, return_inverse=True)
    residual = np.bincount(codes, y - ratio * p)
    count = len(residual)
    error = float(np.sqrt(count / max(1, count - 1) * (residual**2).sum())) / expected
    if count < 2 or y.sum() < FEW:  # so few residuals give too small an error
        error = max(error, float(np.sqrt(max(1.0, y.sum()))) / expected)
    return ratio, max(0.0, ratio - NORMAL_95 * error), ratio + NORMAL_95 * error


def _groups(test: pd.DataFrame, p: Floats) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    yield "overall", "all", np.ones(len(p), bool)
    hour = test["local_hour"].to_numpy(np.int64)
    for h in np.unique(hour):
        yield "slot", f"{h:02d}:00", hour == h
    decile = np.empty(len(p), np.int64)
    for number, rows in enumerate(np.array_split(np.argsort(p, kind="stable"), min(DECILES, len(p))), start=1):
        decile[rows] = number
    for number in np.unique(decile):
        yield "decile", str(number), decile == number
    channel = test["channel"].astype(str).to_numpy()
    for name in sorted(set(channel)):
        yield "channel", name, channel == name
