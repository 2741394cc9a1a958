"""Convert frames of pandas, polars and Arrow to the tables of a solve, and results back to the caller's kind of frame.

polars need not be installed: frames pass their columns through Arrow's C stream, as any other library may.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa

from sendopt.allocation.tables.tabular import Frame, plain
from sendopt.errors import ContractError

Made = Callable[[pa.Table], Any]  # a result from a table
_STREAM = "__arrow_c_stream__"
_VIEWS = (pa.types.is_string_view, pa.types.is_large_string)


@runtime_checkable
class ArrowStream(Protocol):
    """A frame of any library that hands its columns over in Arrow's C stream: polars, pyarrow, DuckDB …"""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def source_of(data: object, name: str, wanted: Collection[str]) -> Path | Frame:
    """Return `data` as a solve reads it: the path of a file, or a `Frame` `name` with its columns among `wanted`.

    Raises ContractError (exit 3) for anything else, and for a column whose values are of several kinds.

    >>> users = pd.DataFrame({"User_ID": ["ann", "bob"], "age": [31, 42]})
    >>> frame = source_of(users, "candidates", ["user_id"])
    >>> frame.table.column_names, frame.columns
    (['User_ID'], ('User_ID', 'age'))
    >>> source_of("candidates.parquet", "candidates", ["user_id"]).name
    'candidates.parquet'
    """
    if isinstance(data, str | os.PathLike):
        return Path(os.fspath(data))
    if isinstance(data, pd.DataFrame):
        return _of_pandas(data, name, wanted)
    if hasattr(data, _STREAM) and not isinstance(data, type):
        return _of_stream(data, name, wanted)
    raise ContractError(f"{name}: got {_kind(data)}, expected a frame of pandas, polars or Arrow, or a path")


def maker_for(data: object) -> Made:
    """Return the function that makes results of the kind of `data`: pandas, polars, or else a pyarrow table."""
    if isinstance(data, pd.DataFrame):
        return _to_pandas
    polars = sys.modules.get("polars")  # a polars frame exists only where polars is loaded
    if polars is not None and isinstance(data, polars.DataFrame):
        return polars.from_arrow  # type: ignore[no-any-return]
    return _as_it_is


def _of_pandas(data: pd.DataFrame, name: str, wanted: Collection[str]) -> Frame:
    written = tuple(map(str, data.columns))
    places = [i for i, column in enumerate(written) if plain(column) in wanted]
    columns = [_array(data.iloc[:, i], name, written[i]) for i in places]
    return Frame(name, pa.table(columns, names=[written[i] for i in places]), written)


def _array(column: pd.Series[Any], name: str, written: str) -> pa.Array:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _unreadable(name, written, error) from None


def _of_stream(data: object, name: str, wanted: Collection[str]) -> Frame:
    try:
        reader = pa.RecordBatchReader.from_stream(data)
        table = reader.read_all()
    except (pa.ArrowException, TypeError, ValueError, OSError) as error:
        raise _unreadable(name, None, error) from None
    written = tuple(map(str, table.column_names))
    places = [i for i, column in enumerate(written) if plain(column) in wanted]
    return Frame(name, pa.table([_text(table.column(i)) for i in places], names=[written[i] for i in places]), written)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text as plain Arrow strings, which the readers know."""
    kind = column.type
    if pa.types.is_dictionary(kind) and any(is_view(kind.value_type) for is_view in _VIEWS):
        return column.cast(kind.value_type).cast(pa.string())
    return column.cast(pa.string()) if any(is_view(kind) for is_view in _VIEWS) else column


def _unreadable(name: str, column: str | None, error: BaseException) -> ContractError:
    where = name if column is None else f"{name}, column {column}"
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return ContractError(f"{where} cannot be read: {reason}; give each column one kind of values")


def _kind(data: object) -> str:
    kind = type(data)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    made: pd.DataFrame = table.to_pandas()
    return made


def _as_it_is(table: pa.Table) -> pa.Table:
    return table
