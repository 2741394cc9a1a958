"""Sends for a plan short of a minimum: users who lose least take them, then others make room (model ¶11)."""

from __future__ import annotations

import math

import numpy as np

from sendopt.allocation.coupling import ROUNDING
from sendopt.allocation.prices.market import NONE, Market
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.params import SolveParams
from sendopt.allocation.prices.repair import (
    Pricing,
    Room,
    copy_room,
    repair,
    room_after,
    run_revision,
    shortfall_by_campaign,
)
from sendopt.stats.arrays import Flags, Floats, Ints

OPEN = 1e15  # sends, or units of a budget: room of a row that is open to all


def serve_minimums(market: Market, by_row: Floats, plan: Ints, params: SolveParams) -> tuple[Ints, Room] | None:
    """Return a plan (U, width) that misses fewer sends of minimums, and the room it leaves; None where nobody can help.

    `by_row` (R,) are the prices. The plan returned may be worth less than `plan`, which is not changed.
    """
    if not market.rows.is_minimum.any():
        return None
    room = room_after(market, use_of_plan(market, plan))
    shortfall_price = shortfall_by_campaign(market)
    missing = np.where(shortfall_price > 0, np.maximum(room.missing, 0.0), 0.0)
    helpers = _users_with_unsent(market, plan, missing >= 1.0)
    if len(helpers) == 0:
        return None
    opened = Room(
        np.full(len(room.capacity), OPEN),
        np.where(missing >= 1.0, room.campaign, 0.0),
        room.missing.copy(),
        np.full(2, OPEN),
    )
    pricing = Pricing(market.prices(by_row), shortfall_price, 1.0, 1.0)
    gains = np.zeros(len(helpers))
    run_revision(market, pricing, helpers, False, False, plan, copy_room(opened), gains)
    order = np.lexsort((helpers, -gains))
    order = order[gains[order] > ROUNDING][: math.ceil(missing.sum())]
    if len(order) == 0:
        return None
    served = plan.copy()
    run_revision(market, pricing, helpers[order], False, True, served, opened, np.zeros(len(order)))
    return served, repair(market, by_row, served, use_of_plan(market, served), params)


def _users_with_unsent(market: Market, plan: Ints, short: Flags) -> Ints:
    """Return the users, ascending, with a message of the campaigns `short` that `plan` does not send."""
    d = market.d
    sent = np.zeros(len(d.campaign), np.bool_)
    cells = plan[plan != NONE]
    sent[np.searchsorted(d.cell_start, cells, side="right") - 1] = True
    message = np.flatnonzero(short[d.campaign] & ~sent & (np.diff(d.cell_start) > 0))
    return np.unique(np.searchsorted(d.message_start, message, side="right") - 1).astype(np.int64)
