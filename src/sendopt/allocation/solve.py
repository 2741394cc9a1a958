"""The one entry of the stage: a problem in, an integer plan with its certificate and prices out (model ¶9 to ¶14)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sendopt.allocation.contract import canonical, require_sound
from sendopt.allocation.coupling import Rows, rows_of
from sendopt.allocation.exact import plan_exactly
from sendopt.allocation.prices.engine import bound_by_prices, plan_by_prices, prepare
from sendopt.allocation.problem import Floats, Ints, Problem
from sendopt.allocation.solution import Price, Solution, Tier, gap_of, proven_bound
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.allocation.unit import units_of
from sendopt.config.schema import Allocation


def allocate(problem: Problem, settings: Allocation) -> Solution:
    """The plan for `problem`, the same whatever the order of its rows (¶14).

    Tiers are planned one after the other. Up to `settings.exact_max_users` users with something to send a tier is one
    integer program (method exact), above that, or where none is solved in time, it is planned by prices (¶11, method
    prices; docs/adr/0007). A send is planned only if its value is > 0, even where a minimum is missed (¶6).
    Raises ContractError (exit 3), InfeasibleError (exit 4) for a min_sends over max_sends, SolverError (exit 5).
    """
    require_sound(problem)
    chosen = np.empty(0, np.int64)
    tiers = []
    for number in tiers_of(problem):
        part, rows = tier_problem(problem, number, chosen)
        planned, tier = _plan_tier(part, number, settings)
        chosen = np.sort(np.concatenate([chosen, rows[planned]]))
        tiers.append(tier)
    across = rows_of(problem)
    return add_up(across, across.used(problem, chosen), chosen, tiers)


def _plan_tier(problem: Problem, number: int, settings: Allocation) -> tuple[Ints, Tier]:
    rows = rows_of(problem)
    users = len(np.unique(problem.messages.user[problem.cells.message[problem.cells.value > 0]]))
    exact = None
    if users <= settings.exact_max_users:
        ordered, cell_of = canonical(problem)
        units = units_of(ordered)
        exact = plan_exactly(units.problem(ordered), settings)
    if exact is not None:
        proof = bound_by_prices(prepare(problem)[1], exact.prices * units.value / units.of_rows(rows))
        bound = min(exact.bound * units.value, proof.bound)
        cells, cut, prices = cell_of[exact.cells], proof.cut, proof.prices
        method = "exact"
    else:
        priced = plan_by_prices(problem, settings.relative_gap)
        cells, bound, cut, prices = priced.cells, priced.bound, priced.cut_users, priced.prices
        method = "prices"
    value = math.fsum(problem.cells.value[cells].tolist())
    penalty = math.fsum((rows.missing(rows.used(problem, cells)) * rows.shortfall_price).tolist())
    largest = float(problem.cells.value.max(initial=0.0))
    objective, bound = value - penalty, proven_bound(value, penalty, bound, largest)
    gap = gap_of(value, penalty, bound)
    by_gap = "gap_reached" if gap <= settings.relative_gap else "passes_done"
    termination = by_gap if exact is None else exact.status
    by_row = dict(zip(rows.names, prices.tolist(), strict=True))
    return cells, Tier(number, value, penalty, objective, bound, gap, method, termination, cut, by_row)


def add_up(rows: Rows, used: Floats, chosen: Ints, tiers: Sequence[Tier]) -> Solution:
    """The solution of all `tiers`, whose sends and committed ones use `used` (R,) of `rows`."""
    value, penalty = (math.fsum(getattr(t, name) for t in tiers) for name in ("value", "penalty"))
    objective, bound = value - penalty, math.fsum(t.bound for t in tiers)
    worst = max(tiers, key=lambda t: ("optimal", "gap_reached", "passes_done", "time_limit").index(t.termination))
    return Solution(
        chosen=chosen,
        value=value,
        penalty=penalty,
        objective=objective,
        bound=bound,
        gap=gap_of(value, penalty, bound),
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
