"""The allocator beside its peers, in one run: seconds, objective, certified gap, memory (`make bench-allocation`).

Each line is a process of its own on one core; medians with the range. The solve is timed on arrays in memory; making
them ready (`prepare`: codes, hash order) is timed apart. Peers get the rows of the same program.
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
WEEK = {"per_user": 4, "days": 7}
VARIANTS = {
    "plain": {},
    "rough scores": {"scores": "rough"},
    "ties": {"scores": "stepped"},
    "ties, scoped caps": {"scores": "stepped", "limits": "scoped"},
    "soft minimums": {"limits": "minimums"},
    "60 % with history": {"with_history": 0.6, "limits": "scoped"},
    **{f"{k} messages, cap 4": {"per_user": k, "limits": "many"} for k in (4, 6, 20)},
    "seven days": {**WEEK, "limits": "week"},
    "seven tired days": {**WEEK, "limits": "tired week"},
}
PEERS = ("PuLP+HiGHS", "PuLP+CBC", "highspy", "PDLP (fractional)")
FIVE = (("plain", 1), ("plain", 2), ("rough scores", 1), ("rough scores", 2), ("ties", 1))
HARD = (
    "ties, scoped caps",
    "6 messages, cap 4",
    "soft minimums",
    "60 % with history",
    "seven days",
    "seven tired days",
)
# users, variant, seed, method, relative gap asked for, runs
PLAN = [
    *((1_000, name, seed, "prices", 1e-5, 3) for name, seed in FIVE),
    *((1_000, name, seed, "PuLP+HiGHS", 1e-5, 1) for name, seed in FIVE),
    *((1_000, "plain", 1, peer, 1e-5, 3) for peer in PEERS[1:]),
    *((10_000, "plain", 1, "prices", gap, 3) for gap in (1e-5, 1e-6)),
    *((10_000, "plain", 1, peer, 1e-5, 1) for peer in PEERS),
    *((20_000, f"{k} messages, cap 4", 1, "prices", 1e-4, 3) for k in (4, 20)),
    *((100_000, name, 1, "prices", 1e-4, 3) for name in ("plain", "rough scores", "ties", *HARD)),
    (1_000_000, "plain", 1, "prices", 1e-4, 3),
    (1_000_000, "rough scores", 2, "prices", 1e-4, 3),
]


def measure(users: int, variant: str, seed: int, method: str, gap: float) -> dict[str, float | str]:
    """One line, in this process."""
    from instances import instance

    if method == "prices":
        _prices(instance(200, seed=9, with_history=0.5), 1e-3)  # kernels compiled, or read from where they are kept
    problem = instance(users, seed=seed, **VARIANTS[variant])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if method == "prices":
        found = _prices(problem, gap)
    else:
        from peers import solve

        found = solve(problem, method)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"cells": len(problem.cells.slot), "grown_mib": round(grown / 1024), **found}


def _prices(problem, gap: float):
    from sendopt.allocation.prices import engine
    from sendopt.allocation.prices.fit import objective
    from sendopt.allocation.solution import gap_of

    clock = time.perf_counter()
    _, market = engine.prepare(problem)
    prepare = time.perf_counter() - clock
    del problem
    clock = time.perf_counter()
    plan, best = engine.solve(market, gap)
    seconds = time.perf_counter() - clock
    passes = market.answers / market.n_users
    reached = objective(market, plan) * market.unit
    clock = time.perf_counter()
    again = market.respond(best.prices)
    answer = (time.perf_counter() - clock) / market.n_users
    value, proof = float(market.d.value[plan[plan >= 0]].sum()) * market.unit, market.stated(best)
    return {
        "prepare": prepare,
        "seconds": seconds,
        "objective": reached,
        "gap": gap_of(value, value - reached, proof.bound),
        "us_per_user": answer * 1e6,
        "passes": passes,
        "priced": float((best.prices > 1e-9).mean()),
        "left": again.slow / market.n_users,
        "searched": again.searched / market.n_users,
        "cut": again.cut,
    }


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=10**9, help="leave out larger instances")
    parser.add_argument("--smallest", type=int, default=0, help="leave out smaller instances")
    parser.add_argument("--only", default="", help="only lines whose method holds this text")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        say(json.dumps(measure(*json.loads(given.one))))
        return
    say(
        f"{platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "scipy", "highspy", "pulp"))
    )
    heads = [
        "users",
        "instance",
        "method",
        "seconds",
        "prepare",
        "objective",
        "gap",
        "µs/user",
        "passes",
        "priced",
        "left",
        "searched",
        "cut",
        "MiB",
    ]
    say("\n| " + " | ".join(heads) + " |")
    say("|---" * len(heads) + "|")
    done: dict[tuple[int, str, int, str], float] = {}
    for users, variant, seed, method, gap, repeats in PLAN:
        if given.smallest <= users <= given.largest and given.only in method:
            runs = [run(users, variant, seed, method, gap) for _ in range(repeats)]
            done[users, variant, seed, method] = statistics.median(r["seconds"] for r in runs)
            say(line(users, variant if seed == 1 else f"{variant}, seed {seed}", method, runs))
    ratios = [
        done[1_000, name, seed, "PuLP+HiGHS"] / done[1_000, name, seed, "prices"]
        for name, seed in FIVE
        if (1_000, name, seed, "PuLP+HiGHS") in done and (1_000, name, seed, "prices") in done
    ]
    if ratios:
        say(
            f"\nPuLP+HiGHS takes {statistics.median(ratios):.0f} times as long at 1,000 users "
            f"(median of {len(ratios)}, {min(ratios):.0f} to {max(ratios):.0f})"
        )


def run(users: int, variant: str, seed: int, method: str, gap: float) -> dict[str, float]:
    """One line in a process of its own."""
    argv = [sys.executable, __file__, "--one", json.dumps([users, variant, seed, method, gap])]
    path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        argv, env={**os.environ, **ONE_CORE, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{users} users, {variant}, {method}:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(users: int, variant: str, method: str, runs: list[dict[str, float]]) -> str:
    """A row of the table."""
    seconds = sorted(r["seconds"] for r in runs)
    one = runs[0]
    span = "" if len(runs) == 1 else f" ({seconds[0]:.2f}–{seconds[-1]:.2f})"
    cells = [
        f"{users:,}",
        variant,
        method,
        f"{statistics.median(seconds):.2f}{span}",
        f"{statistics.median(r['prepare'] for r in runs):.2f}",
        f"{one['objective']:,.3f}" if "objective" in one else str(one["note"]),
    ]
    formats = {
        "gap": ".1e",
        "us_per_user": ".2f",
        "passes": ".0f",
        "priced": ".0%",
        "left": ".0%",
        "searched": ".0%",
        "cut": "d",
    }
    cells += [format(one[name], how) if name in one else "" for name, how in formats.items()]
    return "| " + " | ".join([*cells, str(one["grown_mib"])]) + " |"


def say(text: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
