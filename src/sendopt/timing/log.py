"""Read a log of decisions by its column mapping: every row is used, or dropped for one counted reason.

Rows are read by the reader of `sendopt ingest`. A success is what the nights' features count (`domain.success`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sendopt.config.schema import Ingest, Label
from sendopt.domain.slots import local_hour
from sendopt.domain.success import SuccessRule, judge, rule_of
from sendopt.errors import ConfigError
from sendopt.ingest import SourceMapping, TableMapping
from sendopt.ingest.counts import OUTCOMES, Counts, require_readable
from sendopt.ingest.reader import RawTable, Reading, read_table
from sendopt.ingest.schema import Decision
from sendopt.ingest.values import first, flag, is_number, micros
from sendopt.ingest.vocabulary import CONSENT_KINDS
from sendopt.timing.decisions import DecisionKind, Decisions
from sendopt.timing.matching import with_send

LIMITS = Ingest()
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of sends as read. `read`: sends used; `successes` among them; `rows_in`: rows that hold an outcome.

    `not_used`: rows of outcomes not used, by reason; `examples`: a few texts behind a reason.
    """

    read: int = 0
    successes: int = 0
    rows_in: int = 0
    not_used: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """The decisions of a log, None where `pscore` is missing, and the counts of its rows.

    `rows_in` is the rows used plus those in `dropped` (by reason). `unsent_as_failures`: drawn slots that were not sent
    after all.
    """

    decisions: Decisions | None
    rows_in: int
    dropped: Mapping[str, int]
    outcome: str
    slot_from: str
    people: int = 0
    first_day: str = ""
    last_day: str = ""
    unsent_as_failures: int = 0
    warnings: tuple[str, ...] = field(default=())
    outcomes: Outcomes = field(default_factory=Outcomes)

    @property
    def used(self) -> int:
        """Number of rows that became decisions."""
        return self.rows_in - sum(self.dropped.values())


def read_log(source: Path, mapping: SourceMapping, label: str, window_hours: float, limits: Ingest = LIMITS) -> Log:
    """Return the log of `source`, a file or folder, under `mapping`.

    An outcome in the row of its send counts by its own kind, else interactions of kind `label` and those that imply it;
    both within `window_hours` of the send where they have a time. Sends whose window is not over by the log's last
    entry are left out where interactions are counted. Raises InputNotReady for a missing file, ContractError where a
    file does not fit the mapping or more rows or outcomes than `limits` allows cannot be read, ConfigError where the
    mapping names no outcome.
    """
    sends = _sends_mapping(mapping)
    has_pscore = "pscore" in {*sends.columns, *sends.constants}
    raw = read_table(Reading("sends", mapping, decisions=True), source)
    frame = raw.rows
    reason = first(frame["reason"].to_numpy(object), _duplicates(frame))
    once = frame[reason == None]  # noqa: E711  elementwise; as ingest would keep them
    reason = first(reason, flag(frame["available"] == False, "not_available"))  # noqa: E712
    if has_pscore:
        reason = first(reason, _other_kind(frame))
    rule = _rule(sends.outcome.kind if sends.outcome else label, window_hours)
    counts = {"sends": _counts(raw, reason)}
    if sends.outcome is not None:
        judged, counts[OUTCOMES] = _row_outcomes(frame, reason, rule)
    else:
        interactions = read_table(Reading("interactions", mapping), source)
        judged, counts["interactions"] = _interactions(frame, once, interactions, mapping, rule)
    require_readable(mapping.source, counts, limits, options=True)
    decision = sends.decision or Decision()
    frame["success"] = judged["success"].to_numpy(float)
    frame["slot"], unplaced = _slots(frame, decision)
    frame["segment"] = frame["segment"].fillna("unknown") if "segment" in frame else "all"
    reason = first(reason, judged["reason"].to_numpy(object), unplaced)
    outcome = (
        f"{sends.outcome.kind}, from the row of the send" if sends.outcome else f"{label} within {window_hours:g} hours"
    )
    return _log(frame, reason, counts, outcome, _slot_source(decision), has_pscore)


def _sends_mapping(mapping: SourceMapping) -> TableMapping:
    """Return the mapping of sends; raise ConfigError where there is none, or no outcome."""
    if "sends" not in mapping.tables:
        raise ConfigError("the mapping has no tables.sends: there is no decision to evaluate; add it")
    sends = mapping.tables["sends"]
    if sends.outcome is None and "interactions" not in mapping.tables:
        raise ConfigError(
            "the mapping names no outcome: give tables.sends an `outcome`, or map tables.interactions, so that a "
            "success can be told from a failure"
        )
    return sends


def _slot_source(decision: Decision) -> str:
    """Return what the slots are taken from, in words."""
    if decision.slot:
        return f"the column {decision.slot}"
    return "the local hour" + (f", {decision.slot_hours} hours a slot" if decision.slot_hours > 1 else "")


def _log(
    frame: pd.DataFrame, reason: Any, counts: dict[str, Counts], outcome: str, slot_from: str, has_pscore: bool
) -> Log:
    """Return the log of the rows without a `reason` (N,), without decisions where it has no pscore."""
    dropped = Counter(str(r) for r in reason[reason != None])  # noqa: E711  elementwise
    kept = frame[reason == None]  # noqa: E711  elementwise
    days = [str(at.date()) for at in (kept["sent_at_utc"].min(), kept["sent_at_utc"].max())] if len(kept) else ["", ""]
    decisions, unsent = _decisions(kept) if has_pscore else (None, 0)
    return Log(
        decisions,
        rows_in=len(frame),
        dropped=dict(sorted(dropped.items())),
        outcome=outcome,
        slot_from=slot_from,
        people=int(kept["user_id"].nunique()),
        first_day=days[0],
        last_day=days[1],
        unsent_as_failures=unsent,
        outcomes=_outcomes(kept, counts),
    )


def _rule(kind: str, window_hours: float) -> SuccessRule:
    label = Label()
    return rule_of(kind, window_hours, label.implies, label.clock_tolerance_seconds, label.machine_open_seconds)


def _counts(raw: RawTable, reason: Any) -> Counts:
    """Return the counts of the rows as an ingest has them.

    A row that is no decision, or of no known probability, counts as read: the verdict reports it.
    """
    given = (str(r) for r in reason if r is not None)
    reasons = Counter(
        r for r in given if r != "not_available" and not r.endswith(("decision_kind", "pscore", "of_range"))
    )
    return _table_counts(raw, reasons)


def _table_counts(raw: RawTable, reasons: Counter[str]) -> Counts:
    """Return the counts of a table of which rows were refused for `reasons`."""
    return Counts(
        rows_in=len(raw.rows),
        rows_out=len(raw.rows) - sum(reasons.values()),
        quarantined=dict(reasons),
        files=raw.files,
        empty_files=raw.empty_files,
        elsewhere=raw.tally.elsewhere,
        examples=dict(raw.tally.examples),
    )


def _other_kind(frame: pd.DataFrame) -> Any:
    """Return a reason for each row that is not of the log's most frequent kind of decision, shape (N,)."""
    kinds = frame["decision_kind"].dropna()
    if kinds.empty:
        return np.full(len(frame), "missing_value:decision_kind", object)
    most = sorted(kinds.value_counts().items(), key=lambda pair: (-pair[1], str(pair[0])))[0][0]
    return flag(frame["decision_kind"] != most, "other_decision_kind")


def _row_outcomes(frame: pd.DataFrame, reason: Any, rule: SuccessRule) -> tuple[pd.DataFrame, Counts]:
    """Return success and reason of each row by its outcome, with counts; an outcome without a time is not judged."""
    happened = (frame["outcome"] == True).to_numpy(bool)  # noqa: E712  elementwise, of objects
    timed = happened & frame["outcome_at"].notna().to_numpy(bool)
    sent, at = _micros(frame["sent_at_utc"]), _micros(frame["outcome_at"])
    known = frame["sent_at_utc"].notna().to_numpy(bool)
    rows = pd.DataFrame({"send_key": np.arange(len(frame)), "user_id": frame["user_id"], "at": sent})
    reactions = pd.DataFrame({"send_key": rows["send_key"], "kind": rule.kinds[0], "at": at, "machine": False})
    judged = judge(rows, reactions[timed & known], rule)
    unread = frame["outcome_problem"].to_numpy(object)
    early = flag(timed & known & ~np.asarray(rule.belongs(sent, at), bool), "interaction_before_send")
    success = (happened & ~timed) | judged["success"].to_numpy(bool)
    why = first(unread, flag(judged["suspected"], "suspected_machine"))
    sound = reason == None  # noqa: E711  elementwise
    refused = Counter(str(r) for r in first(unread, early)[sound] if r is not None)
    asked = int((happened | (unread != None))[sound].sum())  # noqa: E711  elementwise
    counts = Counts(asked, asked - sum(refused.values()), dict(refused))
    return pd.DataFrame({"success": success, "reason": why}), counts


def _interactions(
    frame: pd.DataFrame, once: pd.DataFrame, log: RawTable, mapping: SourceMapping, rule: SuccessRule
) -> tuple[pd.DataFrame, Counts]:
    """Return success and reason of each row by the log's interactions, with counts; `once`: sound rows, one a send."""
    tolerance = pd.Timedelta(seconds=rule.tolerance_seconds)
    rows = with_send(log.rows, once, mapping.tables["interactions"], tolerance)
    why, is_used = _unused(rows, rule)
    judged = judge(_judged(once), _reactions(rows[is_used]), rule).set_index(once.index)
    judged = judged.reindex(frame.index, fill_value=False)
    newest = max([*frame["sent_at_utc"].dropna(), *rows["at_utc"].dropna()], default=datetime(1970, 1, 1, tzinfo=UTC))
    end = _micros(pd.Series([newest], dtype=object))[0]
    late = (_micros(frame["sent_at_utc"]) + rule.window > end) & frame["sent_at_utc"].notna()
    why_send = first(flag(late, "immature"), flag(judged["suspected"], "suspected_machine"))
    counts = _table_counts(log, Counter(str(r) for r in why if r is not None))
    return pd.DataFrame({"success": judged["success"].to_numpy(bool), "reason": why_send}), counts


def _unused(rows: pd.DataFrame, rule: SuccessRule) -> tuple[Any, Any]:
    """Return (why each interaction cannot be used, or None; whether it is used); shapes (N,).

    As in ingest, what a known person states about consent needs no send: it has no reason, and is not used.
    """
    matched = rows["found_key"].notna().to_numpy(bool)
    belongs = np.asarray(rule.belongs(_micros(rows["sent_at"]), _micros(rows["at_utc"])), bool)
    early = matched & rows["at_utc"].notna().to_numpy(bool) & ~belongs
    why = first(
        rows["reason"].to_numpy(object),
        flag(~matched, "interaction_without_send"),
        flag(early, "interaction_before_send"),
    )
    stated = rows["kind"].isin(CONSENT_KINDS).to_numpy(bool) & (matched | rows["user_id"].notna().to_numpy(bool))
    why[stated] = None
    return why, (why == None) & matched & ~stated  # noqa: E711  elementwise


def _reactions(used: pd.DataFrame) -> pd.DataFrame:
    """Return the interactions in the columns of `domain.success.judge`."""
    return pd.DataFrame(
        {
            "send_key": used["found_key"],
            "kind": used["kind"],
            "at": _micros(used["at_utc"]),
            "machine": (used["machine"] == True).to_numpy(bool),  # noqa: E712  elementwise, of objects
        }
    )


def _judged(sends: pd.DataFrame) -> pd.DataFrame:
    """Return the sends in the columns of `domain.success.judge`."""
    return pd.DataFrame(
        {"send_key": sends["send_key"], "user_id": sends["user_id"], "at": _micros(sends["sent_at_utc"])}
    )


def _micros(at: pd.Series[Any]) -> Any:
    """Return microseconds since 1970, 0 where there is no time; shape (N,)."""
    filled = at.astype(object).where(at.notna(), datetime(1970, 1, 1, tzinfo=UTC))
    return micros(filled.to_numpy(object))


def _outcomes(kept: pd.DataFrame, counts: Mapping[str, Counts]) -> Outcomes:
    """Return the outcomes of the `kept` sends, and the rows of outcomes not used with a few of their texts."""
    of = counts.get(OUTCOMES) or counts["interactions"]
    examples = counts["sends"].examples if OUTCOMES in counts else of.examples
    return Outcomes(
        read=len(kept),
        successes=int(kept["success"].sum()) if len(kept) else 0,
        rows_in=of.rows_in,
        not_used=dict(sorted(of.quarantined.items())),
        examples={reason: list(texts) for reason, texts in sorted(examples.items()) if reason in of.quarantined},
    )


def _slots(frame: pd.DataFrame, decision: Decision) -> tuple[Any, Any]:
    """Return (each row's slot, why it has none), shapes (N,): the raw column, else the block of local hours."""
    if decision.slot:
        slot = frame["slot_text"].to_numpy(object)
        return slot, flag(pd.isna(slot), "missing_value:slot")
    width = decision.slot_hours
    hours = [
        None if at is None or zone is None else local_hour(at, zone)
        for at, zone in zip(frame["sent_at_utc"], frame["timezone"], strict=True)
    ]
    slot = np.array([None if h is None else f"{h // width * width:02d}:00" for h in hours], object)
    return slot, flag(pd.isna(slot), "zone_unknown")


def _duplicates(frame: pd.DataFrame) -> Any:
    """Return `duplicate_send` for all but one sound row of each key, shape (N,).

    The kept row is that of ingest: a row marked as not sent first, then the earliest; at equal times a success, then an
    unreadable outcome, then a failure.
    """
    sound = frame[frame["reason"].isna()]
    rank = sound["outcome"].map({True: 0, False: 2}).fillna(1)
    order = sound.assign(_sent=sound["sent"].astype(bool), _rank=rank)
    order = order.sort_values(["_sent", "sent_at_utc", "_rank", "raw"], kind="stable")
    again = np.full(len(frame), None, object)
    again[frame.index.get_indexer(order.index[order["send_key"].duplicated()])] = "duplicate_send"
    return again


def _decisions(kept: pd.DataFrame) -> tuple[Decisions, int]:
    """Return (decisions by user and time, number of drawn slots that were not sent after all: they are failures)."""
    user, at = pd.factorize(kept["user_id"], sort=True)[0], micros(kept["sent_at_utc"].to_numpy(object))
    order = np.lexsort((at, user))
    slot, slots = _codes(kept["slot"])
    segment, segments = _codes(kept["segment"])
    kind = DecisionKind(kept["decision_kind"].iloc[0]) if len(kept) else DecisionKind.SLOT
    sent = (kept["sent"] == True).to_numpy(bool)  # noqa: E712  elementwise
    unsent = int((~sent).sum()) if kind == DecisionKind.SLOT else 0
    success = kept["success"].to_numpy(float)
    if kind == DecisionKind.SLOT:
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
        day=at[order] // _DAY,
    ), unsent


def _codes(names: pd.Series) -> tuple[Any, tuple[str, ...]]:
    """Return (code of each name, the names in order): numbers by value, then texts."""
    ordered = sorted({str(n) for n in names}, key=lambda n: (float(n), n) if is_number(n) else (np.inf, n))
    return pd.Categorical(names.astype(str), categories=ordered).codes.astype(np.int64), tuple(ordered)
