"""Subgradient steps on blocks of users, for plan and prices together where one price vector splits nothing (model ¶11).

Users answer in hash order, block by block. After each block a row's price rises with what is used beyond its share.
Rows that many users are indifferent between fill evenly, and the mean of the prices is close to the least bound where
quasi-Newton steps stall on its kinks (Nemirovski and others 2009, "Robust stochastic approximation").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sendopt.allocation.prices.market import Market
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.params import SolveParams
from sendopt.stats.arrays import Floats, Ints


@dataclass(frozen=True)
class PacedPlan:
    """A plan that fills the rows nearly evenly, and the mean prices of the pass that made it."""

    plan: Ints  # (U, width)
    use: Floats  # (R,)
    prices: Floats  # (R,) the mean over the pass


def pace(
    market: Market, base: Floats, gain: float, previous: PacedPlan | None = None, *, params: SolveParams
) -> PacedPlan:
    """Return plan and mean prices of one pass over all users, at prices around `base` (R,).

    `gain` is by how many times itself a price rises where use is ahead by what chance alone would put it. With a
    `previous` plan users replace what they had in it, and the use of the whole plan counts.
    """
    n, rows = market.n_users, market.rows
    plan = market.empty_plan() if previous is None else previous.plan.copy()
    use = np.zeros(len(base)) if previous is None else previous.use.copy()
    step = market.sign * gain * _price_scale(market, base, params)
    step /= np.sqrt(np.maximum(rows.room * market.mean_use, market.mean_use**2))
    blocks = max(1, min(params.blocks, n // params.least_block))
    edges = np.unique(np.linspace(0, n, 1 + blocks).astype(int))
    price_sum = np.zeros(len(base))
    for first, last in pairwise(edges.tolist()):
        due = rows.room * (first / n if previous is None else 1.0)
        prices = market.on_grid(base + step * (use - due))
        if previous is not None:
            use -= use_of_plan(market, plan[first:last])
        use += market.answer(prices, first, last, plan)
        price_sum += prices * ((last - first) / n)
    return PacedPlan(plan, use, market.on_grid(price_sum))


def _price_scale(market: Market, base: Floats, params: SolveParams) -> Floats:
    """Return (R,) the scale of price steps: what a send pays at `base`, bounded whatever a shortfall may cost."""
    of_send = np.minimum(base * market.mean_use, params.price_ceiling)
    positive = of_send[of_send > 0]
    floor = np.where(market.rows.counts_sends, params.send_step_floor, params.budget_step_floor)
    least = floor * positive.mean() if len(positive) else params.step_without_prices
    return np.maximum(of_send, least) / market.mean_use
