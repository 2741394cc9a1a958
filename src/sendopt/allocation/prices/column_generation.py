"""Plans for few users: prices by column generation, then a program in integers over their plans (model ¶11)."""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.dual import climb, size_of
from sendopt.allocation.prices.fit import better, fitted, objective
from sendopt.allocation.prices.market import Market, Response
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.restricted_master import (
    Columns,
    columns_of,
    generate,
    near_columns,
    rounded,
    solve_columns,
)
from sendopt.allocation.prices.scratch import MOST_NARROW
from sendopt.stats.arrays import Floats, Ints

FEW_USERS = 3_000
PASSES = 60  # of all users, to the first prices
FEWER_PASSES = 25  # where the search of more than
DEAR = 0.25  # of the users is cut: ...
NARROW = 16  # ... so few plans under way are kept for them
KEPT = 20  # of their answers, as plans to choose from
TIMES = (0.3, 1.0, 8.0)  # the gap asked for: a plan within it has no user who loses more than it
SHARES = (0.02, 0.1, 0.3, np.inf)  # of a user's mean worth: where that is not enough, what a user may lose at most
ROUNDINGS = 3
MOST_COLUMNS = 4_000  # of all programs in integers together
NEAR, MOST_NEAR = 24, 2_000  # plans near the best of a user: at least, and where there are few users
NODES = 20  # of one


def decide(market: Market, relative_gap: float) -> tuple[Ints, Response]:
    """(plan (U, width), the response whose prices prove the bound)."""
    course = market.course
    course.enter("prices")
    best, answers, dear = _first_prices(market)
    course.enter("plan")
    plan = market.empty_plan()
    use = market.respond(best.prices, plan=plan).use
    plan = fitted(market, best.prices, plan, use)
    course.planned(plan, objective(market, plan))
    wanted = relative_gap * size_of(market, best.value)
    missed = best.bound - objective(market, plan)
    if missed <= wanted:
        return plan, best
    answers = [*answers[-KEPT:], plan]
    columns = columns_of(market, np.tile(np.arange(market.n_users), len(answers)), np.vstack(answers))
    mean = float(_worth(market, best).mean())
    most = max(NEAR, min(MOST_NEAR, MOST_COLUMNS // max(1, market.n_users)))
    if not dear:
        columns = near_columns(market, columns, best, min(missed, SHARES[0] * mean), most)
    columns, best = generate(market, columns, best, 0.1 * wanted)
    if dear:
        plan = _rounded(market, columns, best, plan)
        market.scratch().limit[0] = MOST_NARROW  # once, for the proof
        return plan, min(best, market.respond(best.prices), key=lambda one: one.bound)
    work = 0
    course.enter("choice")
    # a plan of which a user's part has a larger regret than the slack lies further below the bound than that
    for slack in sorted([*(times * wanted for times in TIMES), *(share * mean for share in SHARES)]):
        missed = best.bound - objective(market, plan)
        if missed <= wanted:
            break
        columns = near_columns(market, columns, best, min(missed, slack), most)
        regret = columns.regret(market, best, _worth(market, best))
        largest = np.sort(regret)[:MOST_COLUMNS][-1]
        some = columns.some(regret <= min(missed, slack, largest))
        work += len(some.owner)
        if work > MOST_COLUMNS and work > len(some.owner):
            break
        plan = _chosen(market, some, best, plan, 0.5 * wanted)
        course.planned(plan, objective(market, plan))
        if slack >= missed:
            break
    return plan, best


def _rounded(market: Market, columns: Columns, best: Response, plan: Ints) -> Ints:
    """The best of `plan` and some roundings of the program: one in integers takes too long where answers are dear."""
    for seed in range(ROUNDINGS):
        other = rounded(market, columns, seed)
        if other is not None:
            plan = better(market, plan, fitted(market, best.prices, other, use_of_plan(market, other)))
    return plan


def _first_prices(market: Market) -> tuple[Response, list[Ints], bool]:
    """(the response of the least bound so far, all answers on the way, are answers dear?)."""
    answers: list[Ints] = []
    dear = market.respond(np.zeros(len(market.rows.names))).cut > DEAR * market.n_users
    if dear:
        market.scratch().limit[0] = NARROW
    return climb(market, market.n_users, FEWER_PASSES if dear else PASSES, answers)[-1], answers, dear


def _worth(market: Market, best: Response) -> Floats:
    worth = np.empty(market.n_users)
    market.respond(best.prices, worth=worth)
    return worth


def _chosen(market: Market, columns: Columns, best: Response, plan: Ints, gap: float) -> Ints:
    """The best choice of `columns` to within `gap`; or `plan` where that is worth more."""
    answer = solve_columns(market, columns, integer=True, gap=gap, nodes=NODES)
    if answer is None:
        return plan
    other, taken = market.empty_plan(), answer.x > 0.5
    other[columns.owner[taken]] = columns.plans[taken]
    return better(market, plan, fitted(market, best.prices, other, use_of_plan(market, other)))
