"""A mapping under way: what each key says and what in the log shows it, and its text as YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PLAIN = re.compile(r"^[A-Za-z_][A-Za-z0-9_./+-]*$")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_COMMENT_AT = 58


@dataclass(frozen=True)
class Seen:
    """A value of the mapping, and what in the log shows it."""

    value: Any
    why: str = ""


@dataclass
class TableDraft:
    """One table of the mapping, key by key in the order of its text."""

    where: dict[str, Sequence[str]] = field(default_factory=dict)
    where_why: str = ""
    formats: Seen | None = None
    times_in: Seen | None = None
    columns: dict[str, Seen] = field(default_factory=dict)
    defaults: dict[str, Seen] = field(default_factory=dict)
    values: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    constants: dict[str, Seen] = field(default_factory=dict)
    outcome: Seen | None = None
    match: Seen | None = None


@dataclass
class Draft:
    """The mapping of one log, and what a person must know of it: what was assumed, what was not seen."""

    source: str
    head: dict[str, Any]
    notes: dict[str, str]
    sends: TableDraft = field(default_factory=TableDraft)
    interactions: TableDraft | None = None
    channels: Seen = Seen(("push",))
    label: str = "open"
    to_the_minute: bool = False
    assumed: list[str] = field(default_factory=list)
    not_seen: list[str] = field(default_factory=list)


def scalar(value: Any) -> str:
    """A value as YAML in one line.

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
    """A line of YAML with its comment beside it, or above it where it is long."""
    body = " " * indent + text
    if not why:
        return body
    why = re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", why)
    if len(body) < _COMMENT_AT:
        return f"{body:<{_COMMENT_AT}}# {why}"
    return f"{' ' * indent}# {why}\n{body}"


def mapping_text(draft: Draft) -> str:
    """The mapping as a YAML file."""
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
    users = scalar({"derive_from": "sends", "channels": tuple(draft.channels.value)})
    return "\n".join([*rows, line(2, f"users: {users}", draft.channels.why)]) + "\n"


def _table(name: str, head: Mapping[str, Any], notes: Mapping[str, str], table: TableDraft) -> Iterator[str]:
    yield line(2, f"{name}:")
    for key, value in head.items():
        yield line(4, f"{key}: {scalar(value)}", notes.get(key, ""))
    if table.where:
        yield line(4, f"where: {scalar({k: _one(v) for k, v in table.where.items()})}", table.where_why)
    if table.formats:
        yield line(4, f"time_format: {scalar(_one(table.formats.value))}", table.formats.why)
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
            for raw, value in meanings.items():
                yield line(8, f"{scalar(raw)}: {scalar(value)}")
    if table.outcome:
        yield line(4, f"outcome: {scalar(table.outcome.value)}", table.outcome.why)


def _one(values: Sequence[str] | str) -> Any:
    return values if isinstance(values, str) or len(values) != 1 else values[0]
