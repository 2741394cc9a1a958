"""A LightGBM model of success by user and slot: the policy `model` of an evaluation. It needs no further columns.

The features of a person come from the person's earlier decisions only, so a row never sees its own outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.beta_binomial import LEAST_RATE, shrunk_rate
from sendopt.timing.decisions import Decisions, totals
from sendopt.timing.success_rates import BY_SEGMENT, SlotRates

FEATURES = ("slot", "segment", "sent", "common", "user_shift", "user_n", "user_slot_shift", "user_slot_n")
ROUNDS, PATIENCE = 400, 30
LEAST_ROWS = 50  # decisions that each of two parts needs: one to grow the trees, one to tune their number
_PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 50,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


class NoModelError(Exception):
    """The first part of a log cannot train a model; the message says why."""


@dataclass(frozen=True)
class OutcomeModel:
    """Trees, and the decisions of the first part, from which each person's features are taken."""

    booster: lgb.Booster
    rates: SlotRates
    past: Decisions

    def rates_of(self, log: Decisions) -> Floats:
        """Return the success rate of each decision as it was taken, shape (N,)."""
        return self._predict(log, log.slot, log.sent)

    def if_sent(self, log: Decisions) -> Floats:
        """Return the success rate of a send in every slot for each decision's user and segment, shape (N, K)."""
        pairs, pair = log.distinct()
        sent = np.ones(len(pairs), bool)
        rates = [self._predict(pairs, np.full(len(pairs), slot), sent) for slot in range(len(log.slots))]
        return np.column_stack(rates)[pair]

    def _predict(self, log: Decisions, slot: Ints, sent: Flags) -> Floats:
        matrix = _matrix(self.rates, log, slot, sent, _known(self.rates, self.past, log, slot))
        return np.asarray(self.booster.predict(matrix, num_threads=1), dtype=np.float64)


def fit(first: Decisions, rates: SlotRates, inner: Flags, seed: int) -> OutcomeModel:
    """Return the model of the first part; the number of trees is tuned on the decisions outside `inner` (N,).

    Raise NoModelError where a part has too few decisions or a single outcome, or where LightGBM refuses the data.
    """
    use = np.ones(len(first), bool) if rates.pooled else first.acted
    for part, what in ((use & inner, "grow trees on"), (use & ~inner, "tune their number on")):
        outcome = first.success[part]
        if len(outcome) < LEAST_ROWS:
            raise NoModelError(f"{len(outcome):,} decisions are left to {what}, at least {LEAST_ROWS} are needed")
        if outcome.min() == outcome.max():
            raise NoModelError(f"all {len(outcome):,} decisions to {what} have the same outcome")
    matrix = _matrix(rates, first, first.slot, first.sent, _running(rates, first))
    try:
        booster = _train(matrix, first, use, inner, {**_PARAMETERS, "seed": seed})
    except lgb.basic.LightGBMError as error:
        raise NoModelError(f"LightGBM refused the data: {error}") from error
    return OutcomeModel(booster, rates, first.rows(use))


def _train(matrix: Floats, first: Decisions, use: Flags, inner: Flags, parameters: dict[str, Any]) -> lgb.Booster:
    tuned = lgb.train(
        parameters,
        _data(matrix, first, use & inner),
        ROUNDS,
        [_data(matrix, first, use & ~inner)],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    return lgb.train(parameters, _data(matrix, first, use), max(1, tuned.best_iteration))


Past = tuple[Floats, Floats, Floats, Floats]  # user: shift, decisions; user x slot: shift, decisions


def _running(rates: SlotRates, log: Decisions) -> Past:
    """Return the past of each decision: its user's decisions before it."""
    expected = rates.rates(log, BY_SEGMENT)
    use = np.ones(len(log)) if rates.pooled else log.acted.astype(np.float64)
    features: list[Floats] = []
    for level in ("user", "user_slot"):
        group = rates.group(level, log.user, log.slot, log.segment, log.sent)
        order = np.argsort(group, kind="stable")
        start = np.r_[True, group[order][1:] != group[order][:-1]]
        sums = []
        for value in (log.success * use, use, expected * use):
            total = np.cumsum(value[order]) - value[order]
            earlier = np.empty(len(log))
            earlier[order] = total - np.maximum.accumulate(np.where(start, total, 0.0))
            sums.append(earlier)
        features += _shrunk_shift(sums[0], sums[1], sums[2], rates.kappa[level])
    return features[0], features[1], features[2], features[3]


def _known(rates: SlotRates, past: Decisions, log: Decisions, slot: Ints) -> Past:
    """Return the whole `past` of each decision's user, at `slot` (N,)."""
    expected = rates.rates(past, BY_SEGMENT)
    features: list[Floats] = []
    for level, at in (("user", log.user), ("user_slot", log.user * rates.n_slots + slot)):
        group = rates.group(level, past.user, past.slot, past.segment, past.sent)
        size = len(rates.shifts[level])
        sums = [totals(group, value, size) for value in (past.success, np.ones(len(past)), expected)]
        features += [values[at] for values in _shrunk_shift(sums[0], sums[1], sums[2], rates.kappa[level])]
    return features[0], features[1], features[2], features[3]


def _shrunk_shift(successes: Floats, decisions: Floats, expected: Floats, kappa: float) -> list[Floats]:
    """Return [shrunk deviation from `expected` on the logit scale, number of decisions], each of shape (N,)."""
    share = np.where(decisions > 0, expected / np.maximum(decisions, 1), 0.5)
    mean = np.clip(share, LEAST_RATE, 1 - LEAST_RATE)
    shift = logit(shrunk_rate(successes, decisions, mean, kappa)) - logit(mean)
    return [np.asarray(shift, dtype=np.float64), decisions]


def _matrix(rates: SlotRates, log: Decisions, slot: Ints, sent: Flags, past: Past) -> Floats:
    common = expit(rates.logits(log.user, slot, log.segment, sent, BY_SEGMENT))
    return np.column_stack([slot, log.segment, sent, common, *past]).astype(np.float64)


def _data(matrix: Floats, log: Decisions, use: npt.NDArray[np.bool_]) -> lgb.Dataset:
    return lgb.Dataset(matrix[use], log.success[use], feature_name=list(FEATURES), categorical_feature=[0, 1])
