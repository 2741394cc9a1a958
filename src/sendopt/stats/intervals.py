"""Intervals at 95 %."""

from __future__ import annotations

import math

NORMAL_95 = 1.959963984540054  # standard deviations on either side of the mean
PERCENTILES_95 = (2.5, 97.5)
DETECTABLE = 1.959964 + 0.841621  # standard errors of a difference that a two-sided 5 % test shows with power 80 %


def wilson(rate: float, n: float) -> tuple[float, float]:
    """Return the Wilson interval of an observed rate in [0, 1] over n trials (Wilson 1927).

    >>> low, high = wilson(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    if n <= 0:
        return rate, rate
    z = NORMAL_95
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(0.0, rate * (1 - rate)) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def constant_outcome(outcome: float, n: float) -> tuple[float, float]:
    """Return the exact binomial interval of a rate of which all n trials had the same `outcome`, 0 or 1.

    Source: Clopper and Pearson 1934.

    >>> low, high = constant_outcome(0.0, 100)
    >>> low, round(high, 3)
    (0.0, 0.036)
    """
    reach = 0.025 ** (1.0 / n)
    return (0.0, 1.0 - reach) if outcome == 0.0 else (reach, 1.0)
