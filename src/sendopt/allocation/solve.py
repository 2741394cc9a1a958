"""The one entry of the stage: a problem in, an integer plan with its certificate and prices out (model ¶9 to ¶14)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sendopt.allocation.contract import canonical, require_sound
from sendopt.allocation.control import UNWATCHED, Control, Progress
from sendopt.allocation.coupling import Rows, rows_of
from sendopt.allocation.exact.plan import Exact, plan_exactly
from sendopt.allocation.prices.engine import arrays, bound_by_prices, plan_by_prices, prepare
from sendopt.allocation.prices.greedy import greedy_cells
from sendopt.allocation.prices.instance import Compiled
from sendopt.allocation.problem import Problem
from sendopt.allocation.solution import Price, Solution, Tier, gap_of, proven_bound
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.config.schema import Allocation
from sendopt.stats.arrays import Floats, Ints

TERMINATIONS = ("optimal", "gap_reached", "passes_done", "work_limit", "cancelled")  # the worst last


def allocate(problem: Problem, settings: Allocation, control: Control = UNWATCHED) -> Solution:
    """The plan for `problem`, the same whatever the order of its rows (¶14).

    Tiers are planned one after the other. Up to `settings.exact_max_users` users with something to send a tier is one
    integer program (method exact); above that, or where `settings.exact_work` does not pay for it, it is planned by
    prices (¶11, method prices; docs/adr/0007, 0018). A send is planned only if its value is > 0, even where a minimum
    is missed (¶6).
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
    greedy = None if compiled is None else _greedy_objective(problem, across, compiled)
    return replace(add_up(across, across.used(problem, chosen), chosen, tiers), greedy=greedy)


@dataclass(frozen=True)
class _Option:
    """A plan of a tier by one method."""

    cells: Ints  # ascending
    method: str
    value: float
    penalty: float

    @property
    def objective(self) -> float:
        return self.value - self.penalty


@dataclass(frozen=True)
class _Proof:
    """What prices (R,) prove."""

    prices: Floats
    bound: float
    cut: int


def _greedy_objective(problem: Problem, rows: Rows, compiled: Compiled) -> float:
    return _option(problem, rows, greedy_cells(problem, compiled), "greedy").objective


def _plan_tier(
    problem: Problem, number: int, settings: Allocation, control: Control, compiled: Compiled | None
) -> tuple[Ints, Tier]:
    """By one integer program where users are few; by prices where they are many, or where the program was not finished.

    Of two plans the better is kept, of two bounds the lower.
    """
    rows = rows_of(problem)
    options: list[_Option] = []
    proofs: list[_Proof] = []
    searched, warning = math.inf, ""
    termination = ""
    users = len(np.unique(problem.messages.user[problem.cells.message[problem.cells.value > 0]]))
    if users <= settings.exact_max_users and not control.cancelled():
        control.report(Progress("exact", 0))
        ordered, cell_of = canonical(problem)
        exact = plan_exactly(ordered, settings)
        searched, termination = exact.bound, exact.status
        if exact.cells is not None:
            options.append(_option(problem, rows, np.sort(cell_of[exact.cells]), "exact"))
        if exact.prices is not None:
            proven = bound_by_prices(prepare(problem, compiled)[1], exact.prices)
            proofs.append(_Proof(proven.prices, proven.bound, proven.cut))
        if exact.status in ("work_limit", "too_large"):
            warning = _taken_over(number, exact, settings)
    if not options or termination not in ("optimal", "gap_reached"):
        priced = plan_by_prices(problem, settings.relative_gap, control, compiled)
        options.append(_option(problem, rows, priced.cells, "prices"))
        proofs.append(_Proof(priced.prices, priced.bound, priced.cut_users))
    best = max(options, key=lambda option: option.objective)  # the first of equals
    proof = min(proofs, key=lambda one: one.bound)
    bound = min(searched, proof.bound)
    largest = float(problem.cells.value.max(initial=0.0))
    bound = proven_bound(best.value, best.penalty, bound, largest)
    gap = gap_of(best.value, best.penalty, bound)
    if termination not in ("optimal", "gap_reached"):
        stopped = "work_limit" if best.method == "exact" else "passes_done"
        termination = "gap_reached" if gap <= settings.relative_gap else stopped
        termination = "cancelled" if priced.cut_short else termination
    return best.cells, Tier(
        tier=number,
        value=best.value,
        penalty=best.penalty,
        objective=best.objective,
        bound=bound,
        gap=gap,
        method=best.method,
        termination=termination,
        cut_users=proof.cut,
        prices=dict(zip(rows.names, proof.prices.tolist(), strict=True)),
        bound_by_prices=max(bound, proof.bound),
        proof="program" if bound < proof.bound else "prices",
        warning=warning,
    )


def _option(problem: Problem, rows: Rows, cells: Ints, method: str) -> _Option:
    value = math.fsum(problem.cells.value[cells].tolist())
    penalty = math.fsum((rows.missing(rows.used(problem, cells)) * rows.shortfall_price).tolist())
    return _Option(cells, method, value, penalty)


def _taken_over(number: int, exact: Exact, settings: Allocation) -> str:
    """The sentence on a program that was not solved to its end."""
    what = f"tier {number}: the integer program ({exact.size:,} numbers)"
    allowed = f"allocation.exact_work {settings.exact_work:g}"
    if exact.status == "too_large":
        return f"{what} is larger than {allowed} allows and was not tried; prices planned the tier"
    return f"{what} was not finished within {allowed}; prices planned the tier too, and the better plan is kept"


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
        bound_by_prices=math.fsum(t.bound_by_prices for t in tiers),
        proof=max(t.proof for t in tiers),  # program where any tier's is
    )
