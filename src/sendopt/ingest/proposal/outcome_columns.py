"""The outcomes, failures and opt-outs of a log as parts of its drafted mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sendopt.ingest.proposal import outcomes, words
from sendopt.ingest.proposal.draft import OutcomeKeys, RawColumns, Seen, TableDraft
from sendopt.ingest.proposal.drafting import Drafting, SendTime
from sendopt.ingest.proposal.outcomes import KINDS


def split_events(work: Drafting) -> None:
    """Draft the tables of an event stream: sends with failures, and outcomes as interactions.

    A status in the row of its send is no event stream.
    """
    if work.event is None or not outcomes.is_stream(work.columns, work.event):
        return
    event, values = work.event, work.columns.counts(work.event)
    meaning = outcomes.meanings(values)
    by_kind: dict[str, list[str]] = {}
    for value, kind in meaning.items():
        by_kind.setdefault(kind or "", []).append(value)
    work.taken.add(event)
    _event_sends(work, event, values, by_kind)
    results = [value for kind in (*KINDS, "dismiss", "opt_out") for value in by_kind.get(kind, ())]
    table = TableDraft(where={event: results}, where_why=_numbers(values, results))
    table.columns = {
        "user_id": Seen(work.columns.user),
        "at_utc": Seen(work.sends.columns["sent_at_utc"].value),
        "kind": Seen(event),
    }
    table.values = {"kind": {value: str(meaning[value]) for value in results}}
    work.draft.interactions = table
    work.draft.label = next(kind for kind in KINDS if by_kind.get(kind))
    if ignored := by_kind.get("", []):
        work.draft.not_seen.append(f"events that were left out: {', '.join(sorted(ignored)[:8])}")


def _event_sends(work: Drafting, event: str, values: Counter[str], by_kind: dict[str, list[str]]) -> None:
    """Draft the sends of an event stream: the more frequent of sent and delivered, and failures."""
    totals = {kind: sum(values[v] for v in by_kind.get(kind, ())) for kind in ("sent", "delivered")}
    made, failed = by_kind[max(totals, key=lambda kind: totals[kind])], by_kind.get("failed", [])
    work.sends.where = {event: (*made, *failed)}
    work.sends.where_why = _numbers(values, (*made, *failed))
    if failed:
        flags = {**dict.fromkeys(made, True), **dict.fromkeys(failed, False)}
        for role in ("sent", "available"):
            work.sends.columns[role] = Seen(event, "a failure was no send" if role == "sent" else "")
            work.sends.values[role] = flags
    else:
        work.constant("sent", True, "no event of a failure was seen")
        work.constant("available", True, "")


def _numbers(values: Counter[str], shown: Iterable[str]) -> str:
    """Return the number of rows of each of these values, in words."""
    return ", ".join(f"{values[value]:,} {value}" for value in shown)


def draft_outcome(work: Drafting) -> None:
    """Draft the outcome in the rows of sends: a column of states, of flags or numbers, or of times.

    Raises ContractError where no outcome can be seen.
    """
    if work.event is not None and work.event not in work.taken:
        return _status(work)
    for kind in KINDS:
        chosen = [c for c in work.columns.by_rank(kind) if c not in work.taken]
        times = [c for c in chosen if work.columns.clock(c) is not None and not work.columns.numbers(c)]
        for column in chosen:
            if column in times:
                continue
            if (read := outcomes.readable(work.columns, column)) is not None:
                return _with_outcome(work, kind, column, read[0], read[1], times[:1])
        if times:
            filled = len(work.columns.filled(times[0]))
            why = f"{kind}: {filled:,} of {len(work.columns):,} hold a time in {times[0]!r}"
            return _with_outcome(work, kind, None, {}, why, times[:1])
    raise work.columns.missing("outcome", "open", "what came of a message (opened, clicked, bought)")


def _with_outcome(
    work: Drafting, kind: str, column: str | None, words_of: OutcomeKeys, why: str, times: list[str]
) -> None:
    """Draft an outcome of this kind by a column, the words in it, or a time; note the outcomes that are left out."""
    keys: dict[str, str | tuple[str, ...]] = {"column": column} if column else {}
    keys["kind"] = kind
    if times:
        keys["at"] = times[0]
        clock = work.columns.clock(times[0])
        assert clock is not None
        work.formats += clock.formats
    work.sends.outcome = Seen({**keys, **words_of}, why if why.startswith(kind) else f"{kind}: {why}")
    work.draft.label = kind
    work.taken.update([*times, *([column] if column else [])])
    for unread in KINDS:
        best = work.columns.by_rank(unread)[:1] if unread != kind else []
        for column in best:
            if column not in work.taken and outcomes.readable(work.columns, column):
                work.draft.not_seen.append(
                    f"{column} ({unread}) is not read: a row holds one outcome, of this log {kind}"
                )


def _status(work: Drafting) -> None:
    """Draft the outcome from a column with the last state of each send."""
    assert work.event is not None
    values = work.columns.counts(work.event)
    meaning = outcomes.meanings(values)
    kind = next(k for k in KINDS if k in meaning.values())
    yes = tuple(v for v, m in meaning.items() if m in KINDS)
    no = tuple(v for v in values if v not in yes)
    shown = ", ".join(f"{values[v]:,} of {len(work.columns):,} are {v!r}" for v in yes)
    work.sends.outcome = Seen({"column": work.event, "kind": kind, "yes": yes, "no": no}, f"{kind}: {shown}")
    work.draft.label = kind
    work.taken.add(work.event)
    _failures(work, work.event)


def _failures(work: Drafting, column: str) -> None:
    """Draft sent and available by a column of states, where some are failures."""
    values = work.columns.counts(column)
    failed = [v for v in values if words.event_of(v) == "failed"]
    for role in ("sent", "available") if failed else ():
        why = f"{sum(values[v] for v in failed):,} of {len(work.columns):,} were not delivered"
        work.sends.columns[role] = Seen(column, why if role == "sent" else "")
        work.sends.values[role] = {**dict.fromkeys(failed, False), "*": True}
        if values.total() < len(work.columns):
            work.sends.defaults[role] = Seen("unknown", "empty: no failure")
    work.taken.add(column)


def draft_flags(work: Drafting) -> None:
    """Draft sent and available of rows that are sends: by states, flags, bounces, or as always true."""
    if "sent" not in work.sends.columns and work.columns.state is not None:
        _failures(work, work.columns.state)
    if "sent" in work.sends.columns:
        return
    sent, bounced = work.columns.flag("sent"), work.columns.flag("bounced")
    if sent is not None and sent not in work.taken and len(work.columns.counts(sent)) > 1:
        values = work.columns.counts(sent)
        work.take("sent", sent, ", ".join(f"{n:,} {v}" for v, n in values.most_common(3)))
        if (column := work.columns.flag("available")) is not None:
            values = work.columns.counts(column)
            work.take("available", column, ", ".join(f"{n:,} {v}" for v, n in values.most_common(3)))
        else:
            work.constant("available", True, "no column says who could not be reached")
    elif bounced is not None and bounced not in work.taken:
        values = work.columns.counts(bounced)
        flags = {v: not bad for v, bad in (outcomes.flags(values) or {}).items()}
        for role in ("sent", "available"):
            work.take(role, bounced, "a bounce was no send" if role == "sent" else "")
            work.sends.values[role] = flags
            if work.columns.share(bounced) < 1:
                work.sends.defaults[role] = Seen("no", "empty: no bounce")
                work.sends.values[role] = {**flags, "no": True}
    else:
        work.constant("sent", True, "no column says that a row was not sent")
        work.constant("available", True, "")


def draft_opt_outs(work: Drafting, at: SendTime) -> None:
    """Draft the opt-outs in the rows of sends as interactions, so that what a person forbids is not lost."""
    statements = outcomes.opt_outs(work.columns, (work.event, work.columns.state))
    for statement in statements[1:]:
        if statement.rows and statement.column != statements[0].column:
            work.draft.not_seen.append(
                f"OPT-OUTS: {statement.rows:,} rows of {statement.column!r} say that a person opted out; only "
                f"{statements[0].column!r} is read, so put both into one column"
            )
    if not statements:
        return
    first = statements[0]
    table = TableDraft(where={first.column: first.where})
    table.where_why = f"{first.rows:,} rows say that the person opted out"
    opted_out_at = Seen[RawColumns](first.column)
    if first.clock is None:
        opted_out_at = Seen(at.raw, "no time of its own: that of the send")
    table.columns = {
        "user_id": Seen(work.columns.user),
        "notification_id": Seen(work.sends.columns["notification_id"].value),
        "at_utc": opted_out_at,
    }
    table.constants = {"kind": Seen("opt_out")}
    work.formats += first.clock.formats if first.clock else ()
    work.draft.interactions = table
    work.taken.add(first.column)
