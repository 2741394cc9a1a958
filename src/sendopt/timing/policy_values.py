"""The value of every policy on the rest of the log, by every estimator, with all differences paired (model ¶18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sendopt.measurement.off_policy import ESTIMATORS, Basis, Estimate, Weighted, interval
from sendopt.stats.arrays import Floats
from sendopt.stats.bootstrap import resampled
from sendopt.timing.decisions import DecisionKind, Decisions
from sendopt.timing.policies import UNIFORM, Policies


@dataclass(frozen=True)
class PolicyValue:
    """The value of one policy on the rest of the log. `agrees`: share of decisions where it takes the common slot.

    `by`: estimates by ips, snips and dr. `not_sent`: SNIPS on unsent decisions. `effect`: sent minus not sent.
    """

    name: str
    agrees: float | None
    by: dict[str, Estimate]
    minus_uniform: dict[str, Estimate]
    minus_common: dict[str, Estimate]
    not_sent: Estimate | None = None
    effect: Estimate | None = None
    not_sent_minus_common: Estimate | None = None


def policy_values(
    rest: Decisions, policies: Policies, names: list[str], seed: int, samples: int
) -> tuple[list[PolicyValue], float]:
    """Return every policy's value, and the mean weight of the uniform policy.

    All estimators use one set of resampled sums, so that all differences are paired.
    """
    arms = {"sent": _weighted(rest, policies, names, sent=True)}
    if rest.not_sent_arm:
        arms["not_sent"] = _weighted(rest, policies, names, sent=False)
    columns = [w.columns(rest.success) for arm in arms.values() for w in arm.values()]
    sums = resampled(np.concatenate(columns), rest.user, seed, samples).reshape(len(arms), len(names), 5, samples + 1)
    sent, *unsent = (_Arm.of(arm, arm_sums, rest) for arm, arm_sums in zip(arms.values(), sums, strict=True))
    common = policies.common
    values = []
    for name in names:
        agrees = None if name == UNIFORM else float((policies.choices[name] == policies.choices[common]).mean())
        placebo = _placebo(sent, unsent[0], name, common) if unsent else {}
        against_uniform, against_common = sent.minus(name, UNIFORM), sent.minus(name, common)
        values.append(PolicyValue(name, agrees, sent.estimates(name), against_uniform, against_common, **placebo))
    uniform = sent.sums[UNIFORM][:, 0]
    return values, float(uniform[1] / uniform[2])


@dataclass(frozen=True)
class _Arm:
    """Resampled sums (5, 1 + samples) and basis of each policy over the sent, or the unsent, decisions."""

    sums: Mapping[str, Floats]
    basis: Mapping[str, Basis]

    @classmethod
    def of(cls, weighted: Mapping[str, Weighted], sums: Floats, rest: Decisions) -> _Arm:
        """Return the arm of policies in the order of `sums` (policies, 5, 1 + samples)."""
        basis = {name: w.basis(rest.success, rest.user) for name, w in weighted.items()}
        return cls(dict(zip(weighted, sums, strict=True)), basis)

    def estimates(self, name: str) -> dict[str, Estimate]:
        """Return the policy's value by every estimator."""
        return {key: interval(estimator(self.sums[name]), self.basis[name]) for key, estimator in ESTIMATORS.items()}

    def minus(self, name: str, reference: str) -> dict[str, Estimate]:
        """Return the policy's value minus that of `reference`, by every estimator."""
        basis = self.basis[name].beside(self.basis[reference])
        values, reference_values = self.sums[name], self.sums[reference]
        return {key: interval(f(values) - f(reference_values), basis) for key, f in ESTIMATORS.items()}


def _placebo(sent: _Arm, unsent: _Arm, name: str, common: str) -> dict[str, Estimate]:
    """Return the fields of `PolicyValue` that compare a policy on sent and on unsent decisions."""
    snips = ESTIMATORS["snips"]
    value, unsent_value, unsent_common = snips(sent.sums[name]), snips(unsent.sums[name]), snips(unsent.sums[common])
    basis = unsent.basis[name]
    return {
        "not_sent": interval(unsent_value, basis),
        "effect": interval(value - unsent_value, sent.basis[name].beside(basis)),
        "not_sent_minus_common": interval(unsent_value - unsent_common, basis.beside(unsent.basis[common])),
    }


def _weighted(rest: Decisions, policies: Policies, names: Sequence[str], sent: bool) -> dict[str, Weighted]:
    """Return each policy's weights and model values at the sent, or the unsent, decisions of the rest."""
    acted = rest.acted if sent else ~rest.sent
    chance = rest.pscore if sent else 1 - rest.pscore
    if_sent = policies.rates.if_sent(rest)
    at_slot = np.take_along_axis(if_sent, rest.slot[:, None], 1)[:, 0]
    residual = rest.success - at_slot if sent else np.zeros(len(rest))
    weighted = {}
    for name in names:
        probability = policies.probability(name, rest.slot)
        weight = np.where(acted, probability / chance, 0.0)
        if rest.kind == DecisionKind.SLOT:
            weighted[name] = Weighted(weight, np.ones(len(rest)), policies.mean(name, if_sent), residual)
        else:
            weighted[name] = Weighted(weight, probability, at_slot, residual)
    return weighted
