"""The mapping of a raw log onto the project's tables: its schema, its rules, and the time formats it may name.

A mapping is one YAML file (`conf/sources/NAME.yaml`); `docs/how-to/bring-your-own-log.md` shows how to write one.
No engine here: `sendopt.spark.ingest` reads the files that a mapping names into tables, `sendopt.evaluation` reads the
decisions in them without Spark.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from sendopt.config.schema import Name
from sendopt.config.wording import PATTERNS, WRONG
from sendopt.config.yaml_tree import Key, KeyPath, Mark, Problem, read, sentences, shown
from sendopt.domain.limits import Strict
from sendopt.domain.slots import offset_periods, zone_or_none
from sendopt.domain.tables import TABLES, Column
from sendopt.errors import ConfigError

LOG_TABLES = ("sends", "interactions", "sessions", "users", "messages")
# Columns that ingest fills itself where the mapping does not.
FILLED = {"sends": {"source", "send_key"}, "interactions": {"send_key", "at_imputed"}}
NEVER_MAPPED = {"source", "at_imputed"}
# Columns of a log that are no columns of its table: by them an interaction finds its send.
MATCHING = {"interactions": ("user_id", "notification_id")}
INTERACTION_KINDS = ("open", "click", "goal", "dismiss", "opt_out")
DECISION_KINDS = ("send", "slot")
PYTHON_TYPES: dict[str, type] = {"string": str, "double": float, "boolean": bool, "array<string>": tuple}

TIME_FORMATS = ("iso8601", "epoch_seconds", "epoch_millis")
UNION_DEPTH = {"constants": 2, "times_in": 1}  # below this depth a fault's path names branches of a union
EXPECTED = {
    "format": "one of csv, jsonl, parquet",
    "delimiter": "one character",
    "list_separator": "one character",
    "times_in": "an IANA name like Europe/Paris, or {column: RAW COLUMN}",
    "columns": "the name of a raw column",
    "constants": "text, true or false, a number or a list",
    "outcome": f"column, kind ({', '.join(INTERACTION_KINDS)}), at",
    "channels": "a list of channels",
    "derive_from": "sends",
    "decision": "slot (a raw column) or slot_hours (a divisor of 24), and segment (a raw column)",
}
# Text of a raw value, the same for every reader.
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
ISO_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$"
)
NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"
FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)

Text = Annotated[str, Field(min_length=1)]


class Outcome(Strict):
    """An outcome written into the row of its send; a true one becomes an interaction."""

    column: Text | None = Field(None, description="raw column, true or false; left out: a filled `at` is an outcome")
    kind: Literal["open", "click", "goal", "dismiss", "opt_out"] = "goal"
    at: Text | None = Field(None, description="raw column of its time; empty: sent_at + label.window_hours, at_imputed")


class Decision(Strict):
    """How `sendopt evaluate` reads a send as a decision about time; ingest does not read it."""

    slot: Text | None = Field(
        None, description="raw column that names the slot; left out: the local hour of sent_at_utc"
    )
    slot_hours: Literal[1, 2, 3, 4, 6, 8, 12] = Field(1, description="hours a slot, where no column names it")
    segment: Text | None = Field(None, description="raw column of a segment that may have a best time of its own")


class TableMapping(Strict):
    """Where one table's raw rows are and how its columns are read."""

    files: Text | None = Field(None, description="pattern below the input folder; left out: the input is the file")
    format: Literal["csv", "jsonl", "parquet"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    time_format: Text = "iso8601"
    times_in: Text | Annotated[dict[Literal["column"], Text], Field(min_length=1)] = "UTC"
    list_separator: Annotated[str, Field(min_length=1, max_length=1)] = "|"
    columns: dict[str, Text] = Field(default_factory=dict)
    constants: dict[str, str | bool | float | tuple[str, ...]] = Field(default_factory=dict)
    outcome: Outcome | None = None
    decision: Decision | None = None

    @property
    def zone_column(self) -> str | None:
        """The raw column that holds the zone of each row's local times."""
        return self.times_in["column"] if isinstance(self.times_in, dict) else None

    @property
    def raw_columns(self) -> dict[str, str]:
        """Every raw column that is read, with the key of the mapping that asks for it."""
        wanted = {raw: f"columns.{name}" for name, raw in self.columns.items()}
        if self.outcome:
            for key in ("column", "at"):
                if getattr(self.outcome, key) is not None:
                    wanted.setdefault(getattr(self.outcome, key), f"outcome.{key}")
        if self.zone_column is not None:
            wanted.setdefault(self.zone_column, "times_in.column")
        return wanted


class DerivedUsers(Strict):
    """Users as the sends show them: created_at = first sent_at, timezone = the last one known."""

    derive_from: Literal["sends"]
    channels: tuple[Name, ...] = Field(min_length=1)


class SourceMapping(Strict):
    """One source of raw logs. `derived_users` is set where `tables.users` says `derive_from`."""

    source: Name
    tables: dict[str, TableMapping]
    derived_users: DerivedUsers | None = None


@dataclass(frozen=True)
class TimePattern:
    """A strptime pattern as a regular expression (same in Python and Java); `fields` names its groups in order."""

    regex: str
    fields: tuple[str, ...]


_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_MONTH_NAMES = "january|february|march|april|may|june|july|august|september|october|november|december"
DIRECTIVES = {
    "Y": "([0-9]{4})",
    "y": "([0-9]{2})",
    "m": "(1[0-2]|0[1-9]|[1-9])",
    "b": f"({_MONTHS})",
    "B": f"({_MONTH_NAMES})",
    "d": "(3[01]|[12][0-9]|0[1-9]|[1-9])",
    "H": "(2[0-3]|[01][0-9]|[0-9])",
    "I": "(1[0-2]|0[1-9]|[1-9])",
    "M": "([0-5][0-9]|[0-9])",
    "S": "([0-5][0-9]|[0-9])",
    "f": "([0-9]{1,6})",
    "p": "(am|pm)",
    "z": "(z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])",
}
_ALTERNATIVES = (("year", "Yy"), ("month", "mbB"), ("day", "d"))


@cache
def time_pattern(pattern: str) -> TimePattern:
    """The compiled strptime pattern; raises ValueError, in a sentence for the mapping's writer, if it is no date."""
    regex, fields = "", []
    for piece in re.findall(r"%.|\s+|[^%\s]|%", pattern, flags=re.DOTALL):
        if piece.isspace():
            regex += r"\s+"
        elif piece == "%%":
            regex += "%"
        elif not piece.startswith("%"):
            regex += re.escape(piece)
        elif piece[1:] in DIRECTIVES:
            regex += DIRECTIVES[piece[1:]]
            fields.append(piece[1:])
        else:
            raise ValueError(f"{piece} is not supported; expected %{' %'.join(DIRECTIVES)}")
    for what, letters in _ALTERNATIVES:
        if sum(fields.count(letter) for letter in letters) != 1:
            raise ValueError(
                f"must hold the {what} once: one of %{' %'.join(letters)}; or iso8601, epoch_seconds, epoch_millis"
            )
    if len(set(fields)) < len(fields) or {"H", "I"} <= set(fields) or ("I" in fields) != ("p" in fields):
        raise ValueError("must hold each part once, and %I only with %p, without %H")
    return TimePattern(f"(?i)^{regex}$", tuple(fields))


@cache
def known_zones() -> frozenset[str]:
    """Names of all zones of the pinned tzdata, those that `domain.slots.zone_or_none` knows."""
    return frozenset((importlib.resources.files("tzdata") / "zones").read_text().split())


def local_periods(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime, int]]:
    """Disjoint periods [from, to) of local wall clock that exist, with their offset in minutes, over [start, end).

    `from` and `to` are written as if UTC. A local time in no period does not exist (the clock jumped over it);
    one that was read twice belongs to its first occurrence. Raises KeyError for an unknown zone.
    """
    periods: list[tuple[datetime, datetime, int]] = []
    for from_utc, to_utc, offset in offset_periods(zone, start, end):
        shift = timedelta(minutes=offset)
        begin = max(from_utc + shift, periods[-1][1]) if periods else from_utc + shift
        if begin < to_utc + shift:
            periods.append((begin, to_utc + shift, offset))
    return periods


def load_mapping(path: Path | str) -> SourceMapping:
    """The mapping that a YAML file holds.

    Raises ConfigError (exit 2) whose `problems` are all faults as `FILE:LINE: dotted.path: sentence`, by line.
    """
    tree, problems = read(Path(path), str(path))
    if tree is None:
        raise _error(path, problems)
    mapping, found = _validated(tree.value)
    problems += [Problem(tree.mark(place) or Mark(str(path), 0), place, text) for place, text in found]
    if problems or mapping is None:
        raise _error(path, problems)
    return mapping


def _error(path: Path | str, problems: list[Problem]) -> ConfigError:
    lines = sentences(problems)
    return ConfigError(f"the source mapping {path} has {len(lines)} problem{'s' * (len(lines) > 1)}:", lines)


Finding = tuple[KeyPath, str]
Model = TypeVar("Model", bound=Strict)


def _validated(data: dict[Key, Any]) -> tuple[SourceMapping | None, list[Finding]]:
    """Each table on its own, so that one table's fault does not hide another's."""
    found: list[Finding] = []
    for key in data:
        if key not in ("source", "tables"):
            found.append(((key,), unknown("key", str(key), ("source", "tables"))))
    name = data.get("source")
    if not isinstance(name, str) or not re.match(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", name):
        expected = PATTERNS[r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"]
        found.append((("source",), f"missing or malformed; got {shown(name)}; expected {expected}"))
    raw_tables = data.get("tables")
    if not isinstance(raw_tables, dict) or not raw_tables:
        found.append((("tables",), f"missing or empty; expected a map of {', '.join(LOG_TABLES)}"))
        return None, found
    tables: dict[str, TableMapping] = {}
    derived: DerivedUsers | None = None
    for table, raw in raw_tables.items():
        place: KeyPath = ("tables", table)
        if table not in LOG_TABLES:
            found.append((place, unknown("table", str(table), LOG_TABLES)))
        elif not isinstance(raw, dict):
            found.append((place, f"not a map; got {shown(raw)}; expected files, format, columns, constants"))
        elif table == "users" and "derive_from" in raw:
            derived, faults = _model(DerivedUsers, raw, place)
            found += faults
            if "sends" not in raw_tables:
                found.append(((*place, "derive_from"), "there is no tables.sends to derive users from; map it"))
        else:
            mapped, faults = _model(TableMapping, raw, place)
            found += faults
            faulty = {path[2] for path, _ in faults if len(path) > 2}
            rest = mapped or _model(TableMapping, {"format": "csv", **_without(raw, faulty)}, place)[0]
            if rest is not None:
                found += [((*place, *path), text) for path, text in _rules(str(table), rest) if path[0] not in faulty]
            if mapped is not None:
                tables[str(table)] = mapped
    if found:
        return None, found
    return SourceMapping(source=str(name), tables=tables, derived_users=derived), []


def _without(raw: dict[Key, Any], keys: set[Key]) -> dict[Key, Any]:
    return {k: v for k, v in raw.items() if k not in keys}


def _model(model: type[Model], raw: dict[Key, Any], place: KeyPath) -> tuple[Model | None, list[Finding]]:
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        found: dict[KeyPath, str] = {}
        for detail in error.errors(include_url=False):
            path: KeyPath = detail["loc"][: UNION_DEPTH.get(str(detail["loc"][0]), len(detail["loc"]))]
            found.setdefault((*place, *path), _sentence(dict(detail), path, model))
        return None, list(found.items())


def _sentence(detail: dict[str, Any], path: KeyPath, model: type[Strict]) -> str:
    if detail["type"] == "missing":
        return f"missing; expected {EXPECTED.get(str(path[-1]), 'text')}"
    if detail["type"] == "extra_forbidden":
        inner: dict[str, type[Strict]] = {"outcome": Outcome, "decision": Decision}
        return unknown("key", str(path[-1]), tuple(inner.get(str(path[0]), model).model_fields))
    wrong = WRONG.get(detail["type"], "wrong value")
    return f"{wrong}; got {shown(detail['input'])}; expected {EXPECTED.get(str(path[0]), 'text')}"


def unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    """The sentence for a name that is none of the known ones, with the nearest of them."""
    close = nearest(name, known)
    return f"unknown {what}, " + (f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}")


def nearest(name: str, known: tuple[str, ...]) -> list[str]:
    """The known name that was probably meant, if any."""
    return get_close_matches(name, known, n=1, cutoff=0.5)


def _rules(name: str, mapping: TableMapping) -> Iterator[Finding]:
    """What the schema cannot say: the columns of the contract, zones, patterns, and what belongs together."""
    contract = {c.name: c for c in TABLES[name].columns if c.name not in NEVER_MAPPED}
    mappable = (*contract, *(c for c in MATCHING.get(name, ()) if c not in contract))
    meant: set[str] = set()  # a misspelt column is one fault, not two
    for section in ("columns", "constants"):
        for column in getattr(mapping, section):
            if column not in mappable:
                meant.update(nearest(column, mappable))
                yield (section, column), unknown("column", column, mappable)
    for column, value in mapping.constants.items():
        if column in mapping.columns:
            yield ("constants", column), "mapped in columns too; keep one"
        if column in contract:
            yield from (((("constants", column)), text) for text in _constant(contract[column], value))
    given = {*mapping.columns, *mapping.constants, *meant}
    filled = FILLED.get(name, set())
    missing = [c for c in contract.values() if not c.nullable and c.name not in given and c.name not in filled]
    for required in missing:
        yield ("columns",), f"{required.name} is missing; name its raw column here or give its value in constants"
    yield from _times(mapping)
    yield from _belongings(name, mapping, given)


def _constant(column: Column, value: object) -> Iterator[str]:
    wanted = PYTHON_TYPES.get(column.type)
    if wanted is None:
        yield f"a {column.type} cannot be a constant; map a raw column"
    elif not isinstance(value, wanted):
        yield f"got {shown(value)}; expected {column.type}"
    elif column.name == "kind" and value not in INTERACTION_KINDS:
        yield f"got {shown(value)}; expected one of {', '.join(INTERACTION_KINDS)}"
    elif column.name == "decision_kind" and value not in DECISION_KINDS:
        yield f"got {shown(value)}; expected one of {', '.join(DECISION_KINDS)}"
    elif column.name == "pscore" and not (isinstance(value, float) and 0 < value <= 1):
        yield f"got {shown(value)}; expected a probability above 0, at most 1"
    elif column.name == "timezone" and zone_or_none(str(value)) is None:
        yield _no_zone(str(value))


def _no_zone(name: str) -> str:
    return f"unknown zone {shown(name)}; expected an IANA name like Europe/Paris"


def _times(mapping: TableMapping) -> Iterator[Finding]:
    if isinstance(mapping.times_in, str) and zone_or_none(mapping.times_in) is None:
        yield ("times_in",), f"{_no_zone(mapping.times_in)}, or {{column: RAW COLUMN}}"
    if mapping.time_format not in TIME_FORMATS:
        try:
            time_pattern(mapping.time_format)
        except ValueError as error:
            yield ("time_format",), f"got {shown(mapping.time_format)}; {error}"


def _belongings(name: str, mapping: TableMapping, given: set[str]) -> Iterator[Finding]:
    if name == "interactions" and not given & {"send_key", "notification_id"}:
        yield ("columns",), "send_key or notification_id is missing; without one no interaction finds its send"
    if "pscore" in given and "decision_kind" not in given:
        yield ("columns",), "decision_kind is missing; say in constants what pscore is the probability of: send or slot"
    if ("quiet_start" in given) != ("quiet_end" in given):
        yield ("columns",), "quiet_start and quiet_end belong together; map both or none"
    for section in ("outcome", "decision"):
        if getattr(mapping, section) and name != "sends":
            yield (
                (section,),
                f"only tables.sends has {'an outcome' if section == 'outcome' else 'decisions'}; remove it",
            )
    if mapping.decision and mapping.decision.slot and mapping.decision.slot_hours != 1:
        yield ("decision", "slot_hours"), "slot names the slots already; keep one"
    if mapping.outcome and mapping.outcome.column is None and mapping.outcome.at is None:
        yield ("outcome",), "column or at is missing; name the raw column of the outcome or of its time"
