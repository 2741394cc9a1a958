"""A plan short of a minimum: who loses least takes its sends, whatever they overfill; then others give way (¶11)."""

from __future__ import annotations

import math

import numpy as np

from sendopt.allocation.coupling import ROUNDING
from sendopt.allocation.prices.market import NONE, Market
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.repair import Left, Pay, left_by, make_fit, revision, shortfall_by_campaign
from sendopt.stats.arrays import Floats, Ints

OPEN = 1e15  # room in a row that is open to all


def serve(market: Market, by_row: Floats, plan: Ints) -> tuple[Ints, Left] | None:
    """Return a plan (U, width) that misses fewer sends of minimums, and what it leaves; None where nobody can help.

    It may be worth less than `plan`.
    """
    if not market.rows.is_minimum.any():
        return None
    left = left_by(market, use_of_plan(market, plan))
    price = shortfall_by_campaign(market)
    missing = np.where(price > 0, np.maximum(left.missing, 0.0), 0.0)
    who = _able(market, plan, missing >= 1.0)
    if len(who) == 0:
        return None
    opened = Left(
        np.full(len(left.capacity), OPEN),
        np.where(missing >= 1.0, left.campaign, 0.0),
        left.missing.copy(),
        np.full(2, OPEN),
    )
    pay = Pay(market.prices(by_row), price, 1.0, 1.0)
    gains = np.zeros(len(who))
    revision(market, pay, who, False, False, plan, Left(*(part.copy() for part in opened)), gains)
    order = np.lexsort((who, -gains))
    order = order[gains[order] > ROUNDING][: math.ceil(missing.sum())]
    if len(order) == 0:
        return None
    other = plan.copy()
    revision(market, pay, who[order], False, True, other, opened, np.zeros(len(order)))
    return other, make_fit(market, by_row, other, use_of_plan(market, other))


def _able(market: Market, plan: Ints, short: np.ndarray) -> Ints:
    """Users with a message of the campaigns `short` that `plan` does not send."""
    d = market.d
    sent = np.zeros(len(d.campaign), np.bool_)
    cells = plan[plan != NONE]
    sent[np.searchsorted(d.cell_start, cells, side="right") - 1] = True
    message = np.flatnonzero(short[d.campaign] & ~sent & (np.diff(d.cell_start) > 0))
    return np.unique(np.searchsorted(d.message_start, message, side="right") - 1).astype(np.int64)
