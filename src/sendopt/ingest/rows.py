"""Raw files as rows of text. Every row comes out, sound or malformed, so that no row is lost unseen.

A chunk is a frame with one line per row: `raw` (the row's text), `malformed`, and each wanted raw column as text, None
where it is empty. Blank lines and the header of a CSV file are no rows. A quoted CSV value may span lines; a quote that
is never closed makes its own line malformed and no other. Bytes outside the file's encoding become surrogates in the
value that holds them, so that in a column that is not mapped they do no harm.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias, cast
from urllib.parse import unquote

import pandas as pd

from sendopt.errors import ContractError
from sendopt.ingest.files import require_columns
from sendopt.ingest.nested import RawValue, clean, json_text, value_at
from sendopt.ingest.parquet import read_parquet
from sendopt.ingest.schema import TableMapping

CHUNK_ROWS = 50_000
MAX_RECORD_LINES = 100  # lines that one CSV row with quoted line ends may span
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # in a folder's name: the value is empty
MAX_KEYS = 1000  # keys of JSON rows that are collected for error messages, beside the wanted ones
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_GZIP = b"\x1f\x8b"
_OTHER_FILES = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet (.xlsx)",
    b"PAR1": "a Parquet file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls)",
}
MAX_FIELD = 10_000_000  # characters
csv.field_size_limit(MAX_FIELD)


def _damaged(error: UnicodeError) -> tuple[str, int]:
    """Replace each byte that is no text of the encoding by a surrogate: an error handler for decoders."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff" * (error.end - error.start), error.end


codecs.register_error("sendopt.damaged", _damaged)


@dataclass(frozen=True)
class Chunk:
    """Some rows of one file: `rows` has `raw`, `malformed` and the wanted raw columns.

    `keys` are the keys of the JSON rows so far, empty for other formats.
    """

    rows: pd.DataFrame
    keys: frozenset[str]


_DAMAGE = re.compile("[\ud800-\udfff]")
_Record: TypeAlias = tuple[str, list[str | None] | None]  # the row's text, and its values (None: malformed)


def read_rows(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path) -> Iterator[Chunk]:
    """Yield the rows of a file in chunks of at most `CHUNK_ROWS`; `wanted` maps raw columns to keys of the mapping.

    A folder called NAME=VALUE gives each row of its files the value of the column NAME.
    Raises ContractError where the file cannot be read, is not of its format, or lacks a column (CSV, Parquet).
    """
    from_folders = {raw: value for raw, value in _folder_columns(file).items() if raw in wanted}
    in_file = {raw: key for raw, key in wanted.items() if raw not in from_folders}
    for chunk in _chunks(table, mapping, in_file, file):
        keys = chunk.keys | from_folders.keys() if chunk.keys else chunk.keys
        yield Chunk(chunk.rows.assign(**from_folders), keys)


def _folder_columns(file: Path) -> dict[str, str | None]:
    """Return the columns that the folders of a path give, as `day=2026-03-01` does."""
    parts = (part.partition("=") for part in file.parts[:-1])
    named = {unquote(name): unquote(value).strip() for name, sign, value in parts if name and sign}
    return {name: None if value in ("", NO_PARTITION) else value for name, value in named.items()}


def _chunks(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path) -> Iterator[Chunk]:
    names = list(wanted)
    if mapping.format == "parquet":
        yield from (Chunk(rows, frozenset()) for rows in read_parquet(table, file, wanted, CHUNK_ROWS))
        return
    keys: set[str] = set()
    try:
        with _open(file, mapping.encoding) as text:
            if mapping.format == "csv":
                records = _csv(table, mapping, wanted, file, text)
            else:
                records = _json(f"{file} (tables.{table})", names, text, keys)
            while part := list(islice(records, CHUNK_ROWS)):
                raw = [r[0] for r in part]
                values = [r[1] if r[1] is not None else [None] * len(names) for r in part]
                rows = pd.DataFrame(values, columns=names, dtype=object)
                rows.insert(0, "raw", pd.Series(raw, dtype=object))
                rows.insert(1, "malformed", [r[1] is None for r in part])
                yield Chunk(rows, frozenset(keys))
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error):
            raise ContractError(f"{file} (tables.{table}) is cut short or no gzip file; write it again") from None
        raise ContractError(
            f"{file} (tables.{table}) cannot be read as {mapping.encoding}: check its permissions and `encoding`, or "
            "write it again"
        ) from None


def without_damage(text: str) -> str:
    """Return the text with � for each byte that was no text of its encoding."""
    return _DAMAGE.sub("\ufffd", text) if is_damaged(text) else text


def is_damaged(text: str) -> bool:
    """Return True for a text with bytes that were no text of its encoding."""
    return not text.isascii() and _DAMAGE.search(text) is not None


def _open(file: Path, encoding: str) -> IO[str]:
    """Open a file as text, unpacked where it is compressed by gzip. Its byte order mark comes before `encoding`.

    Raises ContractError for a file whose first bytes show that it is no text.
    """
    with file.open("rb") as plain:
        is_gzip = plain.read(2) == _GZIP or file.name.lower().endswith(".gz")
    data = cast(BinaryIO, gzip.open(file, "rb") if is_gzip else file.open("rb"))  # noqa: SIM115  the wrapper closes it
    start = data.read(4)
    data.seek(0)
    for mark, what in _OTHER_FILES.items():
        if start.startswith(mark[:4]):
            data.close()
            raise ContractError(f"{file} is {what}, and no text: correct `format`, or write it as CSV or JSON lines")
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    return io.TextIOWrapper(data, encoding=marked or encoding, errors="sendopt.damaged", newline=None)


def _csv(table: str, mapping: TableMapping, wanted: Mapping[str, str], file: Path, text: IO[str]) -> Iterator[_Record]:
    lines = _Lines(text)
    header = lines.next_with_text()
    if header is None:
        return
    columns = _column_names(header, lines, mapping.delimiter)
    if columns is None:
        raise ContractError(f"{file} (tables.{table}): its first line is no header of CSV; write it again", table=table)
    require_columns(table, wanted, file, columns, mapping.delimiter)
    places = [columns.index(raw) if raw in columns else None for raw in wanted]
    while (line := lines.next_with_text()) is not None:
        if line == header:
            yield line, None
            continue
        record, row = _record(line, lines, mapping.delimiter, len(columns))
        yield record, None if row is None else [None if i is None else clean(row[i]) for i in places]


def _column_names(header: str, lines: _Lines, delimiter: str) -> list[str] | None:
    """Return the names in a header, whose quoted names may span lines; None where it cannot be parsed."""
    pieces = [header]
    while True:
        try:
            names = next(csv.reader([p + "\n" for p in pieces], delimiter=delimiter, strict=True))
            lines.take(len(pieces) - 1)
            break
        except csv.Error as error:
            ahead = lines.peek(len(pieces) - 1) if _ends_in_quotes(error) and len(pieces) < MAX_RECORD_LINES else None
            if ahead is not None:
                pieces.append(ahead.rstrip("\n"))
                continue
        try:
            names = next(csv.reader([header], delimiter=delimiter))
            break
        except csv.Error:
            return None
    return [name.strip().strip("\ufeff") for name in names]


def _ends_in_quotes(error: csv.Error) -> bool:
    """Return True where the text ended inside quotes."""
    return "unexpected end of data" in str(error)


class _Lines:
    """Lines of a text with look-ahead: lines can be seen before they are taken."""

    def __init__(self, text: IO[str]) -> None:
        self._text, self._ahead = text, list[str]()

    def next_with_text(self) -> str | None:
        """Take the next line that is not blank and return it without its line end; None at the end of the text."""
        while True:
            line = self._ahead.pop(0) if self._ahead else self._text.readline()
            if line == "":
                return None
            if (stripped := line.rstrip("\n")).strip(" \0\ufeff"):
                return stripped

    def peek(self, number: int) -> str | None:
        """Return the line `number` places ahead, from 0, with its line end; None past the end of the text."""
        while len(self._ahead) <= number:
            line = self._text.readline()
            if line == "":
                return None
            self._ahead.append(line)
        return self._ahead[number]

    def take(self, number: int) -> None:
        """Drop `number` lines that were seen by `peek`."""
        del self._ahead[:number]


def _record(line: str, lines: _Lines, delimiter: str, width: int) -> tuple[str, list[str] | None]:
    """Return the text of a row and its values, None where it is malformed.

    A row is this line alone, or the lines that its quoted values span.
    """
    if '"' not in line:
        row = line.split(delimiter)
        return line, row if len(row) == width else None
    pieces = [line]
    while True:
        try:
            row = next(csv.reader([p + "\n" for p in pieces], delimiter=delimiter, strict=True))
        except csv.Error as error:
            more = _to_next_quote(lines, len(pieces) - 1) if _ends_in_quotes(error) else []
            if not more:
                return line, _lenient(line, delimiter, width)
            pieces += more
            continue
        if len(pieces) > 1 and len(row) == width:
            lines.take(len(pieces) - 1)
            return "\n".join(pieces), row
        return line, row if len(pieces) == 1 and len(row) == width else None


def _to_next_quote(lines: _Lines, start: int) -> list[str]:
    """Return the lines from the place `start` to the next line with a quote; none where it is not near enough."""
    more = []
    for place in range(start, MAX_RECORD_LINES - 1):
        ahead = lines.peek(place)
        if ahead is None:
            return []
        more.append(ahead.rstrip("\n"))
        if '"' in ahead:
            return more
    return []


def _lenient(line: str, delimiter: str, width: int) -> list[str] | None:
    """Return the values of a line with unescaped but balanced quotes, as spreadsheets read it; None: malformed."""
    if line.count('"') % 2:
        return None
    try:
        row = next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return None
    return row if len(row) == width else None


def _json(where: str, names: list[str], text: IO[str], keys: set[str]) -> Iterator[_Record]:
    """Yield the rows of a text with one object per line, or with one array of objects; adds their keys to `keys`."""
    lines = iter(text)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return
    if first.lstrip().startswith("["):
        whole = first + text.read()
        if (items := _array(where, whole)) is not None:
            for item in items:
                yield json.dumps(item, ensure_ascii=False), _object(item, names, keys)
            return
        first, *rest = (line for line in io.StringIO(whole) if line.strip())
        lines = iter(rest)
    yield _json_line(first, names, keys)
    for line in lines:
        if line.strip(" \n"):
            yield _json_line(line, names, keys)


def _array(where: str, text: str) -> list[RawValue] | None:
    """Return the items of a JSON array; None for rows by line whose first line only begins like an array.

    Raises ContractError for an array that is cut short or malformed.
    """
    try:
        items = _loads(text)
        return items if isinstance(items, list) else None
    except (ValueError, RecursionError) as error:
        following = next((line for line in text.split("\n")[1:] if line.strip()), "")
        with suppress(ValueError, RecursionError):
            if isinstance(_loads(following), dict):
                return None
        place = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "too deep"
        raise ContractError(
            f"{where} begins as a JSON array, which is cut short or malformed ({place}); write it again"
        ) from None


def _json_line(line: str, names: list[str], keys: set[str]) -> _Record:
    line = line.rstrip("\n")
    try:
        item = _loads(line)
    except (ValueError, RecursionError):
        return line, None
    return line, _object(item, names, keys)


def _loads(text: str) -> RawValue:
    """Return the JSON value, numbers as their text, None for an object with a repeated key; raises ValueError."""
    return json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=_keys_once)


def _keys_once(pairs: list[tuple[str, RawValue]]) -> dict[str, RawValue] | None:
    item = dict(pairs)
    return item if len(item) == len(pairs) else None


def _object(item: RawValue, names: list[str], keys: set[str]) -> list[str | None] | None:
    """Return the texts under `names` of an object, and add its keys to `keys`; None where the item is no object."""
    if not isinstance(item, dict):
        return None
    if len(keys) < MAX_KEYS:
        keys.update(islice(item, MAX_KEYS))
    return [clean(json_text(value_at(item, name, keys))) for name in names]
