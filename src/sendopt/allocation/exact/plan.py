"""The whole problem as one integer program (model ¶10): the reference, and the default while a night is small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.coupling import Coupling, coupling, up_to
from sendopt.allocation.exact.program import CouplingRow, Model, Program
from sendopt.allocation.exact.user_rows import user_rows
from sendopt.allocation.problem import Problem
from sendopt.allocation.work import Work
from sendopt.config.schema import Allocation
from sendopt.stats.arrays import Floats, Ints

Status = Literal["optimal", "gap_reached", "work_limit", "too_large"]


@dataclass(frozen=True)
class Exact:
    """What the program gave: a plan, prices of its relaxation, and what HiGHS proves of every plan.

    `cells` (rows of Problem.cells, ascending) and `prices` (R,) are None where the work was over before there were any.
    `status`: work_limit is a search that was stopped, too_large a program that was not tried.
    """

    status: Status
    size: int  # numbers in the program's rows
    bound: float = math.inf
    cells: Ints | None = None
    prices: Floats | None = None


def plan_exactly(problem: Problem, settings: Allocation) -> Exact:
    """The best plan that `settings.exact_work` pays for; `problem` must be canonical (¶14)."""
    limits = Work(settings.exact_work)
    if int((problem.cells.value > 0).sum()) > limits.most_cells:
        return Exact("too_large", int((problem.cells.value > 0).sum()))
    program = program_of(problem)
    if program.size > limits.most_numbers:
        return Exact("too_large", program.size)
    model = Model(program)
    relaxed = model.relaxed(limits.iterations(program.size))
    if relaxed.status == "no_plan":
        return Exact("work_limit", program.size)
    answer = model.integer(settings.relative_gap, limits.checks(program.size))
    bound = min(relaxed.bound, answer.bound)
    if answer.status == "no_plan":
        return Exact("work_limit", program.size, bound, None, relaxed.prices)
    return Exact(answer.status, program.size, bound, program.cells[answer.x > 0.5], relaxed.prices)


def program_of(problem: Problem) -> Program:
    """The program of all users."""
    rows = coupling(problem)
    rules = user_rows(problem, _affordable(rows))
    cells = np.flatnonzero(rules.allowed).astype(np.int64)
    return Program(
        cells, problem.cells.value[cells], [row for mine in rules.rows for row in mine], _coupling_rows(rows, cells)
    )


def _affordable(rows: Coupling) -> NDArray[np.bool_]:
    """(C,) cells that use no more of any maximum than there is: half of another would be worth a bound far too high."""
    use = rows.use.tocoo()
    dear = (use.data > up_to(rows.room)[use.row]) & ~rows.is_minimum[use.row]
    affordable = np.ones(rows.use.shape[1], np.bool_)
    affordable[use.col[dear]] = False
    return affordable


def _coupling_rows(rows: Coupling, cells: Ints) -> list[CouplingRow]:
    part = rows.use[:, cells]
    found = []
    for r, price in enumerate(rows.shortfall_price.tolist()):
        span = slice(part.indptr[r], part.indptr[r + 1])
        wish = price if rows.kinds[r] == "campaign_min" else None
        found.append(CouplingRow(cells[part.indices[span]], part.data[span], float(rows.room[r]), wish))
    return found
