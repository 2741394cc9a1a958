"""Prices, then a plan: the dual on a sample and on all, a mixture, made to fit, filled, the rest paced (¶11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sendopt.allocation.control import UNWATCHED, Cancelled, Control
from sendopt.allocation.prices.column_generation import FEW_USERS, decide
from sendopt.allocation.prices.course import Course
from sendopt.allocation.prices.dual import QUICK, SLOW, least_bound, least_bound_from, size_of
from sendopt.allocation.prices.fit import better, fitted, objective
from sendopt.allocation.prices.instance import Compiled, compile_problem
from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import mixed_plan, use_of_plan
from sendopt.allocation.prices.subgradient import pace
from sendopt.allocation.prices.undecided import improve
from sendopt.allocation.prices.user_rules import strike_out
from sendopt.allocation.problem import Problem
from sendopt.stats.arrays import Floats, Ints

CORE_USERS = 50_000  # above, a program over the undecided is not worth its time
# of each pass: the gain, and whether users replace what they had in the plan of the pass before
PACES = ((0.3, False), (0.3, False), (0.1, False), (0.1, True), (0.03, True), (0.03, True))
FIRST_JUDGED = 4  # before, prices still move much
JUDGES = 5_000  # users who say whether prices of another day are of use


@dataclass(frozen=True)
class Priced:
    """A plan by prices and what they prove, in the problem's units."""

    cells: Ints  # rows of Problem.cells, ascending
    prices: Floats  # (R,) by the rows of `coupling.rows_of`
    bound: float
    cut_users: int
    cut_short: bool = False  # by the caller


def arrays(problem: Problem) -> Compiled:
    """The problem's arrays with what the past forbids struck out."""
    compiled = compile_problem(problem)
    rules = compiled.instance.rules
    everyone = bool((rules.cap_max < 1).any() or rules.points.max(initial=0.0) > rules.max_points)
    strike_out(compiled.instance, everyone, np.zeros(1, np.int64))
    return compiled


def prepare(problem: Problem, known: Compiled | None = None) -> tuple[Compiled, Market]:
    """The same, and the market of them; `known` are the problem's arrays where they are made already."""
    compiled = known or arrays(problem)
    return compiled, Market(compiled)


def bound_by_prices(market: Market, prices: Floats) -> Response:
    """D(prices) in the problem's units: no plan has a larger objective.

    `prices` (R,) >= 0, also in the problem's units; of a minimum at most its shortfall price.
    """
    return market.stated(market.respond(market.on_grid(market.own_prices(prices))))


def plan_by_prices(
    problem: Problem, relative_gap: float, control: Control = UNWATCHED, known: Compiled | None = None
) -> Priced:
    """A plan of any number of users with its bound; see `prepare` for `known`."""
    compiled, market = prepare(problem, known)
    market.course = Course(market.n_users, control, market.unit)
    start = control.start(compiled.rows)
    plan, best = solve(market, relative_gap, None if start is None else market.own_prices(start))
    best = market.stated(best)
    cells = compiled.cell[plan[plan != NONE]]
    return Priced(np.sort(cells), best.prices, best.bound, best.cut, market.course.cut_short)


def solve(market: Market, relative_gap: float, start: Floats | None = None) -> tuple[Ints, Response]:
    """(plan (U, width), the response whose prices prove the bound); from the prices `start` (R,) where given.

    All in the market's units.

    Where the gap is not reached from them the search begins anew without them, and the better of both counts: prices
    of another day never cost plan or proof. Where the caller cancels it is the best so far (`market.course`).
    """
    try:
        if start is None or market.n_users <= FEW_USERS:  # whole plans of few users are found without
            return search(market, relative_gap)
        plan, best = search(market, relative_gap, _useful(market, market.on_grid(start)))
        if _gap(market, plan, best) > relative_gap:
            other, proof = search(market, relative_gap)
            plan, best = better(market, other, plan), min(proof, best, key=lambda one: one.bound)
        return plan, best
    except Cancelled:
        return _so_far(market, np.zeros(len(market.rows.names)) if start is None else market.on_grid(start))


def search(market: Market, relative_gap: float, start: Floats | None = None) -> tuple[Ints, Response]:
    """What `solve` returns, from one start."""
    if market.n_users <= FEW_USERS:
        return decide(market, relative_gap)
    course = market.course
    quick = bool((market.d.pairable & (market.d.most <= 2)).mean() > 0.5)
    course.enter("prices")
    effort, tolerance = QUICK if quick else SLOW, relative_gap / 10
    if start is None:
        pool = least_bound(market, effort, tolerance)
    else:
        pool = least_bound_from(market, effort, tolerance, start)
    best = pool[-1]
    plan = market.empty_plan()
    course.enter("plan")
    if len(pool) > 1:
        plan = fitted(market, best.prices, *mixed_plan(market, pool))
        course.planned(plan, objective(market, plan))
    if _gap(market, plan, best) > relative_gap:
        course.enter("pacing")
        plan, best = paced(market, plan, best, relative_gap)
    if market.n_users <= CORE_USERS and _gap(market, plan, best) > relative_gap:
        course.enter("choice")
        other = improve(market, best, pool, plan, relative_gap / 10)
        plan = better(market, plan, fitted(market, best.prices, other, use_of_plan(market, other)))
        course.planned(plan, objective(market, plan))
    return plan, best


def _useful(market: Market, start: Floats) -> Floats | None:
    """`start` where its bound over the first users is less than that of no prices at all."""
    users = min(market.n_users, JUDGES)
    return start if market.respond(start, users).bound < market.respond(np.zeros(len(start)), users).bound else None


def _so_far(market: Market, start: Floats) -> tuple[Ints, Response]:
    """The best plan and bound of a search that was cut short; where there is none yet, those of one pass."""
    course = market.course
    if course.best is None or course.plan is None:
        plan = market.empty_plan()
        response = market.respond(course.prices(start), plan=plan)
        plan = fitted(market, response.prices, plan, response.use.copy())
        course.planned(plan, objective(market, plan))
    assert course.best is not None
    assert course.plan is not None
    return course.plan, course.best


def paced(market: Market, plan: Ints, best: Response, relative_gap: float) -> tuple[Ints, Response]:
    """The plan and the bound after further passes with prices that follow use, until the gap is reached."""
    base, before = best.prices, None
    for turn, (gain, again) in enumerate(PACES):
        before = pace(market, base, gain, before if again else None)
        base = before.prices
        if turn < FIRST_JUDGED:
            continue
        best = min(best, market.respond(base), key=lambda one: one.bound)
        plan = better(market, plan, fitted(market, base, before.plan.copy(), before.use.copy()))
        market.course.planned(plan, objective(market, plan))
        if _gap(market, plan, best) <= relative_gap:
            break
    return plan, best


def _gap(market: Market, plan: Ints, best: Response) -> float:
    """Relative to what the users earn: a penalty that no plan avoids hides nothing."""
    return (best.bound - objective(market, plan)) / size_of(market, best.value)
