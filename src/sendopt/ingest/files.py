"""The files that a mapping names, and whether they hold the columns that it asks for; no engine."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from sendopt.domain.outside_text import nearest, printable
from sendopt.errors import ContractError, InputNotReady
from sendopt.ingest.schema import ALTERNATIVE, OPTIONAL, TableMapping

_VALUE = re.compile(
    r"^\d+$|^\d{4}-\d\d-\d\d|@|^[0-9a-f]{8}-[0-9a-f]{4}-", re.IGNORECASE
)  # no name, but one of its values


def find_files(table: str, mapping: TableMapping, source: Path) -> list[Path]:
    """The files of a table in the order of their names, numbers as numbers; raises InputNotReady naming the path where
    there are none."""
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
    hits = [p for p in source.glob(_of_any_case(mapping.files)) if not _hidden(p, source)]
    inside = [q for p in hits if p.is_dir() for q in p.rglob("*") if not _hidden(q, source)]
    found = sorted({p for p in (*hits, *inside) if p.is_file()}, key=_natural)
    if not found:
        raise InputNotReady(
            f"no file {source / mapping.files} yet (tables.{table}); check the path, or try again later"
        )
    return found


def _of_any_case(pattern: str) -> str:
    """The pattern as one that takes letters of both cases: X.CSV is a *.csv; one with brackets stays as it is.

    >>> _of_any_case("a/*.csv")
    '[aA]/*.[cC][sS][vV]'
    """
    if "[" in pattern:
        return pattern
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isascii() and c.isalpha() else c for c in pattern)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), "") if i % 2 else (0, 0, part) for i, part in enumerate(parts)]


def _visible(path: Path) -> Path:
    if path.name.startswith(("_", ".")):
        raise ContractError(f"input {path}: a file whose name starts with _ or . is never read; rename it")
    return path


def _hidden(path: Path, source: Path) -> bool:
    """Spark's own leftovers (_SUCCESS, .crc), which it never reads."""
    return any(part.startswith(("_", ".")) for part in path.relative_to(source).parts)


def absent(wanted: Mapping[str, str], found: Collection[str]) -> list[str]:
    """The columns of `wanted` (raw: the mapping's key) that a log with the columns `found` should have and has not: of
    alternatives one is enough."""
    present = {key for raw, key in wanted.items() if raw in found}
    return [
        raw
        for raw, key in wanted.items()
        if raw not in found and not (key.endswith(ALTERNATIVE) and key in present) and not key.endswith(OPTIONAL)
    ]


def require_columns(table: str, wanted: Mapping[str, str], file: Path, found: list[str], delimiter: str = "") -> None:
    """Raise ContractError for the first column of `wanted` (raw: the mapping's key) that is not in the file once."""
    lacking = absent(wanted, found)
    for raw, key in wanted.items():
        if found.count(raw) > 1 or raw in lacking:
            times = "more than once" if raw in found else "not"
            raise ContractError(
                f"{file}: column {raw!r} (tables.{table}.{key}) is {times} in the file; "
                f"{_found(wanted, found, delimiter)}; {_hint(raw, found, delimiter)}correct the mapping or the file",
                table=table,
                column=raw,
            )


def _found(wanted: Mapping[str, str], names: list[str], delimiter: str) -> str:
    """The names of a header; of a first line of values, which may hold ids, only that it is one."""
    if names and names[0].startswith(("{", "[")):
        return "its first line is JSON"
    if delimiter and not set(wanted) & set(names) and any(_VALUE.search(name) for name in names):
        return "its first line seems to hold values, not names"
    return f"found: {printable(', '.join(names)[:500])}"


def _hint(raw: str, found: list[str], delimiter: str) -> str:
    """What is probably wrong, as a clause with its semicolon; empty where nobody can say."""
    if any("\0" in name for name in found):
        return "the file seems to be UTF-16: say so in `encoding`; "
    other = [c for c in ";,\t|" if c != delimiter and len(found) == 1 and c in found[0]]
    if delimiter and other:
        name = {"\t": "a tab", ";": "a semicolon", ",": "a comma"}.get(other[0], other[0])
        return f"its columns seem to be separated by {name}: say so in `delimiter`; "
    close = nearest(raw, [name[:200] for name in found[:1000]]) if raw not in found else None
    return f"did you mean {printable(close)!r}? " if close else ""
