"""OR-Tools' PDLP on a program in a folder: prints its seconds and its objective (run by `peers.py`)."""

import sys
import time

import numpy as np
from ortools.pdlp import solvers_pb2
from ortools.pdlp.python import pdlp
from scipy.sparse import load_npz

a, bounds = load_npz(f"{sys.argv[1]}/a.npz"), np.load(f"{sys.argv[1]}/bounds.npz")
program = pdlp.QuadraticProgram()
program.resize_and_initialize(a.shape[1], a.shape[0])
program.objective_vector, program.constraint_matrix = bounds["cost"], a
program.constraint_lower_bounds, program.constraint_upper_bounds = np.full(a.shape[0], -np.inf), bounds["top"]
program.variable_lower_bounds, program.variable_upper_bounds = np.zeros(a.shape[1]), np.ones(a.shape[1])
how = solvers_pb2.PrimalDualHybridGradientParams()
how.num_threads = 1
how.termination_criteria.simple_optimality_criteria.eps_optimal_relative = 1e-5
clock = time.perf_counter()
found = pdlp.primal_dual_hybrid_gradient(program, how)
sys.stdout.write(f"{time.perf_counter() - clock} {-bounds['cost'] @ found.primal_solution}\n")
