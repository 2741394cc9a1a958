"""What a policy would have earned, from sends whose slot was drawn with a known probability (model ¶18)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MIN_EFFECTIVE = 30.0  # effective matched sends below which nothing is claimed
RESAMPLES = 1000
_Z = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over users; all None where `refusal` says why there is none."""

    value: float | None
    low: float | None
    high: float | None
    effective: float
    refusal: str | None = None


def snips(
    success: npt.NDArray[np.float64],
    agrees: npt.NDArray[np.bool_],
    pscore: npt.NDArray[np.float64],
    user: npt.NDArray[np.int64],
    seed: int = 0,
) -> Estimate:
    """Self-normalised inverse-propensity value of the policy that `agrees` with the drawn slot; arrays of shape (N,).

    success in {0, 1}; pscore in (0, 1], the probability that logged slot had; user numbers the clusters. The
    interval is a percentile bootstrap over users. Refuses where the drawn slots hardly ever agree with the policy.
    Source: Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning".
    """
    weight = np.where(agrees, 1.0 / pscore, 0.0)
    total = weight.sum()
    effective = float(total**2 / (weight**2).sum()) if total > 0 else 0.0
    if effective < MIN_EFFECTIVE:
        return Estimate(None, None, None, effective, f"refused: no overlap (effective sends {effective:.0f} < 30)")
    low, high = _interval(np.stack([weight * success, weight]), user, lambda s: s[0] / s[1], seed)
    return Estimate(float((weight * success).sum() / total), low, high, effective)


def difference(
    success: npt.NDArray[np.float64], treated: npt.NDArray[np.bool_], user: npt.NDArray[np.int64], seed: int = 0
) -> Estimate:
    """Success rate of treated minus untreated sends; arrays of shape (N,); interval by bootstrap over users."""
    counts = np.array([treated.sum(), (~treated).sum()], float)
    if counts.min() < MIN_EFFECTIVE:
        return Estimate(
            None, None, None, float(counts.min()), f"refused: too few sends in an arm ({counts.min():.0f} < 30)"
        )
    columns = np.stack([success * treated, treated, success * ~treated, ~treated]).astype(float)
    low, high = _interval(columns, user, lambda s: s[0] / s[1] - s[2] / s[3], seed)
    return Estimate(float(success[treated].mean() - success[~treated].mean()), low, high, float(counts.min()))


def _interval(
    columns: Floats, user: npt.NDArray[np.int64], statistic: Callable[[Floats], float], seed: int
) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of `statistic` of the columns' sums, over resampled users."""
    users, index = np.unique(user, return_inverse=True)
    sums = np.stack([np.bincount(index, column, minlength=len(users)) for column in columns])
    rng = np.random.default_rng(seed)
    draws = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        times = np.bincount(rng.integers(0, len(users), len(users)), minlength=len(users))
        with np.errstate(invalid="ignore", divide="ignore"):
            draws[i] = statistic(sums @ times.astype(float))
    low, high = np.nanpercentile(draws, _Z)
    return float(low), float(high)
