"""Linear and integer programs for HiGHS: one core, the same solution each time."""

from __future__ import annotations

from typing import NamedTuple

import highspy
import numpy as np
from scipy.sparse import csc_matrix

from sendopt.allocation.work import INTERRUPT, Meter
from sendopt.stats.arrays import Floats


class Program(NamedTuple):
    """Minimise cost · x over 0 <= x <= top with lower <= matrix x <= upper; the first `whole` of x are integers."""

    cost: Floats  # (N,)
    top: Floats  # (N,)
    matrix: csc_matrix  # (M, N)
    lower: Floats  # (M,)
    upper: Floats  # (M,)
    whole: int


class Least(NamedTuple):
    """The solution of a program."""

    x: Floats  # (N,)
    dual: Floats  # (M,) of the rows; without meaning where x has integers
    cost: float


def least_cost(program: Program, options: dict[str, float], meter: Meter | None = None) -> Least | None:
    """Return the best solution that HiGHS finds under `options`, until `meter` stops it; None where it finds none."""
    matrix, n = program.matrix, len(program.cost)
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, np.zeros(n), program.top
    lp.row_lower_, lp.row_upper_ = program.lower, program.upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    if program.whole:
        integer, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
        lp.integrality_ = [integer] * program.whole + [real] * (n - program.whole)
    highs = highspy.Highs()
    for option, value in {"output_flag": False, "threads": 1, "random_seed": 0, **options}.items():
        highs.setOptionValue(option, value)
    if meter is not None:
        highs.setCallback(meter, None)
        highs.startCallback(INTERRUPT)
    try:
        highs.passModel(lp)
        highs.run()
        info, solution = highs.getInfo(), highs.getSolution()
        if info.primal_solution_status != int(highspy.SolutionStatus.kSolutionStatusFeasible):
            return None
        return Least(np.array(solution.col_value), np.array(solution.row_dual), info.objective_function_value)
    finally:
        highspy.Highs.resetGlobalScheduler(True)  # its idle threads would abort the process at exit
