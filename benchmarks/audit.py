"""What proving a plan costs beside finding it: CPU of reading, solving and auditing in one run (`make bench-audit`).

`plain` is the benchmark's instance of 100,000 users, `night` one as the demo's nights make it (`nights.py`); both are
read from Parquet as `sendopt solve` reads them. Each run is a process of its own on one core, with kernels ready before
the clock starts; medians with the range.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
GAP = 1e-4
STEPS = ("read", "solve", "audit")
PLAN = (
    ("plain", 100_000),
    ("60 % with history", 100_000),
    ("seven tired days", 5_000),
    ("night", 1_700),
    ("night", 20_000),
)


def measure(kind: str, users: int) -> dict[str, float]:
    """CPU seconds of one run by step, in this process, and what was audited."""
    import allocation
    from instances import instance
    from nights import night

    made = night(users) if kind == "night" else instance(users, seed=1, **allocation.VARIANTS[kind])
    with tempfile.TemporaryDirectory() as home:
        paths = write(Path(home) / "timed", made)
        del made
        run(write(Path(home) / "first", night(60, seed=9)))  # kernels compiled, or read from where they are kept
        return run(paths)


def run(paths: tuple[Path, Path, Path]) -> dict[str, float]:
    """The steps of `sendopt solve` that come before writing."""
    from sendopt.allocation import allocate, check
    from sendopt.allocation.tables.files import read_problem
    from sendopt.config.limits_file import load_limits
    from sendopt.config.schema import Allocation

    candidates, history, limits = paths
    clock = [time.process_time()]
    problem = read_problem(candidates, load_limits(limits), history)
    clock.append(time.process_time())
    solution = allocate(problem, Allocation(exact_max_users=0, relative_gap=GAP))
    clock.append(time.process_time())
    audited = check(problem, solution)
    clock.append(time.process_time())
    spent = dict(zip(STEPS, np.diff(clock).tolist(), strict=True))
    return {
        **spent,
        "cells": len(problem.cells.slot),
        "past": len(problem.history.user),
        "sends": len(solution.chosen),
        "gap": solution.gap,
        "cut": audited.cut_users,
        "looser": (audited.weak_bound - solution.bound) / max(1.0, solution.value),
    }


def write(folder: Path, problem: Any) -> tuple[Path, Path, Path]:
    """The problem as `sendopt solve` takes it: candidates, history and limits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    m, c, h = problem.messages, problem.cells, problem.history
    texts = {"campaign_id": "campaign", "channel": "channel", "category": "category"}
    numbers = ("p_opt_out", "cost", "local_day")
    cells = {
        "user_id": pa.array(problem.users[m.user[c.message]], pa.string()),
        "message_id": pa.array(m.message_id[c.message], pa.string()),
        **{name: pa.array(getattr(m, field)[c.message], pa.string()) for name, field in texts.items()},
        **{name: getattr(c, name) for name in ("slot", "value", *numbers)},
    }
    past = {
        "user_id": pa.array(problem.users[h.user], pa.string()),
        **{name: pa.array(getattr(h, field), pa.string()) for name, field in texts.items()},
        **{name: getattr(h, name) for name in ("minutes_before", *numbers)},
    }
    paths = folder / "candidates.parquet", folder / "history.parquet", folder / "limits.yaml"
    pq.write_table(pa.table(cells), paths[0])
    pq.write_table(pa.table(past), paths[1])
    limits = {"slot_minutes": problem.slot_minutes, **problem.limits.model_dump(exclude_none=True)}
    paths[2].write_text(json.dumps(limits))
    return paths


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each line")
    parser.add_argument("--only", default="", help="only lines whose name holds this text")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        say(json.dumps(measure(*json.loads(given.one))))
        return
    say(
        f"{platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("numpy", "numba", "pyarrow"))
    )
    heads = ("users", "instance", "cells", "past sends", *STEPS, "(read + audit) : solve", "audit : solve")
    say("\n| " + " | ".join((*heads, "audit, µs/user", "cut", "audit's bound above the stated")) + " |")
    say("|---" * (len(heads) + 3) + "|")
    for kind, users in PLAN:
        if given.only in kind:
            say(line(kind, users, [in_a_process(kind, users) for _ in range(given.runs)]))


def in_a_process(kind: str, users: int) -> dict[str, float]:
    """One run in a process of its own."""
    here = Path(__file__).parent
    environment = {**os.environ, **ONE_CORE, "PYTHONPATH": f"{here}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    argv = [sys.executable, __file__, "--one", json.dumps([kind, users])]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind}, {users} users:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def line(kind: str, users: int, runs: list[dict[str, float]]) -> str:
    """A row of the table."""

    def median(what: Callable[[dict[str, float]], float], places: int = 2) -> str:
        each = sorted(what(r) for r in runs)
        spread = f" ({each[0]:.{places}f}–{each[-1]:.{places}f})" if len(each) > 1 else ""
        return f"{statistics.median(each):.{places}f}{spread}"

    one = runs[0]
    cells = [f"{users:,}", kind, f"{one['cells']:,}", f"{one['past']:,}"]
    cells += [median(lambda r, step=step: r[step]) for step in STEPS]  # type: ignore[misc]
    cells += [
        median(lambda r: (r["read"] + r["audit"]) / r["solve"]),
        median(lambda r: r["audit"] / r["solve"], 3),
        median(lambda r: r["audit"] / users * 1e6, 1),
        f"{one['cut']:,}",
        f"{one['looser']:.1e}",
    ]
    return "| " + " | ".join(cells) + " |"


def say(text: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
