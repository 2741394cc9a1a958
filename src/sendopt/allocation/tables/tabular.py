"""The one reader of tabular files of `sendopt solve`: Parquet, CSV and JSON, one file or a folder, by their ending.

Column names count in any case. What a file's ending says and its first bytes deny is refused, never guessed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast, overload

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sendopt.errors import ContractError, InputNotReady

TEXT, WHOLE, NUMBER = "text", "whole numbers", "numbers"
PARQUET, CSV, JSON = "Parquet", "CSV", "JSON"
ENDINGS = {
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".csv": CSV,
    ".tsv": CSV,
    ".json": JSON,
    ".jsonl": JSON,
    ".ndjson": JSON,
}
_EXPECTED = "expected .parquet, .csv, .tsv, .json or .jsonl; all but Parquet also with .gz"
_DELIMITERS = (",", ";", "\t", "|")
_HEADER_BYTES = 1_000_000
_JSON_ROWS = 1 << 16  # rows of JSON in memory as objects at once
_CODED = pa.dictionary(pa.int32(), pa.string())
FAILURES = (pa.ArrowException, OSError, ValueError, OverflowError, RecursionError, csv.Error, EOFError)


@dataclass(frozen=True, eq=False)
class Frame:
    """A table in memory, under the name that messages give it; taken where the path of a file is."""

    name: str
    table: pa.Table  # columns that are not read may be left out
    columns: tuple[str, ...]  # all of them as they are written

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Source:
    """A file and how it is read."""

    path: Path
    format: str
    zipped: bool


def source_of(path: Path) -> Source:
    """How `path` is read, by its ending.

    Raises InputNotReady where there is no file, ContractError where the ending is unknown or its bytes deny it.
    """
    if path.is_dir():
        raise ContractError(f"{path}: a folder where one file is expected; give the file itself")
    if not path.is_file():
        raise InputNotReady(f"{path}: no such file; give a Parquet, CSV or JSON file")
    name = path.name.lower()
    zipped = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    form = ENDINGS.get(ending)
    first = _first_bytes(path)
    if not first:
        raise ContractError(f"{path}: an empty file; write it again")
    if first.startswith(b"PAR1"):
        if form not in (None, PARQUET) or zipped:
            raise ContractError(f"{path}: ends in {path.suffix} and holds Parquet; name it .parquet")
        return Source(path, PARQUET, zipped=False)
    if form is None or (zipped and form == PARQUET):
        ending = "".join(path.suffixes[-2:])
        what = f"files that end in {ending} are not read" if ending else "a file without an ending is not read"
        raise ContractError(f"{path}: {what}; {_EXPECTED}")
    if form != PARQUET and zipped != first.startswith(b"\x1f\x8b"):
        what = "ends in .gz and is not compressed by gzip" if zipped else "is compressed by gzip: name it with .gz"
        raise ContractError(f"{path}: {what}")
    if form != PARQUET and not zipped and first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ContractError(f"{path}: UTF-16 text; save the file as UTF-8")
    return Source(path, form, zipped)


@overload
def parts_of(source: Path) -> list[Path]: ...
@overload
def parts_of(source: Frame) -> list[Frame]: ...
def parts_of(source: Path | Frame) -> list[Path] | list[Frame]:
    """The files of a folder that can be read, or the one file or frame itself.

    What lies in folders that start with `_` or `.` is not read: it belongs to other programs. Links are followed.
    Raises InputNotReady where there is none or a link leads nowhere, ContractError for a folder that cannot be listed.
    """
    if isinstance(source, Frame):
        return [source]
    if not source.is_dir():
        return [source_of(source).path]
    every = _files_of(source)
    parts = [path for path in every if _is_read(path)]
    if not parts:
        others = f"; it holds {', '.join(p.name for p in every[:3])}" if every else ""
        raise InputNotReady(
            f"{source}: no Parquet file, CSV or JSON there{others}; give a folder with some, or one file"
        )
    return parts


def not_read(source: Path | Frame) -> list[Path]:
    """The files of a folder that `parts_of` leaves out, but for those of other programs."""
    if isinstance(source, Frame) or not source.is_dir():
        return []
    return [path for path in _files_of(source) if not _is_read(path)]


def _files_of(source: Path) -> list[Path]:
    """Every file of a folder and the folders in it that is not hidden, sorted."""

    def refuse(error: OSError) -> None:
        raise ContractError(f"{error.filename} cannot be listed: {error.strerror}; check its permissions")

    every: list[Path] = []
    visited: set[str] = set()
    for name, folders, names in os.walk(source, onerror=refuse, followlinks=True):
        visited.add(os.path.realpath(name))
        folder = Path(name)
        folders[:] = [f for f in folders if not _hidden(f) and os.path.realpath(folder / f) not in visited]
        every += [folder / f for f in names if not _hidden(f)]
    gone = next((path for path in every if not path.exists()), None)
    if gone is not None:
        raise InputNotReady(f"{gone}: a link that leads nowhere; repair it or remove it")
    return sorted(every)


def _is_read(path: Path) -> bool:
    """Does the file's name say what it holds, or do its first bytes, as those of Parquet do?"""
    known = Path(path.name.lower().removesuffix(".gz")).suffix in ENDINGS
    return known or (path.is_file() and _first_bytes(path).startswith(b"PAR1"))


def read(path: Path | Frame, kinds: Mapping[str, str]) -> pa.Table:
    """The columns of `kinds` that the file has, under these names.

    Columns of TEXT keep their letters where the format has no types. Raises ContractError for what cannot be read, a
    column that is there twice included.
    """
    if isinstance(path, Frame):
        names = _named(path, list(path.columns), kinds)
        return path.table.select(list(names)).rename_columns(list(names.values()))
    source = source_of(path)
    try:
        if source.format == PARQUET:
            file, names = _parquet(path, kinds)
            with file:
                table = file.read(columns=list(names))
            return table.rename_columns([names[c] for c in table.column_names])
        if source.format == CSV:
            return _csv(source, kinds)
        return _json(source, kinds)
    except FAILURES as error:
        raise unreadable(path, error) from None


def _parquet(path: Path, kinds: Mapping[str, str]) -> tuple[pq.ParquetFile, dict[str, str]]:
    """(the file, text as dictionaries where it is text there, its columns as `_named` names them)."""
    schema = pq.read_schema(path)
    names = _named(path, schema.names, kinds)
    texts = [c for c, name in names.items() if kinds[name] == TEXT and _is_text(schema.field(c).type)]
    return pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True), names


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def columns(path: Path | Frame) -> list[str]:
    """The names of the file's columns as they are written; of JSON those of its first rows."""
    if isinstance(path, Frame):
        return list(path.columns)
    source = source_of(path)
    try:
        if source.format == PARQUET:
            return [str(name) for name in pq.read_schema(path).names]
        if source.format == CSV:
            return _header(source)[0]
        return list(dict.fromkeys(name for row in next(_json_rows(source), []) for name in row))
    except FAILURES as error:
        raise unreadable(path, error) from None


def count(path: Path | Frame) -> int:
    """Rows of the file: exactly of Parquet, else about, by line ends or opening braces."""
    if isinstance(path, Frame):
        return int(path.table.num_rows)
    source = source_of(path)
    try:
        if source.format == PARQUET:
            return int(pq.ParquetFile(path).metadata.num_rows)
        with _opened(source) as data:
            blocks = iter(lambda: data.read(1 << 20), b"")
            return sum(block.count(b"{" if source.format == JSON else b"\n") for block in blocks)
    except FAILURES as error:
        raise unreadable(path, error) from None


def batches(path: Path, kinds: Mapping[str, str], rows: int) -> Iterator[pa.Table]:
    """What `read` gives, of Parquet so many rows at once."""
    if source_of(path).format != PARQUET:
        yield read(path, kinds)
        return
    try:
        file, names = _parquet(path, kinds)
        with file:
            for batch in file.iter_batches(rows, columns=list(names)):
                table = pa.Table.from_batches([batch])
                yield table.rename_columns([names[c] for c in table.column_names])
    except FAILURES as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: BaseException) -> ContractError:
    """The sentence for a file whose bytes are not what its ending says. It repeats no value: it may be a user's id."""
    reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(path), "the file")
    if isinstance(error, UnicodeDecodeError):
        reason = f"byte {error.start:,} is not UTF-8"
    reason = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", reason)
    reason = re.sub(r"'[^']{3,}'|\"[^\"]{3,}\"", "a value", reason)
    return ContractError(f"{path} cannot be read: {reason[:200]}; write it again")


def _named(path: Path | Frame, names: list[str], kinds: Mapping[str, str]) -> dict[str, str]:
    """{column as it is written: its name among `kinds`}, in the order of the file."""
    wanted = {str(name): plain(str(name)) for name in names if plain(str(name)) in kinds}
    plain_names = [plain(str(name)) for name in names]
    twice = next((name for name in wanted.values() if plain_names.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"{path}: column {twice} is there more than once (capitals do not count); keep one")
    return wanted


def plain(name: str) -> str:
    """A column's name without what does not count in it: capitals and white space around."""
    return name.strip().lower()


def _csv(source: Source, kinds: Mapping[str, str]) -> pa.Table:
    header, delimiter = _header(source, kinds)
    names = _named(source.path, header, kinds)
    if not names:
        return pa.table({})
    parsing = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    reading = pa_csv.ReadOptions(column_names=header, skip_rows=1)
    texts = {written: _CODED for written, name in names.items() if kinds[name] == TEXT}
    numbers = {written: pa.float64() for written in names if written not in texts}
    # Numbers as such first: the first block may hold whole ones only. What is none gets the type that it seems to be.
    failure: pa.ArrowInvalid | None = None
    for types in (texts | numbers, texts, dict.fromkeys(names, pa.string())):
        options = pa_csv.ConvertOptions(column_types=types, include_columns=list(names))
        try:
            with _opened(source) as data:
                table = pa_csv.read_csv(data, reading, parsing, options)
            return table.rename_columns([names[c] for c in table.column_names])
        except pa.ArrowInvalid as error:
            failure = error
            if "conversion error" not in str(error):
                break
    assert failure is not None
    raise failure


def _header(source: Source, kinds: Mapping[str, str] | None = None) -> tuple[list[str], str]:
    """(names of the columns, the delimiter that splits most of them as they are asked for)."""
    with _opened(source) as data:
        text = data.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    first = text.replace("\r\n", "\n").replace("\r", "\n").partition("\n")[0]
    splits = {d: next(csv.reader([first], delimiter=d), []) for d in _DELIMITERS}

    def hits(delimiter: str) -> tuple[int, int]:
        names = splits[delimiter]
        return sum(plain(name) in (kinds or ()) for name in names), len(names) if kinds is None else 0

    best = max(_DELIMITERS, key=hits)
    return splits[best], best


def _json(source: Source, kinds: Mapping[str, str]) -> pa.Table:
    parts = []
    for rows in _json_rows(source):
        written = list(dict.fromkeys(name for row in rows for name in row))
        names = _named(source.path, written, kinds)
        parts.append(pa.table({n: _values(n, [row.get(w) for row in rows], kinds[n]) for w, n in names.items()}))
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def _values(name: str, values: Sequence[Any], kind: str) -> pa.Array:
    """JSON values as a column; raises ValueError with name and types, but no value, where they are of several types."""
    if kind == TEXT:
        values = [str(value) if type(value) is int else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        types = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
        raise ValueError(f"column {name} holds {types} where {kind} are expected") from None


def _json_rows(source: Source) -> Iterator[list[dict[str, Any]]]:
    """Objects, some at once: those of one array, or one object a line."""
    with _opened(source) as data, io.TextIOWrapper(data, "utf-8-sig") as text:
        start = text.read(1)
        while start.isspace():
            start = text.read(1)
        if start == "[":
            rows = json.loads(start + text.read(), object_pairs_hook=_pairs)
            yield [_object(row, f"entry {i}") for i, row in enumerate(rows)]
            return
        batch: list[dict[str, Any]] = []
        for number, line in enumerate(text, 1):
            whole = start + line if number == 1 else line
            if whole.strip():
                batch.append(_object(json.loads(whole, object_pairs_hook=_pairs), f"line {number}"))
            if len(batch) == _JSON_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch


def _object(row: object, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is no object; expected an array of objects, or one object a line")
    return row


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("an object has a key twice; keep one")
    return entries


def _opened(source: Source) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(source.path, "rb")) if source.zipped else source.path.open("rb")


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as data:
            return data.read(4)
    except OSError as error:
        raise ContractError(f"{path} cannot be read: {error.strerror}; check its permissions") from None


def _hidden(name: str) -> bool:
    return name.startswith(("_", "."))
