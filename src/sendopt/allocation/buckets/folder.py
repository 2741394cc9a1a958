"""`sendopt solve` of a folder: split into buckets unless it is, then solved a bucket at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sendopt.allocation.buckets.solve import Planned, Run, one_after_the_other, solve_buckets
from sendopt.allocation.buckets.split import number_of_buckets, split
from sendopt.allocation.buckets.store import is_bucketed
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError

Split = Callable[[Path, Path | None, Path, int], None]


def solve_folder(
    source: Path, history: Path | None, limits: SolveLimits, out: Path, relative_gap: float, buckets: int | None,
    splits: Split = split, run: Run = one_after_the_other,
) -> Planned:  # fmt: skip
    """Plans the candidates in the Parquet files of `source` and writes `out`; see `solve_buckets`.

    Buckets are written beside `out` and go away with the solve; a folder of buckets is used as it is.
    Raises ConfigError where the call contradicts the buckets, else what `split` and `solve_buckets` raise.
    """
    if is_bucketed(source):
        if history is not None or buckets is not None:
            raise ConfigError(f"{source} holds buckets already, history included: leave out --buckets and --history")
        return solve_buckets(source, limits, out, relative_gap, run)
    count = number_of_buckets(source, buckets)
    with _beside(out) as folder:
        clock = time.perf_counter()
        splits(source, history, folder, count)
        spent = time.perf_counter() - clock
        return solve_buckets(folder, limits, out, relative_gap, run, seconds_before={"split": spent})


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder that workers on this file system can read, until the block ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-buckets-", dir=out.parent.resolve()) as name:
        Path(name).chmod(0o755)
        yield Path(name)
