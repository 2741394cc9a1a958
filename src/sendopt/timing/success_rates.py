"""Success rates by user and slot, shrunk to the levels above by as much as the data say (empirical Bayes).

Levels, each a deviation on the logit scale from the ones before it: arm, arm x slot, segment, segment x slot, user,
user x slot. A group of n decisions keeps n / (n + kappa) of its own deviation; kappa is found by maximum likelihood of
the beta-binomial (Skellam 1948; Griffiths 1973, Biometrics 29). On empirical Bayes: Casella 1985, The American
Statistician 39.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betaln, expit, logit

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.timing.decisions import Decisions, totals

LEVELS = ("slot", "segment", "segment_slot", "user", "user_slot")
COMMON, BY_SEGMENT, ADDITIVE = LEVELS[:1], LEVELS[:3], LEVELS[:4]
_LOG_KAPPA = (-2.0, 10.0)
_GROUPS_FOR_KAPPA = 200_000  # more do not move it
LEAST = 1e-4


@dataclass(frozen=True)
class SlotRates:
    """Fitted rates. `shifts[level]` on the logit scale by group; `kappa[level]` in decisions."""

    levels: tuple[str, ...]
    pooled: bool
    arm: Floats  # (2,) logit of not sent, sent
    shifts: dict[str, Floats]
    kappa: dict[str, float]
    n_slots: int
    n_segments: int

    def logits(self, user: Ints, slot: Ints, segment: Ints, sent: Flags, levels: Sequence[str] | None = None) -> Floats:
        """Logit of the success rate of each row, shape (N,), by all levels or only `levels`."""
        found = self.arm[sent.astype(np.int64)]
        for level in self.levels if levels is None else levels:
            if level in self.shifts:
                found = found + self.shifts[level][self.group(level, user, slot, segment, sent)]
        return np.asarray(found, dtype=np.float64)

    def rates(self, log: Decisions, levels: Sequence[str] | None = None) -> Floats:
        """Success rate of each logged decision as it was taken, shape (N,)."""
        return np.asarray(expit(self.logits(log.user, log.slot, log.segment, log.sent, levels)), dtype=np.float64)

    def if_sent(self, log: Decisions, levels: Sequence[str] | None = None) -> Floats:
        """Success rate of a send in every slot for each decision's user and segment, shape (N, K)."""
        one, place = log.distinct()
        user, segment = (np.repeat(a, self.n_slots) for a in (one.user, one.segment))
        slot, sent = np.tile(np.arange(self.n_slots), len(one)), np.ones(len(user), bool)
        found = expit(self.logits(user, slot, segment, sent, levels)).reshape(len(one), self.n_slots)
        return np.asarray(found[place], dtype=np.float64)

    def group(self, level: str, user: Ints, slot: Ints, segment: Ints, sent: Flags) -> Ints:
        """The group of each row at a level."""
        k = self.n_slots
        return {
            "slot": sent * k + slot,
            "segment": segment,
            "segment_slot": segment * k + slot,
            "user": user,
            "user_slot": user * k + slot,
        }[level]


def fit(log: Decisions, pooled: bool, users: int, levels: Sequence[str] = LEVELS) -> SlotRates:
    """Rates from `log`; `users` is the number of users of the whole log, those without a decision here included.

    `pooled`: unsent decisions take part as well, with a curve over slots of their own; what a person deviates by is
    then taken to be the same, on the logit scale, with and without a send.
    """
    if not pooled:
        log = log.rows(log.acted)
    k, g = len(log.slots), len(log.segments)
    arm = np.array([_logit_mean(log.success[~log.sent]), _logit_mean(log.success[log.sent])])
    rates = SlotRates(tuple(levels), pooled, arm, {}, {}, k, g)
    sizes = {"slot": 2 * k, "segment": g, "segment_slot": g * k, "user": users, "user_slot": users * k}
    at = arm[log.sent.astype(np.int64)]
    for level in levels:
        if g == 1 and level.startswith("segment"):
            continue
        group = rates.group(level, log.user, log.slot, log.segment, log.sent)
        weight = _inverse(log) if level == "slot" else np.ones(len(log))
        shift, kappa = _shift(group, sizes[level], weight, log.success, np.asarray(expit(at)))
        rates.shifts[level], rates.kappa[level] = shift, kappa
        at = at + shift[group]
    return rates


def concentration(successes: Floats, trials: Floats, mean: Floats) -> float:
    """kappa of Beta(kappa·mean, kappa·(1 − mean)) by maximum likelihood over groups, in [0.14, 22026]; arrays (G,).

    Large where groups differ by no more than chance.
    """
    step = max(1, len(trials) // _GROUPS_FOR_KAPPA)
    x, n, m = successes[::step], trials[::step], np.clip(mean[::step], LEAST, 1 - LEAST)

    def loss(log_kappa: float) -> float:
        a, b = np.exp(log_kappa) * m, np.exp(log_kappa) * (1 - m)
        return float((betaln(a, b) - betaln(x + a, n - x + b)).sum())

    found = minimize_scalar(loss, bounds=_LOG_KAPPA, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def _shift(group: Ints, groups: int, weight: Floats, success: Floats, expected: Floats) -> tuple[Floats, float]:
    n, x = totals(group, weight, groups), totals(group, weight * success, groups)
    seen = n > 0
    mean = np.clip(totals(group, weight * expected, groups)[seen] / n[seen], LEAST, 1 - LEAST)
    kappa = concentration(x[seen], n[seen], mean)
    shift = np.zeros(groups)
    shift[seen] = logit((x[seen] + kappa * mean) / (n[seen] + kappa)) - logit(mean)
    return shift, kappa


def _inverse(log: Decisions) -> Floats:
    """Weights that undo the draw, of mean 1: a common curve must not lean on those whom the log sent to most."""
    chance = np.where(log.sent | (log.kind == "slot"), log.pscore, 1 - log.pscore)
    weight = 1.0 / chance
    return np.asarray(weight / weight.mean() if len(weight) else weight, dtype=np.float64)


def _logit_mean(success: Floats) -> float:
    return float(logit((success.sum() + 0.5) / (len(success) + 1)))
