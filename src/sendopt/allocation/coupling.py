"""The rows across users (model ¶9e to ¶9h): their limits, their use by sends and the room that is left."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sendopt.allocation.problem import Problem
from sendopt.allocation.statuses import RowKind
from sendopt.stats.arrays import Floats, Ints

ROUNDING = 1e-9  # relative allowance for rounding in sums of probabilities and money


@dataclass(frozen=True)
class Rows:
    """R rows in a fixed order: capacity by channel and slot, campaigns by name, budgets.

    A minimum may be missed: each missing send costs `shortfall_price`. The fields `capacity` to `cost` give the rows
    that a send uses; -1 is none.
    """

    names: tuple[str, ...]
    kinds: tuple[RowKind, ...]
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
        """Flags (R,): True for the rows of minimums."""
        return np.array([kind == RowKind.CAMPAIGN_MIN for kind in self.kinds], dtype=bool)

    @property
    def counts_sends(self) -> NDArray[np.bool_]:
        """Flags (R,): True for rows whose limit and use are whole numbers of sends."""
        return np.array([kind not in (RowKind.OPT_OUTS, RowKind.COST) for kind in self.kinds], dtype=bool)

    @property
    def room(self) -> Floats:
        """Room (R,) that committed sends leave in each maximum, or sends that they leave missing to each minimum."""
        return np.maximum(0.0, self.limit - self.committed)

    def with_committed(self, uses: Mapping[int, Sequence[float]]) -> Rows:
        """Return these rows with the sum of `uses` {row: uses} as committed use; other rows keep theirs."""
        committed = self.committed.copy()
        for row, row_uses in uses.items():
            committed[row] = math.fsum(row_uses)
        return replace(self, committed=committed)

    def uses(self, problem: Problem, which: Ints) -> tuple[Ints, Ints, Floats]:
        """Return (row, position in `which`, use), an entry for each row that one of the cells `which` uses."""
        cells, m = problem.cells, problem.messages
        message, slot = cells.message[which], cells.slot[which]
        channel, channels = pd.factorize(m.channel)
        campaign, campaigns = pd.factorize(m.campaign)
        none = np.full(problem.n_slots, -1, np.int64)
        by_slot = np.array([self.capacity.get(str(name), none) for name in channels], np.int64).reshape(
            -1, problem.n_slots
        )
        whole = np.ones(len(which))
        parts = [(by_slot[channel[message], slot] if len(channels) else np.empty(0, np.int64), whole)]
        for by_name in (self.campaign_max, self.campaign_min):
            row_of = np.array([by_name.get(str(name), -1) for name in campaigns], np.int64)
            parts.append((row_of[campaign[message]] if len(campaigns) else np.empty(0, np.int64), whole))
        parts.append((np.full(len(which), self.opt_outs), cells.p_opt_out[which]))
        parts.append((np.full(len(which), self.cost), cells.cost[which]))
        positions = np.arange(len(which))
        entries = [(row[keep], positions[keep], use[keep]) for row, use in parts for keep in [(row >= 0) & (use != 0)]]
        row, position, use = (np.concatenate(x) for x in zip(*entries, strict=True))
        return row, position, use

    def used(self, problem: Problem, which: Ints) -> Floats:
        """Return the use (R,) of committed sends and the cells `which`; budgets are summed exactly, in any order."""
        row, _, use = self.uses(problem, which)
        used = self.committed + np.bincount(row, weights=use, minlength=len(self.names))
        for budget in (self.opt_outs, self.cost):
            if budget >= 0:
                used[budget] = math.fsum([self.committed[budget], *use[row == budget].tolist()])
        return used

    def missing(self, used: Floats) -> Floats:
        """Return the sends (R,) that are missing to each minimum where `used` (R,) is used; 0 for other rows."""
        return np.where(self.is_minimum, np.maximum(0.0, self.limit - used), 0.0)


@dataclass(frozen=True)
class Coupling(Rows):
    """The rows with their use by each of C cells."""

    use: csr_matrix  # (R, C) >= 0

    def adjusted(self, values: Floats, prices: Floats) -> Floats:
        """Return the value (C,) of each cell minus the prices of its rows; a minimum's price is added."""
        signed = np.where(self.is_minimum, -prices, prices)
        return np.asarray(values - self.use.T @ signed, dtype=np.float64)


def up_to(limit: Floats) -> Floats:
    """Return the largest sums within `limit`. The allowance is relative: a limit of 0 admits nothing."""
    return limit * (1.0 + ROUNDING)


class _RowList:
    """A list of rows to which rows are added."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kinds: list[RowKind] = []
        self.limits: list[float] = []
        self.shortfall_prices: list[float] = []

    def add(self, name: str, kind: RowKind, limit: float, shortfall_price: float = 0.0) -> int:
        """Add a row and return its number."""
        self.names.append(name)
        self.kinds.append(kind)
        self.limits.append(limit)
        self.shortfall_prices.append(shortfall_price)
        return len(self.names) - 1


def rows_of(problem: Problem) -> Rows:
    """Return the rows of `problem.limits` with their use by committed sends."""
    limits, listed = problem.limits, _RowList()
    capacity = {
        channel: _add_capacity(listed, channel, by_slot, problem.n_slots)
        for channel, by_slot in sorted(limits.capacity.items())
    }
    campaign_max, campaign_min = _add_campaigns(listed, problem)
    opt_outs, cost = -1, -1
    if limits.opt_outs is not None:
        opt_outs = listed.add("opt_outs", RowKind.OPT_OUTS, limits.opt_outs.max_expected)
    if limits.cost is not None:
        cost = listed.add("cost", RowKind.COST, limits.cost.max_total)
    rows = Rows(
        names=tuple(listed.names),
        kinds=tuple(listed.kinds),
        limit=np.array(listed.limits, float),
        committed=np.zeros(len(listed.names)),
        shortfall_price=np.array(listed.shortfall_prices, float),
        capacity=capacity,
        campaign_max=campaign_max,
        campaign_min=campaign_min,
        opt_outs=opt_outs,
        cost=cost,
    )
    return rows.with_committed(_committed_uses(rows, problem))


def _add_capacity(listed: _RowList, channel: str, by_slot: int | dict[int, int], n_slots: int) -> Ints:
    """Add the capacity rows of a channel and return the row of each slot, shape (n_slots,), -1 where it has none."""
    rows = np.full(n_slots, -1, np.int64)
    for slot in range(n_slots):
        limit = by_slot.get(slot) if isinstance(by_slot, dict) else by_slot
        if limit is not None:
            rows[slot] = listed.add(f"capacity:{channel}:{slot}", RowKind.CAPACITY, limit)
    return rows


def _add_campaigns(listed: _RowList, problem: Problem) -> tuple[dict[str, int], dict[str, int]]:
    """Add the rows of the campaigns and return ({campaign: row of its maximum}, {campaign: row of its minimum})."""
    campaigns = problem.limits.campaigns
    unpriced = {name for name, c in campaigns.items() if c.min_sends > 0 and c.shortfall_price is None}
    largest = _largest_values(problem, unpriced)
    maximum: dict[str, int] = {}
    minimum: dict[str, int] = {}
    for name, c in sorted(campaigns.items()):
        if c.max_sends is not None:
            maximum[name] = listed.add(f"campaign_max:{name}", RowKind.CAMPAIGN_MAX, c.max_sends)
        if c.min_sends > 0:
            price = largest[name] if c.shortfall_price is None else c.shortfall_price
            minimum[name] = listed.add(f"campaign_min:{name}", RowKind.CAMPAIGN_MIN, c.min_sends, price)
    return maximum, minimum


def _committed_uses(rows: Rows, problem: Problem) -> dict[int, list[float]]:
    """Return {row: use by each committed send}; rows that none uses are absent."""
    h = problem.history
    uses: dict[int, list[float]] = defaultdict(list)
    for i in np.flatnonzero(h.committed).tolist():
        slot = int(-h.minutes_before[i] // problem.slot_minutes)
        for row, use in uses_of_send(rows, h.channel[i], slot, h.campaign[i], float(h.p_opt_out[i]), float(h.cost[i])):
            uses[row].append(use)
    return uses


def coupling(problem: Problem) -> Coupling:
    """Return the rows of `problem.limits` with the use of them by each cell."""
    rows = rows_of(problem)
    every = np.arange(len(problem.cells.message))
    row, cell, use = rows.uses(problem, every)
    matrix = csr_matrix((use, (row, cell)), shape=(len(rows.names), len(every)), dtype=np.float64)
    return Coupling(**vars(rows), use=matrix)


def uses_of_send(
    rows: Rows, channel: str, slot: int, campaign: str, p_opt_out: float, cost: float
) -> list[tuple[int, float]]:
    """Return (row, use) for each row that one send uses."""
    of_slot = rows.capacity.get(channel)
    uses = [
        (-1 if of_slot is None else int(of_slot[slot]), 1.0),
        (rows.campaign_max.get(campaign, -1), 1.0),
        (rows.campaign_min.get(campaign, -1), 1.0),
        (rows.opt_outs, p_opt_out),
        (rows.cost, cost),
    ]
    return [(row, use) for row, use in uses if row >= 0]


def _largest_values(problem: Problem, campaigns: set[str]) -> dict[str, float]:
    """Return the default shortfall price of `campaigns`: their candidates' largest value, at least 0 (¶9f)."""
    if not campaigns:
        return {}
    code, names = pd.factorize(problem.messages.campaign)
    best = np.zeros(len(names))
    np.maximum.at(best, code[problem.cells.message], problem.cells.value)
    by_name = dict(zip(map(str, names), best.tolist(), strict=True))
    return {name: by_name.get(name, 0.0) for name in campaigns}
