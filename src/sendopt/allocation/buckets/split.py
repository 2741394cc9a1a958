"""A folder of files split into buckets on one machine: a pass over files, a pass over parts, little memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sendopt.allocation import files, tabular
from sendopt.allocation.buckets.store import MOST_BUCKETS, bucket_of, write_bucket
from sendopt.allocation.files import (
    CANDIDATES,
    CANDIDATES_MORE,
    HISTORY,
    HISTORY_MORE,
    require_no_fractions,
    require_rows,
    require_there,
)
from sendopt.allocation.tabular import NUMBER, TEXT
from sendopt.errors import ConfigError, ContractError

ROWS_A_BUCKET = 4_000_000  # candidates, where no number of buckets is given: about 100,000 users
_BATCH = 1 << 20  # rows at once
_TYPES = {TEXT: pa.string(), NUMBER: pa.float64()}


def number_of_buckets(source: Path, given: int | None) -> int:
    """As given, or one for every four million candidates: a matter of config and data, never of machines."""
    if given is not None:
        if not 1 <= given <= MOST_BUCKETS:
            raise ConfigError(f"--buckets: got {given}, expected 1 to {MOST_BUCKETS}")
        return given
    return min(MOST_BUCKETS, max(1, -(-_rows_of(source) // ROWS_A_BUCKET)))


def require_memory(source: Path, buckets: int) -> None:
    """Nothing, or ConfigError (exit 2) where a bucket of this many would not fit into memory."""
    rows = _rows_of(source)
    needed, free = rows // buckets * files.BYTES_PER_CANDIDATE, files.free_memory()
    if needed > free:
        raise ConfigError(
            f"--buckets: {rows:,} candidates of {source} in {buckets} buckets need about {needed / 2**30:.1f} GiB "
            f"each, {free / 2**30:.1f} GiB are free; give at least "
            f"{-(-rows * files.BYTES_PER_CANDIDATE // max(1, free))}"
        )


def split(source: Path, history: Path | None, folder: Path, buckets: int) -> None:
    """Writes the buckets of the candidates in `source` and of `history` (each a folder of files or one file).

    Raises InputNotReady or ContractError, naming the file, for what `sendopt solve` refuses in one file.
    """
    require_memory(source, buckets)
    loose = folder / ".loose"
    try:
        _spread(tabular.parts_of(source), CANDIDATES, CANDIDATES_MORE, loose / "candidates", buckets)
        if history is not None:
            _spread(tabular.parts_of(history), HISTORY, HISTORY_MORE, loose / "history", buckets)
        for bucket in range(buckets):
            cells, past = (loose / kind / f"{bucket:05d}.parquet" for kind in ("candidates", "history"))
            before = pq.read_table(past) if history is not None else None
            write_bucket(folder, bucket, buckets, pq.read_table(cells), before, str(source))
            cells.unlink()
            past.unlink(missing_ok=True)
    finally:
        shutil.rmtree(loose, ignore_errors=True)


def typed(path: Path, rows: pa.Table, needed: dict[str, str], more: Mapping[str, tuple[str, object]]) -> pa.Table:
    """`rows` with the columns of the contract in one order and type, those left out at their default (local_day: null).

    Raises ContractError naming `path` and column for one that is missing, empty or of another kind.
    """
    require_there(path, needed, rows.column_names)
    columns = {}
    for name, kind, default in [
        *((name, kind, None) for name, kind in needed.items()),
        *((name, kind, default) for name, (kind, default) in more.items()),
    ]:
        into = _TYPES.get(kind, pa.int64())
        if name not in rows.column_names:
            columns[name] = pa.repeat(pa.scalar(default, into), rows.num_rows)
            continue
        if kind == TEXT and name in needed:
            require_no_fractions(path, name, rows[name].type)
        try:
            found = pc.cast(rows[name], into)
        except pa.ArrowException:
            raise ContractError(
                f"{path}, column {name}: {rows[name].type} where {kind} are expected; convert it"
            ) from None
        found = found.fill_null("") if default == "" else found
        require_rows(path, name, "empty", np.asarray(found.is_null()))
        columns[name] = found
    return pa.table(columns)


def no_rows(needed: dict[str, str], more: Mapping[str, tuple[str, object]]) -> pa.Table:
    """What `typed` gives for no rows at all."""
    nothing = pa.table({name: pa.array([], _TYPES.get(kind, pa.int64())) for name, kind in needed.items()})
    return typed(Path(), nothing, needed, more)


def _spread(
    paths: list[Path], needed: dict[str, str], more: Mapping[str, tuple[str, object]], folder: Path, buckets: int
) -> None:
    folder.mkdir(parents=True)
    kinds = {**needed, **{name: kind for name, (kind, _) in more.items()}}
    schema = no_rows(needed, more).schema
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pq.ParquetWriter(folder / f"{b:05d}.parquet", schema, write_statistics=False))
            for b in range(buckets)
        ]
        for path in paths:
            for rows in tabular.batches(path, kinds, _BATCH):
                ready = typed(path, rows, needed, more)
                users = ready["user_id"].combine_chunks().dictionary_encode()
                bucket = bucket_of(users.dictionary.to_numpy(zero_copy_only=False), buckets)[users.indices.to_numpy()]
                order = np.argsort(bucket.astype(np.int16), kind="stable")
                ends = np.cumsum(np.bincount(bucket, minlength=buckets))
                ready = ready.take(pa.array(order)) if buckets > 1 else ready
                for b in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
                    first = int(ends[b - 1]) if b else 0
                    writers[b].write_table(ready.slice(first, int(ends[b]) - first))


def _rows_of(source: Path) -> int:
    return sum(tabular.count(path) for path in tabular.parts_of(source))
