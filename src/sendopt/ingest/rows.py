"""Raw files as rows of text: every row comes out, sound or malformed, so that nothing can vanish.

A chunk has one line a row: `raw` (its text), `malformed`, each wanted raw column as text (None where empty) and, for
JSON, whether the row has the key. Blank lines are no rows, and a CSV file's first line is none. A quoted CSV value may
span lines; a quote that never closes makes its own line malformed and no other. Bytes that are no text of the file's
encoding stay in their value only, as surrogates, so that a column nobody mapped costs nothing.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.errors import ContractError
from sendopt.ingest.files import require_columns
from sendopt.ingest.schema import TableMapping

CHUNK_ROWS = 50_000
MAX_RECORD_LINES = 100  # of one CSV row with quoted line ends
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
csv.field_size_limit(10_000_000)


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file: `rows` has `raw`, `malformed` and the wanted raw columns; `keys` those that JSON rows
    have."""

    rows: pd.DataFrame
    keys: frozenset[str]


_Record = tuple[str, list[str | None] | None]  # text, values (None: malformed)


def read_rows(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path) -> Iterator[Chunk]:
    """The rows of a file in chunks; `wanted`: raw column -> the mapping's key that asks for it.

    A folder called NAME=VALUE gives each row of its files the value of the column NAME.
    Raises ContractError where the file cannot be read, is no file of its format, or lacks a column (CSV, Parquet).
    """
    given = {raw: value for raw, value in _of_folders(file).items() if raw in wanted}
    for chunk in _in_file(table, mapping, {raw: key for raw, key in wanted.items() if raw not in given}, file):
        yield Chunk(chunk.rows.assign(**given), chunk.keys | given.keys() if chunk.keys else chunk.keys)


def _of_folders(file: Path) -> dict[str, str]:
    parts = (part.partition("=") for part in file.parts[:-1])
    return {unquote(name): unquote(value) for name, sign, value in parts if name and sign}


def _in_file(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path) -> Iterator[Chunk]:
    names = list(wanted)
    if mapping.format == "parquet":
        yield from (Chunk(rows, frozenset()) for rows in _parquet(table, file, wanted))
        return
    keys: set[str] = set()
    try:
        with _open(file, mapping.encoding) as text:
            records = _csv(table, mapping, wanted, file, text) if mapping.format == "csv" else _json(names, text, keys)
            while part := list(islice(records, CHUNK_ROWS)):
                raw = [r[0] for r in part]
                values = [r[1] if r[1] is not None else [None] * len(names) for r in part]
                rows = pd.DataFrame(values, columns=names, dtype=object)
                rows.insert(0, "raw", pd.Series(raw, dtype=object))
                rows.insert(1, "malformed", [r[1] is None for r in part])
                yield Chunk(rows, frozenset(keys))
    except (OSError, EOFError, UnicodeError, LookupError) as error:
        if isinstance(error, EOFError | gzip.BadGzipFile):
            raise ContractError(f"{file} (tables.{table}) is cut short or no gzip file; write it again") from None
        raise ContractError(
            f"{file} (tables.{table}) cannot be read as {mapping.encoding}: check its permissions and `encoding`, or "
            "write it again"
        ) from None


def printable(text: str) -> str:
    """The text with bytes that were no text of their encoding as �."""
    return text.encode("utf-8", "replace").decode("utf-8") if is_damaged(text) else text


def is_damaged(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def _open(file: Path, encoding: str) -> IO[str]:
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    data: Any = opened(file, "rb")  # the text wrapper closes it
    start = data.read(3)
    data.seek(0)
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    encoding = marked or encoding
    errors = "replace" if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")) else "surrogateescape"
    return io.TextIOWrapper(data, encoding=encoding, errors=errors, newline=None)


def _csv(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path, text: IO[str]) -> Iterator[_Record]:
    lines = _Lines(text)
    header = lines.next_with_text()
    if header is None:
        return
    columns = [c.strip() for c in next(csv.reader([header], delimiter=mapping.delimiter))]
    require_columns(table, wanted, file, columns)
    places = [columns.index(raw) if raw in columns else None for raw in wanted]
    while (line := lines.next_with_text()) is not None:
        if line == header:
            yield line, None
            continue
        record, row = _record(line, lines, mapping.delimiter, len(columns))
        yield record, None if row is None else [None if i is None else _text(row[i]) for i in places]


class _Lines:
    """Lines of a text, of which some may be looked at before they are taken."""

    def __init__(self, text: IO[str]) -> None:
        self._text, self._ahead = text, list[str]()

    def next_with_text(self) -> str | None:
        """The next line that is not blank, without its end; None at the end."""
        while True:
            line = self._ahead.pop(0) if self._ahead else self._text.readline()
            if line == "":
                return None
            if (stripped := line.rstrip("\n")).strip(" \0\ufeff"):
                return stripped

    def peek(self, number: int) -> str | None:
        """The line `number` places ahead, from 0, with its end; None past the end."""
        while len(self._ahead) <= number:
            line = self._text.readline()
            if line == "":
                return None
            self._ahead.append(line)
        return self._ahead[number]

    def take(self, number: int) -> None:
        del self._ahead[:number]


def _record(line: str, lines: _Lines, delimiter: str, width: int) -> tuple[str, list[str] | None]:
    """The text of a row and its values: of this line alone, or of the lines that a quoted value spans; else None."""
    if '"' not in line:
        row = line.split(delimiter)
        return line, row if len(row) == width else None
    pieces = [line]
    while True:
        try:
            row = next(csv.reader([p + "\n" for p in pieces], delimiter=delimiter, strict=True))
        except csv.Error as error:
            open_quote = "unexpected end of data" in str(error)
            ahead = lines.peek(len(pieces) - 1) if open_quote and len(pieces) < MAX_RECORD_LINES else None
            if ahead is None:
                return line, _lenient(line, delimiter, width)
            pieces.append(ahead.rstrip("\n"))
            continue
        if len(pieces) > 1 and len(row) == width:
            lines.take(len(pieces) - 1)
            return "\n".join(pieces), row
        return line, row if len(pieces) == 1 and len(row) == width else None


def _lenient(line: str, delimiter: str, width: int) -> list[str] | None:
    """The values of a line whose quotes are doubled nowhere but balanced: what spreadsheets still read."""
    if line.count('"') % 2:
        return None
    try:
        row = next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return None
    return row if len(row) == width else None


def _json(names: list[str], text: IO[str], keys: set[str]) -> Iterator[_Record]:
    """One object a line, or one array of objects; `keys` gathers the keys, of nested objects with a dot between."""
    lines = iter(text)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return
    if first.lstrip().startswith("[") and (items := _array(first, text)) is not None:
        for item in items:
            yield json.dumps(item, ensure_ascii=False), _object(item, names, keys)
        return
    if first.lstrip().startswith("["):
        text.seek(0)
        lines = iter(text)
        first = next(line for line in lines if line.strip())
    for line in (first, *()):
        yield _json_line(line, names, keys)
    for line in lines:
        if line.strip(" \n"):
            yield _json_line(line, names, keys)


def _array(first: str, rest: IO[str]) -> list[Any] | None:
    try:
        items = json.loads(first + rest.read(), parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None
    return items if isinstance(items, list) else None


def _json_line(line: str, names: list[str], keys: set[str]) -> _Record:
    line = line.rstrip("\n")
    try:
        item = json.loads(line, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return line, None
    return line, _object(item, names, keys)


def _object(item: Any, names: list[str], keys: set[str]) -> list[str | None] | None:
    if not isinstance(item, dict):
        return None
    if len(keys) < 10_000:
        keys.update(item)
    return [_text(_json_text(_at(item, name, keys))) for name in names]


def _at(item: dict[str, Any], name: str, keys: set[str]) -> Any:
    """The value under a key, or under a path with dots between: keys, places in a list, keys of a list of pairs."""
    if name in item or "." not in name:
        return item.get(name)
    value: Any = item
    for part in name.split("."):
        steps = _steps(value, part)
        if not steps:
            return None
        value = steps[0]
    keys.add(name)
    return value


def _steps(value: Any, part: str) -> list[Any]:
    """What lies under one part of a path: at most one value.

    A list of `{key, value}` pairs is read as a map, the value of a pair as the one that is filled of its types
    (`string_value`, `int_value`), and a single value as a list of one.
    """
    if isinstance(value, dict):
        return [value[part]] if part in value else []
    if not isinstance(value, list):
        return [value] if part == "0" and value is not None else []
    if part.isdecimal():
        return value[int(part) : int(part) + 1] if len(part) < 6 else []
    pairs = (p for p in value if isinstance(p, dict) and p.get("key") == part and "value" in p)
    return [_of_its_type(p["value"]) for p in pairs][:1]


def _of_its_type(value: Any) -> Any:
    if isinstance(value, dict) and value and all(k.endswith("_value") for k in value):
        return next((v for v in value.values() if v is not None), None)
    return value


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):  # NaN and Infinity, which JSON does not know
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _text(value: str | None) -> str | None:
    return None if value is None else value.strip() or None


def _parquet(table: str, file: Path, wanted: Mapping[str, str]) -> Iterator[pd.DataFrame]:
    try:
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            require_columns(table, wanted, file, _paths(schema, wanted))
            for batch in parquet.iter_batches(CHUNK_ROWS):
                data = pa.Table.from_batches([batch])
                texts = {raw: _arrow_text(table, file, raw, data) for raw in wanted}
                raws = [json.dumps(row, ensure_ascii=False, default=str) for row in data.to_pylist()]
                yield pd.DataFrame({"raw": raws, "malformed": False, **texts}, dtype=object)
    except (pa.ArrowException, OSError):
        raise ContractError(f"{file} (tables.{table}) is no readable Parquet file; write it again") from None


def _paths(schema: pa.Schema, wanted: Mapping[str, str]) -> list[str]:
    """The file's columns, and those wanted that lie inside a structure."""
    return [*schema.names, *(raw for raw in wanted if raw not in schema.names and _inside(schema, raw))]


def _inside(schema: pa.Schema, path: str) -> bool:
    """True where a path may lie inside a column; what is inside a list only its rows can say."""
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


def _arrow_text(table: str, file: Path, raw: str, data: pa.Table) -> list[str | None]:
    """The values as the text that a CSV would hold: instants with a Z, lists and structures as JSON."""
    if raw in data.column_names:
        column = data.column(raw)
    else:
        head, *rest = raw.split(".")
        if head not in data.column_names:
            return [None] * data.num_rows  # one of several alternatives
        column = data.column(head)
        for place, part in enumerate(rest):
            if _is_list(column.type):
                inner = ".".join(("list", *rest[place:]))
                return [_text(_json_text(_at({"list": v}, inner, set()))) for v in column.to_pylist()]
            if part == "0" and not pa.types.is_struct(column.type):
                continue
            if not pa.types.is_struct(column.type) or column.type.get_field_index(part) < 0:
                return [None] * data.num_rows
            column = pa.compute.struct_field(column, part)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_nested(kind):
        return [None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in column.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if v is None else _text(v.decode("utf-8", "surrogateescape")) for v in column.to_pylist()]
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
        if kind.tz:
            column = column.cast(pa.timestamp("us", "UTC"))
    try:
        return [_text(v) for v in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowException, TypeError):
        raise ContractError(
            f"{file}, column {raw!r} (tables.{table}): {kind} is no text, number, flag or time; convert it",
            table=table,
            column=raw,
        ) from None
