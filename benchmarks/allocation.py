"""The allocator beside its peers, in one run: seconds, objective, certified gap, memory (`make bench-allocation`).

Each line is a process of its own on one core; medians of three, with the range. The solve is timed on arrays in
memory; making them ready (`prepare`: codes, hash order) is timed apart. Peers get the same rows of the same problem.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
VARIANTS = {
    "plain": {},
    "rough scores": {"scores": "rough"},
    "100 profiles (ties)": {"scores": "stepped"},
    "6 messages, cap 4": {"per_user": 6, "limits": "many"},
    "soft minimums": {"limits": "minimums"},
    "60 % with history": {"with_history": 0.6},
    "seven days, fatigue": {"per_user": 4, "days": 7, "limits": "week"},
}
PLAN = [
    # users, variant, method, seeds
    *((1_000, name, "prices", 1) for name in ("plain", "rough scores", "100 profiles (ties)")),
    (1_000, "plain", "PuLP+HiGHS", 1),
    (1_000, "plain", "PuLP+CBC", 1),
    (10_000, "plain", "prices", 1),
    *((100_000, name, "prices", 1) for name in VARIANTS if name != "seven days, fatigue"),
    (1_000, "seven days, fatigue", "prices", 1),
    (1_000_000, "plain", "prices", 1),
]
REPEATS = 3


def measure(users: int, variant: str, method: str, seed: int) -> dict[str, float | str]:
    """One line, in this process."""
    from instances import instance

    problem = instance(users, seed=seed, **VARIANTS[variant])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = _prices(problem) if method == "prices" else _program(problem, method)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {**found, "cells": len(problem.cells.slot), "grown_mib": round(grown / 1024)}


def _prices(problem):
    import numpy as np

    from sendopt.allocation.prices import engine

    clock = time.perf_counter()
    _, market = engine.prepare(problem)
    prepare = time.perf_counter() - clock
    market.respond(np.zeros(len(market.rows.names)), 1)
    clock = time.perf_counter()
    plan, best, pool = engine.solve(market, 1e-5)
    seconds = time.perf_counter() - clock
    reached = engine.objective(market, plan)
    clock = time.perf_counter()
    again = market.respond(best.prices)
    answer = (time.perf_counter() - clock) / market.n_users
    value = float(market.d.value[plan[plan >= 0]].sum())
    return {
        "prepare": prepare, "seconds": seconds, "objective": reached, "gap": (best.bound - reached) / max(1.0, value),
        "us_per_user": answer * 1e6, "passes": len(pool), "priced": float((best.prices > 1e-9).mean()),
        "searched": again.searched / market.n_users, "cut": again.cut,
    }  # fmt: skip


def _program(problem, method: str):
    import pulp

    from sendopt.allocation import lp
    from sendopt.allocation.exact import program_of

    clock = time.perf_counter()
    program = program_of(problem)
    prepare = time.perf_counter() - clock
    clock = time.perf_counter()
    model, _, _ = lp._build(program, True)
    solver = (
        pulp.PULP_CBC_CMD(msg=False, threads=1, gapRel=1e-5, timeLimit=900)
        if method == "PuLP+CBC"
        else pulp.HiGHS(msg=False, threads=1, gapRel=1e-5, timeLimit=900)
    )
    model.solve(solver)
    return {"prepare": prepare, "seconds": time.perf_counter() - clock, "objective": -pulp.value(model.objective)}


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=10**9, help="leave out larger instances")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        say(json.dumps(measure(*json.loads(given.one))))
        return
    say(f"{platform.machine()}, Python {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "numba", "scipy", "highspy", "pulp")))  # fmt: skip
    heads = "users|instance|method|seconds|prepare|objective|gap|µs/user|passes|priced|searched|cut|MiB".split("|")  # noqa: SIM905
    say("| " + " | ".join(heads) + " |")
    say("|---" * len(heads) + "|")
    for users, variant, method, seed in PLAN:
        if users <= given.largest:
            say(line(users, variant, method, [run(users, variant, method, seed) for _ in range(given.repeats)]))


def run(users: int, variant: str, method: str, seed: int) -> dict[str, float]:
    """One line in a process of its own."""
    argv = [sys.executable, __file__, "--one", json.dumps([users, variant, method, seed])]
    path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        argv, env={**os.environ, **ONE_CORE, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(users: int, variant: str, method: str, runs: list[dict[str, float]]) -> str:
    """A row of the table."""
    seconds = sorted(r["seconds"] for r in runs)
    one = runs[0]
    cells = [
        f"{users:,}", variant, method, f"{statistics.median(seconds):.2f} ({seconds[0]:.2f}–{seconds[-1]:.2f})",
        f"{statistics.median(r['prepare'] for r in runs):.2f}", f"{one['objective']:,.3f}",
    ]  # fmt: skip
    formats = {"gap": ".1e", "us_per_user": ".2f", "passes": "d", "priced": ".0%", "searched": ".0%", "cut": "d"}
    cells += [format(one[name], how) if name in one else "" for name, how in formats.items()]
    return "| " + " | ".join([*cells, str(one["grown_mib"])]) + " |"


def say(text: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
