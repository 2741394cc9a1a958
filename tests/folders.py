"""Problems solved as a folder of files, as `sendopt solve` does: bucket by bucket."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.allocation import Problem, Solution
from sendopt.allocation.buckets import solve_folder
from sendopt.domain.limits import SolveLimits


def solved_in_buckets(p: Problem, home: Path, buckets: int, relative_gap: float = 1e-4) -> Solution:
    """Return the solution of `p` in `buckets` buckets, with files below `home`. `p` has no history."""
    m, c = p.messages, p.cells
    columns = {"message_id": "message_id", "campaign_id": "campaign", "channel": "channel", "category": "category"}
    table = pa.table(
        {
            "user_id": pa.array(p.users[m.user[c.message]], pa.string()),
            **{name: pa.array(getattr(m, field)[c.message], pa.string()) for name, field in columns.items()},
            "exclusive_group": pa.array(m.exclusive_group[c.message], pa.string()),
            **{name: getattr(c, name) for name in ("slot", "value", "p_opt_out", "cost", "local_day")},
            "tier": m.tier[c.message],
        }
    )
    (home / "candidates").mkdir(parents=True)
    pq.write_table(table, home / "candidates" / "0.parquet")
    limits = SolveLimits.model_construct(**dict(p.limits), slot_minutes=p.slot_minutes)
    return solve_folder(home / "candidates", None, limits, home / "out", relative_gap, buckets).solution
