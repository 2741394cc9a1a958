"""A plan near every limit at once: users share the responses to several price vectors (model ¶11).

The weights are those of the restricted master of Dantzig and Wolfe, over the responses met on the way to the prices.
Where many users are worth the same, no one price vector splits them, but a mixture does.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.params import SolveParams
from sendopt.stats.arrays import Floats, Ints

GOLDEN = 0.6180339887498949  # golden ratio less 1: its multiples spread evenly over 0 to 1


def mixed_plan(market: Market, pool: list[Response], params: SolveParams) -> tuple[Ints, Floats]:
    """Return (plan (U, width), its use (R,)): each user follows one response of `pool`, by place in hash order."""
    pool = sorted(pool, key=lambda r: r.bound)[: params.mixture_pool]
    weights = _weights(market, pool, params.least_weight)
    plan = market.empty_plan()
    used = [i for i, weight in enumerate(weights) if weight > 0]
    if len(used) == 1:
        return plan, market.respond(pool[used[0]].prices, plan=plan).use
    # low discrepancy: any stretch of users holds each response in about its share
    place = np.modf((np.arange(market.n_users) + 0.5) * GOLDEN)[0]
    owner = np.searchsorted(np.cumsum(weights[used]), place * weights[used].sum(), side="right")
    use = np.zeros(len(market.rows.names))
    for turn, i in enumerate(used):
        use += market.respond(pool[i].prices, plan=plan, who=np.minimum(owner, len(used) - 1) == turn).use
    return plan, use


def _weights(market: Market, pool: list[Response], least_weight: float) -> Floats:
    """Return (len(pool),) the share of users that follow each response; they sum to 1."""
    rows = market.rows
    n, r = len(pool), len(rows.names)
    use = np.array([p.use for p in pool]).T.reshape(r, n)
    value = np.array([p.value for p in pool])
    sign = market.sign
    # beyond a maximum at more than its price; short of a minimum at its shortfall price
    sends = float(use[rows.counts_sends].max(initial=1.0))
    penalty = np.where(
        rows.is_minimum, rows.shortfall_price, 2.0 * pool[0].prices + value.max() / max(1.0, sends) / market.mean_use
    )
    master = linprog(
        np.r_[-value, penalty],
        A_ub=np.hstack([sign[:, None] * use, -np.eye(r)]),
        b_ub=sign * rows.room,
        A_eq=np.r_[np.ones(n), np.zeros(r)][None, :],
        b_eq=[1.0],
        method="highs",
    )
    if master.x is None:
        return np.eye(n)[0]
    weights = np.where(master.x[:n] > least_weight, master.x[:n], 0.0)
    return np.asarray(weights / weights.sum())


def use_of_plan(market: Market, plan: Ints) -> Floats:
    """Return (R,) what a plan uses of the rows."""
    return use_by_user(market, plan[plan != NONE][None, :]).sum(axis=0)


def use_by_user(market: Market, plans: Ints) -> Floats:
    """Return (N, R) what each of N plans (N, any width) uses of the rows."""
    use = np.zeros((len(plans), len(market.rows.names)))
    plan, row, amount = uses_of_plans(market, plans)
    np.add.at(use, (plan, row), amount)
    return use


def uses_of_plans(market: Market, plans: Ints) -> tuple[Ints, Ints, Floats]:
    """Return (plan, row, amount), each (E,): every use of a row by one of N plans (N, any width)."""
    d, rows = market.d, market.rows
    owner, place = np.nonzero(plans != NONE)
    cells = plans[owner, place]
    messages = np.searchsorted(d.cell_start, cells, side="right") - 1
    sends = np.ones(len(cells))
    capacity = market.capacity_row[d.channel[messages].astype(np.int64) * d.rules.n_slots + d.slot[cells]]
    parts = (
        (capacity, sends),
        (market.max_row[d.campaign[messages]], sends),
        (market.min_row[d.campaign[messages]], sends),
        (np.full(len(cells), rows.opt_outs), d.p_opt_out[cells if d.opt_out_by_cell else messages]),
        (np.full(len(cells), rows.cost), d.cost[cells if d.cost_by_cell else messages]),
    )
    row = np.concatenate([part for part, _ in parts])
    amount = np.concatenate([part for _, part in parts])
    keep = (row != NONE) & (amount != 0.0)
    return np.tile(owner, len(parts))[keep], row[keep], amount[keep]
