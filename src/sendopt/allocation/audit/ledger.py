"""The limits across users as the audit counts them (model ¶9e to ¶9h): what each allows, and how much is used."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sendopt.allocation.problem import Problem
from sendopt.stats.arrays import Floats, Ints, Texts


@dataclass
class Row:
    """A limit across users and its use. `price` is the largest shadow price that is valid for it."""

    limit: float
    price: float = math.inf
    committed: float = 0.0
    planned: float = 0.0

    @property
    def used(self) -> float:
        return self.committed + self.planned

    @property
    def room(self) -> float:
        """Room that committed sends leave in a maximum, or sends that they leave missing to a minimum."""
        return max(0.0, self.limit - self.committed)


@dataclass
class Ledger:
    """Rows by name as in `Price.row`, minimums by campaign."""

    maximums: dict[str, Row] = field(default_factory=dict)
    minimums: dict[str, Row] = field(default_factory=dict)

    @property
    def by_price(self) -> dict[str, Row]:
        """All rows by the name of their price."""
        return self.maximums | {f"campaign_min:{name}": row for name, row in self.minimums.items()}


@dataclass(frozen=True)
class Sends:
    """Sends as columns, each of shape (n,)."""

    channel: Texts
    slot: Ints
    campaign: Texts
    p_opt_out: Floats
    cost: Floats

    def uses(self) -> dict[str, float]:
        """Return {row: use} for every row that could have a limit, by the name of its price.

        Rows of capacity and campaigns that no send uses are absent.
        """
        used: dict[str, float] = {}
        channel, channels = pd.factorize(self.channel)
        slots = int(self.slot.max(initial=0)) + 1
        by_slot = np.bincount(channel * slots + self.slot, minlength=len(channels) * slots)
        for pair in np.flatnonzero(by_slot).tolist():
            used[f"capacity:{channels[pair // slots]}:{pair % slots}"] = float(by_slot[pair])
        campaign, campaigns = pd.factorize(self.campaign)
        for name, sends in zip(campaigns, np.bincount(campaign, minlength=len(campaigns)).tolist(), strict=True):
            used[f"campaign_max:{name}"] = used[f"campaign_min:{name}"] = float(sends)
        return used | {"opt_outs": math.fsum(self.p_opt_out.tolist()), "cost": math.fsum(self.cost.tolist())}


def planned_sends(problem: Problem, cells: Ints) -> Sends:
    """Return the sends of the rows `cells` of `problem.cells`."""
    c, message = problem.cells, problem.cells.message[cells]
    return Sends(
        problem.messages.channel[message],
        c.slot[cells],
        problem.messages.campaign[message],
        c.p_opt_out[cells],
        c.cost[cells],
    )


def committed_sends(problem: Problem) -> Sends:
    """Return the sends of the history that lie inside the horizon, which begins with minute 0."""
    h = problem.history
    inside = h.minutes_before <= 0
    slot = (-h.minutes_before[inside] // problem.slot_minutes).astype(np.int64)
    return Sends(h.channel[inside], slot, h.campaign[inside], h.p_opt_out[inside], h.cost[inside])


def ledger(problem: Problem, planned: Ints) -> Ledger:
    """Return every row of ¶9e to ¶9h with its use by committed sends and by the planned cells."""
    book = _unused(problem)
    committed, sent = committed_sends(problem).uses(), planned_sends(problem, planned).uses()
    for name, row in book.by_price.items():
        row.committed, row.planned = committed.get(name, 0.0), sent.get(name, 0.0)
    return book


def largest_values(problem: Problem) -> dict[str, float]:
    """Return {campaign: largest value of its candidate cells, at least 0}, the default shortfall price (¶9f)."""
    code, names = pd.factorize(problem.messages.campaign)
    largest = np.zeros(len(names))
    np.maximum.at(largest, code[problem.cells.message], problem.cells.value)
    return dict(zip(map(str, names), largest.tolist(), strict=True))


def _unused(problem: Problem) -> Ledger:
    """Return every row of ¶9e to ¶9h without use."""
    limits, book = problem.limits, Ledger()
    for channel, capacity in limits.capacity.items():
        for slot in range(problem.n_slots):
            most = capacity.get(slot) if isinstance(capacity, dict) else capacity
            if most is not None:
                book.maximums[f"capacity:{channel}:{slot}"] = Row(most)
    unpriced = any(c.min_sends > 0 and c.shortfall_price is None for c in limits.campaigns.values())
    largest = largest_values(problem) if unpriced else {}
    for name, campaign in limits.campaigns.items():
        if campaign.max_sends is not None:
            book.maximums[f"campaign_max:{name}"] = Row(campaign.max_sends)
        if campaign.min_sends > 0:
            price = largest.get(name, 0.0) if campaign.shortfall_price is None else campaign.shortfall_price
            book.minimums[name] = Row(campaign.min_sends, price)
    if limits.opt_outs is not None:
        book.maximums["opt_outs"] = Row(limits.opt_outs.max_expected)
    if limits.cost is not None:
        book.maximums["cost"] = Row(limits.cost.max_total)
    return book
