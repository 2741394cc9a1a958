"""What the prices leave undecided, decided by an integer program over a few whole plans a user (model ¶11)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix, vstack

from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import use_by_user
from sendopt.allocation.prices.program import WHOLE, Program, least_cost
from sendopt.allocation.work import Meter, Work
from sendopt.stats.arrays import Floats, Ints

MOST_USERS = 1500  # whose plan is decided anew; those of least regret
VECTORS = 10  # prices shaken, for further plans near the optimum
SHAKE = (0.002, 0.01, 0.05)  # relative; near the optimum most users keep their plan
WORK = Work(20.0)  # a safety stop only
_SEED = 7


def improve(market: Market, best: Response, pool: list[Response], plan: Ints, gap: float) -> Ints:
    """A plan at least as good: users with several plans of small regret choose again, all together."""
    ranked = [r.prices for r in sorted(pool, key=lambda r: r.bound)]
    vectors = ranked[:VECTORS] + ranked[VECTORS :: max(1, len(ranked) // VECTORS)]
    draw = np.random.default_rng(_SEED)
    for i in range(VECTORS):
        shaken = best.prices * (1.0 + SHAKE[i % len(SHAKE)] * draw.standard_normal(len(best.prices)))
        vectors.append(np.clip(shaken, 0.0, market.most_price))
    users, plans = _distinct_plans(market, vectors, plan)
    if len(users) == 0:
        return plan
    value, use = _worth(market, plans)
    adjusted = value - use @ (market.sign * best.prices)
    worth = np.empty(market.n_users)
    market.respond(best.prices, plan=market.empty_plan(), worth=worth)
    regret = np.maximum(0.0, worth[users] - adjusted)
    keep = _core(users, regret)
    users, plans, value, use = users[keep], plans[keep], value[keep], use[keep]
    chosen = _program(market, users, plans, value, use, plan, gap)
    return plan if chosen is None else chosen


def _distinct_plans(market: Market, vectors: list[Floats], plan: Ints) -> tuple[Ints, Ints]:
    """(users, plans): the plan at hand and every other response of users who have one, ordered by user."""
    found = [plan]
    for prices in vectors:
        one = market.empty_plan()
        market.respond(prices, plan=one)
        found.append(one)
    everyone = np.arange(market.n_users)
    stacked = np.concatenate([np.column_stack([everyone, p]) for p in found])
    distinct = np.unique(stacked, axis=0)
    several = np.bincount(distinct[:, 0], minlength=market.n_users) > 1
    core = distinct[several[distinct[:, 0]]]
    return core[:, 0], core[:, 1:]


def _core(users: Ints, regret: Floats) -> NDArray[np.bool_]:
    """The plans of the users whose second plan costs least."""
    second = np.full(int(users.max()) + 1, np.inf)
    positive = regret > 0
    np.minimum.at(second, users[positive], regret[positive])
    ids = np.unique(users)
    order = ids[np.lexsort((ids, second[ids]))][:MOST_USERS]
    return np.isin(users, order)


def _worth(market: Market, plans: Ints) -> tuple[Floats, Floats]:
    """(values (N,), uses (N, R)) of whole plans."""
    value = np.where(plans == NONE, 0.0, market.d.value[np.maximum(plans, 0)]).sum(axis=1)
    return value, use_by_user(market, plans)


def _program(
    market: Market, users: Ints, plans: Ints, value: Floats, use: Floats, plan: Ints, gap: float
) -> Ints | None:
    rows = market.rows
    n, r = len(users), len(rows.names)
    ids, of_user = np.unique(users, return_inverse=True)
    inside = np.zeros(market.n_users, bool)
    inside[ids] = True
    fixed = use_by_user(market, plan[~inside]).sum(axis=0)
    room = rows.room - fixed
    minimum = rows.is_minimum
    short = np.flatnonzero(minimum)
    columns = n + len(short)
    lack = np.zeros((r, len(short)))
    lack[short, np.arange(len(short))] = 1.0
    matrix = csc_matrix(vstack([csr_matrix(np.hstack([use.T, lack])), _one_plan_each(of_user, columns)]))
    whole = np.where(rows.counts_sends, WHOLE, 0.0)
    lower = np.r_[np.where(minimum, room, -np.inf), np.ones(len(ids))]
    upper = np.r_[np.where(minimum, np.inf, room + whole), np.ones(len(ids))]
    cost = np.r_[-value, rows.shortfall_price[short]]
    top = np.r_[np.ones(n), np.full(len(short), np.inf)]
    program = Program(cost, top, matrix, lower, upper, n)
    found = least_cost(program, {"mip_rel_gap": gap}, Meter(WORK.checks(matrix.nnz)))
    if found is None:
        return None
    taken = found.x[:n] > 0.5
    result = plan.copy()
    result[users[taken]] = plans[taken]
    return result


def _one_plan_each(of_user: Ints, columns: int) -> csr_matrix:
    n = len(of_user)
    return csr_matrix((np.ones(n), (of_user, np.arange(n))), shape=(int(of_user.max()) + 1, columns))
