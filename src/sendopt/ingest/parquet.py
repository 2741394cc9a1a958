"""Parquet files as rows of text. A value that Python cannot hold is lost alone; its file is still read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.errors import ContractError
from sendopt.ingest.files import require_columns
from sendopt.ingest.nested import RawValue, clean, json_text, value_at


def read_parquet(table: str, file: Path, wanted: Mapping[str, str], chunk_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows in chunks with the columns of `ingest.rows`; raises ContractError for no readable Parquet file."""
    try:
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            require_columns(table, wanted, file, _paths(schema, wanted))
            for batch in parquet.iter_batches(chunk_rows):
                data = pa.Table.from_batches([batch])
                texts = {raw: _texts_of(table, file, raw, data) for raw in wanted}
                raws = _raws(data)
                yield pd.DataFrame({"raw": raws, "malformed": False, **texts}, dtype=object)
    except (pa.ArrowException, OSError):
        raise ContractError(f"{file} (tables.{table}) is no readable Parquet file; write it again") from None


def _raws(data: pa.Table) -> list[str]:
    """Return each row as JSON."""
    columns = [_values(column) for column in data.columns]
    rows = zip(*columns, strict=True)
    return [json.dumps(dict(zip(data.column_names, row, strict=True)), ensure_ascii=False, default=str) for row in rows]


def _values(column: pa.ChunkedArray) -> list[RawValue]:
    """Return the values as Python's; all as text where Python has no value for one of them.

    Such are times after the year 9999 and bytes that are no UTF-8.
    """
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, LookupError):
        return list(_cast_texts(column))


def _cast_texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return the values as Arrow writes them in text; `?` for each where it cannot."""
    try:
        values = column.cast(pa.large_binary() if _is_text(column.type) else pa.string()).to_pylist()
    except (pa.ArrowException, ValueError):
        return ["?"] * len(column)
    return [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in values]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _paths(schema: pa.Schema, wanted: Mapping[str, str]) -> list[str]:
    """Return the file's columns, and the wanted paths that lead into a structure."""
    return [*schema.names, *(raw for raw in wanted if raw not in schema.names and _inside(schema, raw))]


def _inside(schema: pa.Schema, path: str) -> bool:
    """Return True where a path may lead into a column. What a list holds is known only from its rows."""
    head, *rest = path.split(".")
    if not rest or head not in schema.names:
        return False
    kind = schema.field(head).type
    for part in rest:
        if _is_list(kind) or (part == "0" and not pa.types.is_struct(kind)):
            return True
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return False
        kind = kind.field(part).type
    return True


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _texts_of(table: str, file: Path, raw: str, data: pa.Table) -> list[str | None]:
    """Return a raw column, or what a path leads to, as the texts that a CSV file would hold.

    Instants get a Z; lists and structures become JSON. Where the file lacks the column, all are None.
    Raises ContractError for a type that has no text.
    """
    if raw in data.column_names:
        return _column_texts(table, file, raw, data.column(raw))
    head, *rest = raw.split(".")
    if head not in data.column_names:
        return [None] * data.num_rows  # one of several alternatives
    column = data.column(head)
    for place, part in enumerate(rest):
        if _is_list(column.type):
            path = ".".join(("list", *rest[place:]))
            return [clean(json_text(value_at({"list": v}, path, set()))) for v in _values(column)]
        if part == "0" and not pa.types.is_struct(column.type):
            continue
        if not pa.types.is_struct(column.type) or column.type.get_field_index(part) < 0:
            return [None] * data.num_rows
        column = pa.compute.struct_field(column, part)
    return _column_texts(table, file, raw, column)


def _column_texts(table: str, file: Path, raw: str, column: pa.ChunkedArray) -> list[str | None]:
    """Return the values of one column as texts; raises ContractError for a type that has none."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_nested(kind) or _is_text(kind):
        return [clean(json_text(v)) for v in _values(column)]
    if pa.types.is_floating(kind):
        return [_float_text(v) for v in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if v is None else clean(v.decode("utf-8", "surrogateescape")) for v in column.to_pylist()]
    try:
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", kind.tz), safe=False)
            if kind.tz:
                column = column.cast(pa.timestamp("us", "UTC"))
        return [clean(v) for v in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise ContractError(
            f"{file}, column {raw!r} (tables.{table}): {kind} is no text, number, flag or time; convert it",
            table=table,
            column=raw,
        ) from None


def _float_text(value: float | None) -> str | None:
    """Return a number as text, whole ones without point or exponent as ids are written; None for NaN."""
    if value is None or value != value:
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
