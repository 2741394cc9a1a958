"""A plan that keeps every limit, from one that need not, and what it is worth (model ¶11)."""

from __future__ import annotations

from sendopt.allocation.prices.market import NONE, Market
from sendopt.allocation.prices.minimums import serve
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.repair import fill, make_fit
from sendopt.stats.arrays import Floats, Ints

SERVINGS = 3  # of minimums, a plan


def objective(market: Market, plan: Ints) -> float:
    """Value less the penalty of missing minimums, in the market's units."""
    rows, use = market.rows, use_of_plan(market, plan)
    penalty = (rows.missing(rows.committed + use) * rows.shortfall_price).sum()
    return float(market.d.value[plan[plan != NONE]].sum() - penalty)


def better(market: Market, plan: Ints, other: Ints) -> Ints:
    """The plan that is worth more."""
    return max(plan, other, key=lambda one: objective(market, one))


def fitted(market: Market, prices: Floats, plan: Ints, use: Floats) -> Ints:
    """`plan`, changed: what overfills a row moved or dropped, room that is left filled, minimums served."""
    fill(market, prices, plan, make_fit(market, prices, plan, use))
    for _ in range(SERVINGS):
        served = serve(market, prices, plan)
        if served is None:
            break
        other, left = served
        fill(market, prices, other, left)
        if objective(market, other) <= objective(market, plan):
            break
        plan = other
    return plan
