"""The exact program in PuLP with HiGHS (model ¶9, ¶10): built from rows, always minimised, duals as prices.

Minimising -value keeps the sign of the duals the same whatever the solver: a row that binds has a dual <= 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import highspy
import numpy as np
import pulp

from sendopt.allocation.problem import Floats, Ints
from sendopt.allocation.user_rows import Row
from sendopt.errors import SolverError

Status = Literal["optimal", "gap_reached", "time_limit", "no_plan"]


@dataclass(frozen=True)
class CouplingRow:
    """Σ use · x[cells] <= room; with `shortfall_price`: Σ x + shortfall >= room, each missing send costing it."""

    cells: Ints
    use: Floats
    room: float
    shortfall_price: float | None = None


@dataclass(frozen=True)
class Program:
    """What to solve: the cells that may be used, their values, rows per user, rows across users."""

    cells: Ints  # ascending
    values: Floats  # of those cells, > 0
    rows: Sequence[Row]
    coupling: Sequence[CouplingRow]


@dataclass(frozen=True)
class Answer:
    """`x` of each of the program's cells; `prices` >= 0 of its coupling rows and `objective` (value - penalty).

    `status` no_plan: the time was over before anything was found, and the rest means nothing. Prices are those of the
    relaxation; an integer answer has none (zeros).
    """

    status: Status
    x: Floats
    prices: Floats
    objective: float


def solve(program: Program, *, integer: bool, relative_gap: float, time_limit_seconds: float) -> Answer:
    """The best answer within the time; one thread, so that the same program gives the same answer (¶14).

    Raises SolverError (exit 5) if HiGHS ends in a way that is neither an answer nor a time limit.
    """
    n = len(program.cells)
    if n == 0:
        missed = np.array([row.shortfall_price or 0.0 for row in program.coupling], dtype=np.float64)
        room = np.array([row.room for row in program.coupling], dtype=np.float64)
        return Answer("optimal", np.zeros(0), np.where(room > 0, missed, 0.0), -float(missed @ room))
    model, variables, constraints = _build(program, integer)
    solver = pulp.HiGHS(
        mip=integer, msg=False, threads=1, timeLimit=time_limit_seconds, gapRel=relative_gap, random_seed=0
    )
    try:
        model.solve(solver)
    except (pulp.PulpSolverError, KeyError) as error:
        raise SolverError(f"allocation: HiGHS failed on a program of {n} cells ({error!r}); try again") from error
    finally:
        highspy.Highs.resetGlobalScheduler(True)  # its idle threads would abort the process at exit
    highs = model.solverModel
    status = _status(highs, integer, n)
    if status == "no_plan":
        return Answer(status, np.zeros(n), np.zeros(len(constraints)), -np.inf)
    x = np.array([v.varValue for v in variables], dtype=np.float64)
    # HiGHS reports rows that never bind with a dual of a tiny wrong sign
    prices = np.array([0.0 if integer else max(0.0, -c.pi * sign) for c, sign in constraints], dtype=np.float64)
    return Answer(status, x, prices, -float(highs.getInfo().objective_function_value))


def _build(
    program: Program, integer: bool
) -> tuple[pulp.LpProblem, list[pulp.LpVariable], list[tuple[pulp.LpConstraint, int]]]:
    """The model, its variables by cell, and the coupling constraints each with the sign of its direction."""
    category = pulp.LpInteger if integer else pulp.LpContinuous
    width = len(str(len(program.cells)))  # PuLP sorts by name: equal widths keep the order of the cells
    model = pulp.LpProblem("plan", pulp.LpMinimize)
    variables = [model.add_variable(f"x{i:0{width}d}", 0, 1, category) for i in range(len(program.cells))]
    of_cell = dict(zip(program.cells.tolist(), variables, strict=True))
    objective = list(zip(variables, (-program.values).tolist(), strict=True))
    constraints: list[tuple[pulp.LpConstraint, int]] = []
    coupling: list[pulp.LpConstraint] = []
    for r, row in enumerate(program.coupling):
        terms = [(of_cell[c], a) for c, a in zip(row.cells.tolist(), row.use.tolist(), strict=True)]
        sense = pulp.LpConstraintLE
        if row.shortfall_price is not None:
            shortfall = model.add_variable(f"y{r:05d}", 0)  # no upper bound, so that the row's price stays <= its cost
            objective.append((shortfall, row.shortfall_price))
            terms.append((shortfall, 1.0))
            sense = pulp.LpConstraintGE
        coupling.append(pulp.LpConstraint(pulp.LpAffineExpression(terms), sense, rhs=row.room))
        constraints.append((coupling[-1], 1 if sense == pulp.LpConstraintLE else -1))
    model.setObjective(pulp.LpAffineExpression(objective))
    for mine in program.rows:
        weights = mine.coefficients or (1.0,) * len(mine.cells)
        terms = [(of_cell[c], a) for c, a in zip(mine.cells, weights, strict=True)]
        model.addConstraint(pulp.LpConstraint(pulp.LpAffineExpression(terms), pulp.LpConstraintLE, rhs=mine.limit))
    for constraint in coupling:
        model.addConstraint(constraint)
    return model, variables, constraints


def _status(highs: highspy.Highs, integer: bool, n: int) -> Status:
    """The true status: PuLP reports "Optimal" at a time limit, and HiGHS at a relative gap above 0."""
    status, info = highs.getModelStatus(), highs.getInfo()
    if status == highspy.HighsModelStatus.kOptimal:
        return "gap_reached" if integer and info.mip_gap > 1e-9 else "optimal"
    if status != highspy.HighsModelStatus.kTimeLimit:
        raise SolverError(
            f"allocation: HiGHS ended a program of {n} cells as {highs.modelStatusToString(status)}; "
            "a plan without sends is always possible, so please report this with the problem's inputs"
        )
    found = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    return "time_limit" if integer and found else "no_plan"
