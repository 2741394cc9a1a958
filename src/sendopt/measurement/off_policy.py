"""Off-policy values: what a policy would have earned, from sends with a known probability of their slot (model ¶18).

Every estimator is a ratio of sums over users, so all use one set of resampled sums. A difference of two policies is
paired: both meet the same users in each resample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.bootstrap import resampled
from sendopt.stats.intervals import PERCENTILES_95, constant_outcome

MIN_EFFECTIVE = 30.0  # effective matched sends that a value needs
MIN_PEOPLE = 5.0  # effective people that an interval over people needs


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
    """What a value rests on: effective sends, effective people, and how often the rarer of the two outcomes occurred.

    Both effective numbers are Kish's (Σw)² / Σw², of sends and of people's sums of weights.
    """

    sends: float
    people: float = np.inf
    rarer: float = np.inf

    def beside(self, second: Basis) -> Basis:
        """Return the basis of a difference of two values, which varies as long as either outcome does."""
        return Basis(min(self.sends, second.sends), min(self.people, second.people), max(self.rarer, second.rarer))

    @property
    def refusal(self) -> str | None:
        """The reason why no value can be given; None where one can."""
        if self.sends < MIN_EFFECTIVE:
            return f"refused: no overlap (effective sends {self.sends:.0f} < 30)"
        if self.people < MIN_PEOPLE:
            return f"refused: too few people (effective people {self.people:.1f} < {MIN_PEOPLE:.0f})"
        if self.rarer < 1:
            return "refused: constant outcome (all sends that count are successes, or all are failures)"
        return None


@dataclass(frozen=True)
class Weighted:
    """A policy's weights and model values at the rows of the log: arrays of shape (N,).

    `weight`: the policy's probability of the logged action over `pscore`, 0 where the action was not taken.
    `base`: how often the policy would act at the row: 1 where the row's slot was drawn, the policy's probability of the
    row's slot where sending was drawn.
    `modelled`: the outcome model's mean for the policy at the row.
    `residual`: success minus the outcome model's value of the logged action.
    """

    weight: Floats
    base: Floats
    modelled: Floats
    residual: Floats

    def columns(self, success: Floats) -> Floats:
        """Return the terms of the sums that the estimators are ratios of, shape (5, N)."""
        w = self.weight
        return np.stack([w * success, w, self.base, self.base * self.modelled, w * self.residual])

    @property
    def effective(self) -> float:
        """Kish's effective sample size (Σw)² / Σw²: equally weighted sends that would give the same variance."""
        return _kish(self.weight)

    def basis(self, success: Floats, user: Ints) -> Basis:
        """Return what the policy's value rests on; `success` and `user` of shape (N,)."""
        counts = self.weight > 0
        successes = float(success[counts].sum())
        of_people = np.bincount(np.unique(user, return_inverse=True)[1], self.weight) if len(user) else np.zeros(0)
        return Basis(self.effective, _kish(of_people), min(successes, float(counts.sum()) - successes))


def ips(sums: Floats) -> Floats:
    """Return the inverse-propensity value of the sums of `Weighted.columns`, shape (5, …) to (…).

    Unbiased, but its weights need not sum to one. Source: Horvitz and Thompson 1952.
    """
    return _ratio(sums[0], sums[2])


def snips(sums: Floats) -> Floats:
    """Return the self-normalised value of the sums of `Weighted.columns`, shape (5, …) to (…).

    It stays within the outcomes' range. Source: Swaminathan and Joachims 2015, "The self-normalized estimator for
    counterfactual learning".
    """
    return _ratio(sums[0], sums[1])


def doubly_robust(sums: Floats) -> Floats:
    """Return the outcome model's value plus the weighted mean of its residuals, shape (5, …) to (…).

    It is consistent where the propensities or the outcome model are correct. Source: Robins, Rotnitzky and Zhao 1994;
    Dudík, Langford and Li 2011; the self-normalised form is that of Thomas and Brunskill 2016.
    """
    return _ratio(sums[3], sums[2]) + _ratio(sums[4], sums[1])


ESTIMATORS: dict[str, Callable[[Floats], Floats]] = {"ips": ips, "snips": snips, "dr": doubly_robust}


def interval(values: Floats, on: Basis | float) -> Estimate:
    """Return the first of `values` as an estimate, with the percentile interval of the others.

    `on` is what the value rests on, or its effective number of sends. The estimate is refused under 30 effective sends,
    under 5 effective people, and where the outcome never changes, so that the interval would have no width.

    >>> interval(np.array([0.5, 0.4, 0.6]), on=100.0)
    Estimate(value=0.5, low=0.405, high=0.595, effective=100.0, refusal=None)
    >>> interval(np.array([0.5, 0.4, 0.6]), on=12.0).refusal
    'refused: no overlap (effective sends 12 < 30)'
    """
    basis = on if isinstance(on, Basis) else Basis(on)
    if basis.refusal:
        return Estimate(None, None, None, basis.sends, basis.refusal)
    low, high = np.nanpercentile(values[1:], PERCENTILES_95)
    return Estimate(float(values[0]), float(low), float(high), basis.sends)


def matched(success: Floats, agrees: Flags, pscore: Floats, user: Ints, seed: int = 0) -> Estimate:
    """Return the SNIPS value of a policy that takes one slot at each row; arrays of shape (N,).

    success: 0 or 1. agrees: whether the policy's slot is the drawn one. pscore: probability of the drawn slot, in
    (0, 1]. user: numbers the clusters. The value is refused where the drawn slots hardly ever agree with the policy.
    Where the outcome never changes, resamples cannot vary, and the interval is the exact binomial one of the effective
    sends.
    """
    nothing = np.zeros(len(success))
    weighted = Weighted(np.where(agrees, 1.0 / pscore, 0.0), np.ones(len(success)), nothing, nothing)
    basis = weighted.basis(success, user)
    if replace(basis, rarer=1).refusal:
        return interval(nothing, replace(basis, rarer=1))
    if basis.rarer < 1:
        return _constant(float(success[agrees].max()), basis)
    return interval(snips(resampled(weighted.columns(success), user, seed)), basis)


def difference(success: Floats, treated: Flags, user: Ints, seed: int = 0) -> Estimate:
    """Return the success rate of treated minus untreated sends, with an interval over users; arrays of shape (N,)."""
    fewest = float(min(treated.sum(), (~treated).sum()))
    if fewest < MIN_EFFECTIVE:
        return Estimate(None, None, None, fewest, f"refused: too few sends in an arm ({fewest:.0f} < 30)")
    successes = float(success.sum())
    basis = Basis(fewest, rarer=min(successes, len(success) - successes))
    sums = resampled(np.stack([success * treated, treated, success * ~treated, ~treated]).astype(float), user, seed)
    return interval(_ratio(sums[0], sums[1]) - _ratio(sums[2], sums[3]), basis)


def _constant(value: float, basis: Basis) -> Estimate:
    low, high = constant_outcome(value, min(basis.sends, basis.people))
    return Estimate(value, low, high, basis.sends)


def _kish(weights: Floats | Ints) -> float:
    """Return (Σw)² / Σw², 0 without any weight."""
    weight = np.asarray(weights, dtype=np.float64)
    squares = float((weight**2).sum())
    return float(weight.sum() ** 2 / squares) if squares > 0 else 0.0


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below, dtype=np.float64)
