"""`sendopt.solve` from a notebook beside `sendopt solve` as a process, on the same rows (`make bench-notebook`).

Both make plan, certificate and reasons; the command also writes them. CPU seconds, user and system, on one thread each;
medians with the range. A notebook has its libraries loaded, so a small solve comes before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
MOST = 1.2  # times the seconds of the command
NOTEBOOK, WITH_REASONS, PLAN_ONLY = "sendopt.solve, reasons read", "sendopt solve --reasons", "sendopt solve"


def main() -> int:
    """Print the lines and their ratio; 1 where it is above `MOST`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    os.environ.update(ONE_CORE)  # before numpy is loaded

    import pandas as pd
    from instances import instance

    from sendopt import solve

    problem = instance(given.users, seed=1)
    m, c = problem.messages, problem.cells
    of = c.message
    candidates = pd.DataFrame(
        {
            "user_id": problem.users[m.user[of]],
            "message_id": m.message_id[of],
            "campaign_id": m.campaign[of],
            "channel": m.channel[of],
            "category": m.category[of],
            "slot": c.slot,
            "value": c.value,
            "p_opt_out": c.p_opt_out,
        }
    )
    limits = {"slot_minutes": 60, **problem.limits.model_dump(exclude_none=True, exclude_defaults=True)}
    seconds: dict[str, list[float]] = {NOTEBOOK: [], WITH_REASONS: [], PLAN_ONLY: []}
    solve(candidates.head(50_000), limits, allow_unused=True).reasons  # noqa: B018
    with tempfile.TemporaryDirectory() as home:
        candidates.to_parquet(Path(home) / "candidates.parquet", index=False)
        (Path(home) / "limits.yaml").write_text(json.dumps(limits))
        for _ in range(given.runs):
            before = used()
            result = solve(candidates, limits)
            left_out = len(result.reasons)
            seconds[NOTEBOOK].append(used() - before)
            seconds[WITH_REASONS].append(of_command(home, "--reasons"))
            seconds[PLAN_ONLY].append(of_command(home))
            written = json.loads((Path(home) / "plan" / "solution.json").read_text())
            assert written["objective"] == result.certificate.objective
    say(f"{given.users:,} users, {len(candidates):,} candidates, {len(result.plan):,} sends, {left_out:,} left out")
    for name, each in seconds.items():
        say(f"{name:<30}{statistics.median(each):8.2f} s   ({min(each):.2f}-{max(each):.2f})")
    ratios = {name: statistics.median(seconds[NOTEBOOK]) / statistics.median(seconds[name]) for name in seconds}
    say(f"ratio {ratios[WITH_REASONS]:.2f} to --reasons, {ratios[PLAN_ONLY]:.2f} to none, of at most {MOST}")
    phases = ", ".join(f"{phase} {value:.2f}" for phase, value in result.seconds.items())
    say(f"of the last from the notebook, on the clock: {phases}")
    return int(ratios[WITH_REASONS] > MOST)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def used() -> float:
    """CPU seconds of this process so far."""
    times = os.times()
    return times.user + times.system


def of_command(home: str, *more: str) -> float:
    """CPU seconds of the command as a process."""
    before = os.times()
    command = [str(Path(sys.executable).with_name("sendopt")), "solve", "candidates.parquet"]
    argv = [*command, "--limits", "limits.yaml", "--out", "plan", *more]
    subprocess.run(argv, cwd=home, check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    sys.exit(main())
