"""Split a folder of files into buckets on one machine, in two passes and with little memory.

The first pass spreads rows over one loose file a bucket; the second makes a bucket of each loose file.
"""

from __future__ import annotations

import resource
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.allocation.buckets.store import MOST_BUCKETS, bucket_of, write_bucket
from sendopt.allocation.tables import columns, files, tabular
from sendopt.allocation.tables.columns import CANDIDATES, CANDIDATES_MORE, HISTORY, HISTORY_MORE, More
from sendopt.errors import ConfigError

ROWS_A_BUCKET = 4_000_000  # candidates, where no number of buckets is given: about 100,000 users
_BATCH = 1 << 20  # rows that are read at once
_MOST_ROWS = 2**31 - 1  # of a bucket: offsets of its lists are of 32 bits
_FURTHER_FILES = 64  # open beside those of the buckets


def number_of_buckets(source: Path, given: int | None) -> int:
    """Return `given`, or one bucket for every four million candidates where it is None.

    The number depends on config and data only, never on the machine. Raises ConfigError (exit 2) for a number out of
    range.
    """
    if given is not None:
        if not 1 <= given <= MOST_BUCKETS:
            raise ConfigError(f"--buckets: got {given}, expected 1 to {MOST_BUCKETS}")
        return given
    return min(MOST_BUCKETS, max(1, -(-_rows_of(source) // ROWS_A_BUCKET)))


def require_memory(source: Path, buckets: int) -> None:
    """Raise ConfigError (exit 2) where one of this many buckets would not fit into memory."""
    rows = _rows_of(source)
    files.require_some(source, rows)
    if rows // buckets > _MOST_ROWS:
        raise ConfigError(f"--buckets: {rows:,} candidates of {source} need at least {-(-rows // _MOST_ROWS):,}")
    needed, free = rows // buckets * files.BYTES_PER_CANDIDATE, files.free_memory()
    if needed > free:
        raise ConfigError(
            f"--buckets: {rows:,} candidates of {source} in {buckets} buckets need about {needed / 2**30:.1f} GiB "
            f"each, {free / 2**30:.1f} GiB are free; give at least "
            f"{-(-rows * files.BYTES_PER_CANDIDATE // max(1, free))}"
        )


def split(source: Path, history: Path | None, folder: Path, buckets: int) -> None:
    """Write the buckets of the candidates in `source` and of `history`, each a folder of files or a file.

    Raises InputNotReady or ContractError, naming the file, for the faults that `sendopt solve` refuses in one file.
    """
    require_memory(source, buckets)
    loose = folder / ".loose"
    try:
        _spread(tabular.parts_of(source), CANDIDATES, CANDIDATES_MORE, loose / "candidates", buckets)
        if history is not None:
            _spread(tabular.parts_of(history), HISTORY, HISTORY_MORE, loose / "history", buckets)
        for bucket in range(buckets):
            cells, past = (loose / kind / f"{bucket:05d}.parquet" for kind in ("candidates", "history"))
            before = _read_loose(past, HISTORY, HISTORY_MORE) if history is not None else None
            rows = _read_loose(cells, CANDIDATES, CANDIDATES_MORE)
            write_bucket(folder, bucket, buckets, rows, before, str(source))
            cells.unlink()
            past.unlink(missing_ok=True)
    finally:
        shutil.rmtree(loose, ignore_errors=True)


def _read_loose(path: Path, needed: dict[str, str], more: More) -> pa.Table:
    return pq.read_table(path, read_dictionary=columns.texts_of(needed, more))


def _spread(paths: list[Path], needed: dict[str, str], more: More, folder: Path, buckets: int) -> None:
    """Write the rows of `paths` to one file a bucket in `folder`."""
    folder.mkdir(parents=True)
    kinds = columns.kinds_of(needed, more)
    schema = columns.with_plain_texts(columns.no_rows(needed, more)).schema
    _allow_open_files(buckets + _FURTHER_FILES)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pq.ParquetWriter(folder / f"{b:05d}.parquet", schema, write_statistics=False))
            for b in range(buckets)
        ]
        for path in paths:
            first_row = 0
            for rows in tabular.batches(path, kinds, _BATCH):
                ready = columns.typed(path, rows, needed, more, first_row)
                first_row += rows.num_rows
                users = columns.coded(ready["user_id"])
                bucket = bucket_of(users.texts, buckets)[users.codes]
                order = np.argsort(bucket.astype(np.int16), kind="stable")
                ends = np.cumsum(np.bincount(bucket, minlength=buckets))
                ready = columns.with_plain_texts(ready)
                ready = ready.take(pa.array(order)) if buckets > 1 else ready
                for b in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
                    start = int(ends[b - 1]) if b else 0
                    writers[b].write_table(ready.slice(start, int(ends[b]) - start))


def _allow_open_files(count: int) -> None:
    """Raise the process's limit of open files to `count` where it is lower and the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count and (hard == resource.RLIM_INFINITY or hard >= count):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _rows_of(source: Path) -> int:
    return sum(tabular.count(path) for path in tabular.parts_of(source))
