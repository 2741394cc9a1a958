"""A LightGBM model of success by user and slot for any log, whatever its columns: the policy `model` of an evaluation.

Its features of a person are those of the person's earlier decisions only, so that a row never sees its own outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.timing.decisions import Decisions, totals
from sendopt.timing.success_rates import BY_SEGMENT, LEAST, SlotRates

FEATURES = ("slot", "segment", "sent", "common", "user_shift", "user_n", "user_slot_shift", "user_slot_n")
ROUNDS, PATIENCE = 400, 30
LEAST_ROWS = 50  # decisions that each of the two parts needs, one to grow trees on and one to tune their number
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


@dataclass(frozen=True)
class OutcomeModel:
    """Trees, and what each person's past says at the end of the first part."""

    booster: lgb.Booster
    rates: SlotRates
    past: Decisions

    def rates_of(self, log: Decisions) -> Floats:
        """Success rate of each decision as it was taken, shape (N,)."""
        return self._predict(log, log.slot, log.sent)

    def if_sent(self, log: Decisions) -> Floats:
        """Success rate of a send in every slot for each decision's user and segment, shape (N, K)."""
        one, place = log.distinct()
        sent = np.ones(len(one), bool)
        return np.column_stack([self._predict(one, np.full(len(one), s), sent) for s in range(len(log.slots))])[place]

    def _predict(self, log: Decisions, slot: Ints, sent: Flags) -> Floats:
        matrix = _matrix(self.rates, log, slot, sent, _known(self.rates, self.past, log, slot))
        return np.asarray(self.booster.predict(matrix, num_threads=1), dtype=np.float64)


def fit(first: Decisions, rates: SlotRates, inner: Flags, seed: int) -> OutcomeModel | str:
    """The model of the first part, or why there is none; its number of trees is tuned on what is not `inner`."""
    use = np.ones(len(first), bool) if rates.pooled else first.acted
    for part, what in ((use & inner, "grow trees on"), (use & ~inner, "tune their number on")):
        outcome = first.success[part]
        if len(outcome) < LEAST_ROWS:
            return f"{len(outcome):,} decisions are left to {what}, at least {LEAST_ROWS} are needed"
        if outcome.min() == outcome.max():
            return f"all {len(outcome):,} decisions to {what} have the same outcome"
    matrix = _matrix(rates, first, first.slot, first.sent, _running(rates, first))
    try:
        return OutcomeModel(_train(matrix, first, use, inner, {**_PARAMETERS, "seed": seed}), rates, first.rows(use))
    except lgb.basic.LightGBMError as error:
        return f"LightGBM refused the data: {error}"


def _train(matrix: Floats, first: Decisions, use: Flags, inner: Flags, parameters: dict[str, Any]) -> lgb.Booster:
    tuned = lgb.train(
        parameters,
        _data(matrix, first, use & inner),
        ROUNDS,
        [_data(matrix, first, use & ~inner)],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    return lgb.train(parameters, _data(matrix, first, use), max(1, tuned.best_iteration))


Past = tuple[Floats, Floats, Floats, Floats]  # user shift, n; user x slot shift, n


def _running(rates: SlotRates, log: Decisions) -> Past:
    """Each decision's past: what its user had shown before it."""
    expected = rates.rates(log, BY_SEGMENT)
    use = np.ones(len(log)) if rates.pooled else log.acted.astype(np.float64)
    found: list[Floats] = []
    for level in ("user", "user_slot"):
        group = rates.group(level, log.user, log.slot, log.segment, log.sent)
        order = np.argsort(group, kind="stable")
        start = np.r_[True, group[order][1:] != group[order][:-1]]
        sums = []
        for value in (log.success * use, use, expected * use):
            total = np.cumsum(value[order]) - value[order]
            before = np.empty(len(log))
            before[order] = total - np.maximum.accumulate(np.where(start, total, 0.0))
            sums.append(before)
        found += _shrunk(sums[0], sums[1], sums[2], rates.kappa[level])
    return found[0], found[1], found[2], found[3]


def _known(rates: SlotRates, past: Decisions, log: Decisions, slot: Ints) -> Past:
    """The whole past of each decision's user, at `slot`."""
    expected = rates.rates(past, BY_SEGMENT)
    found: list[Floats] = []
    for level, at in (("user", log.user), ("user_slot", log.user * rates.n_slots + slot)):
        group = rates.group(level, past.user, past.slot, past.segment, past.sent)
        size = len(rates.shifts[level])
        sums = [totals(group, value, size) for value in (past.success, np.ones(len(past)), expected)]
        found += [values[at] for values in _shrunk(sums[0], sums[1], sums[2], rates.kappa[level])]
    return found[0], found[1], found[2], found[3]


def _shrunk(x: Floats, n: Floats, e: Floats, kappa: float) -> list[Floats]:
    mean = np.clip(np.where(n > 0, e / np.maximum(n, 1), 0.5), LEAST, 1 - LEAST)
    return [np.asarray(logit((x + kappa * mean) / (n + kappa)) - logit(mean), dtype=np.float64), n]


def _matrix(rates: SlotRates, log: Decisions, slot: Ints, sent: Flags, past: Past) -> Floats:
    common = expit(rates.logits(log.user, slot, log.segment, sent, BY_SEGMENT))
    return np.column_stack([slot, log.segment, sent, common, *past]).astype(np.float64)


def _data(matrix: Floats, log: Decisions, use: npt.NDArray[np.bool_]) -> lgb.Dataset:
    return lgb.Dataset(matrix[use], log.success[use], feature_name=list(FEATURES), categorical_feature=[0, 1])
