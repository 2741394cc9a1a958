"""Raw files as columns of text without an engine: one row a line, and the lines that are no row counted.

The same rules as in ingest: a CSV row ends with its line, a JSON line is one object, empty text is no value.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.errors import ContractError
from sendopt.ingest import TableMapping
from sendopt.ingest.files import find_files, first_line, require_columns

Rows = Iterator[list[str | None] | None]


def read_texts(table: str, mapping: TableMapping, wanted: Mapping[str, str], source: Path) -> tuple[pd.DataFrame, int]:
    """(raw columns `wanted` as text with None where empty, number of malformed lines).

    `wanted`: raw column -> the mapping's key that asks for it. Raises InputNotReady where no file is there, and
    ContractError where a file cannot be read or lacks a column.
    """
    files = [f for f in find_files(table, mapping, source) if f.stat().st_size > 0]
    names = list(wanted)
    if mapping.format == "parquet":
        parts = [_parquet(table, file, wanted) for file in files]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names, dtype=object)
        return _clean(frame), 0
    seen: set[str] = set()
    found: list[list[str | None] | None] = []
    for file in files:
        found += _csv(table, mapping, wanted, file) if mapping.format == "csv" else _jsonl(wanted, file, seen)
    kept = [row for row in found if row is not None]
    if mapping.format == "jsonl" and kept:
        _require_keys(table, wanted, seen, len(files))
    return _clean(pd.DataFrame(kept, columns=names, dtype=object)), len(found) - len(kept)


def _clean(frame: pd.DataFrame) -> pd.DataFrame:
    for name in frame.columns:
        text = frame[name].astype(object)
        frame[name] = [v.strip() or None if isinstance(v, str) else None for v in text]
    return frame


def _lines(file: Path) -> Iterator[str | None]:
    """Lines with text, None for one that is no UTF-8."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as data:
            for number, raw in enumerate(data):
                try:
                    line = raw.decode("utf-8-sig" if number == 0 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    yield None
                    continue
                if line.strip(" "):
                    yield line
    except (OSError, EOFError):
        raise ContractError(f"{file} cannot be read; check its permissions, or write it again") from None


def _csv(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path) -> Rows:
    header = first_line(file)
    if not header:
        return
    columns = [c.strip() for c in next(csv.reader([header], delimiter=mapping.delimiter))]
    require_columns(table, wanted, file, columns)
    places = [columns.index(raw) for raw in wanted]
    lines = _lines(file)
    next(lines)
    for line in lines:
        if line is None or line.count('"') % 2 or line == header:
            yield None
            continue
        try:
            row = next(csv.reader([line], delimiter=mapping.delimiter))
        except csv.Error:
            row = []
        yield [row[i] for i in places] if len(row) == len(columns) else None


def _jsonl(wanted: Mapping[str, str], file: Path, seen: set[str]) -> Rows:
    """`seen` gathers the keys that any row has, be it without a value."""
    for line in _lines(file):
        try:
            row = None if line is None else json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            seen.update(row)
            yield [_json_text(row.get(raw)) for raw in wanted]
        else:
            yield None


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _require_keys(table: str, wanted: Mapping[str, str], seen: set[str], files: int) -> None:
    for raw, key in wanted.items():
        if raw not in seen:
            raise ContractError(
                f"tables.{table}.{key}: no row of {files} files has the key {raw!r}; found: "
                f"{', '.join(sorted(seen))[:500]}; correct the mapping, or take the column out of it",
                table=table, column=raw,
            )  # fmt: skip


def _parquet(table: str, file: Path, wanted: Mapping[str, str]) -> pd.DataFrame:
    try:
        require_columns(table, wanted, file, pq.read_schema(file).names)
        read = pq.read_table(file, columns=list(wanted))
    except (pa.ArrowException, OSError):
        raise ContractError(f"{file} (tables.{table}) is no readable Parquet file; write it again") from None
    return pd.DataFrame({name: _arrow_text(table, file, name, read[name]) for name in wanted})


def _arrow_text(table: str, file: Path, name: str, column: Any) -> Any:
    try:
        return column.cast(pa.string()).to_numpy(zero_copy_only=False)
    except (pa.ArrowException, TypeError):
        raise ContractError(
            f"{file}, column {name!r} (tables.{table}): {column.type} is no text, number, flag or time; convert it",
            table=table, column=name,
        ) from None  # fmt: skip
