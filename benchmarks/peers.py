"""The same program for other solvers: PuLP with CBC or HiGHS, HiGHS by its own interface, PDLP of OR-Tools."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import highspy
import numpy as np
import pulp
from scipy.sparse import csc_matrix, save_npz

from sendopt.allocation import Problem
from sendopt.allocation.exact import program as exact_program
from sendopt.allocation.exact.plan import program_of
from sendopt.allocation.exact.program import Program

GAP = 1e-5
SECONDS = 900
PDLP = Path(__file__).parent.parent / ".venv-bench/bin/python"


def solve(problem: Problem, method: str) -> dict[str, float | str]:
    """prepare (seconds for the rows of the program), seconds from rows to an answer, objective."""
    clock = time.perf_counter()
    program = program_of(problem)
    prepare = time.perf_counter() - clock
    clock = time.perf_counter()
    objective = {"PuLP+CBC": _pulp, "PuLP+HiGHS": _pulp, "highspy": _highspy, "PDLP (fractional)": _pdlp}[method](
        program, method
    )
    return {"prepare": prepare, "seconds": time.perf_counter() - clock, **objective}


def _pulp(program: Program, method: str) -> dict[str, float | str]:
    model, _, _ = exact_program._build(program, True)
    one = {"msg": False, "threads": 1, "gapRel": GAP, "timeLimit": SECONDS}
    model.solve(pulp.PULP_CBC_CMD(**one) if method == "PuLP+CBC" else pulp.HiGHS(**one))
    value = pulp.value(model.objective)
    return {"note": "nothing in time"} if value is None else {"objective": -value}


def matrix(program: Program) -> tuple[csc_matrix, np.ndarray, np.ndarray]:
    """(A, cost, top) of: least cost · x with A x <= top, 0 <= x <= 1. Programs with minimums are not given here."""
    place = np.full(int(program.cells.max()) + 1, -1)
    place[program.cells] = np.arange(len(program.cells))
    rows, columns, values, top = [], [], [], []
    for row in [*program.rows, *program.coupling]:
        limit = row.limit if hasattr(row, "limit") else row.room
        use = getattr(row, "coefficients", None) if hasattr(row, "limit") else row.use
        cells = np.asarray(row.cells)
        rows.append(np.full(len(cells), len(top)))
        columns.append(place[cells])
        values.append(np.ones(len(cells)) if use is None else np.asarray(use, float))
        top.append(limit)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return csc_matrix(entries, shape=(len(top), len(program.cells))), -program.values, np.array(top, float)


def _highspy(program: Program, _: str) -> dict[str, float | str]:
    a, cost, top = matrix(program)
    model = highspy.HighsLp()
    model.num_row_, model.num_col_ = a.shape
    model.col_cost_, model.col_lower_, model.col_upper_ = cost, np.zeros(len(cost)), np.ones(len(cost))
    model.row_lower_, model.row_upper_ = np.full(len(top), -np.inf), top
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = a.indptr, a.indices, a.data
    model.integrality_ = [highspy.HighsVarType.kInteger] * len(cost)
    highs = highspy.Highs()
    for option, value in (("output_flag", False), ("threads", 1), ("mip_rel_gap", GAP), ("time_limit", float(SECONDS))):
        highs.setOptionValue(option, value)
    highs.passModel(model)
    highs.run()
    info = highs.getInfo()
    if info.primal_solution_status != int(highspy.SolutionStatus.kSolutionStatusFeasible):
        return {"note": "nothing in time"}
    return {"objective": -info.objective_function_value}


def _pdlp(program: Program, _: str) -> dict[str, float | str]:
    """In an interpreter of its own, `.venv-bench`: the wheel asks for a protobuf older than MLflow's."""
    if not PDLP.exists():
        return {"note": "not installed"}
    a, cost, top = matrix(program)
    with tempfile.TemporaryDirectory() as folder:
        save_npz(f"{folder}/a.npz", a)
        np.savez(f"{folder}/bounds.npz", cost=cost, top=top)
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        script = Path(__file__).parent / "pdlp.py"
        done = subprocess.run([PDLP, script, folder], env=clean, capture_output=True, text=True, check=True)
    seconds, objective = map(float, done.stdout.split())
    return {"seconds": seconds, "objective": objective}
