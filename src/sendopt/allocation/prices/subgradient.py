"""Plans and prices together where one price vector splits nothing: prices follow what has been used so far (model ¶11).

Users answer in hash order, block by block; after each block a row's price rises with what is used beyond its share.
Rows that many users are indifferent between fill evenly, and the mean of the prices is close to the least bound where
quasi-Newton steps stall on its kinks (Nemirovski and others 2009, "Robust stochastic approximation").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sendopt.allocation.prices.dual import CEILING
from sendopt.allocation.prices.market import Market
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.stats.arrays import Floats, Ints

BLOCKS = 500
LEAST_BLOCK = 8  # users
FLOOR = 1.5  # of the mean price of a send: a row without one gets its step from it
FLOOR_OF_BUDGETS = 0.04
FIRST = 0.01  # where no row has a price


@dataclass(frozen=True)
class Paced:
    """A plan that fills the rows nearly evenly, and the prices on the way."""

    plan: Ints  # (U, width)
    use: Floats  # (R,)
    prices: Floats  # (R,) the mean over the pass


def pace(market: Market, base: Floats, gain: float, before: Paced | None = None) -> Paced:
    """One pass over all users at prices around `base` (R,).

    `gain` is by how many times itself a price rises where use is ahead by what chance alone would put it. With a plan
    `before` users replace what they had in it, and what counts is the whole plan's use.
    """
    n, rows = market.n_users, market.rows
    plan = market.empty_plan() if before is None else before.plan.copy()
    use = np.zeros(len(base)) if before is None else before.use.copy()
    step = market.sign * gain * _price_scale(market, base)
    step /= np.sqrt(np.maximum(rows.room * market.mean_use, market.mean_use**2))
    edges = np.unique(np.linspace(0, n, 1 + max(1, min(BLOCKS, n // LEAST_BLOCK))).astype(int))
    total = np.zeros(len(base))
    for first, last in pairwise(edges.tolist()):
        due = rows.room * (first / n if before is None else 1.0)
        prices = market.on_grid(base + step * (use - due))
        if before is not None:
            use -= use_of_plan(market, plan[first:last])
        use += market.answer(prices, first, last, plan)
        total += prices * ((last - first) / n)
    return Paced(plan, use, market.on_grid(total))


def _price_scale(market: Market, base: Floats) -> Floats:
    """(R,) what a price moves by: of the size of what a send pays, whatever a shortfall may cost."""
    of_send = np.minimum(base * market.mean_use, CEILING)
    positive = of_send[of_send > 0]
    least = np.where(market.rows.counts_sends, FLOOR, FLOOR_OF_BUDGETS)
    return np.maximum(of_send, least * positive.mean() if len(positive) else FIRST) / market.mean_use
