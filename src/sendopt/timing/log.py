"""A log of decisions by its column mapping: every row is used, or left out for one reason that is counted.

Rows are read by the reader of `sendopt ingest`, and a success is what the nights' features count (`domain.success`).
"""

from __future__ import annotations

from collections import Counter
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
from sendopt.ingest import SourceMapping
from sendopt.ingest.counts import OUTCOMES, Counts, require_readable
from sendopt.ingest.reader import RawTable, Reading, read_table
from sendopt.ingest.schema import Decision
from sendopt.ingest.values import first, flag, is_number, micros
from sendopt.ingest.vocabulary import CONSENT_KINDS
from sendopt.timing.decisions import Decisions
from sendopt.timing.matching import with_send

LIMITS = Ingest()
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Log:
    """The decisions and what became of the rows: rows_in = used + those in `dropped`. None where pscore is missing.

    `outcomes` says how many rows hold an outcome, and which of them were not used.
    """

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
    outcomes: dict[str, Any] = field(default_factory=dict)

    @property
    def used(self) -> int:
        return self.rows_in - sum(self.dropped.values())


def read_log(source: Path, mapping: SourceMapping, label: str, window_hours: float, limits: Ingest = LIMITS) -> Log:
    """The log of `source`, a file or folder, under `mapping`.

    An outcome in the row of its send counts by its own kind, else interactions of kind `label` and those that imply it;
    both within `window_hours` of the send where they have a time. Sends whose window is not over by the log's last
    entry are left out where interactions are counted. Raises InputNotReady for a missing file, ContractError where a
    file does not fit the mapping or more rows or outcomes than `limits` allows cannot be read, ConfigError where the
    mapping names no outcome.
    """
    if "sends" not in mapping.tables:
        raise ConfigError("the mapping has no tables.sends: there is no decision to evaluate; add it")
    sends = mapping.tables["sends"]
    if sends.outcome is None and "interactions" not in mapping.tables:
        raise ConfigError(
            "the mapping names no outcome: give tables.sends an `outcome`, or map tables.interactions, so that a "
            "success can be told from a failure"
        )
    raw = read_table(Reading("sends", mapping, decisions=True), source)
    frame = raw.rows
    again = _duplicates(frame)
    reason = first(frame["reason"].to_numpy(object), again)
    once = frame[reason == None]  # noqa: E711  elementwise; as ingest would keep them
    reason = first(reason, flag(frame["available"] == False, "not_available"))  # noqa: E712
    if "pscore" in {*sends.columns, *sends.constants}:
        reason = first(reason, _other_kind(frame))
    kind = sends.outcome.kind if sends.outcome else label
    rule = _rule(kind, window_hours)
    counts = {"sends": _counts(raw, reason)}
    if sends.outcome is not None:
        outcome = f"{kind}, from the row of the send"
        judged, counts[OUTCOMES] = _row_outcomes(frame, reason, rule)
    else:
        outcome = f"{label} within {window_hours:g} hours"
        log = read_table(Reading("interactions", mapping), source)
        judged, counts["interactions"] = _interactions(frame, once, log, mapping, rule)
    require_readable(mapping.source, counts, limits, options=True)
    frame["success"] = judged["success"].to_numpy(float)
    reason = first(reason, judged["reason"].to_numpy(object))
    decision = sends.decision or Decision()
    frame["slot"], unplaced = _slots(frame, decision)
    frame["segment"] = frame["segment"].fillna("unknown") if "segment" in frame else "all"
    reason = first(reason, unplaced)
    dropped = Counter(str(r) for r in reason[reason != None])  # noqa: E711  elementwise
    kept = frame[reason == None]  # noqa: E711  elementwise
    slot_from = f"the column {decision.slot}" if decision.slot else "the local hour"
    if not decision.slot and decision.slot_hours > 1:
        slot_from += f", {decision.slot_hours} hours a slot"
    days = [str(at.date()) for at in (kept["sent_at_utc"].min(), kept["sent_at_utc"].max())] if len(kept) else ["", ""]
    facts: dict[str, Any] = {
        "rows_in": len(frame),
        "dropped": dict(sorted(dropped.items())),
        "outcome": outcome,
        "slot_from": slot_from,
        "people": int(kept["user_id"].nunique()),
        "first_day": days[0],
        "last_day": days[1],
        "outcomes": _told(kept, counts),
    }
    if "pscore" not in {*sends.columns, *sends.constants}:
        return Log(None, **facts)
    decisions, unsent = _decisions(kept)
    return Log(decisions, unsent_as_failures=unsent, **facts)


def _rule(kind: str, window_hours: float) -> SuccessRule:
    label = Label()
    return rule_of(kind, window_hours, label.implies, label.clock_tolerance_seconds, label.machine_open_seconds)


def _counts(raw: RawTable, reason: Any) -> Counts:
    """What became of the rows as an ingest would count them; one that is no decision, or of no known probability, was
    read all the same: the verdict speaks of it."""
    own = (str(r) for r in reason if r is not None)
    reasons = Counter(
        r for r in own if r != "not_available" and not r.endswith(("decision_kind", "pscore", "of_range"))
    )
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
    """A log is evaluated as of one kind of decision: the one it holds most of."""
    kinds = frame["decision_kind"].dropna()
    if kinds.empty:
        return np.full(len(frame), "missing_value:decision_kind", object)
    most = sorted(kinds.value_counts().items(), key=lambda pair: (-pair[1], str(pair[0])))[0][0]
    return flag(frame["decision_kind"] != most, "other_decision_kind")


def _row_outcomes(frame: pd.DataFrame, reason: Any, rule: SuccessRule) -> tuple[pd.DataFrame, Counts]:
    """success and reason of each row by the outcome that stands in it; one without a time counts as it is."""
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
    """success and reason of each row by the log's interactions; `once`: its sound rows, one a send."""
    tolerance = pd.Timedelta(seconds=rule.tolerance_seconds)
    rows = with_send(log.rows, once, mapping.tables["interactions"], tolerance)
    found = rows["found_key"].notna().to_numpy(bool)
    at = _micros(rows["at_utc"])
    early = (
        found & rows["at_utc"].notna().to_numpy(bool) & ~np.asarray(rule.belongs(_micros(rows["sent_at"]), at), bool)
    )
    why = first(
        rows["reason"].to_numpy(object),
        flag(~found, "interaction_without_send"),
        flag(early, "interaction_before_send"),
    )
    # as in ingest, what a known person says about consent needs no send
    stated = rows["kind"].isin(CONSENT_KINDS).to_numpy(bool) & (found | rows["user_id"].notna().to_numpy(bool))
    why[stated] = None
    is_used = (why == None) & found & ~stated  # noqa: E711  elementwise
    used = rows[is_used]
    reactions = pd.DataFrame(
        {
            "send_key": used["found_key"],
            "kind": used["kind"],
            "at": at[is_used],
            "machine": (used["machine"] == True).to_numpy(bool),  # noqa: E712  elementwise, of objects
        }
    )
    judged = judge(_judged(once), reactions, rule).set_index(once.index)
    judged = judged.reindex(frame.index, fill_value=False)
    newest = max([*frame["sent_at_utc"].dropna(), *rows["at_utc"].dropna()], default=datetime(1970, 1, 1, tzinfo=UTC))
    end = _micros(pd.Series([newest], dtype=object))[0]
    late = (_micros(frame["sent_at_utc"]) + rule.window > end) & frame["sent_at_utc"].notna()
    reasons = Counter(str(r) for r in why if r is not None)
    counts = Counts(
        rows_in=len(rows),
        rows_out=len(rows) - sum(reasons.values()),
        quarantined=dict(reasons),
        files=log.files,
        empty_files=log.empty_files,
        elsewhere=log.tally.elsewhere,
        examples=dict(log.tally.examples),
    )
    why_send = first(flag(late, "immature"), flag(judged["suspected"], "suspected_machine"))
    return pd.DataFrame({"success": judged["success"].to_numpy(bool), "reason": why_send}), counts


def _judged(sends: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"send_key": sends["send_key"], "user_id": sends["user_id"], "at": _micros(sends["sent_at_utc"])}
    )


def _micros(at: pd.Series[Any]) -> Any:
    """Microseconds since 1970; 0 where there is no time."""
    filled = at.astype(object).where(at.notna(), datetime(1970, 1, 1, tzinfo=UTC))
    return micros(filled.to_numpy(object))


def _told(kept: pd.DataFrame, counts: dict[str, Counts]) -> dict[str, Any]:
    """JSON-ready: sends, successes, rows that hold an outcome, and those not used with a few of their texts."""
    of = counts.get(OUTCOMES) or counts["interactions"]
    examples = counts["sends"].examples if OUTCOMES in counts else of.examples
    return {
        "read": len(kept),
        "successes": int(kept["success"].sum()) if len(kept) else 0,
        "rows_in": of.rows_in,
        "not_used": dict(sorted(of.quarantined.items())),
        "examples": {reason: list(texts) for reason, texts in sorted(examples.items()) if reason in of.quarantined},
    }


def _slots(frame: pd.DataFrame, decision: Decision) -> tuple[Any, Any]:
    """The name of each row's slot, and why it has none: that of its raw column, else the local hours it falls into."""
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
    """`duplicate_send` for all but one sound row of a key, as ingest keeps them: one that says that it was not sent,
    then the earliest; of two at once a yes, then an outcome that nobody can read, then a no."""
    sound = frame[frame["reason"].isna()]
    rank = sound["outcome"].map({True: 0, False: 2}).fillna(1)
    order = sound.assign(_sent=sound["sent"].astype(bool), _rank=rank)
    order = order.sort_values(["_sent", "sent_at_utc", "_rank", "raw"], kind="stable")
    again = np.full(len(frame), None, object)
    again[frame.index.get_indexer(order.index[order["send_key"].duplicated()])] = "duplicate_send"
    return again


def _decisions(kept: pd.DataFrame) -> tuple[Decisions, int]:
    """The decisions by user and time, and how many drawn slots were not sent after all: they count as no success."""
    user, at = pd.factorize(kept["user_id"], sort=True)[0], micros(kept["sent_at_utc"].to_numpy(object))
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
        day=at[order] // _DAY,
    ), unsent


def _codes(names: pd.Series) -> tuple[Any, tuple[str, ...]]:
    """Codes in the order of numbers where all names are such, else of text."""
    found = sorted({str(n) for n in names}, key=lambda n: (float(n), n) if is_number(n) else (np.inf, n))
    return pd.Categorical(names.astype(str), categories=found).codes.astype(np.int64), tuple(found)
