"""A plan that keeps every limit, from one that need not: repair, fill, minimums; and its objective (model ¶11)."""

from __future__ import annotations

from sendopt.allocation.prices.market import NONE, Market
from sendopt.allocation.prices.minimums import serve_minimums
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.params import DEFAULT_PARAMS, SolveParams
from sendopt.allocation.prices.repair import fill, repair
from sendopt.stats.arrays import Floats, Ints


def objective(market: Market, plan: Ints) -> float:
    """Return the value of `plan` (U, width) less the penalty of missed minimums, in the market's units."""
    rows, use = market.rows, use_of_plan(market, plan)
    penalty = (rows.missing(rows.committed + use) * rows.shortfall_price).sum()
    return float(market.d.value[plan[plan != NONE]].sum() - penalty)


def better(market: Market, plan: Ints, challenger: Ints) -> Ints:
    """Return the plan of the larger objective; `plan` where they are equal."""
    return max(plan, challenger, key=lambda candidate: objective(market, candidate))


def fitted(market: Market, prices: Floats, plan: Ints, use: Floats, params: SolveParams = DEFAULT_PARAMS) -> Ints:
    """Return a plan that keeps every limit: overfull rows repaired, room filled, minimums served.

    `prices` (R,) decide who moves; `use` (R,) is what `plan` (U, width) uses. `plan` is changed in place.
    """
    fill(market, prices, plan, repair(market, prices, plan, use, params), params)
    for _ in range(params.minimum_rounds):
        served = serve_minimums(market, prices, plan, params)
        if served is None:
            break
        challenger, room = served
        fill(market, prices, challenger, room, params)
        if objective(market, challenger) <= objective(market, plan):
            break
        plan = challenger
    return plan
