"""The mapping of a source, read from YAML and checked: every fault at once, each with its line and its remedy.

A mapping is one YAML file (`conf/sources/NAME.yaml`); `docs/how-to/bring-your-own-log.md` shows how to write one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sendopt.config.presets import mapping_file
from sendopt.config.wording import PATTERNS, WRONG
from sendopt.config.yaml_tree import Key, KeyPath, Mark, Problem, Tree, YamlMap, parse, read, sentences, shown
from sendopt.domain.limits import Strict
from sendopt.domain.slots import zone_or_none
from sendopt.domain.tables import TABLES, Column
from sendopt.errors import ConfigError
from sendopt.ingest.schema import (
    DECISION_KINDS,
    FILLED,
    LOG_TABLES,
    MATCHING,
    NEVER_MAPPED,
    Booleans,
    Decision,
    DerivedUsers,
    Outcome,
    SourceMapping,
    TableMapping,
)
from sendopt.ingest.times import TIME_FORMATS, time_pattern
from sendopt.ingest.vocabulary import EVENT_KINDS, INTERACTION_KINDS, clock_of, kind_of

PYTHON_TYPES: dict[str, type] = {"string": str, "double": float, "boolean": bool, "array<string>": tuple}
# Depth of a key below which the validator's path names branches of a union, not keys.
UNION_DEPTH = {"defaults": 2, "constants": 2, "times_in": 1, "columns": 2, "where": 2, "time_format": 1, "values": 3}
EXPECTED = {
    "format": "one of csv, jsonl, json, parquet",
    "delimiter": "one character",
    "list_separator": "one character",
    "times_in": "an IANA name like Europe/Paris, or {column: RAW COLUMN}",
    "columns": "the name of a raw column, a list of names whose values make up one key, or {first: [names]}",
    "defaults": "a map: mapped column -> the raw value of rows that hold none",
    "where": "the value that a row of this table has there, or a list of values",
    "constants": "text, true or false, a number or a list",
    "values": "a map: raw value -> our value",
    "booleans": "yes and no, each a list of words",
    "outcome": f"column, kind ({', '.join(INTERACTION_KINDS)}), at, threshold, yes, no",
    "channels": "a list of channels",
    "derive_from": "sends",
    "decision": "slot (a raw column) or slot_hours (a divisor of 24), and segment (a raw column)",
    "identity": "a list of user_id, notification_id, campaign_id, channel, sent_at_utc",
    "match": "id or nearest_send",
    "snapshot": "changes or full",
    "within_hours": "hours above 0, at most 2160",
}


def load_mapping(path: Path | str) -> SourceMapping:
    """Return the mapping in a YAML file, or the preset that `preset:NAME` names.

    Raises ConfigError (exit 2) whose `problems` are all faults as `FILE:LINE: dotted.path: sentence`, by line.
    """
    return _checked(*read(mapping_file(str(path)), str(path)), str(path))


def mapping_of_text(text: str, name: str = "mapping") -> SourceMapping:
    """Return the mapping in a YAML text, called `name` in messages; raises ConfigError as `load_mapping` does.

    >>> text = "source: shop\\ntables:\\n  sessions: {format: csv, columns: {user_id: who, at_utc: at}}"
    >>> mapping_of_text(text).tables["sessions"].raw_columns
    {'who': 'columns.user_id', 'at': 'columns.at_utc'}
    >>> try:
    ...     mapping_of_text(text.replace("at_utc", "at_utcc"), "shop.yaml")
    ... except ConfigError as error:
    ...     print(*error.problems, sep="\\n")
    shop.yaml:3: tables.sessions.columns.at_utcc: unknown column, did you mean at_utc?
    """
    return _checked(*parse(text, name), name)


def _checked(tree: Tree | None, problems: list[Problem], name: str) -> SourceMapping:
    """Return the mapping that a tree holds; raises ConfigError for the problems of its form and all other faults."""
    if tree is None:
        raise _error(name, problems)
    mapping, findings = _validated(tree.value)
    problems = problems + [Problem(tree.mark(place) or Mark(name, 0), place, text) for place, text in findings]
    if problems or mapping is None:
        raise _error(name, problems)
    return mapping


def _error(name: str, problems: list[Problem]) -> ConfigError:
    lines = sentences(problems)
    return ConfigError(f"the source mapping {name} has {len(lines)} problem{'s' * (len(lines) > 1)}:", lines)


Finding: TypeAlias = tuple[KeyPath, str]  # the path of a faulty key, and the sentence
Model = TypeVar("Model", bound=Strict)


def _validated(data: YamlMap) -> tuple[SourceMapping | None, list[Finding]]:
    """Return the mapping and all faults. Tables are checked one by one, so that no fault hides another table's."""
    findings: list[Finding] = []
    for key in data:
        if key not in ("source", "tables"):
            findings.append(((key,), unknown("key", str(key), ("source", "tables"))))
    name = data.get("source")
    if not isinstance(name, str) or not re.match(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", name):
        expected = PATTERNS[r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"]
        findings.append((("source",), f"missing or malformed; got {shown(name)}; expected {expected}"))
    raw_tables = data.get("tables")
    if not isinstance(raw_tables, dict) or not raw_tables:
        findings.append((("tables",), f"missing or empty; expected a map of {', '.join(LOG_TABLES)}"))
        return None, findings
    tables: dict[str, TableMapping] = {}
    derived: DerivedUsers | None = None
    for table, raw in raw_tables.items():
        place: KeyPath = ("tables", table)
        if table not in LOG_TABLES:
            findings.append((place, unknown("table", str(table), LOG_TABLES)))
        elif not isinstance(raw, dict):
            findings.append((place, f"not a map; got {shown(raw)}; expected files, format, columns, constants"))
        elif table == "users" and "derive_from" in raw:
            derived, faults = _model(DerivedUsers, raw, place)
            findings += faults
            if "sends" not in raw_tables:
                findings.append(((*place, "derive_from"), "there is no tables.sends to derive users from; map it"))
        else:
            mapping, faults = _table(str(table), raw, place)
            findings += faults
            if mapping is not None:
                tables[str(table)] = mapping
    if findings:
        return None, findings
    return SourceMapping(source=str(name), tables=tables, derived_users=derived), []


def _table(table: str, raw: YamlMap, place: KeyPath) -> tuple[TableMapping | None, list[Finding]]:
    """Return the mapping of one table and its faults; what is sound in it is checked by the rules in any case."""
    mapping, findings = _model(TableMapping, raw, place)
    faulty = {path[2] for path, _ in findings if len(path) > 2}
    sound = mapping or _model(TableMapping, {"format": "csv", **_without(raw, faulty)}, place)[0]
    if sound is not None:
        findings += [((*place, *path), text) for path, text in _rules(table, sound) if path[0] not in faulty]
    return mapping, findings


def _without(raw: YamlMap, keys: set[Key]) -> YamlMap:
    return {key: value for key, value in raw.items() if key not in keys}


def _model(model: type[Model], raw: Mapping[Key, object], place: KeyPath) -> tuple[Model | None, list[Finding]]:
    """Return the validated model, or None and the faults of its keys, one for each path."""
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        sentence_of: dict[KeyPath, str] = {}
        for detail in error.errors(include_url=False):
            path: KeyPath = detail["loc"][: UNION_DEPTH.get(str(detail["loc"][0]), len(detail["loc"]))]
            sentence_of.setdefault((*place, *path), _sentence(detail, path, model))
        return None, list(sentence_of.items())


def _sentence(detail: ErrorDetails, path: KeyPath, model: type[Strict]) -> str:
    if detail["type"] == "missing":
        return f"missing; expected {EXPECTED.get(str(path[-1]), 'text')}"
    if detail["type"] == "extra_forbidden":
        inner: dict[str, type[Strict]] = {"outcome": Outcome, "decision": Decision, "booleans": Booleans}
        return unknown("key", str(path[-1]), tuple(inner.get(str(path[0]), model).model_fields))
    wrong = WRONG.get(detail["type"], "wrong value")
    return f"{wrong}; got {shown(detail['input'])}; expected {EXPECTED.get(str(path[0]), 'text')}"


def unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    """Return the sentence for a name that is not known, with the nearest known one."""
    close = nearest(name, known)
    return f"unknown {what}, " + (f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}")


def nearest(name: str, known: tuple[str, ...]) -> list[str]:
    """Return the known name that was probably meant, if any."""
    return get_close_matches(name, known, n=1, cutoff=0.5)


def _rules(name: str, mapping: TableMapping) -> Iterator[Finding]:
    """Yield the faults that the schema cannot see: columns of the contract, zones, patterns, keys that need others."""
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
            yield from ((("constants", column), text) for text in _constant(contract[column], value))
    given = {*mapping.columns, *mapping.constants, *meant}
    filled = FILLED.get(name, set())
    yield from _meanings(mapping)
    missing = [c for c in contract.values() if not c.nullable and c.name not in given and c.name not in filled]
    for required in missing:
        yield ("columns",), f"{required.name} is missing; name its raw column here or give its value in constants"
    yield from _files(mapping)
    yield from _times(mapping)
    yield from _combinations(name, mapping, given)


def _constant(column: Column, value: object) -> Iterator[str]:
    wanted = PYTHON_TYPES.get(column.type)
    if wanted is None:
        yield f"a {column.type} cannot be a constant; map a raw column"
    elif not isinstance(value, wanted):
        yield f"got {shown(value)}; expected {column.type}"
    elif column.name == "kind" and value not in EVENT_KINDS:
        yield f"got {shown(value)}; expected one of {', '.join(EVENT_KINDS)}"
    elif column.name == "decision_kind" and value not in DECISION_KINDS:
        yield f"got {shown(value)}; expected one of {', '.join(DECISION_KINDS)}"
    elif column.name == "pscore" and not (isinstance(value, float) and 0 < value <= 1):
        yield f"got {shown(value)}; expected a probability above 0, at most 1"
    elif column.name in ("quiet_start", "quiet_end") and clock_of(str(value)) != value:
        yield f"got {shown(value)}; expected a local time like 22:00"
    elif column.name == "timezone" and zone_or_none(str(value)) is None:
        yield _no_zone(str(value))


def _no_zone(name: str) -> str:
    return f"unknown zone {shown(name)}; expected an IANA name like Europe/Paris"


def _files(mapping: TableMapping) -> Iterator[Finding]:
    if mapping.files is None:
        return
    parts = mapping.files.split("/")
    if mapping.files.startswith("/") or {"..", "."} & set(parts) or "\0" in mapping.files:
        yield ("files",), f"got {shown(mapping.files)}; expected a pattern below the input folder, like sends/*.csv"
    elif any("**" in part and part != "**" for part in parts):
        yield ("files",), f"got {shown(mapping.files)}; ** stands for folders, so it must be a part of its own"


def _times(mapping: TableMapping) -> Iterator[Finding]:
    if isinstance(mapping.times_in, str) and zone_or_none(mapping.times_in) is None:
        yield ("times_in",), f"{_no_zone(mapping.times_in)}, or {{column: RAW COLUMN}}"
    for form in mapping.time_formats:
        if form not in TIME_FORMATS:
            try:
                time_pattern(form)
            except ValueError as error:
                yield ("time_format",), f"got {shown(form)}; {error}"
    try:
        codecs.lookup(mapping.encoding)
        "".encode(mapping.encoding)  # some codecs are none of text
    except (LookupError, ValueError):
        yield ("encoding",), f"unknown encoding {shown(mapping.encoding)}; expected one like utf-8, latin-1 or cp1252"


def _meanings(mapping: TableMapping) -> Iterator[Finding]:
    """Yield the faults of `defaults` and `values`, and words that are yes and no at once."""
    for column in mapping.defaults:
        if column not in mapping.columns:
            yield ("defaults", column), unknown("mapped column", column, tuple(mapping.columns))
    for column, meanings in mapping.values.items():
        if column not in mapping.columns:
            yield ("values", column), unknown("mapped column", column, tuple(mapping.columns))
        for raw, value in meanings.items():
            if column == "kind" and kind_of(str(value)) is None:
                yield ("values", column, raw), f"got {shown(value)}; expected one of {', '.join(EVENT_KINDS)}"
    for section, words in (("booleans", mapping.booleans), ("outcome", mapping.outcome)):
        if words and (both := sorted({w.lower() for w in words.yes} & {w.lower() for w in words.no})):
            yield (section,), f"{shown(both[0])} is both yes and no; keep one"


def _combinations(name: str, mapping: TableMapping, given: set[str]) -> Iterator[Finding]:
    """Yield the faults of keys that need each other, exclude each other, or belong to another table."""
    nearest_send = mapping.match == "nearest_send"
    if name == "interactions" and nearest_send and "user_id" not in given:
        yield ("columns",), "user_id is missing; match: nearest_send looks for the latest send of the same user"
    if name == "interactions" and not nearest_send and not given & {"send_key", "notification_id"}:
        yield (
            ("columns",),
            "send_key or notification_id is missing; without one no interaction finds its send. Name it, or say "
            "match: nearest_send",
        )
    only = {"identity": "sends", "match": "interactions", "within_hours": "interactions", "snapshot": "users"}
    for key, owner in only.items():
        if key in mapping.model_fields_set and name != owner:
            yield (key,), f"only tables.{owner} has it; remove it"
    if "pscore" in given and "decision_kind" not in given:
        yield ("columns",), "decision_kind is missing; say in constants what pscore is the probability of: send or slot"
    if ("quiet_start" in given) != ("quiet_end" in given):
        yield ("columns",), "quiet_start and quiet_end belong together; map both or none"
    elif len({"quiet_start", "quiet_end"} & set(mapping.columns)) == 1:
        yield ("columns",), "quiet_start and quiet_end belong together; give both in columns or both in constants"
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
