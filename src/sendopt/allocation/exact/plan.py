"""The whole problem as one integer program (model ¶10): the reference, and the default for few users."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.coupling import Coupling, coupling, up_to
from sendopt.allocation.exact.program import CouplingRow, Model, Program
from sendopt.allocation.exact.user_rows import user_rows
from sendopt.allocation.problem import Problem
from sendopt.allocation.statuses import ProgramStatus, RowKind
from sendopt.allocation.work import Work
from sendopt.config.schema import Allocation
from sendopt.stats.arrays import Floats, Ints


@dataclass(frozen=True)
class Exact:
    """The result of the integer program: a plan, prices of its relaxation, and HiGHS's bound on every plan.

    `cells` (rows of Problem.cells, ascending) and `prices` (R,) are None where the work ended before there were any.
    """

    status: ProgramStatus
    size: int  # numbers in the program's rows
    bound: float = math.inf
    cells: Ints | None = None
    prices: Floats | None = None


def plan_exactly(problem: Problem, settings: Allocation) -> Exact:
    """Return the best plan found within `settings.exact_work`; `problem` must be canonical (¶14)."""
    limits = Work(settings.exact_work)
    if int((problem.cells.value > 0).sum()) > limits.most_cells:
        return Exact(ProgramStatus.TOO_LARGE, int((problem.cells.value > 0).sum()))
    program = program_of(problem)
    if program.size > limits.most_numbers:
        return Exact(ProgramStatus.TOO_LARGE, program.size)
    model = Model(program)
    relaxed = model.relaxed(limits.iterations(program.size))
    if relaxed.status == ProgramStatus.NO_PLAN:
        return Exact(ProgramStatus.WORK_LIMIT, program.size)
    answer = model.integer(settings.relative_gap, limits.checks(program.size))
    bound = min(relaxed.bound, answer.bound)
    if answer.status == ProgramStatus.NO_PLAN:
        return Exact(ProgramStatus.WORK_LIMIT, program.size, bound, None, relaxed.prices)
    return Exact(answer.status, program.size, bound, program.cells[answer.x > 0.5], relaxed.prices)


def program_of(problem: Problem) -> Program:
    """Return the program of all users."""
    rows = coupling(problem)
    rules = user_rows(problem, _affordable(rows))
    cells = np.flatnonzero(rules.allowed).astype(np.int64)
    of_users = [row for of_user in rules.rows for row in of_user]
    return Program(cells, problem.cells.value[cells], of_users, _coupling_rows(rows, cells))


def _affordable(rows: Coupling) -> NDArray[np.bool_]:
    """Return which cells (C,) use at most the room of every maximum.

    A relaxation would send parts of the others, and its bound would be far too high.
    """
    use = rows.use.tocoo()
    dear = (use.data > up_to(rows.room)[use.row]) & ~rows.is_minimum[use.row]
    affordable = np.ones(rows.use.shape[1], np.bool_)
    affordable[use.col[dear]] = False
    return affordable


def _coupling_rows(rows: Coupling, cells: Ints) -> list[CouplingRow]:
    part = rows.use[:, cells]
    coupling_rows = []
    for r, price in enumerate(rows.shortfall_price.tolist()):
        span = slice(part.indptr[r], part.indptr[r + 1])
        shortfall_price = price if rows.kinds[r] == RowKind.CAMPAIGN_MIN else None
        coupling_rows.append(
            CouplingRow(cells[part.indices[span]], part.data[span], float(rows.room[r]), shortfall_price)
        )
    return coupling_rows
