"""The one entry of the stage: a problem in, an integer plan with its certificate and prices out (model ¶9 to ¶14)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sendopt.allocation.contract import canonical, require_sound
from sendopt.allocation.control import UNWATCHED, Control, Progress
from sendopt.allocation.coupling import Rows, rows_of
from sendopt.allocation.exact import plan_exactly
from sendopt.allocation.prices.engine import arrays, bound_by_prices, plan_by_prices, prepare
from sendopt.allocation.prices.greedy import greedy_cells
from sendopt.allocation.prices.instance import Compiled
from sendopt.allocation.problem import Floats, Ints, Problem
from sendopt.allocation.solution import Price, Solution, Tier
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.config.schema import Allocation

_ROUNDING = 1e-9
TERMINATIONS = ("optimal", "gap_reached", "passes_done", "time_limit", "cancelled")  # the worst last


def allocate(problem: Problem, settings: Allocation, control: Control = UNWATCHED) -> Solution:
    """The plan for `problem`, the same whatever the order of its rows (¶14).

    Tiers are planned one after the other. Up to `settings.exact_max_users` users with something to send a tier is one
    integer program (method exact), above that, or where none is solved in time, it is planned by prices (¶11, method
    prices; docs/adr/0007). A send is planned only if its value is > 0, even where a minimum is missed (¶6).
    `control` watches the solve, starts its prices and may end it: then with the best plan so far (`cancelled`).
    Raises ContractError (exit 3), InfeasibleError (exit 4) for a min_sends over max_sends, SolverError (exit 5).
    """
    require_sound(problem)
    chosen = np.empty(0, np.int64)
    tiers = []
    numbers = tiers_of(problem)
    across = rows_of(problem)
    compiled = arrays(problem) if control.greedy else None
    for number in numbers:
        part, rows = tier_problem(problem, number, chosen)
        planned, tier = _plan_tier(part, number, settings, control, compiled if len(numbers) == 1 else None)
        chosen = np.sort(np.concatenate([chosen, rows[planned]]))
        tiers.append(tier)
    greedy = None if compiled is None else _objective(problem, across, greedy_cells(problem, compiled))
    return replace(add_up(across, across.used(problem, chosen), chosen, tiers), greedy=greedy)


def _objective(problem: Problem, rows: Rows, cells: Ints) -> float:
    value = math.fsum(problem.cells.value[cells].tolist())
    return value - math.fsum((rows.missing(rows.used(problem, cells)) * rows.shortfall_price).tolist())


def _plan_tier(
    problem: Problem, number: int, settings: Allocation, control: Control, compiled: Compiled | None
) -> tuple[Ints, Tier]:
    rows = rows_of(problem)
    users = len(np.unique(problem.messages.user[problem.cells.message[problem.cells.value > 0]]))
    exact, cancelled = None, False
    if users <= settings.exact_max_users and not control.cancelled():
        control.report(Progress("exact", 0))
        ordered, cell_of = canonical(problem)
        exact = plan_exactly(ordered, settings)
    if exact is not None:
        proof = bound_by_prices(prepare(problem, compiled)[1], exact.prices)
        cells, bound, cut, prices = cell_of[exact.cells], min(exact.bound, proof.bound), proof.cut, proof.prices
        method = "exact"
    else:
        priced = plan_by_prices(problem, settings.relative_gap, control, compiled)
        cancelled = priced.cut_short
        cells, bound, cut, prices = priced.cells, priced.bound, priced.cut_users, priced.prices
        method = "prices"
    value = math.fsum(problem.cells.value[cells].tolist())
    penalty = math.fsum((rows.missing(rows.used(problem, cells)) * rows.shortfall_price).tolist())
    objective = value - penalty
    if abs(bound - objective) <= _ROUNDING * max(1.0, abs(objective)):
        bound = max(bound, objective)  # at the optimum the two are equal but for the order of a sum
    gap = (bound - objective) / max(1.0, abs(value))
    by_gap = "gap_reached" if gap <= settings.relative_gap else "passes_done"
    by_gap = "cancelled" if cancelled else by_gap
    termination = by_gap if exact is None else exact.status
    by_row = dict(zip(rows.names, prices.tolist(), strict=True))
    return cells, Tier(number, value, penalty, objective, bound, gap, method, termination, cut, by_row)


def add_up(rows: Rows, used: Floats, chosen: Ints, tiers: Sequence[Tier]) -> Solution:
    """The solution of all `tiers`, whose sends and committed ones use `used` (R,) of `rows`."""
    value, penalty = (math.fsum(getattr(t, name) for t in tiers) for name in ("value", "penalty"))
    objective, bound = value - penalty, math.fsum(t.bound for t in tiers)
    worst = max(tiers, key=lambda t: TERMINATIONS.index(t.termination))
    return Solution(
        chosen=chosen,
        value=value,
        penalty=penalty,
        objective=objective,
        bound=bound,
        gap=(bound - objective) / max(1.0, abs(value)),
        method=max(t.method for t in tiers),  # prices where any tier was planned by them
        termination=worst.termination,
        cut_users=sum(t.cut_users for t in tiers),
        prices=tuple(
            Price(name, kind, float(limit), float(use), max(t.prices.get(name, 0.0) for t in tiers))
            for name, kind, limit, use in zip(rows.names, rows.kinds, rows.limit, used, strict=True)
        ),
        shortfall={
            name.removeprefix("campaign_min:"): round(short)
            for name, short in zip(rows.names, rows.missing(used).tolist(), strict=True)
            if short > 0
        },
        tiers=tuple(tiers),
    )
