"""Users whom the prices leave undecided, planned by an integer program over a few whole plans each (model ¶11)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, vstack

from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import use_by_user
from sendopt.allocation.prices.params import SolveParams
from sendopt.allocation.prices.program import Program, least_cost
from sendopt.allocation.work import Meter, Work
from sendopt.stats.arrays import Flags, Floats, Ints


def choose_undecided(
    market: Market, best: Response, pool: list[Response], plan: Ints, gap: float, params: SolveParams
) -> Ints:
    """Return a plan (U, width) at least as good as `plan`: users with several plans of small regret choose again.

    All of them choose together, to within the relative `gap`. Their plans are the responses to the prices of `pool`,
    and to those of `best` shaken at random.
    """
    users, plans = _distinct_plans(market, _price_vectors(market, best, pool, params), plan)
    if len(users) == 0:
        return plan
    value, use = _worth(market, plans)
    adjusted = value - use @ (market.sign * best.prices)
    worth = np.empty(market.n_users)
    market.respond(best.prices, plan=market.empty_plan(), worth=worth)
    regret = np.maximum(0.0, worth[users] - adjusted)
    keep = _least_regret(users, regret, params.undecided_users)
    users, plans, value, use = users[keep], plans[keep], value[keep], use[keep]
    chosen = _program(market, users, plans, value, use, plan, gap, params)
    return plan if chosen is None else chosen


def _price_vectors(market: Market, best: Response, pool: list[Response], params: SolveParams) -> list[Floats]:
    """Return the prices (R,) of the best responses of `pool`, some of the rest, and those of `best` shaken."""
    vectors, shakes = params.undecided_vectors, params.shakes
    ranked = [r.prices for r in sorted(pool, key=lambda r: r.bound)]
    prices = ranked[:vectors] + ranked[vectors :: max(1, len(ranked) // vectors)]
    draw = np.random.default_rng(params.shake_seed)
    for i in range(vectors):
        shaken = best.prices * (1.0 + shakes[i % len(shakes)] * draw.standard_normal(len(best.prices)))
        prices.append(np.clip(shaken, 0.0, market.most_price))
    return prices


def _distinct_plans(market: Market, vectors: list[Floats], plan: Ints) -> tuple[Ints, Ints]:
    """Return (users (N,), plans (N, width)), ordered by user: the distinct plans of users who have more than one.

    Plans are `plan` (U, width) and the responses to the price `vectors`.
    """
    plans = [plan]
    for prices in vectors:
        response = market.empty_plan()
        market.respond(prices, plan=response)
        plans.append(response)
    everyone = np.arange(market.n_users)
    stacked = np.concatenate([np.column_stack([everyone, p]) for p in plans])
    distinct = np.unique(stacked, axis=0)
    several = np.bincount(distinct[:, 0], minlength=market.n_users) > 1
    undecided = distinct[several[distinct[:, 0]]]
    return undecided[:, 0], undecided[:, 1:]


def _least_regret(users: Ints, regret: Floats, most_users: int) -> Flags:
    """Return (N,) which plans belong to the users whose second plan costs least, at most `most_users` of them."""
    second = np.full(int(users.max()) + 1, np.inf)
    positive = regret > 0
    np.minimum.at(second, users[positive], regret[positive])
    ids = np.unique(users)
    order = ids[np.lexsort((ids, second[ids]))][:most_users]
    return np.isin(users, order)


def _worth(market: Market, plans: Ints) -> tuple[Floats, Floats]:
    """Return (values (N,), uses (N, R)) of N whole plans."""
    value = np.where(plans == NONE, 0.0, market.d.value[np.maximum(plans, 0)]).sum(axis=1)
    return value, use_by_user(market, plans)


def _program(
    market: Market,
    users: Ints,
    plans: Ints,
    value: Floats,
    use: Floats,
    plan: Ints,
    gap: float,
    params: SolveParams,
) -> Ints | None:
    """Return `plan` with the best choice of one of `plans` (N, width) for each of `users`; None where HiGHS finds none.

    Users without a choice keep their plan, and what they use is not to be had. `gap` is relative.
    """
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
    shortfall = np.zeros((r, len(short)))
    shortfall[short, np.arange(len(short))] = 1.0
    matrix = csc_matrix(vstack([csr_matrix(np.hstack([use.T, shortfall])), _one_plan_each(of_user, columns)]))
    whole = np.where(rows.counts_sends, params.whole_slack, 0.0)
    lower = np.r_[np.where(minimum, room, -np.inf), np.ones(len(ids))]
    upper = np.r_[np.where(minimum, np.inf, room + whole), np.ones(len(ids))]
    cost = np.r_[-value, rows.shortfall_price[short]]
    top = np.r_[np.ones(n), np.full(len(short), np.inf)]
    program = Program(cost, top, matrix, lower, upper, n)
    meter = Meter(Work(params.undecided_work).checks(matrix.nnz))
    least = least_cost(program, {"mip_rel_gap": gap}, meter)
    if least is None:
        return None
    taken = least.x[:n] > 0.5
    result = plan.copy()
    result[users[taken]] = plans[taken]
    return result


def _one_plan_each(of_user: Ints, columns: int) -> csr_matrix:
    """Return (users, columns) the constraint that each user takes one plan; plan i belongs to user of_user[i]."""
    n = len(of_user)
    return csr_matrix((np.ones(n), (of_user, np.arange(n))), shape=(int(of_user.max()) + 1, columns))
