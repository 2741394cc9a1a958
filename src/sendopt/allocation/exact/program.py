"""The exact program in PuLP with HiGHS (model ¶9, ¶10): built from rows, always minimised; its duals are prices.

Minimising -value keeps the sign of the duals the same whatever the solver: a row that binds has a dual <= 0.
Values are divided by the largest and budgets by their largest use, so that HiGHS's tolerances are relative to both.
Limits count work, never seconds, so that a busy machine gives the same plan (¶14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import highspy
import numpy as np
import pulp

from sendopt.allocation.exact.user_rows import Row
from sendopt.allocation.statuses import ProgramStatus
from sendopt.allocation.work import INTERRUPT, Meter
from sendopt.errors import SolverError
from sendopt.stats.arrays import Floats, Ints

LARGEST = 1e3  # value in the program: its tolerances are absolute, about 1e-6


@dataclass(frozen=True)
class CouplingRow:
    """Σ use · x[cells] <= room; with `shortfall_price`: Σ x + shortfall >= room, each missing send costing it."""

    cells: Ints
    use: Floats
    room: float
    shortfall_price: float | None = None


@dataclass(frozen=True)
class Program:
    """The program to solve: cells that may be used, their values, rows per user, rows across users."""

    cells: Ints  # ascending
    values: Floats  # of those cells, > 0
    rows: Sequence[Row]
    coupling: Sequence[CouplingRow]

    @cached_property
    def size(self) -> int:
        """The number of nonzeros in its rows."""
        return sum(len(row.cells) for row in self.rows) + sum(len(row.cells) for row in self.coupling)


@dataclass(frozen=True)
class Answer:
    """HiGHS's answer: `x` by cell, `prices` >= 0 by coupling row, and `objective` (value - penalty).

    `bound` holds for every answer; it is inf where HiGHS proves nothing. With the status NO_PLAN only the bound means
    something. A relaxation has prices; those of an integer answer are zeros.
    """

    status: ProgramStatus
    x: Floats
    prices: Floats
    objective: float
    bound: float


class Model:
    """A program built in PuLP once, then solved as a relaxation and as integers; both on one thread."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._scale = (float(program.values.max(initial=0.0)) or 1.0) / LARGEST
        if len(program.cells):
            self._model, self._variables, self._constraints = _build(program, self._scale)

    def relaxed(self, iterations: int) -> Answer:
        """Return the answer to the relaxation after at most this many iterations of the simplex method."""
        return self._solved(
            pulp.HiGHS(mip=False, msg=False, threads=1, random_seed=0, simplex_iteration_limit=iterations), False
        )

    def integer(self, relative_gap: float, checks: int) -> Answer:
        """Return the best integer answer after at most this many checks of the tree (`work.Meter`)."""
        solver = pulp.HiGHS(
            mip=True,
            msg=False,
            threads=1,
            random_seed=0,
            gapRel=relative_gap,
            callbackTuple=(Meter(checks), None),
            callbacksToActivate=[INTERRUPT],
        )
        return self._solved(solver, True)

    def _solved(self, solver: pulp.HiGHS, integer: bool) -> Answer:
        """Return the answer; raise SolverError (exit 5) where HiGHS ends with neither an answer nor a limit."""
        n = len(self._program.cells)
        if n == 0:
            return _nothing_to_send(self._program)
        try:
            self._model.solve(solver)
        except (pulp.PulpSolverError, KeyError) as error:
            raise SolverError(f"allocation: HiGHS failed on a program of {n} cells ({error!r}); try again") from error
        finally:
            highspy.Highs.resetGlobalScheduler(True)  # its idle threads would abort the process at exit
        highs = self._model.solverModel
        info, status = highs.getInfo(), _status(highs, integer, n)
        bound = np.inf
        if integer and np.isfinite(info.mip_dual_bound):
            bound = -float(info.mip_dual_bound) * self._scale
        elif status == ProgramStatus.OPTIMAL:
            bound = -float(info.objective_function_value) * self._scale
        if status == ProgramStatus.NO_PLAN:
            return Answer(status, np.zeros(n), np.zeros(len(self._constraints)), -np.inf, bound)
        x = np.array([v.varValue for v in self._variables], dtype=np.float64)
        # HiGHS reports rows that never bind with a dual of a tiny wrong sign
        prices = [0.0 if integer else max(0.0, -c.pi * factor) for c, factor in self._constraints]
        objective = -float(info.objective_function_value) * self._scale
        return Answer(status, x, np.array(prices, dtype=np.float64), objective, bound)


def _nothing_to_send(program: Program) -> Answer:
    missed = np.array([row.shortfall_price or 0.0 for row in program.coupling], dtype=np.float64)
    room = np.array([row.room for row in program.coupling], dtype=np.float64)
    objective = -float(missed @ room)
    return Answer(ProgramStatus.OPTIMAL, np.zeros(0), np.where(room > 0, missed, 0.0), objective, objective)


def _build(
    program: Program, scale: float
) -> tuple[pulp.LpProblem, list[pulp.LpVariable], list[tuple[pulp.LpConstraint, float]]]:
    """Return (model, variable of each cell, coupling constraints with the factor from -dual to price)."""
    width = len(str(len(program.cells)))  # PuLP sorts by name: equal widths keep the order of the cells
    model = pulp.LpProblem("plan", pulp.LpMinimize)
    variables = [model.add_variable(f"x{i:0{width}d}", 0, 1, pulp.LpInteger) for i in range(len(program.cells))]
    of_cell = dict(zip(program.cells.tolist(), variables, strict=True))
    objective = list(zip(variables, (-program.values / scale).tolist(), strict=True))
    constraints: list[tuple[pulp.LpConstraint, float]] = []
    coupling: list[pulp.LpConstraint] = []
    for r, row in enumerate(program.coupling):
        unit = float(row.use.max(initial=0.0)) or 1.0
        terms = [(of_cell[c], a) for c, a in zip(row.cells.tolist(), (row.use / unit).tolist(), strict=True)]
        sense, factor = pulp.LpConstraintLE, scale / unit
        if row.shortfall_price is not None:
            shortfall = model.add_variable(f"y{r:05d}", 0)  # no upper bound, so that the row's price stays <= its cost
            objective.append((shortfall, row.shortfall_price / scale))
            terms.append((shortfall, 1.0))
            sense, factor = pulp.LpConstraintGE, -factor
        coupling.append(pulp.LpConstraint(pulp.LpAffineExpression(terms), sense, rhs=row.room / unit))
        constraints.append((coupling[-1], factor))
    model.setObjective(pulp.LpAffineExpression(objective))
    for user_row in program.rows:
        weights = user_row.coefficients or (1.0,) * len(user_row.cells)
        terms = [(of_cell[c], a) for c, a in zip(user_row.cells, weights, strict=True)]
        model.addConstraint(pulp.LpConstraint(pulp.LpAffineExpression(terms), pulp.LpConstraintLE, rhs=user_row.limit))
    for constraint in coupling:
        model.addConstraint(constraint)
    return model, variables, constraints


def _status(highs: highspy.Highs, integer: bool, n: int) -> ProgramStatus:
    """Return the true status: PuLP reports "Optimal" at a limit, HiGHS at a relative gap above 0."""
    status, info = highs.getModelStatus(), highs.getInfo()
    if status == highspy.HighsModelStatus.kOptimal:
        return ProgramStatus.GAP_REACHED if integer and info.mip_gap > 1e-9 else ProgramStatus.OPTIMAL
    if status not in (highspy.HighsModelStatus.kInterrupt, highspy.HighsModelStatus.kIterationLimit):
        raise SolverError(
            f"allocation: HiGHS ended a program of {n} cells as {highs.modelStatusToString(status)}; "
            "a plan without sends is always possible, so please report this with the problem's inputs"
        )
    feasible = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    return ProgramStatus.WORK_LIMIT if integer and feasible else ProgramStatus.NO_PLAN
