"""The reader of raw logs: the files of one table read, each row typed, and what became of every row counted.

`sendopt evaluate` reads whole tables by `read_table`. Spark's workers read single files by `read_file` and send their
tallies to the driver.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from sendopt.domain.outside_text import printable
from sendopt.errors import ContractError
from sendopt.ingest.files import absent, find_files
from sendopt.ingest.refusals import column_of
from sendopt.ingest.rows import read_rows, without_damage
from sendopt.ingest.schema import SourceMapping
from sendopt.ingest.typed import Known, of_table, typed_rows, wanted_columns

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Tally:
    """What was counted and seen while rows were read."""

    rows: int = 0  # of this table
    elsewhere: int = 0  # rows that `where` assigns to other tables
    keys: tuple[str, ...] = ()  # of JSON rows
    values: tuple[str, ...] = ()  # COLUMN=VALUE of rows that `where` left out, a few
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> a few texts that were not understood


@dataclass(frozen=True)
class RawTable:
    """The typed rows of a table (see `typed_rows`), the number of its files, and their tally."""

    rows: pd.DataFrame
    files: int
    empty_files: int
    tally: Tally


@dataclass
class Reading:
    """Everything that reading a table needs, in values that can be sent to workers."""

    table: str
    source: SourceMapping
    received_utc: datetime | None = None
    known: Known = field(default_factory=Known)
    decisions: bool = False  # also read the columns that only `sendopt evaluate` needs


def filled_files(reading: Reading, source: Path) -> tuple[list[Path], int]:
    """Return the files of a table that are not empty, and the number of empty ones; raises InputNotReady for none."""
    files = find_files(reading.table, reading.source.tables[reading.table], source)
    filled = [f for f in files if f.stat().st_size > 0]
    return filled, len(files) - len(filled)


def read_file(reading: Reading, file: Path) -> Iterator[tuple[pd.DataFrame, Tally]]:
    """Yield the typed rows of one file in chunks, each with its tally; raises ContractError where it cannot be read."""
    mapping = reading.source.tables[reading.table]
    for chunk in read_rows(reading.table, mapping, wanted_columns(mapping, reading.decisions), file):
        keep = of_table(chunk.rows, mapping)
        elsewhere = chunk.rows[~keep]
        seen = [f"{raw}={value}" for raw in mapping.where for value in elsewhere[raw].dropna().unique()[:20]]
        kept = chunk.rows[keep].reset_index(drop=True)
        typed = typed_rows(kept, reading.table, reading.source, reading.received_utc, reading.known)
        if reading.table == "users":
            typed["file_date"] = [date_in_name(file)] * len(typed)
        examples = _examples(reading, kept, typed)
        yield typed, Tally(len(kept), len(elsewhere), tuple(sorted(chunk.keys)), tuple(seen), examples)


def shown(text: str) -> str:
    """Return a text of the log as people may see it: short, with control characters escaped."""
    return printable(without_damage(text[:40]))


def date_in_name(file: Path) -> datetime | None:
    """Return the date in a file's name or else its folder's, at 00:00Z; None where there is none or there are two.

    >>> str(date_in_name(Path("exports/users_2026-03-02.csv")))
    '2026-03-02 00:00:00+00:00'
    """
    for text in (file.name, file.parent.name):
        dates = {m.groups() for m in re.finditer(r"(?<!\d)(20\d\d)[-_]?([01]\d)[-_]?([0-3]\d)(?!\d)", text)}
        try:
            if len(dates) == 1:
                year, month, day = map(int, dates.pop())
                return datetime(year, month, day, tzinfo=UTC)
        except ValueError:
            continue
        if dates:
            return None
    return None


def _examples(reading: Reading, rows: pd.DataFrame, typed: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return a few texts for each reason, from columns that hold no id."""
    mapping = reading.source.tables[reading.table]
    examples: dict[str, tuple[str, ...]] = {}
    outcome = mapping.outcome
    for name in ("reason", "lost", *(["outcome_problem"] if outcome else [])):
        for reason in sorted({r for reasons in typed[name].dropna().unique() for r in reasons.split(",")}):
            column = column_of(reason)
            raw = {"outcome": outcome and outcome.column, "outcome_at": outcome and outcome.at}.get(column)
            if raw is None and column in mapping.columns and not column.endswith(("_id", "_key")):
                raw = mapping.parts_of(column)[0]
            if raw:
                concerned = typed[name].map(lambda given, r=reason: given is not None and r in given.split(","))
                texts = rows.loc[concerned.to_numpy(bool), raw].dropna().unique()[:MAX_EXAMPLES]
                examples[reason] = tuple(shown(t) for t in texts)
    return examples


def read_table(reading: Reading, source: Path) -> RawTable:
    """Return all rows of a table.

    Raises InputNotReady for a missing file, ContractError for a file that does not fit its mapping.
    """
    files, empty = filled_files(reading, source)
    parts, tallies = [], []
    for file in files:
        for rows, tally in read_file(reading, file):
            parts.append(rows)
            tallies.append(tally)
    mapping = reading.source.tables[reading.table]
    blank = pd.DataFrame(columns=["raw", "malformed", *wanted_columns(mapping, reading.decisions)], dtype=object)
    parts = parts or [typed_rows(blank, reading.table, reading.source, known=reading.known)]
    total = total_of(reading, tallies, len(files))
    return RawTable(pd.concat(parts, ignore_index=True), len(files) + empty, empty, total)


def total_of(reading: Reading, tallies: Iterable[Tally], files: int) -> Tally:
    """Return the sum of tallies of this many files.

    Raises ContractError where no JSON row has a mapped key, or `where` keeps no row.
    """
    mapping = reading.source.tables[reading.table]
    rows, elsewhere, keys, values = 0, 0, set[str](), Counter[str]()
    examples: dict[str, tuple[str, ...]] = {}
    for tally in tallies:
        for reason, texts in tally.examples.items():
            examples[reason] = tuple(sorted({*examples.get(reason, ()), *texts})[:MAX_EXAMPLES])
        rows, elsewhere = rows + tally.rows, elsewhere + tally.elsewhere
        keys.update(tally.keys)
        values.update(tally.values)
    if keys:
        _require_keys(reading, keys, files)
    if mapping.where and elsewhere and not rows:
        wanted = ", ".join(f"{raw}: {value}" for raw, value in mapping.where.items())
        raise ContractError(
            f"tables.{reading.table}.where ({wanted}) matches none of {elsewhere:,} rows; found: "
            f"{printable(', '.join(sorted(values)[:20])[:500])}; correct the mapping",
            table=reading.table,
        )
    return Tally(rows, elsewhere, tuple(sorted(keys)), tuple(sorted(values)), examples)


def _require_keys(reading: Reading, keys: set[str], files: int) -> None:
    """Raise ContractError for the first mapped key that no JSON row has."""
    mapping = reading.source.tables[reading.table]
    wanted = wanted_columns(mapping, reading.decisions)
    listed = printable(", ".join(sorted(k for k in keys if "." not in k))[:500])
    for raw in absent(wanted, keys):
        raise ContractError(
            f"tables.{reading.table}.{wanted[raw]}: no row of {files} files has the key {raw!r}; found: "
            f"{listed}; correct the mapping, or take the column out of it",
            table=reading.table,
            column=raw,
        )
