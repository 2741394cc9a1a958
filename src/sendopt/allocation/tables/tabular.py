"""Read the tabular files of `sendopt solve`: Parquet, CSV and JSON, a file or a folder, by their ending.

Capitals in column names do not count. A file whose first bytes contradict its ending is refused; nothing is guessed.
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
_JSON_ROWS = 1 << 16  # most rows of JSON that are in memory as objects
_CODED = pa.dictionary(pa.int32(), pa.string())
FAILURES = (pa.ArrowException, OSError, ValueError, OverflowError, RecursionError, csv.Error, EOFError)


@dataclass(frozen=True, eq=False)
class Frame:
    """A table in memory that is read in place of a file."""

    name: str  # in messages
    table: pa.Table  # columns that are not read may be left out
    columns: tuple[str, ...]  # names of all columns as they are written

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Source:
    """A file and how it is read."""

    path: Path
    format: str  # PARQUET, CSV, JSON
    zipped: bool  # by gzip


def source_of(path: Path) -> Source:
    """Return how `path` is read, by its ending.

    Raises InputNotReady where there is no file, ContractError where its ending is unknown or contradicts its bytes.
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
    """Return the files of a folder that can be read, or the file or frame itself.

    Files and folders whose names start with `_` or `.` are not read: they belong to other programs. Links are followed.
    Raises InputNotReady where there is no such file or a link leads nowhere, ContractError for a folder that cannot be
    listed.
    """
    if isinstance(source, Frame):
        return [source]
    if not source.is_dir():
        return [source_of(source).path]
    every = _files_of(source)
    parts = [path for path in every if _is_read(path)]
    if not parts:
        present = f"; it holds {', '.join(p.name for p in every[:3])}" if every else ""
        raise InputNotReady(
            f"{source}: no Parquet file, CSV or JSON there{present}; give a folder with some, or one file"
        )
    return parts


def not_read(source: Path | Frame) -> list[Path]:
    """Return the files of a folder that `parts_of` leaves out for their endings; hidden files are not among them."""
    if isinstance(source, Frame) or not source.is_dir():
        return []
    return [path for path in _files_of(source) if not _is_read(path)]


def _files_of(source: Path) -> list[Path]:
    """Return the files of a folder and of its subfolders that are not hidden, sorted."""

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
    """Return whether the file's ending is known, or its first bytes are those of Parquet."""
    known = Path(path.name.lower().removesuffix(".gz")).suffix in ENDINGS
    return known or (path.is_file() and _first_bytes(path).startswith(b"PAR1"))


def read(path: Path | Frame, kinds: Mapping[str, str]) -> pa.Table:
    """Return the columns of `kinds` that the file has, under these names.

    Columns of TEXT keep their characters where the format has no types. Raises ContractError for a file that cannot be
    read or has a column twice.
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
    """Return (the file, {column as it is written: its name}); its columns of text are read as dictionaries."""
    schema = pq.read_schema(path)
    names = _named(path, schema.names, kinds)
    texts = [c for c, name in names.items() if kinds[name] == TEXT and _is_text(schema.field(c).type)]
    return pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True), names


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def columns(path: Path | Frame) -> list[str]:
    """Return the names of the file's columns as they are written; for JSON, those of its first rows."""
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
    """Return the rows of the file: exact for Parquet, else estimated from line ends or opening braces."""
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
    """Yield the table of `read`; a Parquet file in batches of at most `rows` rows."""
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
    """Return the error for a file whose bytes are not what its ending says.

    Its message repeats no value of the file, for that may be a user's id.
    """
    reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(path), "the file")
    if isinstance(error, UnicodeDecodeError):
        reason = f"byte {error.start:,} is not UTF-8"
    reason = re.sub(r"(Expected \d+ columns, got \d+):.*", r"\1", reason)
    reason = re.sub(r"'[^']{3,}'|\"[^\"]{3,}\"", "a value", reason)
    return ContractError(f"{path} cannot be read: {reason[:200]}; write it again")


def _named(path: Path | Frame, names: list[str], kinds: Mapping[str, str]) -> dict[str, str]:
    """Return {column as it is written: its name among `kinds`}, in the order of the file."""
    wanted = {str(name): plain(str(name)) for name in names if plain(str(name)) in kinds}
    plain_names = [plain(str(name)) for name in names]
    twice = next((name for name in wanted.values() if plain_names.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"{path}: column {twice} is there more than once (capitals do not count); keep one")
    return wanted


def plain(name: str) -> str:
    """Return a column's name in lower case, without white space around it.

    >>> plain(" User_ID ")
    'user_id'
    """
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
    # All numbers as floats first: the first block may hold whole numbers only. Then inferred types, then text.
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
    """Return (names of the columns, delimiter).

    The delimiter is the one that gives most of the columns of `kinds`, or most columns where `kinds` is None.
    """
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
    """Return JSON values as a column; raise ValueError, naming column and types, where their types do not agree."""
    if kind == TEXT:
        values = [str(value) if type(value) is int else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        types = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
        raise ValueError(f"column {name} holds {types} where {kind} are expected") from None


def _json_rows(source: Source) -> Iterator[list[dict[str, Any]]]:
    """Yield lists of objects: those of a single array at once, or batches of files with one object a line."""
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
            content = start + line if number == 1 else line
            if content.strip():
                batch.append(_object(json.loads(content, object_pairs_hook=_pairs), f"line {number}"))
            if len(batch) == _JSON_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch


def _object(row: Any, where: str) -> dict[str, Any]:
    """Return a value read from JSON; raise ValueError where it is not an object."""
    if not isinstance(row, dict):
        raise ValueError(f"{where} is no object; expected an array of objects, or one object a line")
    return row


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's entries; raise ValueError where a key is repeated."""
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
