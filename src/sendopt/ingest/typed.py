"""Rows of text as rows of a table: typed values, the first reason why a row cannot be used, and values that are lost.

A row is refused for what its table needs: reasons are looked for in a fixed order, malformed_row, missing_value, then
each column's own in the contract's order. A bad optional value costs that value only and is named in `lost`. Consent
that is not understood forbids: an unknown category becomes `*`, every category, and an unknown channel is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from sendopt.config.schema import Settings
from sendopt.domain.consent import EVERY_CATEGORY
from sendopt.domain.keys import keyed_hash
from sendopt.domain.slots import MINUTES_PER_DAY, from_local, minute_of
from sendopt.domain.tables import TABLES
from sendopt.ingest import values
from sendopt.ingest.mapping import nearest
from sendopt.ingest.rows import without_damage
from sendopt.ingest.schema import DECISION_KINDS, FILLED, MATCHING, SEPARATOR, FirstOf, SourceMapping, TableMapping
from sendopt.ingest.times import FIRST_TIME, is_no_time, read_time
from sendopt.ingest.values import Read, first, flag
from sendopt.ingest.vocabulary import NO_TIME, clock_of, is_nothing, kind_of, zone_named

MAX_SKEW = timedelta(hours=1)  # a clock ahead of ours
PLANNING_AHEAD = timedelta(days=731)  # messages are for later
# Optional columns whose bad value refuses the row all the same: what they forbid must not get lost.
_NEVER_LOST = {"decision_kind", "earliest_utc", "expiry_utc"}
EVERY = "*"  # among the values of `where`: any that is filled
Texts = Any  # (N,) object array of text or None


@dataclass(frozen=True)
class Known:
    """What the settings know: consent is read against it. Empty: nothing is configured, and every name is taken."""

    channels: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    quiet: tuple[str, str] = ("20:00", "10:00")  # of people whose own quiet hours cannot be read: the strictest


def known_of(settings: Settings) -> Known:
    """The names that these settings know, and the longest of their quiet hours."""
    quiet = settings.quiet_hours
    windows = [w for w in (quiet.everyone, *quiet.channels.values()) if w is not None]
    strictest = max(windows, key=lambda w: (minute_of(w.end) - minute_of(w.start)) % MINUTES_PER_DAY, default=None)
    return Known(
        channels=tuple(sorted(settings.channels)),
        categories=tuple(sorted({c.category for c in settings.campaigns.values()})),
        quiet=(strictest.start, strictest.end) if strictest else Known.quiet,
    )


def wanted_columns(mapping: TableMapping, decisions: bool = False) -> dict[str, str]:
    """Every raw column to read, with the key of the mapping that asks for it; `decisions`: those of `evaluate` too."""
    wanted = mapping.raw_columns
    return {**wanted, **{r: k for r, k in mapping.decision_columns.items() if decisions and r not in wanted}}


def of_table(rows: pd.DataFrame, mapping: TableMapping) -> pd.Series[bool]:
    """True for the rows that `where` makes rows of this table, and for the malformed, of which nobody can say."""
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
    """raw, reason (None: sound), lost (reasons with commas between), and the table's columns that the log can give.

    Sends also have outcome (True, False, or None where it cannot be read), outcome_at and outcome_problem, and
    `slot_text` and `segment` where the mapping's `decision` names them and they were read. Times are aware UTC
    datetimes. `received_utc`: later times are refused; None: no time is.
    """
    return _Typing(rows, table, source, received_utc, known).frame()


class _Typing:
    def __init__(
        self, rows: pd.DataFrame, table: str, source: SourceMapping, received_utc: datetime | None, known: Known
    ) -> None:
        self.rows, self.table, self.source, self.known = rows, table, source, known
        self.mapping = source.tables[table]
        ahead = PLANNING_AHEAD if table == "messages" else MAX_SKEW
        self.latest = None if received_utc is None else received_utc + ahead
        self.out = pd.DataFrame(index=rows.index)
        self.missing: list[Any] = []
        self.faults: list[Any] = []
        self.lost: list[Any] = []

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
        malformed = flag(self.rows["malformed"], "malformed_row")
        self.out["reason"] = first(malformed, *self.missing, *self.faults)
        self.out["lost"] = _joined(self.lost, len(self.rows), ~self.rows["malformed"].to_numpy(bool))
        self.out["raw"] = [without_damage(r) for r in self.rows["raw"]]
        self._decision()
        return self.out

    # --- columns

    def _texts(self, name: str) -> pd.Series[Any]:
        """The raw texts of a mapped column, its parts composed and its values put into our words."""
        parts = [self.rows[raw] for raw in self.mapping.parts_of(name)]
        text = parts[0]
        if isinstance(self.mapping.columns[name], FirstOf):
            filled = [p.where(~p.map(lambda t: t is None or is_nothing(t)).astype(bool), None) for p in parts]
            text = pd.Series(first(*(p.to_numpy(object) for p in filled)), index=self.rows.index, dtype=object)
        elif len(parts) > 1:
            joined = [
                None if any(t is None or is_nothing(t) for t in p) else SEPARATOR.join(p)
                for p in zip(*parts, strict=True)
            ]
            text = pd.Series(joined, index=self.rows.index, dtype=object)
        if name in self.mapping.defaults:
            empty = text.map(lambda t: t is None or is_nothing(t)).astype(bool)
            text = text.mask(empty & ~self.rows["malformed"].astype(bool), self.mapping.defaults[name])
        meanings = {str(raw).lower(): value for raw, value in self.mapping.values.get(name, {}).items()}
        if not meanings:
            return text
        other = meanings.get("*")

        def meaning(raw: str) -> tuple[str | None, None]:
            value = meanings.get(raw.lower(), other)
            return raw if value is None else str(value), None

        return pd.Series(values.each(text, meaning).values, index=self.rows.index, dtype=object)

    def _column(self, name: str, kind: str, needed: bool) -> None:
        if name in self.mapping.constants:
            self._set(name, [self.mapping.constants[name]] * len(self.rows))
        elif name not in self.mapping.columns:
            self._set(name, [None] * len(self.rows))
        else:
            self._read(name, self._texts(name), kind, needed)

    def _read(self, name: str, text: pd.Series[Any], kind: str, needed: bool) -> None:
        found = self._reader(name, kind)(text)
        self._set(name, found.values)
        if needed and kind != "array<string>":
            self.missing.append(flag(found.empty, f"missing_value:{name}"))
        if (needed and kind != "array<string>") or name in _NEVER_LOST or self._decides_consent(name):
            self.faults.append(found.problem)
        else:
            self.lost.append(found.problem)

    def _decides_consent(self, name: str) -> bool:
        """A kind, of which an opt-out is one, is needed even where the contract could do without."""
        return self.table == "interactions" and name == "kind"

    def _reader(self, name: str, kind: str) -> Callable[[pd.Series[Any]], Read]:
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
            "timezone": lambda text: values.one(text, zone_named, "unknown_zone"),
            "kind": lambda text: values.one(text, kind_of, "unknown_kind"),
            "decision_kind": lambda text: values.one(
                text, lambda t: t if t in DECISION_KINDS else None, "bad_value:decision_kind"
            ),
            "quiet_start": lambda text: values.one(text, clock_of, "bad_local_time:quiet_start"),
            "quiet_end": lambda text: values.one(text, clock_of, "bad_local_time:quiet_end"),
            "channel": lambda text: self._configured(text, name, self.known.channels),
            "category": lambda text: self._configured(text, name, self.known.categories),
        }.get(name, lambda text: values.text(text, name))

    def _configured(self, text: pd.Series[Any], name: str, known: tuple[str, ...]) -> Read:
        """The text, in the case of the configured name that it is; of interactions, another name is kept and said."""
        by_lower = {k.lower(): k for k in known}
        strange = f"unknown_name:{name}" if known and self.table == "interactions" else None
        read = values.text(text, name)

        def spelt(t: str) -> tuple[str, str | None]:
            return by_lower.get(t.lower(), t), None if t.lower() in by_lower else strange

        names = values.each(pd.Series(read.values, index=text.index), spelt)
        return Read(names.values, first(read.problem, names.problem), read.empty)

    def _names(self, text: pd.Series[Any], name: str) -> Read:
        if name == "channels":
            return values.names(text, name, self.mapping.list_separator, self.known.channels, ())
        return values.names(text, name, self.mapping.list_separator, self.known.categories, (EVERY_CATEGORY,))

    def _moment(self, text: pd.Series[Any], name: str) -> Read:
        """UTC times; a text without an offset is local time of the row's zone, its first reading where read twice."""
        mapping, typed = self.mapping, self.mapping.format == "parquet"
        zone = self.rows[mapping.zone_column] if mapping.zone_column else str(mapping.times_in)
        zones = zone if isinstance(zone, pd.Series) else pd.Series(zone, index=text.index, dtype=object)
        both = text.where(text.isna(), text.astype(object) + "\x1f" + zones.fillna("").astype(object))

        def one(raw: str) -> tuple[datetime | None, str | None]:
            written, _, where = raw.partition("\x1f")
            read = read_time(written, mapping.time_formats, typed)
            if read is None:
                return None, f"bad_time:{name}"
            try:
                at = _in_utc(read, where)
            except OverflowError:  # within a day of the first or last year
                return None, f"bad_time:{name}"
            if isinstance(at, str):
                return None, at
            if at < FIRST_TIME:
                return at, "time_before_2000"
            return at, "time_in_future" if self.latest is not None and at > self.latest else None

        empty = text.map(lambda t: t is None or is_nothing(t) or NO_TIME.match(t) is not None).to_numpy(bool)
        return values.each(both.mask(empty, None), one)

    # --- what one column alone cannot say

    def _pscore(self) -> None:
        """A logging probability means something only where the person was available: elsewhere it is None."""
        if "pscore" in self.mapping.constants or "pscore" not in self.mapping.columns:
            self._column("pscore", "double", False)
            return
        read = values.number(self._texts("pscore"), "pscore")
        available = (self.out["available"] == True).to_numpy(bool)  # noqa: E712  elementwise, of objects
        score = pd.to_numeric(pd.Series(read.values, dtype=object), errors="coerce").to_numpy(float)
        outside = np.isfinite(score) & ~((score > 0) & (score <= 1))
        self.missing.append(flag(available & read.empty, "missing_value:pscore"))
        self.faults.append(flag(available & outside, "pscore_out_of_range"))
        self.faults.append(np.where(available, read.problem, None))
        self._set("pscore", np.where(available & ~outside, read.values, None))

    def _quiet_hours(self) -> None:
        """One's own quiet hours are a pair that says something; where they do not, the strictest ones hold."""
        if "quiet_start" not in self.mapping.columns:
            return
        start, end = self.out["quiet_start"].to_numpy(object), self.out["quiet_end"].to_numpy(object)
        given = [~values.text(self._texts(n), n).empty for n in ("quiet_start", "quiet_end")]
        unread = (given[0] | given[1]) & ((start == None) | (end == None))  # noqa: E711  elementwise
        equal = (start != None) & (start == end)  # noqa: E711  all day, or no quiet hours at all?
        for name, has, other in (("quiet_start", given[0], given[1]), ("quiet_end", given[1], given[0])):
            self.lost.append(flag(~has & other, f"missing_value:{name}"))
        self.lost.append(flag(equal, "bad_value:quiet_end"))
        self._set("quiet_start", np.where(unread | equal, self.known.quiet[0], start))
        self._set("quiet_end", np.where(unread | equal, self.known.quiet[1], end))

    def _outcome(self) -> None:
        """outcome, outcome_at, outcome_problem of the row's own outcome; none is configured: False."""
        given, nothing = self.mapping.outcome, np.full(len(self.rows), None, object)
        at = Read(nothing, nothing, np.full(len(self.rows), True))
        if given is not None and given.at:
            at = self._moment(self.rows[given.at], "outcome_at")
            never = np.fromiter((v is not None and is_no_time(v) for v in at.values), bool, len(self.rows))
            unread = at.problem != None  # noqa: E711  elementwise
            at = Read(_blank(at.values, unread | never), _blank(at.problem, never), at.empty | never)
        if given is None:
            outcome, problem = np.full(len(self.rows), False, object), nothing
        elif given.column is None:
            outcome = np.where(at.empty, False, flag(at.problem == None, "read") == "read").astype(object)  # noqa: E711
            outcome[~at.empty & (at.problem != None)] = None  # noqa: E711
            problem = at.problem
        else:
            words = self.mapping.booleans.meaning() | {w.lower(): True for w in given.yes}
            words |= {w.lower(): False for w in given.no}
            read = values.success(self.rows[given.column], words, given.threshold)
            outcome, problem = np.where(read.empty, False, read.values), read.problem
            if given.at:  # a time of what the column leaves open
                left_open = read.empty & ~at.empty
                outcome = _blank(outcome, left_open)
                problem = first(problem, flag(left_open, "missing_value:outcome"))
            self.lost.append(np.where(outcome == True, at.problem, None))  # noqa: E712
        self._set("outcome", outcome)
        self._set("outcome_at", np.where(outcome == True, at.values, None))  # noqa: E712
        self._set("outcome_problem", problem)

    def _send_key(self) -> None:
        own = self.out["send_key"].to_numpy(object)
        parts = [[str(v) for v in self.out[name]] for name in self.mapping.identity]
        made = [
            keyed_hash("send", self.source.source, *p) if k is None else k for k, *p in zip(own, *parts, strict=True)
        ]
        self._set("send_key", made)

    def _decision(self) -> None:
        decision = self.mapping.decision
        for key, name in (("slot", "slot_text"), ("segment", "segment")):
            raw = decision and getattr(decision, key)
            if raw and raw in self.rows:
                self._set(name, values.text(self.rows[raw], name).values)

    def _set(self, name: str, column: Iterable[Any]) -> None:
        self.out[name] = pd.Series(list(column), index=self.rows.index, dtype=object)


def _in_utc(at: datetime, where: str) -> datetime | str:
    """The time in UTC, a naive one as local time of the zone that `where` names; else the reason why there is none."""
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    if is_nothing(where):
        return "local_time_without_zone"
    if (zone := zone_named(where)) is None:
        return "unknown_zone"
    return from_local(at, zone) or "nonexistent_local_time"


def unknown_names(rows: pd.Series[Any], known: tuple[str, ...]) -> dict[str, str]:
    """The different names of a column that no setting knows, each with the nearest one that it does."""
    by_lower = {k.lower() for k in known}
    strange = sorted({str(n) for n in rows.dropna() if str(n).lower() not in by_lower})
    return {name: next(iter(nearest(name, known)), "") for name in strange}


def _blank(values: Any, which: Any) -> Any:
    """The values (N,) with None where `which`."""
    left = np.array(values, object)
    left[np.asarray(which, bool)] = None
    return left


def _joined(reasons: list[Any], rows: int, sound: Any) -> list[str | None]:
    """All reasons of each row with commas between; None where there is none or the row is not sound."""
    return [
        ",".join(r for r in row if r) or None if ok else None
        for row, ok in zip(zip(*reasons, strict=True) if reasons else [()] * rows, sound, strict=True)
    ]
