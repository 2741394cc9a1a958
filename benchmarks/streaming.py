"""Users by the million, a bucket at a time: seconds, gap, memory, and how cost grows (`make bench-streaming`).

Instances are made bucket by bucket and written as bucket files, which is not timed. Timed is `solve_buckets` in a
process of its own: prices from the first buckets, then each read, planned within its share and written, and the sums.
`seconds` are of the clock, `busy` of the processor (a shared machine's clock says little), both with reading;
`reading` is the part of the clock that files took; `MiB` what the process grew by. The audit of the parts is left out
and timed apart (`--audit`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
A_BUCKET = 100_000  # users
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
PER_USER = 3
SLOTS = 24


def write(folder: Path, users: int, scores: str = "smooth") -> None:
    """Buckets of an instance like `instances.instance(users)`, and its limits beside them."""
    import instances

    from sendopt.allocation.buckets import bucket_of

    buckets = max(1, users // A_BUCKET)
    draw = np.random.default_rng(0)
    weight = draw.uniform(0.5, 1.5, instances.CAMPAIGNS)
    of = np.empty(users, np.int16)
    for first in range(0, users, A_BUCKET):
        names = _names(np.arange(first, min(users, first + A_BUCKET)))
        of[first : first + len(names)] = bucket_of(names, buckets)
    for bucket in range(buckets):
        _write_bucket(folder, bucket, buckets, _names(np.flatnonzero(of == bucket)), weight, scores)
    limits = instances._limits(draw, users, "plain")
    (folder / "limits.json").write_text(limits.model_dump_json())


def _names(numbers: np.ndarray) -> np.ndarray:
    return np.array([f"u{i:08d}" for i in numbers.tolist()], object)


def _write_bucket(folder: Path, bucket: int, buckets: int, names: np.ndarray, weight: np.ndarray, scores: str) -> None:
    import instances
    import pyarrow as pa

    from sendopt.allocation.buckets import write_bucket

    draw = np.random.default_rng(1000 + bucket)
    users, rows = len(names), len(names) * PER_USER
    offset = draw.choice([-8, -5, 0, 1, 2, 5, 8], (users, 1), p=[0.15, 0.2, 0.15, 0.2, 0.1, 0.1, 0.1])
    hours = ((np.arange(SLOTS)[None, :] + offset) % SLOTS).astype(float)
    chance = instances.GENERATORS[scores](draw, users, hours)
    owner = np.repeat(np.arange(users), PER_USER)
    campaign = draw.integers(0, len(weight), rows)
    expiry = draw.integers(SLOTS // 2, SLOTS + 1, rows)
    may = ((hours >= 7) & (hours < 23))[owner] & (np.arange(SLOTS)[None, :] < expiry[:, None])
    message, slot = np.nonzero(may)
    p_opt_out = np.round(draw.beta(1, 800, users), 6)[owner]

    def coded(codes: np.ndarray, texts: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes[message].astype(np.int32)), pa.array(texts))

    campaigns = [f"c{i:02d}" for i in range(len(weight))]
    kinds = [f"k{i}" for i in range(instances.CATEGORIES)]
    columns = {
        "user_id": coded(owner, names.tolist()),
        "message_id": coded(np.arange(rows) % PER_USER, [f"m{i}" for i in range(PER_USER)]),
        "campaign_id": coded(campaign, campaigns),
        "channel": coded(np.zeros(rows), ["push"]),
        "category": coded(campaign % instances.CATEGORIES, kinds),
        "slot": slot,
        "value": chance[owner[message], slot] * weight[campaign[message]] - p_opt_out[message],
        "p_opt_out": p_opt_out[message],
    }
    write_bucket(folder, bucket, buckets, pa.table(columns), None, "benchmark")


def limits_of(folder: Path):
    """The limits that `write` left."""
    from sendopt.domain.limits import SolveLimits

    return SolveLimits.model_validate_json((folder / "limits.json").read_text())


def measure(folder: Path, audit: bool) -> dict[str, float]:
    """One solve, in this process, after one of a bucket alone so that nothing is compiled or loaded on the clock."""
    from sendopt.allocation.buckets import solve_buckets
    from sendopt.allocation.prices import engine

    _warm(engine)
    before = _peak_mib()
    clock, busy = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        found = solve_buckets(folder, limits_of(folder), Path(out) / "plan", 1e-4, audit=audit)
    seconds, busy = time.perf_counter() - clock, time.process_time() - busy
    grown = _peak_mib() - before
    return {
        "users": found.users,
        "buckets": found.buckets,
        "sends": found.sends,
        "seconds": seconds,
        "busy": busy,
        "objective": found.solution.objective,
        "gap": found.solution.gap,
        "grown_mib": round(grown),
        **{name: round(value, 2) for name, value in found.seconds.items()},
    }


def _peak_mib() -> float:
    """Of this program alone: `getrusage` would count what its parent had when it started it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024


def _warm(engine) -> None:
    from instances import instance

    _, market = engine.prepare(instance(2_000, seed=5))
    engine.solve(market, 1e-3)


def on_spark(folder: Path, master: str, runs: int) -> list[dict[str, float]]:
    """The same map on Spark; the first run starts the workers, the last is warm."""
    from functools import partial

    from sendopt.allocation.buckets import solve_buckets
    from sendopt.config.schema import SparkSettings
    from sendopt.spark.allocation.solve_buckets import over_buckets
    from sendopt.spark.engine.session import open_session

    spark = open_session(SparkSettings(master=master))
    found = []
    try:
        for _ in range(runs):
            with tempfile.TemporaryDirectory(dir=folder.parent) as out:
                run = partial(over_buckets, spark)
                done = solve_buckets(folder, limits_of(folder), Path(out) / "plan", 1e-4, run, audit=False)
            found.append({"gap": done.solution.gap, "objective": done.solution.objective, **done.seconds})
    finally:
        spark.stop()
    return found


def main() -> None:
    """Print the table as it grows, then the exponent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out larger sizes")
    parser.add_argument("--scores", default="smooth", help="smooth | rough | stepped")
    parser.add_argument("--audit", action="store_true", help="audit every bucket too")
    parser.add_argument("--spark", metavar="MASTER", help="one size more: the largest up to a million on this master")
    parser.add_argument("--folder", type=Path, help="where instances are and stay; default: a folder that goes away")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        say(json.dumps(measure(given.one, given.audit)))
        return
    say(f"{platform.machine()}, Python {platform.python_version()}, {given.scores} scores, {A_BUCKET:,} users a bucket")
    heads = ["users", "buckets", "seconds", "busy", "reading", "prices", "objective", "gap", "sends", "MiB"]
    say("| " + " | ".join(heads) + " |")
    say("|---" * len(heads) + "|")
    with tempfile.TemporaryDirectory() as gone:
        home = given.folder or Path(gone)
        runs = []
        for users in [size for size in SIZES if size <= given.largest]:
            folder = home / f"{given.scores}-{users}"
            if not (folder / "limits.json").is_file():
                write(folder, users, given.scores)
            runs.append(run(folder, given.audit))
            say(line(runs[-1]))
        if len(runs) > 1:
            for what in ("busy", "seconds"):
                size, cost = (np.log([r[name] for r in runs]) for name in ("users", what))
                say(f"exponent of {what} on users: {np.polyfit(size, cost, 1)[0]:.3f}")
        if given.spark:
            folder = home / f"{given.scores}-{min(given.largest, 10**6)}"
            for i, done in enumerate(on_spark(folder, given.spark, 3)):
                say(
                    f"Spark {given.spark}, run {i + 1}: prices {done['prices']:.1f} s, map {done['map']:.1f} s, "
                    f"gap {done['gap']:.1e}, objective {done['objective']:,.3f}"
                )


def run(folder: Path, audit: bool) -> dict[str, float]:
    """One size in a process of its own."""
    argv = [sys.executable, __file__, "--one", str(folder), *(["--audit"] if audit else [])]
    path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, **ONE_CORE, "PYTHONPATH": path}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(r: dict[str, float]) -> str:
    """A row of the table."""
    cells = [
        f"{r['users']:,}",
        str(r["buckets"]),
        f"{r['seconds']:.2f}",
        f"{r['busy']:.2f}",
        f"{r['read']:.2f}",
        f"{r['prices']:.2f}",
        f"{r['objective']:,.3f}",
        f"{r['gap']:.1e}",
        f"{r['sends']:,}",
        str(r["grown_mib"]),
    ]
    return "| " + " | ".join(cells) + " |"


def say(text: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
