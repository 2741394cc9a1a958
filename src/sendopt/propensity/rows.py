"""Labelled sends as Arrow batches, from Delta's files or a frame, and as input of LightGBM (model ¶5).

A log of ten million sends is never in memory as a whole: LightGBM reads it by batches and stores one byte per value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from sendopt.errors import ModelError
from sendopt.stats.arrays import Flags, Floats

BATCH_ROWS = 65_536


class Rows:
    """Rows in a fixed order, whose columns are read on demand."""

    def __init__(self, source: ds.Dataset) -> None:
        self._source = source
        self._count = int(source.count_rows())

    @classmethod
    def of(cls, rows: Rows | pd.DataFrame) -> Rows:
        """Return `rows` itself, or the rows of a frame in its order."""
        if isinstance(rows, Rows):
            return rows
        return cls(ds.dataset(pa.Table.from_pandas(rows, preserve_index=False)))

    @classmethod
    def of_delta(cls, uri: str) -> Rows:
        """Return the rows of a Delta table in the order in which `Lake.overwrite` wrote them."""
        from deltalake import DeltaTable  # a dependency of the extra `spark` only

        table = DeltaTable(uri).to_pyarrow_dataset()
        files = sorted(table.get_fragments(), key=lambda file: str(file.path).rpartition("/")[2])
        return cls(ds.FileSystemDataset(files, table.schema, table.format, table.filesystem))

    def __len__(self) -> int:
        return self._count

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return tuple(self._source.schema.names)

    def batches(self, names: Sequence[str], keep: Flags | None = None) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most 65,536 rows with the columns `names`, in order.

        `keep`, shape (N,), marks the rows to yield; None yields all. Raises ModelError where a column is missing.
        """
        absent = [name for name in names if name not in self.columns]
        if absent:
            raise ModelError(
                f"the rows to learn from lack the column(s) {', '.join(absent)}; run build_features of this version "
                "again and train with --train"
            )
        start = 0
        # the default read-ahead of 16 batches and 4 files would take most of the memory
        options = {"batch_size": BATCH_ROWS, "batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
        for batch in self._source.to_batches(columns=list(names), **options):
            kept = None if keep is None else keep[start : start + batch.num_rows]
            start += batch.num_rows
            if kept is None or kept.all():
                yield batch
            elif kept.any():
                yield batch.filter(pa.array(kept))

    def column(self, name: str) -> NDArray[np.generic]:
        """Return a column, shape (N,): text as objects, dates as datetime64, missing numbers as NaN."""
        parts = [b.column(0).to_numpy(zero_copy_only=False) for b in self.batches([name])]
        return np.concatenate(parts) if parts else np.empty(0)

    def words(self, name: str, keep: Flags) -> tuple[str, ...]:
        """Return the distinct words of a column among the kept rows, sorted; missing values are left out."""
        distinct: set[str] = set()
        for batch in self.batches([name], keep):
            distinct.update(word for word in pc.unique(batch.column(0)).to_pylist() if word is not None)
        return tuple(sorted(distinct))

    def frame(self, keep: Flags | None = None) -> pd.DataFrame:
        """Return all columns of the kept rows as a frame."""
        table = pa.Table.from_batches(list(self.batches(self.columns, keep)), self._source.schema)
        frame: pd.DataFrame = table.to_pandas(date_as_object=True)
        return frame

    def unit_hash(self, name: str, salt: str) -> Floats:
        """Return a hash of each row's text in the column as a number in [0, 1), shape (N,); equal on any machine.

        >>> rows = Rows.of(pd.DataFrame({"user_id": ["ann", "bob", "ann"]}))
        >>> first, second, third = rows.unit_hash("user_id", "fold").tolist()
        >>> first == third, first == second
        (True, False)
        """
        result = np.empty(len(self))
        start = 0
        for batch in self.batches([name]):
            words = batch.column(0).to_numpy(zero_copy_only=False)
            hashed = pd.util.hash_array(words, hash_key=f"{salt:<16.16}", categorize=False)  # its key has 16 bytes
            result[start : start + len(words)] = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53
            start += len(words)
        return result


class Blocks(lgb.Sequence):  # type: ignore[misc]
    """Features of the kept rows as a sequence for LightGBM, float64 (N, F), with one batch in memory at a time.

    LightGBM reads in rising order: first single rows, a sample for its bins, then slices of `batch_size` rows.
    """

    batch_size = BATCH_ROWS

    def __init__(
        self, rows: Rows, names: Sequence[str], keep: Flags, encode: Callable[[pa.RecordBatch], Floats]
    ) -> None:
        self._rows, self._names, self._keep, self._encode = rows, names, keep, encode
        self._length = int(keep.sum())
        self._width = len(names)
        self._rewind()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice | list[int]) -> Floats:
        if isinstance(index, slice):
            start, stop, _ = index.indices(self._length)
            return self._slice(start, stop)
        if isinstance(index, list):
            return np.stack([self[i] for i in index])
        self._seek(index)
        return np.asarray(self._block[index - self._start], dtype=np.float64)

    def _slice(self, start: int, stop: int) -> Floats:
        """Return the rows `start` to `stop` − 1, which may lie in several batches."""
        parts = []
        while start < stop:
            self._seek(start)
            part = self._block[start - self._start : stop - self._start]
            parts.append(part)
            start += len(part)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self._width))

    def _rewind(self) -> None:
        """Start again before the first batch."""
        self._blocks = map(self._encode, self._rows.batches(self._names, self._keep))
        self._start, self._block = 0, np.empty((0, self._width))

    def _seek(self, index: int) -> None:
        """Read batches until `_block` holds row `index`."""
        if index < self._start:
            self._rewind()
        while index >= self._start + len(self._block):
            self._start += len(self._block)
            self._block = next(self._blocks)
