"""Users by the million, a bucket at a time: seconds, gap, memory, and how cost grows (`make bench-streaming`).

Each size is a process of its own. Instances are made bucket by bucket and written as bucket files; that is not timed.
Timed is `solve_buckets`: reading them, prices from the first, one plan a bucket, its files, sums. `busy` is processor
time (the machine may be shared), `of it reading` what the files took, `audit` what the audit of the parts adds, as
measured on the first bucket.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

A_BUCKET = 100_000  # users
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
PER_SPARK = 1_000_000


def write(folder: Path, users: int, scores: str) -> None:
    """Buckets of an instance of `users`, and its limits beside them."""
    import pyarrow as pa
    from instances import instance, limits_of

    from sendopt.allocation.buckets import bucket_of, write_bucket

    buckets = max(1, users // A_BUCKET)
    made = np.zeros(buckets, np.int64)
    bucket, seed = 0, 0
    for bucket in range(buckets):
        # ids of one bucket: drawn until there are enough whose hash falls into it
        names = _names(bucket, buckets, min(A_BUCKET, users), bucket_of)
        problem = instance(len(names), seed=1000 + bucket, scores=scores)
        m, c = problem.messages, problem.cells
        cells = {
            "user_id": pa.array(names).take(pa.array(m.user[c.message])),
            **{
                name: pa.array(getattr(m, name.removesuffix("_id") if name == "campaign_id" else name))
                .dictionary_encode()
                .take(pa.array(c.message))
                for name in ("message_id", "campaign_id", "channel", "category")
            },
            "slot": c.slot, "value": c.value, "p_opt_out": c.p_opt_out,
        }  # fmt: skip
        write_bucket(folder, bucket, buckets, pa.table(cells), None, "benchmark")
        made[bucket] = len(names)
        seed += 1
    (folder / "limits.json").write_text(limits_of(users).model_dump_json(exclude_none=True))


if __name__ == "__main__":
    pass
