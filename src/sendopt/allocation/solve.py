"""The one entry of the stage: a problem in, an integer plan with its certificate and prices out (model ¶9 to ¶14)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.best_response import bound_by_prices
from sendopt.allocation.buckets import Guide, Work, plan, worse
from sendopt.allocation.contract import canonical, require_sound
from sendopt.allocation.coupling import coupling
from sendopt.allocation.greedy import fill
from sendopt.allocation.lp import solve
from sendopt.allocation.problem import Floats, Ints, Problem
from sendopt.allocation.solution import Price, Solution
from sendopt.allocation.user_rows import user_rows
from sendopt.config.schema import Allocation

_ROUNDING = 1e-9
_PRICE_DECIMALS = 10  # the fixed grid of ¶14; any rounded price is still a valid one


def allocate(problem: Problem, settings: Allocation) -> Solution:
    """The plan for `problem`, the same whatever the order of its rows (¶14).

    Up to `settings.exact_max_users` users with something to send it is one integer program (method exact), above
    that buckets guided by the relaxation (method buckets, docs/adr/0004). The prices come from one linear relaxation
    of the whole, the bound is the better of its optimum and D(prices); where it is not solved in time, prices are 0
    and the bound is loose but true.
    A send is planned only if its value is > 0, even where a minimum is missed (¶6).
    Raises ContractError (exit 3), InfeasibleError (exit 4) for a min_sends over max_sends, SolverError (exit 5).
    """
    require_sound(problem)
    ordered, cell_of = canonical(problem)
    work = Work(ordered, user_rows(ordered), coupling(ordered), ordered.messages.user[ordered.cells.message])
    users = np.unique(work.cell_user[work.rows.allowed])
    whole = work.program(users, work.coupling.room)
    relaxed = solve(whole, integer=False, relative_gap=0.0, time_limit_seconds=settings.time_limit_seconds)
    if relaxed.status == "no_plan":
        prices, bound, guide = np.zeros(len(work.coupling.names)), _bound_without_prices(work), None
    else:
        prices, guide = _rounded(work, relaxed.prices), Guide(np.zeros(len(cell_of)), np.zeros(len(cell_of)))
        bound = min(relaxed.objective, bound_by_prices(work, prices))
        guide.use[whole.cells], guide.regret[whole.cells] = relaxed.x, relaxed.regret
    chosen, method, termination = _integers(work, users, guide, settings)
    filled = fill(work, chosen, prices)
    if relaxed.status == "no_plan":
        termination = worse(termination, "time_limit")
    return _solution(work, cell_of, filled, prices, bound, method, termination)


def _integers(work: Work, users: Ints, guide: Guide | None, settings: Allocation) -> tuple[NDArray[np.bool_], str, str]:
    """(chosen cells, method, termination)."""
    if len(users) <= settings.exact_max_users:
        program = work.program(users, work.coupling.room)
        answer = solve(
            program,
            integer=True,
            relative_gap=settings.relative_gap,
            time_limit_seconds=settings.time_limit_seconds,
        )
        if answer.status != "no_plan":
            chosen = np.zeros(len(work.cell_user), dtype=bool)
            chosen[program.cells[answer.x > 0.5]] = True
            return chosen, "exact", answer.status
    chosen, termination = plan(work, guide, settings)
    return chosen, "buckets", termination


def _rounded(work: Work, prices: Floats) -> Floats:
    most = np.where(work.coupling.is_minimum, work.coupling.shortfall_price, np.inf)
    return np.minimum(np.round(prices, _PRICE_DECIMALS), most)


def _bound_without_prices(work: Work) -> float:
    """Every user takes the best cell of each message: D(0) of ¶11 with all windows relaxed."""
    cells = work.problem.cells
    best = np.zeros(len(work.problem.messages.user))
    np.maximum.at(best, cells.message[work.rows.allowed], cells.value[work.rows.allowed])
    return math.fsum(best.tolist())


def _solution(
    work: Work,
    cell_of: Ints,
    chosen: NDArray[np.bool_],
    prices: Floats,
    bound: float,
    method: str,
    termination: str,
) -> Solution:
    rows = work.coupling
    value = math.fsum(work.problem.cells.value[chosen].tolist())
    used = rows.committed + rows.use @ chosen.astype(np.float64)
    missing = np.where(rows.is_minimum, np.maximum(0.0, rows.limit - used), 0.0)
    penalty = math.fsum((missing * rows.shortfall_price).tolist())
    objective = value - penalty
    if abs(bound - objective) <= _ROUNDING * max(1.0, abs(objective)):
        bound = max(bound, objective)  # at the optimum the two are equal but for the order of a sum
    return Solution(
        chosen=np.sort(cell_of[chosen]),
        value=value,
        penalty=penalty,
        objective=objective,
        bound=bound,
        gap=(bound - objective) / max(1.0, abs(value)),
        method=method,
        termination=termination,
        prices=tuple(
            Price(name, kind, float(limit), float(use), float(price))
            for name, kind, limit, use, price in zip(rows.names, rows.kinds, rows.limit, used, prices, strict=True)
        ),
        shortfall={
            name.removeprefix("campaign_min:"): round(short)
            for name, short in zip(rows.names, missing.tolist(), strict=True)
            if short > 0
        },
    )
