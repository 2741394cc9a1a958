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
from sendopt.allocation.statuses import Method, ProgramStatus, Proof, Termination
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.config.schema import Allocation
from sendopt.stats.arrays import Floats, Ints


def allocate(problem: Problem, settings: Allocation, control: Control = UNWATCHED) -> Solution:
    """Return the plan for `problem`; the order of its rows does not matter (¶14).

    Tiers are planned one after the other. A tier of at most `settings.exact_max_users` users with a cell of positive
    value is one integer program (method exact). A larger one, or one that is not solved within `settings.exact_work`,
    is planned by prices (¶11, method prices; docs/adr/0007, 0018). A send is planned only if its value is > 0, even
    where a minimum is missed (¶6).
    `control` reports progress, gives the first prices and may cancel: then the best plan so far is returned.
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
    method: Method
    value: float
    penalty: float

    @property
    def objective(self) -> float:
        return self.value - self.penalty


@dataclass(frozen=True)
class _PriceProof:
    """What prices (R,) prove."""

    prices: Floats
    bound: float
    cut_users: int


@dataclass(frozen=True)
class _Attempt:
    """What one method gives for a tier: a plan and proofs, either of them possibly missing."""

    option: _Option | None
    proof: _PriceProof | None
    program_bound: float = math.inf
    termination: Termination | None = None  # None: the method ended before it reached the gap
    cancelled: bool = False
    warning: str = ""


def _plan_tier(
    problem: Problem, number: int, settings: Allocation, control: Control, compiled: Compiled | None
) -> tuple[Ints, Tier]:
    """Return (cells of the plan, the tier with its proof).

    Few users are one integer program. Many are planned by prices, and so are few where the program was not finished.
    Of two plans the better is kept, of two bounds the lower.
    """
    rows = rows_of(problem)
    attempts: list[_Attempt] = []
    users = len(np.unique(problem.messages.user[problem.cells.message[problem.cells.value > 0]]))
    if users <= settings.exact_max_users and not control.cancelled():
        attempts.append(_attempt_exactly(problem, rows, number, settings, control, compiled))
    if not any(attempt.option and attempt.termination for attempt in attempts):
        attempts.append(_attempt_by_prices(problem, rows, settings, control, compiled))
    largest = float(problem.cells.value.max(initial=0.0))
    return _best_of(attempts, number, rows, largest, settings.relative_gap)


def _attempt_exactly(
    problem: Problem, rows: Rows, number: int, settings: Allocation, control: Control, compiled: Compiled | None
) -> _Attempt:
    control.report(Progress("exact", 0))
    ordered, cell_of = canonical(problem)
    exact = plan_exactly(ordered, settings)
    option = proof = None
    if exact.cells is not None:
        option = _option(problem, rows, np.sort(cell_of[exact.cells]), Method.EXACT)
    if exact.prices is not None:
        proven = bound_by_prices(prepare(problem, compiled)[1], exact.prices)
        proof = _PriceProof(proven.prices, proven.bound, proven.cut)
    if exact.status in (ProgramStatus.OPTIMAL, ProgramStatus.GAP_REACHED):
        return _Attempt(option, proof, exact.bound, Termination(exact.status))
    return _Attempt(option, proof, exact.bound, warning=_taken_over(number, exact, settings))


def _attempt_by_prices(
    problem: Problem, rows: Rows, settings: Allocation, control: Control, compiled: Compiled | None
) -> _Attempt:
    priced = plan_by_prices(problem, settings.relative_gap, control, compiled)
    option = _option(problem, rows, priced.cells, Method.PRICES)
    proof = _PriceProof(priced.prices, priced.bound, priced.cut_users)
    return _Attempt(option, proof, cancelled=priced.cut_short)


def _best_of(
    attempts: Sequence[_Attempt], number: int, rows: Rows, largest: float, relative_gap: float
) -> tuple[Ints, Tier]:
    """Return (cells, tier) of the best plan under the lowest bound; `largest` is the largest value of a cell."""
    options = [attempt.option for attempt in attempts if attempt.option]
    proofs = [attempt.proof for attempt in attempts if attempt.proof]
    best = max(options, key=lambda option: option.objective)  # the first of equals
    proof = min(proofs, key=lambda proof: proof.bound)
    searched = min(attempt.program_bound for attempt in attempts)
    bound = proven_bound(best.value, best.penalty, min(searched, proof.bound), largest)
    gap = gap_of(best.value, best.penalty, bound)
    return best.cells, Tier(
        tier=number,
        value=best.value,
        penalty=best.penalty,
        objective=best.objective,
        bound=bound,
        gap=gap,
        method=best.method,
        termination=_termination(attempts, best.method, gap <= relative_gap),
        cut_users=proof.cut_users,
        prices=dict(zip(rows.names, proof.prices.tolist(), strict=True)),
        bound_by_prices=max(bound, proof.bound),
        proof=Proof.PROGRAM if bound < proof.bound else Proof.PRICES,
        warning=" ".join(attempt.warning for attempt in attempts if attempt.warning),
    )


def _termination(attempts: Sequence[_Attempt], method: Method, gap_reached: bool) -> Termination:
    """Return how the search for a tier's plan ended; `method` is that of the plan kept."""
    stated = [attempt.termination for attempt in attempts if attempt.termination]
    if stated:
        return stated[0]
    if any(attempt.cancelled for attempt in attempts):
        return Termination.CANCELLED
    if gap_reached:
        return Termination.GAP_REACHED
    return Termination.WORK_LIMIT if method == Method.EXACT else Termination.PASSES_DONE


def _option(problem: Problem, rows: Rows, cells: Ints, method: Method) -> _Option:
    return _Option(cells, method, *_worth(problem, rows, cells))


def _worth(problem: Problem, rows: Rows, cells: Ints) -> tuple[float, float]:
    """Return (value, penalty) of a plan, both summed exactly."""
    value = math.fsum(problem.cells.value[cells].tolist())
    penalty = math.fsum((rows.missing(rows.used(problem, cells)) * rows.shortfall_price).tolist())
    return value, penalty


def _greedy_objective(problem: Problem, rows: Rows, compiled: Compiled) -> float:
    """Return the objective of the plan that takes sends by value alone."""
    value, penalty = _worth(problem, rows, greedy_cells(problem, compiled))
    return value - penalty


def _taken_over(number: int, exact: Exact, settings: Allocation) -> str:
    """Return the sentence on a program that was not solved to its end."""
    what = f"tier {number}: the integer program ({exact.size:,} numbers)"
    allowed = f"allocation.exact_work {settings.exact_work:g}"
    if exact.status == ProgramStatus.TOO_LARGE:
        return f"{what} is larger than {allowed} allows and was not tried; prices planned the tier"
    return f"{what} was not finished within {allowed}; prices planned the tier too, and the better plan is kept"


def add_up(rows: Rows, used: Floats, chosen: Ints, tiers: Sequence[Tier]) -> Solution:
    """Return the solution of all `tiers`; their sends and the committed ones use `used` (R,) of `rows`."""
    value, penalty = (math.fsum(getattr(t, name) for t in tiers) for name in ("value", "penalty"))
    objective, bound = value - penalty, math.fsum(t.bound for t in tiers)
    return Solution(
        chosen=chosen,
        value=value,
        penalty=penalty,
        objective=objective,
        bound=bound,
        gap=gap_of(value, penalty, bound),
        method=max((t.method for t in tiers), key=lambda method: method.rank),
        termination=max((t.termination for t in tiers), key=lambda termination: termination.rank),
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
        proof=max((t.proof for t in tiers), key=lambda proof: proof.rank),
    )
