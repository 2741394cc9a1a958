"""Rows of text as rows of a table: typed values, the reason why a row is refused, and the values that it lost.

A row is refused where a value that its table needs is missing or bad. It gets the first reason in a fixed order:
malformed_row, missing_value, then those of its columns in the contract's order. A bad optional value is left out, and
its reason is listed in `lost`. Consent that is not understood forbids: an unknown category becomes `*`, which is every
category, and an unknown channel becomes no channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from sendopt.config.schema import Settings
from sendopt.domain.consent import EVERY_CATEGORY
from sendopt.domain.keys import keyed_hash
from sendopt.domain.slots import MINUTES_PER_DAY, from_local, minute_of
from sendopt.domain.tables import TABLES
from sendopt.ingest import values
from sendopt.ingest.refusals import Refusal
from sendopt.ingest.rows import without_damage
from sendopt.ingest.schema import DECISION_KINDS, FILLED, MATCHING, SEPARATOR, FirstOf, SourceMapping, TableMapping
from sendopt.ingest.times import FIRST_TIME, is_no_time, read_time
from sendopt.ingest.values import Flags, Objects, Read, Texts, first, flag
from sendopt.ingest.vocabulary import NO_TIME, clock_of, is_nothing, kind_of, zone_named

MAX_SKEW = timedelta(hours=1)  # by which the clock of a log may be ahead
PLANNING_AHEAD = timedelta(days=731)  # by which times of messages may lie ahead
# Optional columns whose bad value refuses the row: without the value, the row would allow what it forbids.
_NEVER_LOST = {"decision_kind", "earliest_utc", "expiry_utc"}
EVERY = "*"  # among the values of `where`: every filled value
_BETWEEN = "\x1f"  # between a time and its zone


@dataclass(frozen=True)
class Known:
    """Names in the settings, against which consent is read. Empty: no name is configured, and every name is valid."""

    channels: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    quiet: tuple[str, str] = ("20:00", "10:00")  # for people whose quiet hours cannot be read: the longest


def known_of(settings: Settings) -> Known:
    """Return the names in the settings and the longest of their quiet hours."""
    quiet = settings.quiet_hours
    windows = [w for w in (quiet.everyone, *quiet.channels.values()) if w is not None]
    strictest = max(windows, key=lambda w: (minute_of(w.end) - minute_of(w.start)) % MINUTES_PER_DAY, default=None)
    return Known(
        channels=tuple(sorted(settings.channels)),
        categories=tuple(sorted({c.category for c in settings.campaigns.values()})),
        quiet=(strictest.start, strictest.end) if strictest else Known.quiet,
    )


def wanted_columns(mapping: TableMapping, decisions: bool = False) -> dict[str, str]:
    """Return the raw columns to read, each with the key of the mapping that asks for it.

    `decisions` adds the columns that only `sendopt evaluate` needs.
    """
    wanted = mapping.raw_columns
    return {**wanted, **{raw: k for raw, k in mapping.decision_columns.items() if decisions and raw not in wanted}}


def of_table(rows: pd.DataFrame, mapping: TableMapping) -> pd.Series[bool]:
    """Return True for the rows that `where` assigns to this table, and for malformed rows, which may belong to it."""
    keep = pd.Series(True, index=rows.index)
    for raw, value in mapping.where.items():
        allowed = {v.lower() for v in ((value,) if isinstance(value, str) else value)}
        filled = EVERY in allowed
        keep &= (
            rows[raw]
            .map(lambda v, a=allowed, f=filled: v is not None and (v.lower() in a or (f and not is_nothing(v))))
            .astype(bool)
        )
    return keep | rows["malformed"].astype(bool)


def typed_rows(
    rows: pd.DataFrame,
    table: str,
    source: SourceMapping,
    received_utc: datetime | None = None,
    known: Known = Known(),
) -> pd.DataFrame:
    """Return the frame of typed rows: raw, reason (None: sound), lost (reasons joined by commas), the table's columns.

    Sends also have outcome (True, False, or None where it cannot be read), outcome_at and outcome_problem; and
    slot_text and segment where the mapping's `decision` names them and they were read. Times are aware UTC datetimes.
    Times after `received_utc` (and the tolerance of clocks) are refused; None refuses none.

    >>> table = TableMapping(format="csv", columns={"user_id": "who", "at_utc": "at"}, times_in="Europe/Berlin")
    >>> rows = pd.DataFrame({"raw": ["a,", "b,"], "malformed": False, "who": ["ann", "bob"]}, dtype=object)
    >>> rows["at"] = ["2026-07-01 12:00", "noon"]
    >>> typed = typed_rows(rows, "sessions", SourceMapping(source="app", tables={"sessions": table}))
    >>> str(typed["at_utc"][0]), typed["reason"][1]
    ('2026-07-01 10:00:00+00:00', 'bad_time:at_utc')
    """
    return _Typing(rows, table, source, received_utc, known).frame()


class _Typing:
    """The rows of one table on their way to a frame of typed columns.

    `missing`, `faults` and `lost` collect one (N,) array of reasons per check, in the order in which they count.
    """

    def __init__(
        self, rows: pd.DataFrame, table: str, source: SourceMapping, received_utc: datetime | None, known: Known
    ) -> None:
        self.rows, self.table, self.source, self.known = rows, table, source, known
        self.mapping = source.tables[table]
        ahead = PLANNING_AHEAD if table == "messages" else MAX_SKEW
        self.latest = None if received_utc is None else received_utc + ahead
        self.out = pd.DataFrame(index=rows.index)
        self.missing: list[Objects] = []
        self.faults: list[Objects] = []
        self.lost: list[Objects] = []

    def frame(self) -> pd.DataFrame:
        contract = [c for c in TABLES[self.table].columns if c.name not in ("source", "at_imputed", "outcome_known")]
        needed = {c.name for c in contract if not c.nullable} - FILLED.get(self.table, set())
        for column in contract:
            if column.name != "pscore":
                self._column(column.name, column.type, column.name in needed)
        for name in MATCHING.get(self.table, ()):
            self._column(name, "string", False)
        if self.table == "sends":
            self._pscore()
            self._outcome()
            self._send_key()
        if self.table == "users":
            self._quiet_hours()
        malformed = flag(self.rows["malformed"], Refusal.MALFORMED_ROW)
        self.out["reason"] = first(malformed, *self.missing, *self.faults)
        self.out["lost"] = _joined(self.lost, len(self.rows), ~self.rows["malformed"].to_numpy(bool))
        self.out["raw"] = [without_damage(text) for text in self.rows["raw"]]
        self._decision()
        return self.out

    # --- columns

    def _texts(self, name: str) -> Texts:
        """Return the texts of a mapped column: its raw columns combined, then `defaults` and `values` applied."""
        text = self._combined(name)
        if name in self.mapping.defaults:
            empty = text.map(_is_empty).astype(bool)
            text = text.mask(empty & ~self.rows["malformed"].astype(bool), self.mapping.defaults[name])
        meanings = {str(raw).lower(): value for raw, value in self.mapping.values.get(name, {}).items()}
        if not meanings:
            return text
        default = meanings.get("*")

        def meaning(raw: str) -> tuple[str | None, None]:
            value = meanings.get(raw.lower(), default)
            return raw if value is None else str(value), None

        return self._series(values.each(text, meaning).values)

    def _combined(self, name: str) -> Texts:
        """Return the texts of the raw columns of a column: the first that is filled, or all of them joined."""
        parts = [self.rows[raw] for raw in self.mapping.parts_of(name)]
        if isinstance(self.mapping.columns[name], FirstOf):
            filled = [part.where(~part.map(_is_empty).astype(bool), None) for part in parts]
            return self._series(first(*(part.to_numpy(object) for part in filled)))
        if len(parts) == 1:
            return parts[0]
        return self._series(
            None if any(_is_empty(text) for text in texts) else SEPARATOR.join(texts)
            for texts in zip(*parts, strict=True)
        )

    def _series(self, column: Iterable[object]) -> Texts:
        return pd.Series(list(column), index=self.rows.index, dtype=object)

    def _column(self, name: str, kind: str, needed: bool) -> None:
        if name in self.mapping.constants:
            self._set(name, [self.mapping.constants[name]] * len(self.rows))
        elif name not in self.mapping.columns:
            self._set(name, [None] * len(self.rows))
        else:
            self._read(name, self._texts(name), kind, needed)

    def _read(self, name: str, text: Texts, kind: str, needed: bool) -> None:
        """Read a column's texts into `out`; its reasons refuse the row where the value is needed."""
        read = self._reader(name, kind)(text)
        self._set(name, read.values)
        if needed and kind != "array<string>":
            self.missing.append(flag(read.empty, Refusal.MISSING_VALUE.of(name)))
        if (needed and kind != "array<string>") or name in _NEVER_LOST or self._decides_consent(name):
            self.faults.append(read.problem)
        else:
            self.lost.append(read.problem)

    def _decides_consent(self, name: str) -> bool:
        """Return True for the kind of an interaction: it may be an opt-out, so a bad one is never left out."""
        return self.table == "interactions" and name == "kind"

    def _reader(self, name: str, kind: str) -> Callable[[Texts], Read]:
        """Return the function that reads a column of this name and type of the contract."""
        if kind == "timestamp":
            return lambda text: self._moment(text, name)
        if kind == "double":
            return lambda text: values.number(text, name)
        if kind == "boolean":
            words = self.mapping.booleans.meaning()
            return lambda text: values.boolean(text, name, words)
        if kind == "date":
            return lambda text: values.day(text, name)
        if kind == "array<string>":
            return lambda text: self._names(text, name)
        return {
            "timezone": lambda text: values.by_word(text, zone_named, Refusal.UNKNOWN_ZONE),
            "kind": lambda text: values.by_word(text, kind_of, Refusal.UNKNOWN_KIND),
            "decision_kind": lambda text: values.by_word(
                text, lambda word: word if word in DECISION_KINDS else None, Refusal.BAD_VALUE.of(name)
            ),
            "quiet_start": lambda text: values.by_word(text, clock_of, Refusal.BAD_LOCAL_TIME.of(name)),
            "quiet_end": lambda text: values.by_word(text, clock_of, Refusal.BAD_LOCAL_TIME.of(name)),
            "channel": lambda text: self._configured(text, name, self.known.channels),
            "category": lambda text: self._configured(text, name, self.known.categories),
        }.get(name, lambda text: values.text(text, name))

    def _configured(self, text: Texts, name: str, known: tuple[str, ...]) -> Read:
        """Return the names in the case in which they are configured.

        A name that is not configured is kept; in interactions it gets the reason unknown_name.
        """
        by_lower = {k.lower(): k for k in known}
        unknown = Refusal.UNKNOWN_NAME.of(name) if known and self.table == "interactions" else None
        read = values.text(text, name)

        def spelt(written: str) -> tuple[str, str | None]:
            return by_lower.get(written.lower(), written), None if written.lower() in by_lower else unknown

        names = values.each(pd.Series(read.values, index=text.index), spelt)
        return Read(names.values, first(read.problem, names.problem), read.empty)

    def _names(self, text: Texts, name: str) -> Read:
        if name == "channels":
            return values.names(text, name, self.mapping.list_separator, self.known.channels, ())
        return values.names(text, name, self.mapping.list_separator, self.known.categories, (EVERY_CATEGORY,))

    def _moment(self, text: Texts, name: str) -> Read:
        """Return UTC times. A text without an offset is local time of the row's zone; of two readings, the first."""
        mapping, typed = self.mapping, self.mapping.format == "parquet"
        zone = self.rows[mapping.zone_column] if mapping.zone_column else str(mapping.times_in)
        zones = zone if isinstance(zone, pd.Series) else pd.Series(zone, index=text.index, dtype=object)
        with_zone = text.where(text.isna(), text.astype(object) + _BETWEEN + zones.fillna("").astype(object))

        def parse(raw: str) -> tuple[datetime | None, str | None]:
            written, _, zone_name = raw.partition(_BETWEEN)
            moment = read_time(written, mapping.time_formats, typed)
            if moment is None:
                return None, Refusal.BAD_TIME.of(name)
            try:
                at, problem = _in_utc(moment, zone_name)
            except OverflowError:  # within a day of the first or last year
                return None, Refusal.BAD_TIME.of(name)
            if at is None:
                return None, problem
            if at < FIRST_TIME:
                return at, Refusal.TIME_BEFORE_2000
            return at, Refusal.TIME_IN_FUTURE if self.latest is not None and at > self.latest else None

        empty = text.map(lambda t: _is_empty(t) or NO_TIME.match(t) is not None).to_numpy(bool)
        return values.each(with_zone.mask(empty, None), parse)

    # --- values that depend on several columns

    def _pscore(self) -> None:
        """Read the logged probability. It counts only where the person was available; elsewhere it is None."""
        if "pscore" in self.mapping.constants or "pscore" not in self.mapping.columns:
            self._column("pscore", "double", False)
            return
        read = values.number(self._texts("pscore"), "pscore")
        available = (self.out["available"] == True).to_numpy(bool)  # noqa: E712  elementwise, of objects
        score = pd.to_numeric(pd.Series(read.values, dtype=object), errors="coerce").to_numpy(float)
        outside = np.isfinite(score) & ~((score > 0) & (score <= 1))
        self.missing.append(flag(available & read.empty, Refusal.MISSING_VALUE.of("pscore")))
        self.faults.append(flag(available & outside, Refusal.PSCORE_OUT_OF_RANGE))
        self.faults.append(_blank(read.problem, ~available))
        self._set("pscore", _blank(read.values, ~available | outside))

    def _quiet_hours(self) -> None:
        """Replace a person's quiet hours by the strictest ones where they are incomplete, unreadable or empty."""
        if "quiet_start" not in self.mapping.columns:
            return
        start, end = self.out["quiet_start"].to_numpy(object), self.out["quiet_end"].to_numpy(object)
        has_start, has_end = (~values.text(self._texts(n), n).empty for n in ("quiet_start", "quiet_end"))
        unread = (has_start | has_end) & ((start == None) | (end == None))  # noqa: E711  elementwise
        equal = (start != None) & (start == end)  # noqa: E711  it may mean all day or no quiet hours
        self.lost.append(flag(~has_start & has_end, Refusal.MISSING_VALUE.of("quiet_start")))
        self.lost.append(flag(~has_end & has_start, Refusal.MISSING_VALUE.of("quiet_end")))
        self.lost.append(flag(equal, Refusal.BAD_VALUE.of("quiet_end")))
        self._set("quiet_start", np.where(unread | equal, self.known.quiet[0], start))
        self._set("quiet_end", np.where(unread | equal, self.known.quiet[1], end))

    def _outcome(self) -> None:
        """Set outcome, outcome_at and outcome_problem of sends; all are False where the mapping has no outcome."""
        outcome_map, nothing = self.mapping.outcome, np.full(len(self.rows), None, object)
        at = self._outcome_time()
        if outcome_map is None:
            outcome, problem = np.full(len(self.rows), False, object), nothing
        elif outcome_map.column is None:  # a filled time is an outcome
            unread = at.problem != None  # noqa: E711  elementwise
            outcome, problem = (~at.empty & ~unread).astype(object), at.problem
            outcome[~at.empty & unread] = None
        else:
            words = self.mapping.booleans.meaning() | {w.lower(): True for w in outcome_map.yes}
            words |= {w.lower(): False for w in outcome_map.no}
            read = values.success(self.rows[outcome_map.column], words, outcome_map.threshold)
            outcome, problem = np.where(read.empty, False, read.values), read.problem
            if outcome_map.at:  # a time where the column is empty leaves open what happened
                undecided = read.empty & ~at.empty
                outcome = _blank(outcome, undecided)
                problem = first(problem, flag(undecided, Refusal.MISSING_VALUE.of("outcome")))
            self.lost.append(_blank(at.problem, outcome != True))  # noqa: E712
        self._set("outcome", outcome)
        self._set("outcome_at", _blank(at.values, outcome != True))  # noqa: E712
        self._set("outcome_problem", problem)

    def _outcome_time(self) -> Read:
        """Return the times of outcomes; empty where the mapping names none, or a text stands for no time."""
        outcome_map, nothing = self.mapping.outcome, np.full(len(self.rows), None, object)
        if outcome_map is None or not outcome_map.at:
            return Read(nothing, nothing, np.full(len(self.rows), True))
        at = self._moment(self.rows[outcome_map.at], "outcome_at")
        never = np.fromiter((v is not None and is_no_time(v) for v in at.values), bool, len(self.rows))
        unread = at.problem != None  # noqa: E711  elementwise
        return Read(_blank(at.values, unread | never), _blank(at.problem, never), at.empty | never)

    def _send_key(self) -> None:
        """Set the key of each send: the log's, else the hash of the source and of the columns of `identity`."""
        columns = [[str(v) for v in self.out[name]] for name in self.mapping.identity]
        keys = [
            keyed_hash("send", self.source.source, *identity) if key is None else key
            for key, *identity in zip(self.out["send_key"].to_numpy(object), *columns, strict=True)
        ]
        self._set("send_key", keys)

    def _decision(self) -> None:
        """Set slot_text and segment, where the mapping names them and they were read."""
        decision = self.mapping.decision
        for key, name in (("slot", "slot_text"), ("segment", "segment")):
            raw = decision and getattr(decision, key)
            if raw and raw in self.rows:
                self._set(name, values.text(self.rows[raw], name).values)

    def _set(self, name: str, column: Iterable[object]) -> None:
        self.out[name] = self._series(column)


def _is_empty(text: str | None) -> bool:
    return text is None or is_nothing(text)


def _in_utc(at: datetime, zone_name: str) -> tuple[datetime | None, Refusal | None]:
    """Return the time in UTC, a naive one as local time of the zone; or None and the reason why it has none."""
    if at.tzinfo is not None:
        return at.astimezone(UTC), None
    if is_nothing(zone_name):
        return None, Refusal.LOCAL_TIME_WITHOUT_ZONE
    if (zone := zone_named(zone_name)) is None:
        return None, Refusal.UNKNOWN_ZONE
    moment = from_local(at, zone)
    return moment, Refusal.NONEXISTENT_LOCAL_TIME if moment is None else None


def _blank(column: Objects, rows: Flags) -> Objects:
    """Return a copy of the column (N,) with None where `rows` (N,) is true."""
    blanked = np.array(column, object)
    blanked[np.asarray(rows, bool)] = None
    return blanked


def _joined(reasons: list[Objects], rows: int, sound: Flags) -> list[str | None]:
    """Return the reasons of each row, joined by commas; None where there is none or the row is not sound."""
    return [
        ",".join(r for r in row if r) or None if ok else None
        for row, ok in zip(zip(*reasons, strict=True) if reasons else [()] * rows, sound, strict=True)
    ]
