"""The sample of an unknown raw file: its format, encoding, delimiter and columns, and its first rows as text."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.errors import ConfigError, ContractError
from sendopt.ingest.nested import RawValue
from sendopt.ingest.rows import read_rows
from sendopt.ingest.schema import OPTIONAL, TableMapping

MAX_ROWS = 200_000  # of a sample
_DECODED_BYTES = 64 << 20  # bytes on which an encoding is tried
_JSON_ITEMS = 5_000  # items whose keys become columns
_DELIMITERS = (",", ";", "\t", "|")
_NO_LOGS = {
    b"PK\x03\x04": "a zip or Excel file; save the sheet as CSV",
    b"Obj\x01": "an Avro file; write it as Parquet or JSON lines",
    b"%PDF": "a PDF; export the log as CSV",
    b"ORC": "an ORC file; write it as Parquet",
    b"SQLite": "an SQLite database; export the table as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save the sheet as CSV",
}
Format = Literal["csv", "json", "parquet"]


@dataclass(frozen=True)
class Sample:
    """Rows of a raw log as text, None where empty, and how they were read."""

    source: Path
    pattern: str | None  # of the files, where `source` is a folder
    format: Format
    encoding: str
    delimiter: str
    rows: pd.DataFrame  # a column for each raw column or path
    notes: dict[str, str]  # key of a mapping -> the evidence
    whole: bool  # whether these are all rows of the log

    @property
    def columns(self) -> list[str]:
        """The raw columns and paths."""
        return [str(c) for c in self.rows.columns]

    @property
    def listed(self) -> str:
        """The columns as a sentence lists them."""
        return ", ".join(self.columns)[:500]

    def head(self) -> dict[str, str]:
        """Return the keys of a table's mapping that say how its files are read."""
        keys: dict[str, str] = {"files": self.pattern} if self.pattern else {}
        keys["format"] = self.format
        if self.encoding != "utf-8":
            keys["encoding"] = self.encoding
        if self.format == "csv" and self.delimiter != ",":
            keys["delimiter"] = self.delimiter
        return keys


def read_sample(source: Path) -> Sample:
    """Return the first rows of a file or folder.

    Raises ConfigError where nothing exists, ContractError for what is no log: empty, binary, or of one column.
    """
    files, pattern = _files(source)
    first = files[0]
    start = _start(first)
    if start.startswith(b"PAR1"):
        kind: Format = "parquet"
        encoding, note = "utf-8", ""
    else:
        encoding, note = _encoding(first, start)
        text = start.decode(encoding, "replace").lstrip("\ufeff \r\n\t")
        if not text:
            raise ContractError(f"{first} holds no rows; give a log with at least a header and one row")
        kind = "json" if text[0] in "[{" else "csv"
    notes = {"encoding": note} if note else {}
    delimiter = ","
    if kind == "csv":
        delimiter, header, notes["delimiter"] = _delimiter(first, encoding)
        columns = _unique(first, header, notes)
    else:
        columns = _json_paths(files, encoding) if kind == "json" else _parquet_paths(first)
    mapping = TableMapping(format=kind, encoding=encoding, delimiter=delimiter)
    rows, whole = _rows(files, mapping, columns)
    if rows.empty:
        raise ContractError(f"{source} holds a header and no rows; give a log with at least one send")
    return Sample(source, pattern, kind, encoding, delimiter, rows, notes, whole)


def _files(source: Path) -> tuple[list[Path], str | None]:
    """Return the files of a log, and their pattern where it is a folder: those of the most frequent ending."""
    if not source.exists():
        raise ConfigError(f"--from {source}: no such file or folder; give the log that a tool has exported")
    if source.is_file():
        if source.stat().st_size == 0:
            raise ContractError(f"{source} is empty; give a log with at least a header and one row")
        return [source], None
    below = [p for p in sorted(source.rglob("*")) if p.is_file() and not p.name.startswith(("_", "."))]
    filled = [p for p in below if p.stat().st_size]
    if not filled:
        raise ContractError(f"{source} holds no file that is not empty; give a file, or a folder of files of one kind")
    endings = Counter("".join(p.suffixes[-2:] if p.suffix.lower() == ".gz" else p.suffixes[-1:]) for p in filled)
    ending = endings.most_common(1)[0][0]
    return [p for p in filled if p.name.endswith(ending)], f"**/*{ending}"


def _start(file: Path) -> bytes:
    """Return the first bytes of a file, unpacked; raises ContractError where they show that it is no log."""
    with file.open("rb") as raw:
        magic = raw.read(8)
    if magic.startswith(b"\x1f\x8b") and file.suffix.lower() != ".gz":
        raise ContractError(f"{file} is compressed by gzip and not called so; rename it to {file.name}.gz")
    start = magic + next(_blocks(file), b"")[8:] if file.suffix.lower() != ".gz" else next(_blocks(file), b"")
    for mark, what in _NO_LOGS.items():
        if start.startswith(mark):
            raise ContractError(f"{file} is {what}. `sendopt init` reads CSV, JSON, JSON lines and Parquet")
    marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"PAR1"))
    if b"\0" in start and not marked:
        raise ContractError(f"{file} is binary, no text and no Parquet; `sendopt init` reads CSV, JSON and Parquet")
    return start


def _blocks(file: Path) -> Iterator[bytes]:
    """Yield the first bytes of a file, unpacked, in blocks of a megabyte."""
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as data:
            for _ in range(_DECODED_BYTES >> 20):
                if not (block := data.read(1 << 20)):
                    return
                yield block
    except (OSError, EOFError):
        raise ContractError(f"{file} cannot be read: it is cut short, no gzip file, or not yours to read") from None


def _encoding(file: Path, start: bytes) -> tuple[str, str]:
    """Return the encoding, and the evidence where it is not UTF-8."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "a UTF-16 mark at the start"
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        for block in _blocks(file):
            decoder.decode(block)
            place += len(block)
        return "utf-8", ""
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
    for name in ("cp1252", "latin-1"):
        try:
            for block in _blocks(file):
                block.decode(name)
            return name, f"byte {byte:#x} is no UTF-8; a file of Western Windows"
        except UnicodeDecodeError:
            continue
    return "latin-1", f"byte {byte:#x} is no UTF-8"


def _text_lines(file: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file that are not blank."""
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as data:
        reader = codecs.getreader("utf-8-sig" if encoding == "utf-8" else encoding)(data, "replace")
        yield from (line for line in reader if line.strip(" \0\r\n"))


def _delimiter(file: Path, encoding: str) -> tuple[str, list[str], str]:
    """Return the delimiter under which most lines have as many values as the header, that header, and the evidence."""
    lines = [line.rstrip("\r\n") for line in islice(_text_lines(file, encoding), 200)]
    if re.fullmatch(r"sep=.", lines[0].strip('\ufeff "')):
        raise ContractError(f"{file}: its first line is {lines[0].strip()}, a note for Excel and no header; delete it")
    best, most, header = ",", 0, [lines[0]]
    for mark in _DELIMITERS:
        rows = list(csv.reader(lines, delimiter=mark))
        width = len(rows[0])
        fitting = sum(len(row) == width for row in rows) if width > 1 else 0
        if fitting * width > most:
            best, most, header = mark, fitting * width, rows[0]
    if most == 0:
        raise ContractError(
            f"{file}: no columns were seen: looked for values between commas, semicolons, bars or tabs, under one "
            "header line. Export the log as CSV, JSON or Parquet"
        )
    name = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar"}[best]
    return best, [h.strip() for h in header], f"{name} makes {len(header)} columns in {len(lines)} lines"


def _unique(file: Path, header: list[str], notes: dict[str, str]) -> list[str]:
    """Return the names that a header holds once, and note the others; raises ContractError for a line of values."""
    data = sum(bool(re.fullmatch(r"[\d.,:/ T-]+", h)) or "@" in h for h in header)
    if 3 * data >= len(header):
        raise ContractError(
            f"{file}: the first line holds {data} values that are numbers, times or addresses where the names of the "
            f"{len(header)} columns are looked for; give the file a header line"
        )
    repeated = sorted({h for h in header if header.count(h) > 1 and h})
    if repeated:
        notes["columns"] = f"columns that are there twice and cannot be mapped: {', '.join(repeated)}"
    return [h for h in header if h and header.count(h) == 1]


def _json_paths(files: list[Path], encoding: str) -> list[str]:
    """Return the paths of the values in the first objects of each file."""
    paths: dict[str, None] = {}
    for file in files:
        text = "".join(islice(_text_lines(file, encoding), MAX_ROWS))
        for item in islice(_items(file, text), _JSON_ITEMS):
            if isinstance(item, dict):
                paths.update(dict.fromkeys(_paths(item, "")))
    if not paths:
        raise ContractError(f"{files[0]} holds no JSON object; looked for one object a line, or an array of objects")
    return list(paths)


def _items(file: Path, text: str) -> Iterator[RawValue]:
    """Yield the items of a JSON array or of JSON lines; raises ContractError for text that is mostly neither."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        lines = text.splitlines()
        read = 0
        for line in lines:
            try:
                yield json.loads(line)
                read += 1
            except (ValueError, RecursionError):
                continue
        if lines and read * 2 < len(lines):
            raise ContractError(
                f"{file}: {len(lines) - read:,} of {len(lines):,} lines are no JSON; write one object a line, or one "
                "array of objects"
            ) from None
        return
    if isinstance(whole, list):
        yield from whole
        return
    inside = whole.items() if isinstance(whole, dict) else ()
    lists = [key for key, value in inside if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists and (len(text.splitlines()) > 1 or len(whole) <= 3):
        raise ContractError(
            f"{file} is one JSON object, and its events are inside it under {lists[0]!r}: write that array to a "
            f"file of its own (jq .{lists[0]} {file.name})"
        )
    yield whole


def _paths(item: Mapping[str, RawValue], above: str) -> Iterator[str]:
    """Yield the paths of the values in an object; `above` is the path of the object, with a dot at its end.

    >>> list(_paths({"id": 1, "user": {"emails": ["a"]}, "params": [{"key": "slot", "value": 7}]}, ""))
    ['id', 'user.emails.0', 'params.slot']
    """
    for key, value in item.items():
        path = f"{above}{key}"
        if isinstance(value, dict):
            yield from _paths(value, f"{path}.")
        elif isinstance(value, list) and value and all(isinstance(v, dict) and "key" in v for v in value):
            yield from (f"{path}.{v['key']}" for v in value)
        elif isinstance(value, list):
            yield f"{path}.0"
        else:
            yield path


def _parquet_paths(file: Path) -> list[str]:
    """Return the columns of a Parquet file and of its folders, and the paths of nested values in its first rows."""
    try:
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            first = next(parquet.iter_batches(1000), None)
    except (pa.ArrowException, OSError):
        raise ContractError(f"{file} is no readable Parquet file; write it again") from None
    paths: dict[str, None] = {}
    for field in schema:
        if not pa.types.is_nested(field.type):
            paths[field.name] = None
    for item in first.to_pylist() if first is not None else []:
        paths.update(dict.fromkeys(_paths(item, "")))
    folders = (part.partition("=")[0] for part in file.parts[:-1] if "=" in part)
    return list({**paths, **dict.fromkeys(folders)})


def _rows(files: list[Path], mapping: TableMapping, columns: list[str]) -> tuple[pd.DataFrame, bool]:
    """Return the sound rows of the first chunks of the files, and whether these are all."""
    wanted = {c: f"columns{OPTIONAL}" for c in columns}
    parts, rows = [], 0
    for file in files:
        for chunk in read_rows("sends", mapping, wanted, file):
            sound = chunk.rows[~chunk.rows["malformed"].astype(bool)]
            parts.append(sound.drop(columns=["raw", "malformed"]).reindex(columns=columns))
            rows += len(sound)
            if rows >= MAX_ROWS:
                break
        if rows >= MAX_ROWS:
            break
    if not parts:
        return pd.DataFrame(columns=columns, dtype=object), True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # columns of None only
        joined = pd.concat(parts, ignore_index=True).astype(object)
    return joined.where(joined.notna(), None), rows < MAX_ROWS
