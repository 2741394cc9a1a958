"""The pipeline of the price engine (model ¶11).

Dual (on a sample, then on all users), mixture of responses, repair and fill, subgradient steps, choice of the
undecided. Few users are planned by column generation instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sendopt.allocation.control import UNWATCHED, Cancelled, Control
from sendopt.allocation.prices.column_generation import solve_by_columns
from sendopt.allocation.prices.course import Course
from sendopt.allocation.prices.dual import least_bound, least_bound_from, size_of
from sendopt.allocation.prices.fit import better, fitted, objective
from sendopt.allocation.prices.instance import Compiled, compile_problem
from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import mixed_plan, use_of_plan
from sendopt.allocation.prices.params import DEFAULT_PARAMS, SolveParams
from sendopt.allocation.prices.subgradient import pace
from sendopt.allocation.prices.undecided import choose_undecided
from sendopt.allocation.prices.user_rules import strike_out
from sendopt.allocation.problem import Problem
from sendopt.stats.arrays import Floats, Ints


@dataclass(frozen=True)
class Priced:
    """A plan by prices and what they prove, in the problem's units."""

    cells: Ints  # rows of Problem.cells, ascending
    prices: Floats  # (R,) by the rows of `coupling.rows_of`
    bound: float
    cut_users: int
    cut_short: bool = False  # by the caller


def arrays(problem: Problem, params: SolveParams = DEFAULT_PARAMS) -> Compiled:
    """Return the problem's arrays, with the cells that the past forbids struck out."""
    compiled = compile_problem(problem, params)
    rules = compiled.instance.rules
    everyone = bool((rules.cap_max < 1).any() or rules.points.max(initial=0.0) > rules.max_points)
    strike_out(compiled.instance, everyone, np.zeros(1, np.int64))
    return compiled


def prepare(
    problem: Problem, known: Compiled | None = None, params: SolveParams = DEFAULT_PARAMS
) -> tuple[Compiled, Market]:
    """Return the problem's arrays and a `Market` over them; `known` are the arrays where they are made already."""
    compiled = known or arrays(problem, params)
    return compiled, Market(compiled)


def bound_by_prices(market: Market, prices: Floats) -> Response:
    """Return D(prices) in the problem's units: no plan has a larger objective.

    `prices` (R,) >= 0, also in the problem's units; of a minimum at most its shortfall price.
    """
    return market.stated(market.respond(market.on_grid(market.own_prices(prices))))


def plan_by_prices(
    problem: Problem,
    relative_gap: float,
    control: Control = UNWATCHED,
    known: Compiled | None = None,
    params: SolveParams = DEFAULT_PARAMS,
) -> Priced:
    """Return a plan of any number of users with its bound; see `prepare` for `known`."""
    compiled, market = prepare(problem, known, params)
    market.course = Course(market.n_users, control, market.unit)
    start = control.start(compiled.rows)
    plan, best = solve(market, relative_gap, None if start is None else market.own_prices(start), params)
    best = market.stated(best)
    cells = compiled.cell[plan[plan != NONE]]
    return Priced(np.sort(cells), best.prices, best.bound, best.cut, market.course.cut_short)


def solve(
    market: Market, relative_gap: float, start: Floats | None = None, params: SolveParams = DEFAULT_PARAMS
) -> tuple[Ints, Response]:
    """Return (plan (U, width), the response whose prices prove the bound), all in the market's units.

    Begins at the prices `start` (R,) where given. Where the gap is not reached from them the pipeline runs again
    without them, and the better of both counts: prices of another day never cost plan or proof. Where the caller
    cancels, returns the best so far (`market.course`).
    """
    try:
        if start is None or market.n_users <= params.few_users:  # few users are planned without start prices
            return solve_once(market, relative_gap, None, params)
        plan, best = solve_once(market, relative_gap, _useful(market, market.on_grid(start), params), params)
        if _gap(market, plan, best, params) > relative_gap:
            challenger, proof = solve_once(market, relative_gap, None, params)
            plan, best = better(market, challenger, plan), _less(proof, best)
        return plan, best
    except Cancelled:
        origin = np.zeros(len(market.rows.names)) if start is None else market.on_grid(start)
        return _so_far(market, origin, params)


def solve_once(market: Market, relative_gap: float, start: Floats | None, params: SolveParams) -> tuple[Ints, Response]:
    """Return what `solve` returns, from one start: dual, mixture, repair and fill, subgradient steps, choice.

    The steps after the fitted mixture run only while the gap is larger than `relative_gap`.
    """
    if market.n_users <= params.few_users:
        return solve_by_columns(market, relative_gap, params)
    market.course.enter("prices")
    pool = _dual(market, relative_gap, start, params)
    best = pool[-1]
    plan = market.empty_plan()
    market.course.enter("plan")
    if len(pool) > 1:
        plan = fitted(market, best.prices, *mixed_plan(market, pool, params), params)
        market.course.planned(plan, objective(market, plan))
    if _gap(market, plan, best, params) > relative_gap:
        market.course.enter("pacing")
        plan, best = paced(market, plan, best, relative_gap, params)
    if market.n_users <= params.choice_users and _gap(market, plan, best, params) > relative_gap:
        market.course.enter("choice")
        challenger = choose_undecided(market, best, pool, plan, relative_gap / 10, params)
        use = use_of_plan(market, challenger)
        plan = better(market, plan, fitted(market, best.prices, challenger, use, params))
        market.course.planned(plan, objective(market, plan))
    return plan, best


def _dual(market: Market, relative_gap: float, start: Floats | None, params: SolveParams) -> list[Response]:
    """Return responses of all users on the way to the least bound, the best last."""
    is_quick = bool((market.d.pairable & (market.d.most <= 2)).mean() > params.quick_share)
    effort, tolerance = params.quick if is_quick else params.slow, relative_gap / 10
    if start is None:
        return least_bound(market, effort, tolerance, params)
    return least_bound_from(market, effort, tolerance, start, params)


def paced(
    market: Market, plan: Ints, best: Response, relative_gap: float, params: SolveParams = DEFAULT_PARAMS
) -> tuple[Ints, Response]:
    """Return plan and bound after further passes of subgradient steps, until the gap is reached."""
    base, latest = best.prices, None
    for turn, paced_pass in enumerate(params.paced_passes):
        latest = pace(market, base, paced_pass.gain, latest if paced_pass.replace else None, params=params)
        base = latest.prices
        if turn < params.first_judged_pass:
            continue
        best = _less(best, market.respond(base))
        plan = better(market, plan, fitted(market, base, latest.plan.copy(), latest.use.copy(), params))
        market.course.planned(plan, objective(market, plan))
        if _gap(market, plan, best, params) <= relative_gap:
            break
    return plan, best


def _useful(market: Market, start: Floats, params: SolveParams) -> Floats | None:
    """Return `start` where its bound over the first users is less than that of prices of 0; else None."""
    users = min(market.n_users, params.start_judges)
    return start if market.respond(start, users).bound < market.respond(np.zeros(len(start)), users).bound else None


def _so_far(market: Market, start: Floats, params: SolveParams) -> tuple[Ints, Response]:
    """Return the best plan and bound of a solve that was cut short; where there is none yet, those of one pass."""
    course = market.course
    if course.best is None or course.plan is None:
        plan = market.empty_plan()
        response = market.respond(course.prices(start), plan=plan)
        plan = fitted(market, response.prices, plan, response.use.copy(), params)
        course.planned(plan, objective(market, plan))
    assert course.best is not None
    assert course.plan is not None
    return course.plan, course.best


def _less(response: Response, challenger: Response) -> Response:
    """Return the response of the lesser bound; the first where they are equal."""
    return min(response, challenger, key=lambda candidate: candidate.bound)


def _gap(market: Market, plan: Ints, best: Response, params: SolveParams) -> float:
    """Return the gap relative to what users earn: a penalty that no plan avoids hides nothing."""
    return (best.bound - objective(market, plan)) / size_of(market, best.value, params=params)
