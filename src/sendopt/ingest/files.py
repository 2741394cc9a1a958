"""The files that a mapping names, and the check that they hold the columns that it asks for; no engine."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from sendopt.domain.outside_text import nearest, printable
from sendopt.errors import ContractError, InputNotReady
from sendopt.ingest.schema import ALTERNATIVE, OPTIONAL, TableMapping

_VALUE = re.compile(
    r"^\d+$|^\d{4}-\d\d-\d\d|@|^[0-9a-f]{8}-[0-9a-f]{4}-", re.IGNORECASE
)  # in a header line: a value, not the name of a column


def find_files(table: str, mapping: TableMapping, source: Path) -> list[Path]:
    """Return the files of a table in the order of their names, in which numbers sort as numbers.

    Raises InputNotReady with the path where there are none.
    """
    if not source.exists():
        raise InputNotReady(f"input {source} is not there yet (tables.{table}); check the path, or try again later")
    if mapping.files is None:
        if source.is_dir():
            raise ContractError(
                f"input {source} is a folder, but tables.{table} has no `files`: give the file itself, or add the "
                "pattern of its files to the mapping",
                table=table,
            )
        return [_visible(source)]
    if source.is_file():
        raise ContractError(
            f"input {source} is a file, but tables.{table}.files is {mapping.files!r}, a pattern below a folder: give "
            "the folder, or take `files` out of the mapping",
            table=table,
        )
    matches = [p for p in source.glob(_of_any_case(mapping.files)) if not _hidden(p, source)]
    inside = [q for p in matches if p.is_dir() for q in p.rglob("*") if not _hidden(q, source)]
    files = sorted({p for p in (*matches, *inside) if p.is_file()}, key=_natural)
    if not files:
        raise InputNotReady(
            f"no file {source / mapping.files} yet (tables.{table}); check the path, or try again later"
        )
    return files


def _of_any_case(pattern: str) -> str:
    """Return the pattern for letters of either case, so that X.CSV matches *.csv; one with brackets stays as it is.

    >>> _of_any_case("a/*.csv")
    '[aA]/*.[cC][sS][vV]'
    """
    if "[" in pattern:
        return pattern
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isascii() and c.isalpha() else c for c in pattern)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key under which numbers in a path sort as numbers: 9.csv before 10.csv."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), "") if i % 2 else (0, 0, part) for i, part in enumerate(parts)]


def _visible(path: Path) -> Path:
    """Return the path; raises ContractError for a file that is never read because of its name."""
    if path.name.startswith(("_", ".")):
        raise ContractError(f"input {path}: a file whose name starts with _ or . is never read; rename it")
    return path


def _hidden(path: Path, source: Path) -> bool:
    """Return True for files that Spark writes beside data and never reads (_SUCCESS, .crc)."""
    return any(part.startswith(("_", ".")) for part in path.relative_to(source).parts)


def absent(wanted: Mapping[str, str], columns: Collection[str]) -> list[str]:
    """Return the raw columns of `wanted` (raw column -> the mapping's key) that a log with these `columns` lacks.

    Of alternatives, one is enough.
    """
    present = {key for raw, key in wanted.items() if raw in columns}
    return [
        raw
        for raw, key in wanted.items()
        if raw not in columns and not (key.endswith(ALTERNATIVE) and key in present) and not key.endswith(OPTIONAL)
    ]


def require_columns(table: str, wanted: Mapping[str, str], file: Path, columns: list[str], delimiter: str = "") -> None:
    """Raise ContractError for the first raw column of `wanted` that the file does not have exactly once."""
    lacking = absent(wanted, columns)
    for raw, key in wanted.items():
        if columns.count(raw) > 1 or raw in lacking:
            times = "more than once" if raw in columns else "not"
            header, hint = _seen_header(wanted, columns, delimiter), _hint(raw, columns, delimiter)
            raise ContractError(
                f"{file}: column {raw!r} (tables.{table}.{key}) is {times} in the file; "
                f"{header}; {hint}correct the mapping or the file",
                table=table,
                column=raw,
            )


def _seen_header(wanted: Mapping[str, str], names: list[str], delimiter: str) -> str:
    """Return a clause with the names of a header; without them where they seem to be values, which may be ids."""
    if names and names[0].startswith(("{", "[")):
        return "its first line is JSON"
    if delimiter and not set(wanted) & set(names) and any(_VALUE.search(name) for name in names):
        return "its first line seems to hold values, not names"
    return f"found: {printable(', '.join(names)[:500])}"


def _hint(raw: str, columns: list[str], delimiter: str) -> str:
    """Return what is probably wrong, as a clause with its semicolon; empty where nothing points to a cause."""
    if any("\0" in name for name in columns):
        return "the file seems to be UTF-16: say so in `encoding`; "
    separators = [c for c in ";,\t|" if c != delimiter and len(columns) == 1 and c in columns[0]]
    if delimiter and separators:
        name = {"\t": "a tab", ";": "a semicolon", ",": "a comma"}.get(separators[0], separators[0])
        return f"its columns seem to be separated by {name}: say so in `delimiter`; "
    close = nearest(raw, [name[:200] for name in columns[:1000]]) if raw not in columns else None
    return f"did you mean {printable(close)!r}? " if close else ""
