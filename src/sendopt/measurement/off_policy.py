"""What a policy would have earned, from sends whose slot was drawn with a known probability (model ¶18).

Every estimator is a ratio of sums over users, so one set of resampled sums serves all of them, and a difference of two
policies is paired: both see the same users in each resample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sendopt.stats.arrays import Floats, Ints
from sendopt.stats.bootstrap import resampled
from sendopt.stats.intervals import PERCENTILES_95

MIN_EFFECTIVE = 30.0  # effective matched sends below which nothing is claimed
MIN_PEOPLE = 5.0  # effective people below which a resample of people says nothing


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval over users; all None where `refusal` says why there is none."""

    value: float | None
    low: float | None
    high: float | None
    effective: float
    refusal: str | None = None


@dataclass(frozen=True)
class Basis:
    """What a value rests on: effective sends, effective people, and how often the rarer of the two outcomes was seen.

    Both effective numbers are Kish's (Σw)² / Σw², of sends and of people's sums of weights.
    """

    sends: float
    people: float = np.inf
    rarer: float = np.inf

    def beside(self, other: Basis) -> Basis:
        """The basis of a difference of two values: it varies as long as either outcome does."""
        return Basis(min(self.sends, other.sends), min(self.people, other.people), max(self.rarer, other.rarer))

    @property
    def refusal(self) -> str | None:
        """Why no value can be given; None where one can."""
        if self.sends < MIN_EFFECTIVE:
            return f"refused: no overlap (effective sends {self.sends:.0f} < 30)"
        if self.people < MIN_PEOPLE:
            return f"refused: too few people (effective people {self.people:.1f} < {MIN_PEOPLE:.0f})"
        if self.rarer < 1:
            return "refused: constant outcome (all sends that count are successes, or all are failures)"
        return None


@dataclass(frozen=True)
class Weighted:
    """A policy seen through the log; arrays of shape (N,).

    `weight`: the policy's probability of the logged action over `pscore`, 0 where the action was not taken. `base`: how
    often the policy would act at this row: 1 where the row's slot was drawn, the policy's probability of the row's
    slot where sending was drawn. `modelled`: the outcome model's mean for the policy at this row; `residual`: success
    minus the outcome model's value of the logged action.
    """

    weight: Floats
    base: Floats
    modelled: Floats
    residual: Floats

    def columns(self, success: Floats) -> Floats:
        """The sums that the estimators are ratios of, before summing; shape (5, N)."""
        w = self.weight
        return np.stack([w * success, w, self.base, self.base * self.modelled, w * self.residual])

    @property
    def effective(self) -> float:
        """Kish's effective sample size (Σw)² / Σw²: equally weighted sends that would give the same variance."""
        return _kish(self.weight)

    def basis(self, success: Floats, user: Ints) -> Basis:
        """What the policy's value rests on; `success` and `user` of shape (N,)."""
        counts = self.weight > 0
        successes = float(success[counts].sum())
        of_people = np.bincount(np.unique(user, return_inverse=True)[1], self.weight) if len(user) else np.zeros(0)
        return Basis(self.effective, _kish(of_people), min(successes, float(counts.sum()) - successes))


def ips(sums: Floats) -> Floats:
    """Inverse-propensity value of `Weighted.columns` summed, shape (5, …) to (…).

    Unbiased, but its weights need not sum to one. Source: Horvitz and Thompson 1952.
    """
    return _ratio(sums[0], sums[2])


def snips(sums: Floats) -> Floats:
    """Self-normalised value of `Weighted.columns` summed, shape (5, …) to (…): stays within the outcomes' range.

    Source: Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning".
    """
    return _ratio(sums[0], sums[1])


def doubly_robust(sums: Floats) -> Floats:
    """The outcome model's value plus the weighted mean of its residuals, shape (5, …) to (…).

    Right where the propensities or the outcome model are. Source: Robins, Rotnitzky and Zhao 1994; Dudík, Langford and
    Li 2011; the self-normalised form is that of Thomas and Brunskill 2016.
    """
    return _ratio(sums[3], sums[2]) + _ratio(sums[4], sums[1])


ESTIMATORS: dict[str, Callable[[Floats], Floats]] = {"ips": ips, "snips": snips, "dr": doubly_robust}


def interval(values: Floats, on: Basis | float) -> Estimate:
    """The estimate whose value is the first of `values`, with the percentile interval of the others.

    Refuses where `on`, what the value rests on or its effective number of sends, is too little: under 30 effective
    sends, under 5 effective people, or an outcome that never changes, whose interval would have no width.
    """
    basis = on if isinstance(on, Basis) else Basis(on)
    if basis.refusal:
        return Estimate(None, None, None, basis.sends, basis.refusal)
    low, high = np.nanpercentile(values[1:], PERCENTILES_95)
    return Estimate(float(values[0]), float(low), float(high), basis.sends)


def matched(success: Floats, agrees: npt.NDArray[np.bool_], pscore: Floats, user: Ints, seed: int = 0) -> Estimate:
    """SNIPS value of the policy that always takes the slot of its own and `agrees` with the drawn one; arrays (N,).

    success in {0, 1}; pscore in (0, 1], the probability that the logged slot had; user numbers the clusters. Refuses
    where the drawn slots hardly ever agree with the policy. Where the outcome never changes, no resample of people can
    vary, and the interval is the exact binomial one of the effective sends (Clopper and Pearson 1934).
    """
    nothing = np.zeros(len(success))
    seen = Weighted(np.where(agrees, 1.0 / pscore, 0.0), np.ones(len(success)), nothing, nothing)
    basis = seen.basis(success, user)
    if replace(basis, rarer=1).refusal:
        return interval(nothing, replace(basis, rarer=1))
    if basis.rarer < 1:
        return _constant(float(success[agrees].max()), basis)
    return interval(snips(resampled(seen.columns(success), user, seed)), basis)


def difference(success: Floats, treated: npt.NDArray[np.bool_], user: Ints, seed: int = 0) -> Estimate:
    """Success rate of treated minus untreated sends; arrays of shape (N,); interval by bootstrap over users."""
    fewest = float(min(treated.sum(), (~treated).sum()))
    if fewest < MIN_EFFECTIVE:
        return Estimate(None, None, None, fewest, f"refused: too few sends in an arm ({fewest:.0f} < 30)")
    successes = float(success.sum())
    basis = Basis(fewest, rarer=min(successes, len(success) - successes))
    sums = resampled(np.stack([success * treated, treated, success * ~treated, ~treated]).astype(float), user, seed)
    return interval(_ratio(sums[0], sums[1]) - _ratio(sums[2], sums[3]), basis)


def _constant(value: float, basis: Basis) -> Estimate:
    reach = 0.025 ** (1.0 / min(basis.sends, basis.people))
    low, high = (0.0, 1.0 - reach) if value == 0.0 else (reach, 1.0)
    return Estimate(value, low, high, basis.sends)


def _kish(weights: Floats | Ints) -> float:
    weight = np.asarray(weights, dtype=np.float64)
    squares = float((weight**2).sum())
    return float(weight.sum() ** 2 / squares) if squares > 0 else 0.0


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below, dtype=np.float64)
