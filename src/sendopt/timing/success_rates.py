"""Success rates by user and slot, shrunk to the levels above by as much as the data say (empirical Bayes).

Levels, each a deviation on the logit scale from the ones before it: arm, arm x slot, segment, segment x slot, user,
user x slot. A group of n decisions keeps n / (n + kappa) of its own deviation. The kappa of a level is that of greatest
likelihood (`sendopt.stats.beta_binomial`). On empirical Bayes: Casella 1985, The American Statistician 39.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.beta_binomial import LEAST_RATE, concentration, shrunk_rate
from sendopt.timing.decisions import DecisionKind, Decisions, totals

LEVELS = ("slot", "segment", "segment_slot", "user", "user_slot")
COMMON, BY_SEGMENT, ADDITIVE = LEVELS[:1], LEVELS[:3], LEVELS[:4]


@dataclass(frozen=True)
class SlotRates:
    """Fitted rates. `shifts[level]`: deviation of each group on the logit scale; `kappa[level]`: in decisions."""

    levels: tuple[str, ...]
    pooled: bool
    arm: Floats  # (2,) logit of not sent, sent
    shifts: Mapping[str, Floats]
    kappa: Mapping[str, float]
    n_slots: int

    def logits(self, user: Ints, slot: Ints, segment: Ints, sent: Flags, levels: Sequence[str] | None = None) -> Floats:
        """Return the logit of each row's success rate, shape (N,), by all levels or only `levels`."""
        result = self.arm[sent.astype(np.int64)]
        for level in self.levels if levels is None else levels:
            if level in self.shifts:
                result = result + self.shifts[level][self.group(level, user, slot, segment, sent)]
        return np.asarray(result, dtype=np.float64)

    def rates(self, log: Decisions, levels: Sequence[str] | None = None) -> Floats:
        """Return the success rate of each logged decision as it was taken, shape (N,)."""
        return np.asarray(expit(self.logits(log.user, log.slot, log.segment, log.sent, levels)), dtype=np.float64)

    def if_sent(self, log: Decisions, levels: Sequence[str] | None = None) -> Floats:
        """Return the success rate of a send in every slot for each decision's user and segment, shape (N, K)."""
        pairs, pair = log.distinct()
        user, segment = (np.repeat(codes, self.n_slots) for codes in (pairs.user, pairs.segment))
        slot, sent = np.tile(np.arange(self.n_slots), len(pairs)), np.ones(len(user), bool)
        rates = expit(self.logits(user, slot, segment, sent, levels)).reshape(len(pairs), self.n_slots)
        return np.asarray(rates[pair], dtype=np.float64)

    def group(self, level: str, user: Ints, slot: Ints, segment: Ints, sent: Flags) -> Ints:
        """Return the group of each row at a level, shape (N,)."""
        return _group(level, self.n_slots, user, slot, segment, sent)


def fit(log: Decisions, pooled: bool, users: int, levels: Sequence[str] = LEVELS) -> SlotRates:
    """Return the rates fitted on `log`; `users` counts the users of the whole log, also those without a row in `log`.

    `pooled`: unsent decisions are used too, with a curve over slots of their own. A person's deviation is then assumed
    to be the same, on the logit scale, with and without a send.
    """
    if not pooled:
        log = log.rows(log.acted)
    k, g = len(log.slots), len(log.segments)
    arm = np.array([_logit_mean(log.success[~log.sent]), _logit_mean(log.success[log.sent])])
    shifts, kappas = dict[str, Floats](), dict[str, float]()
    sizes = {"slot": 2 * k, "segment": g, "segment_slot": g * k, "user": users, "user_slot": users * k}
    fitted = arm[log.sent.astype(np.int64)]
    for level in levels:
        if g == 1 and level.startswith("segment"):
            continue
        group = _group(level, k, log.user, log.slot, log.segment, log.sent)
        weight = _inverse_propensity(log) if level == "slot" else np.ones(len(log))
        shifts[level], kappas[level] = _shift(group, sizes[level], weight, log.success, np.asarray(expit(fitted)))
        fitted = fitted + shifts[level][group]
    return SlotRates(tuple(levels), pooled, arm, shifts, kappas, k)


def _group(level: str, slots: int, user: Ints, slot: Ints, segment: Ints, sent: Flags) -> Ints:
    return {
        "slot": sent * slots + slot,
        "segment": segment,
        "segment_slot": segment * slots + slot,
        "user": user,
        "user_slot": user * slots + slot,
    }[level]


def _shift(group: Ints, groups: int, weight: Floats, success: Floats, expected: Floats) -> tuple[Floats, float]:
    """Return (each group's shrunk deviation from `expected` (N,) on the logit scale, shape (groups,); kappa)."""
    n, x = totals(group, weight, groups), totals(group, weight * success, groups)
    seen = n > 0
    mean = np.clip(totals(group, weight * expected, groups)[seen] / n[seen], LEAST_RATE, 1 - LEAST_RATE)
    kappa = concentration(x[seen], n[seen], mean)
    shift = np.zeros(groups)
    shift[seen] = logit(shrunk_rate(x[seen], n[seen], mean, kappa)) - logit(mean)
    return shift, kappa


def _inverse_propensity(log: Decisions) -> Floats:
    """Return weights of mean 1 that undo the draw, so that the common curve does not favour frequent actions."""
    probability = np.where(log.sent | (log.kind == DecisionKind.SLOT), log.pscore, 1 - log.pscore)
    weight = 1.0 / probability
    return np.asarray(weight / weight.mean() if len(weight) else weight, dtype=np.float64)


def _logit_mean(success: Floats) -> float:
    """Return the logit of the mean, with half a success and half a failure added."""
    return float(logit((success.sum() + 0.5) / (len(success) + 1)))
