"""The whole problem as one integer program (model ¶10): the reference, and the default while a night is small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sendopt.allocation.coupling import Coupling, coupling
from sendopt.allocation.lp import CouplingRow, Program, solve
from sendopt.allocation.problem import Floats, Ints, Problem
from sendopt.allocation.user_rows import user_rows
from sendopt.config.schema import Allocation


@dataclass(frozen=True)
class Exact:
    """`cells` (rows of Problem.cells, ascending) of the best plan found, and what its relaxation proves."""

    cells: Ints
    prices: Floats  # (R,) of the relaxation
    bound: float  # the relaxation's optimum
    status: str  # optimal | gap_reached | time_limit


def plan_exactly(problem: Problem, settings: Allocation) -> Exact | None:
    """The best plan, or None where no answer came within the time; `problem` must be canonical (¶14)."""
    program = program_of(problem)
    limit = settings.time_limit_seconds
    relaxed = solve(program, integer=False, relative_gap=0.0, time_limit_seconds=limit)
    if relaxed.status == "no_plan":
        return None
    answer = solve(program, integer=True, relative_gap=settings.relative_gap, time_limit_seconds=limit)
    if answer.status == "no_plan":
        return None
    return Exact(program.cells[answer.x > 0.5], relaxed.prices, relaxed.objective, answer.status)


def program_of(problem: Problem) -> Program:
    """The program of all users."""
    rules, rows = user_rows(problem), coupling(problem)
    cells = np.flatnonzero(rules.allowed).astype(np.int64)
    return Program(
        cells, problem.cells.value[cells], [row for mine in rules.rows for row in mine], _coupling_rows(rows, cells)
    )


def _coupling_rows(rows: Coupling, cells: Ints) -> list[CouplingRow]:
    part = rows.use[:, cells]
    found = []
    for r, price in enumerate(rows.shortfall_price.tolist()):
        span = slice(part.indptr[r], part.indptr[r + 1])
        wish = price if rows.kinds[r] == "campaign_min" else None
        found.append(CouplingRow(cells[part.indices[span]], part.data[span], float(rows.room[r]), wish))
    return found
