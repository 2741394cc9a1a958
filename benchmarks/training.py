"""Memory and time of training from Delta at size: `make bench-training`, or with --rows for another size.

Rows are made in one process, batch by batch, and learnt from in another, whose peak memory is what is reported: the
whole process, Python, LightGBM and Arrow included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from sendopt.config.schema import Training
from sendopt.propensity.model import CATEGORICAL, FEATURES, train
from sendopt.propensity.rows import Rows

BATCH, FEATURE_COUNT, DAYS = 250_000, 30, 45
NAMES = (*FEATURES, *(f"extra_{i}" for i in range(FEATURE_COUNT - len(FEATURES))))
WORDS = {"channel": np.array(["email", "push", "sms"]), "category": np.array(["a", "b", "c", "d", "e"])}


def batches(rows: int, seed: int = 7) -> Iterator[pa.RecordBatch]:
    """Rows in the order of days, their label a known function of a few features."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        number = np.arange(start, start + n)
        found = {name: rng.normal(size=n) for name in NAMES if name not in CATEGORICAL}
        found |= {name: words[rng.integers(0, len(words), n)] for name, words in WORDS.items()}
        found["local_hour"] = rng.integers(0, 24, n).astype(np.float64)
        p = 1 / (1 + np.exp(2 - found["rate_30d"] - 0.5 * found["user_hour_rate"]))
        found["label"] = (rng.random(n) < p).astype(np.int32)
        found["plan_date"] = np.datetime64("2026-01-01") + number * DAYS // rows
        found["send_key"] = np.char.mod("s%010d", number)
        found["user_id"] = np.char.mod("u%07d", rng.integers(0, max(1, rows // 40), n))
        yield pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in found.items()})


def make(folder: Path, rows: int) -> None:
    for batch in batches(rows):  # a commit each: a stream would be held in memory
        write_deltalake(str(folder), batch, mode="append")


def peak_gb() -> float:
    """The largest memory of this process since it started: unlike ru_maxrss, nothing of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1e6, 2)


def learn(folder: Path, trees: int, negative_share: float) -> dict[str, float]:
    """Seconds and peak gigabytes of one training in this process."""
    before = peak_gb()
    started, busy = time.monotonic(), time.process_time()
    rows = Rows.of_delta(str(folder))
    settings = Training(folds=2, max_trees=trees, negative_share=negative_share)
    model = train(rows, settings, "open", NAMES)
    return {
        "rows": len(rows),
        "features": len(NAMES),
        "trees": model.card.trees,
        "negative_share": negative_share,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - busy, 1),
        "peak_gb": peak_gb(),
        "imports_gb": before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--trees", type=int, default=20, help="at most; memory does not depend on it, time does")
    parser.add_argument("--negative-share", type=float, default=1.0)
    parser.add_argument("--at", type=Path, help="folder of rows; for the second process")
    given = parser.parse_args()
    if given.at:
        sys.stdout.write(json.dumps(learn(given.at, given.trees, given.negative_share)) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "rows"
        make(where, given.rows)
        command = [sys.executable, __file__, "--at", str(where), "--trees", str(given.trees)]
        subprocess.run([*command, "--negative-share", str(given.negative_share)], check=True)


if __name__ == "__main__":
    main()
