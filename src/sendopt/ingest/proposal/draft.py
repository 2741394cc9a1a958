"""A drafted mapping: the value of each key with the evidence for it in the log, and its text as YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

_PLAIN = re.compile(r"^[A-Za-z_][A-Za-z0-9_./+-]*$")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_COMMENT_AT = 58


RawColumns: TypeAlias = str | tuple[str, ...]  # the raw columns of one column of a table
OutcomeKeys: TypeAlias = Mapping[str, str | tuple[str, ...]]  # keys of `outcome`
Value = TypeVar("Value")


def as_tuple(raw: RawColumns) -> tuple[str, ...]:
    """Return raw columns as a tuple, also a single one."""
    return (raw,) if isinstance(raw, str) else raw


@dataclass(frozen=True)
class Seen(Generic[Value]):
    """A value of the mapping, and the evidence for it in the log."""

    value: Value
    why: str = ""


@dataclass
class TableDraft:
    """One table of the mapping, with its keys in the order of the text."""

    where: dict[str, Sequence[str]] = field(default_factory=dict)
    where_why: str = ""
    formats: Seen[tuple[str, ...]] | None = None
    times_in: Seen[str | dict[str, str]] | None = None
    columns: dict[str, Seen[RawColumns]] = field(default_factory=dict)
    defaults: dict[str, Seen[str]] = field(default_factory=dict)
    values: dict[str, Mapping[str, str | bool]] = field(default_factory=dict)
    constants: dict[str, Seen[str | bool]] = field(default_factory=dict)
    outcome: Seen[OutcomeKeys] | None = None
    match: Seen[str] | None = None


@dataclass
class Draft:
    """The drafted mapping of one log, and what its user must know: what was assumed, and what was not seen."""

    source: str
    head: dict[str, str]  # the keys that say how the files are read
    notes: dict[str, str]  # key of `head` -> the evidence
    sends: TableDraft = field(default_factory=TableDraft)
    interactions: TableDraft | None = None
    channels: Seen[tuple[str, ...]] = Seen(("push",))
    label: str = "open"
    to_the_minute: bool = False
    assumed: list[str] = field(default_factory=list)
    not_seen: list[str] = field(default_factory=list)


def scalar(value: object) -> str:
    """Return a value as YAML on one line.

    >>> [scalar(v) for v in ("a b", "user", "no", True, 3, ("a", "b"), {"x": "y z"})]
    ['"a b"', 'user', '"no"', 'true', '3', '[a, b]', '{x: "y z"}']
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(k)}: {scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(scalar, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.match(value) and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def line(indent: int, text: str, why: str = "") -> str:
    """Return a line of YAML with its comment beside it, or above it where the line is long."""
    body = " " * indent + text
    if not why:
        return body
    why = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", why)
    if len(body) < _COMMENT_AT:
        return f"{body:<{_COMMENT_AT}}# {why}"
    return f"{' ' * indent}# {why}\n{body}"


def mapping_text(draft: Draft) -> str:
    """Return the mapping as the text of a YAML file."""
    rows = [
        "# Proposed by `sendopt init`: which raw column is which. Each comment says what in the log shows it.",
        "# All keys: docs/how-to/bring-your-own-log.md. Correct what is wrong; `sendopt check` names every mistake.",
        *(f"# NOT SEEN: {text}" for text in draft.not_seen),
        *(f"# ASSUMED: {text}" for text in draft.assumed),
        line(0, f"source: {scalar(draft.source)}", "part of the key of every send; never change it"),
        "tables:",
        *_table("sends", draft.head, draft.notes, draft.sends),
    ]
    if draft.interactions is not None:
        rows += _table("interactions", draft.head, {}, draft.interactions)
    users = scalar({"derive_from": "sends", "channels": draft.channels.value})
    return "\n".join([*rows, line(2, f"users: {users}", draft.channels.why)]) + "\n"


def _table(name: str, head: Mapping[str, str], notes: Mapping[str, str], table: TableDraft) -> Iterator[str]:
    yield line(2, f"{name}:")
    for key, value in head.items():
        yield line(4, f"{key}: {scalar(value)}", notes.get(key, ""))
    if table.where:
        yield line(
            4,
            f"where: {scalar({raw: _without_brackets(allowed) for raw, allowed in table.where.items()})}",
            table.where_why,
        )
    if table.formats:
        yield line(4, f"time_format: {scalar(_without_brackets(table.formats.value))}", table.formats.why)
    if table.times_in:
        yield line(4, f"times_in: {scalar(table.times_in.value)}", table.times_in.why)
    if table.match:
        yield line(4, f"match: {scalar(table.match.value)}", table.match.why)
    for section in ("columns", "defaults", "constants"):
        if given := getattr(table, section):
            yield line(4, f"{section}:")
            for key, seen in given.items():
                yield line(6, f"{key}: {scalar(seen.value)}", seen.why)
    if table.values:
        yield line(4, "values:")
        for key, meanings in table.values.items():
            yield line(6, f"{key}:")
            for raw, meaning in meanings.items():
                yield line(8, f"{scalar(raw)}: {scalar(meaning)}")
    if table.outcome:
        yield line(4, f"outcome: {scalar(table.outcome.value)}", table.outcome.why)


def _without_brackets(values: Sequence[str] | str) -> Sequence[str] | str:
    """Return a list of one value as that value."""
    return values if isinstance(values, str) or len(values) != 1 else values[0]
