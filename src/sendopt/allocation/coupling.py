"""The rows across users (model ¶9e to ¶9h): what limits them, what uses them, what is left."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sendopt.allocation.problem import Problem
from sendopt.stats.arrays import Floats, Ints

ROUNDING = 1e-9  # of sums of probabilities and money, relative


@dataclass(frozen=True)
class Rows:
    """R rows in a fixed order: capacity by channel and slot, campaigns by name, budgets.

    A minimum's row is a wish: each send missing to it costs `shortfall_price`. Where a send finds its rows: -1 is none.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    limit: Floats  # (R,) as configured
    committed: Floats  # (R,) use by committed sends
    shortfall_price: Floats  # (R,) pi for a minimum's row, 0 elsewhere
    capacity: dict[str, Ints]  # channel -> (n_slots,) rows
    campaign_max: dict[str, int]
    campaign_min: dict[str, int]
    opt_outs: int
    cost: int

    @property
    def is_minimum(self) -> NDArray[np.bool_]:
        return np.array([kind == "campaign_min" for kind in self.kinds], dtype=bool)

    @property
    def counts_sends(self) -> NDArray[np.bool_]:
        """Rows whose limit and use are whole numbers of sends."""
        return np.array([kind not in ("opt_outs", "cost") for kind in self.kinds], dtype=bool)

    @property
    def room(self) -> Floats:
        """(R,) what committed sends leave of each maximum, or what they leave missing of each minimum; >= 0."""
        return np.maximum(0.0, self.limit - self.committed)

    def uses(self, problem: Problem, which: Ints) -> tuple[Ints, Ints, Floats]:
        """(row, position in `which`, use) of everything that the cells `which` use."""
        cells, m = problem.cells, problem.messages
        message, slot = cells.message[which], cells.slot[which]
        channel, channels = pd.factorize(m.channel)
        campaign, campaigns = pd.factorize(m.campaign)
        none = np.full(problem.n_slots, -1, np.int64)
        by_slot = np.array([self.capacity.get(str(name), none) for name in channels], np.int64).reshape(
            -1, problem.n_slots
        )
        one = np.ones(len(which))
        parts = [(by_slot[channel[message], slot] if len(channels) else np.empty(0, np.int64), one)]
        for by_name in (self.campaign_max, self.campaign_min):
            of = np.array([by_name.get(str(name), -1) for name in campaigns], np.int64)
            parts.append((of[campaign[message]] if len(campaigns) else np.empty(0, np.int64), one))
        parts.append((np.full(len(which), self.opt_outs), cells.p_opt_out[which]))
        parts.append((np.full(len(which), self.cost), cells.cost[which]))
        every = np.arange(len(which))
        found = [(row[keep], every[keep], use[keep]) for row, use in parts for keep in [(row >= 0) & (use != 0)]]
        row, position, use = (np.concatenate(x) for x in zip(*found, strict=True))
        return row, position, use

    def used(self, problem: Problem, which: Ints) -> Floats:
        """(R,) what committed sends and the cells `which` use together; budgets to the last digit in any order."""
        row, _, use = self.uses(problem, which)
        used = self.committed + np.bincount(row, weights=use, minlength=len(self.names))
        for budget in (self.opt_outs, self.cost):
            if budget >= 0:
                used[budget] = math.fsum([self.committed[budget], *use[row == budget].tolist()])
        return used

    def missing(self, used: Floats) -> Floats:
        """(R,) sends that `used` (R,) leaves missing to each minimum; 0 for other rows."""
        return np.where(self.is_minimum, np.maximum(0.0, self.limit - used), 0.0)


@dataclass(frozen=True)
class Coupling(Rows):
    """The rows with what each of C cells uses of them."""

    use: csr_matrix  # (R, C) >= 0

    def adjusted(self, values: Floats, prices: Floats) -> Floats:
        """(C,) value of each cell after paying the prices of what it uses; minimums pay it."""
        signed = np.where(self.is_minimum, -prices, prices)
        return np.asarray(values - self.use.T @ signed, dtype=np.float64)


def up_to(limit: Floats) -> Floats:
    """What sums under these limits may come to: rounding is relative, so that 0 admits nothing however small."""
    return limit * (1.0 + ROUNDING)


def rows_of(problem: Problem) -> Rows:
    """The rows of `problem.limits`."""
    limits, h = problem.limits, problem.history
    names: list[str] = []
    kinds: list[str] = []
    limit: list[float] = []
    price: list[float] = []

    def add(name: str, kind: str, most: float, shortfall_price: float = 0.0) -> int:
        names.append(name)
        kinds.append(kind)
        limit.append(most)
        price.append(shortfall_price)
        return len(names) - 1

    capacity, most_of, least_of = {}, {}, {}
    for name, by_slot in sorted(limits.capacity.items()):
        found = np.full(problem.n_slots, -1, np.int64)
        for slot in range(problem.n_slots):
            most = by_slot.get(slot) if isinstance(by_slot, dict) else by_slot
            if most is not None:
                found[slot] = add(f"capacity:{name}:{slot}", "capacity", most)
        capacity[name] = found
    unpriced = {n for n, b in limits.campaigns.items() if b.min_sends > 0 and b.shortfall_price is None}
    largest = _largest_values(problem, unpriced)
    for name, bounds in sorted(limits.campaigns.items()):
        if bounds.max_sends is not None:
            most_of[name] = add(f"campaign_max:{name}", "campaign_max", bounds.max_sends)
        if bounds.min_sends > 0:
            worth = largest[name] if bounds.shortfall_price is None else bounds.shortfall_price
            least_of[name] = add(f"campaign_min:{name}", "campaign_min", bounds.min_sends, worth)
    opt_outs = -1 if limits.opt_outs is None else add("opt_outs", "opt_outs", limits.opt_outs.max_expected)
    cost = -1 if limits.cost is None else add("cost", "cost", limits.cost.max_total)
    rows = Rows(
        tuple(names),
        tuple(kinds),
        np.array(limit, float),
        np.zeros(len(names)),
        np.array(price, float),
        capacity,
        most_of,
        least_of,
        opt_outs,
        cost,
    )
    used: dict[int, list[float]] = defaultdict(list)
    for i in np.flatnonzero(h.committed).tolist():
        slot = int(-h.minutes_before[i] // problem.slot_minutes)
        for row, use in uses_of_send(rows, h.channel[i], slot, h.campaign[i], float(h.p_opt_out[i]), float(h.cost[i])):
            used[row].append(use)
    for row, uses in used.items():
        rows.committed[row] = math.fsum(uses)
    return rows


def coupling(problem: Problem) -> Coupling:
    """The rows of `problem.limits` with what each cell uses of them."""
    rows = rows_of(problem)
    every = np.arange(len(problem.cells.message))
    row, cell, use = rows.uses(problem, every)
    matrix = csr_matrix((use, (row, cell)), shape=(len(rows.names), len(every)), dtype=np.float64)
    return Coupling(**vars(rows), use=matrix)


def uses_of_send(
    rows: Rows, channel: str, slot: int, campaign: str, p_opt_out: float, cost: float
) -> list[tuple[int, float]]:
    """The rows that one send uses, and how much of each."""
    of_slot = rows.capacity.get(channel)
    found = [
        (-1 if of_slot is None else int(of_slot[slot]), 1.0),
        (rows.campaign_max.get(campaign, -1), 1.0),
        (rows.campaign_min.get(campaign, -1), 1.0),
        (rows.opt_outs, p_opt_out),
        (rows.cost, cost),
    ]
    return [(row, use) for row, use in found if row >= 0]


def _largest_values(problem: Problem, campaigns: set[str]) -> dict[str, float]:
    """The default shortfall price: the largest value among a campaign's candidates, at least 0 (¶9f)."""
    if not campaigns:
        return {}
    code, names = pd.factorize(problem.messages.campaign)
    best = np.zeros(len(names))
    np.maximum.at(best, code[problem.cells.message], problem.cells.value)
    found = dict(zip(map(str, names), best.tolist(), strict=True))
    return {name: found.get(name, 0.0) for name in campaigns}
