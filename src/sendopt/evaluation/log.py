"""A log of decisions by its column mapping: every row is used, or left out for one reason that is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sendopt.domain.slots import local_hour, zone_or_none
from sendopt.errors import ConfigError
from sendopt.evaluation import values
from sendopt.evaluation.texts import read_texts
from sendopt.ingest import DECISION_KINDS, Decision, SourceMapping, TableMapping
from sendopt.measurement.decisions import Decisions

NEEDED = (
    "user_id", "notification_id", "send_key", "campaign_id", "sent_at_utc", "timezone", "pscore", "decision_kind",
    "available", "sent",
)  # fmt: skip


@dataclass(frozen=True)
class Log:
    """The decisions and what became of the rows: rows_in = used + those in `dropped`. None where pscore is missing."""

    decisions: Decisions | None
    rows_in: int
    dropped: dict[str, int]
    outcome: str
    slot_from: str
    people: int = 0
    first_day: str = ""
    last_day: str = ""
    unsent_as_failures: int = 0
    warnings: tuple[str, ...] = field(default=())

    @property
    def used(self) -> int:
        return self.rows_in - sum(self.dropped.values())


def read_log(source: Path, mapping: SourceMapping, label: str, window_hours: float) -> Log:
    """The log of `source`, a file or folder, under `mapping`.

    An outcome in the row of its send counts as it is; else an interaction of kind `label` within `window_hours` of the
    send does, and sends whose window is not over by the log's last entry are left out. Raises InputNotReady for a
    missing file, ContractError where a file does not fit the mapping, ConfigError where the mapping names no outcome.
    """
    if "sends" not in mapping.tables:
        raise ConfigError("the mapping has no tables.sends: there is no decision to evaluate; add it")
    sends = mapping.tables["sends"]
    if sends.outcome is None and "interactions" not in mapping.tables:
        raise ConfigError(
            "the mapping names no outcome: give tables.sends an `outcome`, or map tables.interactions, so that a "
            "success can be told from a failure"
        )
    rows, malformed = read_texts("sends", sends, _wanted(sends), source)
    frame, reason = _typed(rows, sends)
    decision = sends.decision or Decision()
    if sends.outcome is not None:
        outcome = f"{sends.outcome.kind}, from the row of the send"
    else:
        outcome = f"{label} within {window_hours:g} hours"
        more = _interactions(source, mapping, label)
        frame["success"], late = _matched(frame, more, timedelta(hours=window_hours))
        reason = _first(reason, _flag(late, "immature"))
    frame["slot"], unplaced = _slots(frame, decision)
    reason = _first(reason, unplaced)
    reason = _first(reason, _duplicates(frame, reason))
    dropped = Counter(str(r) for r in reason[reason != None])  # noqa: E711  elementwise
    if malformed:
        dropped["malformed_row"] = malformed
    kept = frame[reason == None]  # noqa: E711  elementwise
    slot_from = (
        f"the column {decision.slot}" if decision.slot else "the local hour" + (
            f", {decision.slot_hours} hours a slot" if decision.slot_hours > 1 else "")
    )  # fmt: skip
    days = [str(at.date()) for at in (kept["sent_at_utc"].min(), kept["sent_at_utc"].max())] if len(kept) else ["", ""]
    facts: dict[str, Any] = {
        "rows_in": len(rows) + malformed, "dropped": dict(sorted(dropped.items())), "outcome": outcome,
        "slot_from": slot_from, "people": int(kept["user_id"].nunique()), "first_day": days[0], "last_day": days[1],
    }  # fmt: skip
    if "pscore" not in {*sends.columns, *sends.constants}:
        return Log(None, **facts)
    decisions, unsent = _decisions(kept)
    return Log(decisions, unsent_as_failures=unsent, **facts)


def _wanted(sends: TableMapping) -> dict[str, str]:
    wanted = {raw: f"columns.{name}" for name, raw in sends.columns.items() if name in NEEDED}
    extra = {
        "outcome.column": sends.outcome and sends.outcome.column,
        "outcome.at": sends.outcome and sends.outcome.at,
        "times_in.column": sends.zone_column,
        "decision.slot": sends.decision and sends.decision.slot,
        "decision.segment": sends.decision and sends.decision.segment,
    }
    for key, raw in extra.items():
        if raw:
            wanted.setdefault(raw, key)
    return wanted


def _typed(rows: pd.DataFrame, sends: TableMapping) -> tuple[pd.DataFrame, Any]:
    """The typed columns and each row's first fault, found in ingest's order: missing values, then by column."""
    frame = pd.DataFrame(index=rows.index)
    missing: list[Any] = []
    faults: list[Any] = []

    def column(name: str, read: Callable[[pd.Series], values.Read] | None, required: bool) -> None:
        if name in sends.constants:
            frame[name] = pd.Series([sends.constants[name]] * len(rows), index=rows.index, dtype=object)
        elif name in sends.columns:
            text = rows[sends.columns[name]]
            if required:
                missing.append(_flag(text.isna(), f"missing_value:{name}"))
            found = values.Read(text.to_numpy(object), np.full(len(rows), None, object)) if read is None else read(text)
            frame[name] = pd.Series(found.values, index=rows.index, dtype=object)
            faults.append(found.problem)
        else:
            frame[name] = pd.Series([None] * len(rows), index=rows.index, dtype=object)

    zone = rows[sends.zone_column] if sends.zone_column else str(sends.times_in)
    typed = sends.format == "parquet"
    for name in ("user_id", "notification_id", "campaign_id"):
        column(name, None, True)
    column("send_key", None, False)
    column("sent_at_utc", lambda t: values.moment(t, zone, sends.time_format, typed, "sent_at_utc"), True)
    column("timezone", _zone, False)
    for name in ("available", "sent"):
        column(name, lambda t, name=name: values.boolean(t, name), True)  # type: ignore[misc]
    column("decision_kind", _kind, False)
    column("pscore", lambda t: values.number(t, "pscore"), False)
    # a pscore means something only where the person was available
    of_pscore = faults.pop() if "pscore" in sends.columns else np.full(len(rows), None, object)
    reason = _first(*missing, *faults)
    reason = _first(reason, _flag(frame["available"] == False, "not_available"))  # noqa: E712  elementwise
    if "pscore" in {*sends.columns, *sends.constants}:
        pscore = pd.to_numeric(frame["pscore"], errors="coerce").to_numpy(float)
        outside = np.isfinite(pscore) & ~((pscore > 0) & (pscore <= 1))
        reason = _first(reason, of_pscore, _flag(np.isnan(pscore), "missing_value:pscore"))
        reason = _first(reason, _flag(outside, "pscore_out_of_range"))
        reason = _first(reason, _other_kind(frame))
    frame["success"], bad = _row_outcome(rows, sends)
    segment = sends.decision.segment if sends.decision else None
    if sends.decision and sends.decision.slot:
        frame["slot_text"] = rows[sends.decision.slot]
    frame["segment"] = rows[segment].fillna("unknown") if segment else "all"
    return frame, _first(reason, bad)


def _zone(text: pd.Series) -> values.Read:
    return values.each(text, lambda z: (z, None) if zone_or_none(z) is not None else (None, "unknown_zone"))


def _kind(text: pd.Series) -> values.Read:
    return values.each(text, lambda k: (k, None) if k in DECISION_KINDS else (None, "bad_value:decision_kind"))


def _other_kind(frame: pd.DataFrame) -> Any:
    """A log is evaluated as of one kind of decision: the one it holds most of."""
    kinds = frame["decision_kind"].dropna()
    if kinds.empty:
        return np.full(len(frame), "missing_value:decision_kind", object)
    most = sorted(kinds.value_counts().items(), key=lambda pair: (-pair[1], str(pair[0])))[0][0]
    return _flag(frame["decision_kind"] != most, "other_decision_kind")


def _row_outcome(rows: pd.DataFrame, sends: TableMapping) -> tuple[Any, Any]:
    nothing = np.full(len(rows), None, object)
    if sends.outcome is None:
        return np.zeros(len(rows)), nothing
    if sends.outcome.column is None:
        return rows[str(sends.outcome.at)].notna().to_numpy(float), nothing
    found = values.boolean(rows[sends.outcome.column], "outcome")
    return (found.values == True).astype(float), found.problem  # noqa: E712  elementwise


def _interactions(source: Path, mapping: SourceMapping, label: str) -> pd.DataFrame:
    """key (send_key or notification_id), at: those of kind `label`, and `newest`, the last entry of any kind."""
    table = mapping.tables["interactions"]
    names = ("send_key", "notification_id", "kind", "at_utc")
    wanted = {raw: f"columns.{name}" for name, raw in table.columns.items() if name in names}
    if table.zone_column:
        wanted.setdefault(table.zone_column, "times_in.column")
    rows, _ = read_texts("interactions", table, wanted, source)
    zone = rows[table.zone_column] if table.zone_column else str(table.times_in)
    at = values.moment(
        rows[table.columns["at_utc"]], zone, table.time_format, table.format == "parquet", "at_utc"
    ).values
    kind = rows[table.columns["kind"]] if "kind" in table.columns else table.constants["kind"]
    frame = pd.DataFrame({"at": pd.Series(at, index=rows.index, dtype=object), "kind": kind})
    for name in ("send_key", "notification_id"):
        frame[name] = rows[table.columns[name]] if name in table.columns else None
    newest = max((t for t in at if t is not None), default=None)
    frame = frame[(frame["kind"] == label) & frame["at"].notna()]
    frame.attrs["newest"] = newest
    return frame


def _matched(frame: pd.DataFrame, reactions: pd.DataFrame, window: timedelta) -> tuple[Any, Any]:
    """(success, immature) of each send: a reaction by send_key, else by notification_id, within the window."""
    sent_at = frame["sent_at_utc"].to_numpy(object)
    success = np.zeros(len(frame))
    for name in ("send_key", "notification_id"):
        named = reactions[reactions[name].notna()]
        if name == "notification_id" and reactions["send_key"].notna().any():
            named = named[named["send_key"].isna()]
        times: dict[str, list[datetime]] = {}
        for key, at in zip(named[name], named["at"], strict=True):
            times.setdefault(key, []).append(at)
        for i, (key, start) in enumerate(zip(frame[name], sent_at, strict=True)):
            if start is not None and key in times and any(start <= at <= start + window for at in times[key]):
                success[i] = 1.0
    known = [t for t in (*sent_at, reactions.attrs["newest"]) if t is not None]
    newest = max(known, default=datetime(1970, 1, 1, tzinfo=UTC))
    return success, np.array([t is not None and t + window > newest for t in sent_at], bool)


def _slots(frame: pd.DataFrame, decision: Decision) -> tuple[Any, Any]:
    """The name of each row's slot, and why it has none: that of its raw column, else the local hours it falls into."""
    if decision.slot:
        slot = frame["slot_text"].to_numpy(object)
        return slot, _flag(pd.isna(slot), "missing_value:slot")
    width = decision.slot_hours
    hours = [
        None if at is None or zone is None else local_hour(at, zone)
        for at, zone in zip(frame["sent_at_utc"], frame["timezone"], strict=True)
    ]
    slot = np.array([None if h is None else f"{h // width * width:02d}:00" for h in hours], object)
    return slot, _flag(pd.isna(slot), "zone_unknown")


def _duplicates(frame: pd.DataFrame, reason: Any) -> Any:
    """`duplicate_send` for a key that an earlier sound row has: the earliest stays, as in ingest."""
    sound = frame[reason == None]  # noqa: E711  elementwise
    key = sound["send_key"].where(sound["send_key"].notna(), sound["notification_id"])
    order = sound["sent_at_utc"].argsort(kind="stable")
    again = key.iloc[order].duplicated()
    found = np.full(len(frame), None, object)
    found[frame.index.get_indexer(again.index[again])] = "duplicate_send"
    return found


def _flag(which: Any, reason: str) -> Any:
    """`reason` where `which` (N,), else None."""
    found = np.full(len(which), None, object)
    found[np.asarray(which, bool)] = reason
    return found


def _first(*reasons: Any) -> Any:
    """The first reason of each row."""
    found = np.full(len(reasons[0]), None, object)
    for reason in reasons:
        found = np.where(found == None, reason, found)  # noqa: E711  elementwise
    return found


def _decisions(kept: pd.DataFrame) -> tuple[Decisions, int]:
    """The decisions by user and time, and how many drawn slots were not sent after all: they count as no success."""
    user, at = pd.factorize(kept["user_id"], sort=True)[0], values.micros(kept["sent_at_utc"].to_numpy(object))
    order = np.lexsort((at, user))
    slot, slots = _codes(kept["slot"])
    segment, segments = _codes(kept["segment"])
    kind = str(kept["decision_kind"].iloc[0]) if len(kept) else "slot"
    sent = (kept["sent"] == True).to_numpy(bool)  # noqa: E712  elementwise
    unsent = int((~sent).sum()) if kind == "slot" else 0
    success = kept["success"].to_numpy(float)
    if kind == "slot":
        success, sent = success * sent, np.ones(len(kept), bool)
    return Decisions(
        user=user[order].astype(np.int64),
        slot=slot[order],
        segment=segment[order],
        campaign=pd.factorize(kept["campaign_id"], sort=True)[0][order].astype(np.int64),
        success=success[order],
        sent=sent[order],
        pscore=kept["pscore"].to_numpy(float)[order],
        kind=kind,
        slots=slots,
        segments=segments or ("all",),
    ), unsent


def _codes(names: pd.Series) -> tuple[Any, tuple[str, ...]]:
    """Codes in the order of numbers where all names are such, else of text."""
    found = sorted({str(n) for n in names}, key=lambda n: (float(n), n) if values.is_number(n) else (np.inf, n))
    return pd.Categorical(names.astype(str), categories=found).codes.astype(np.int64), tuple(found)
