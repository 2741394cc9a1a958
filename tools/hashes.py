"""Print a hash of all that one night and three solves leave, so that two states of the code can be compared.

    make hashes > after.txt
    make hashes SRC=/path/to/the/other/checkout/src > before.txt
    diff before.txt after.txt

The commands run in processes of their own on the code that SRC names. A line is `what rows sha256`. Rows of a table
are hashed in sorted order; of `runs` only date, stage and plan version, the rest of a run is about itself (times, ids).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from deltalake import DeltaTable

ROOT = Path(__file__).parent.parent
USERS_OF_THE_NIGHT = 120
KEPT = {"runs": ["plan_date", "stage", "plan_version"]}
TIMES = ("seconds", "peak_mib")  # of a solution: what a run says about itself
LIMITS = """
caps: {daily: {scope: all, window_minutes: 1440, max: 2}}
min_gap_minutes: 240
capacity: {push: %(capacity)d}
campaigns: {c1: {max_sends: %(campaign)d}, c2: {min_sends: 20, shortfall_price: 0.2}}
opt_outs: {max_expected: %(opt_outs)s}
fatigue: {half_life_hours: 72, points_per_send: {push: 1.0}, max_points: 3.0}
"""
SOLVES = {"exact, 40 users": (40, "exact"), "auto, 400 users": (400, "auto"), "prices, 4,000 users": (4000, "prices")}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for line in chain(of_a_night(Path(folder) / "night"), of_solves(Path(folder) / "solves")):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def of_a_night(home: Path) -> Iterator[str]:
    """Yield a line for each Delta table of one simulated night."""
    home.mkdir()
    shutil.copytree(ROOT / "conf", home / "conf")
    sendopt(home, "demo", "--users", f"{USERS_OF_THE_NIGHT}")
    for log in sorted(home.rglob("_delta_log")):
        rows = DeltaTable(str(log.parent)).to_pandas()
        columns = KEPT.get(log.parent.name, sorted(rows.columns))
        lines = sorted(json.dumps([str(value) for value in row]) for row in rows[columns].itertuples(index=False))
        yield f"table {log.parent.name:22}{len(lines):8,} {sha256(lines)}"


def of_solves(home: Path) -> Iterator[str]:
    """Yield a line for the plan and one for the solution of each problem of `SOLVES`."""
    home.mkdir()
    for seed, (name, (users, method)) in enumerate(SOLVES.items()):
        write_problem(home, users, seed)
        files = ("candidates.parquet", "--limits", "limits.yaml", "--history", "history.parquet")
        sendopt(home, "solve", *files, "--out", f"plan{seed}", "--method", method)
        plan = pd.read_parquet(home / f"plan{seed}" / "plan.parquet").sort_values(["user_id", "message_id"])
        yield f"plan  {name:22}{len(plan):8,} {sha256(plan.to_csv(index=False).splitlines())}"
        solution = json.loads((home / f"plan{seed}" / "solution.json").read_text())
        lines = [json.dumps(part, sort_keys=True) for part in solution.items() if part[0] not in TIMES]
        yield f"proof {name:22}{len(lines):8,} {sha256(lines)}"


def write_problem(home: Path, users: int, seed: int) -> None:
    """Write candidates (24 slots, 3 messages a user, half of the cells), history and limits to `home`."""
    draw = np.random.default_rng(seed)
    user, message, slot = (axis.ravel() for axis in np.meshgrid(range(users), range(3), range(24), indexing="ij"))
    level = draw.beta(2, 12, users)[user] * (1 + 0.5 * np.sin(slot / 4 + draw.uniform(0, 6, users)[user]))
    candidates = pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in user],
            "message_id": [f"m{number}" for number in message],
            "campaign_id": [f"c{number}" for number in (user + message) % 5],
            "channel": np.where(message == 2, "mail", "push"),
            "category": np.where(message == 0, "news", "deals"),
            "slot": slot,
            "value": np.round(level * draw.gamma(4.0, 0.25, len(user)), 6),
            "p_opt_out": 0.001 * (message + 1),
        }
    )
    candidates[draw.random(len(user)) < 0.5].to_parquet(home / "candidates.parquet")
    past = draw.integers(0, users, users // 2)
    history = pd.DataFrame(
        {
            "user_id": [f"u{number}" for number in past],
            "channel": "push",
            "category": "news",
            "campaign_id": "c1",
            "minutes_before": draw.integers(1, 4000, len(past)),
        }
    )
    history.to_parquet(home / "history.parquet")
    sizes = {"capacity": max(1, users // 20), "campaign": max(1, users // 10), "opt_outs": users * 0.002}
    (home / "limits.yaml").write_text(LIMITS % sizes)


def sendopt(home: Path, *words: str) -> None:
    """Run a command of the code that SRC names in `home`; end with what it printed where it fails."""
    path = os.environ.get("SRC") or str(ROOT / "src")
    run = [sys.executable, "-c", "from sendopt.cli import main; main()", *words]
    done = subprocess.run(run, cwd=home, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"`sendopt {' '.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


if __name__ == "__main__":
    main()
