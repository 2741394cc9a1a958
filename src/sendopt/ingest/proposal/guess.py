"""The mapping of a log that nobody has described, guessed from its columns and values; each guess with its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from sendopt.ingest.proposal import outcome_columns, words
from sendopt.ingest.proposal.columns import Columns, renamed
from sendopt.ingest.proposal.draft import Draft, Seen, as_tuple
from sendopt.ingest.proposal.drafting import Drafting, SendTime
from sendopt.ingest.proposal.sample import Sample
from sendopt.ingest.values import is_number
from sendopt.ingest.vocabulary import zone_named


def guess(sample: Sample, source: str, zone: str | None, given: Mapping[str, str]) -> Draft:
    """Return the draft of a mapping for the sample of a log; `source` is the name of the source.

    The user may give the `zone` of all people, and columns by role in `given`. Raises ContractError where no column of
    users, times or outcomes can be seen.

    >>> from pathlib import Path
    >>> rows = pd.DataFrame({"user": ["ann", "bob"], "opened": ["yes", "no"]}, dtype=object)
    >>> rows["sent_at"] = ["2026-03-01T09:30:00Z", "2026-03-02T10:00:00Z"]
    >>> sample = Sample(Path("push.csv"), None, "csv", "utf-8", ",", rows, {}, whole=True)
    >>> draft = guess(sample, "app", "Europe/Berlin", {})
    >>> {role: seen.value for role, seen in draft.sends.columns.items()}
    {'user_id': 'user', 'sent_at_utc': 'sent_at', 'notification_id': 'sent_at'}
    >>> draft.sends.outcome.value, draft.sends.outcome.why
    ({'column': 'opened', 'kind': 'open'}, "open: 1 of 2 are 'yes'")
    """
    columns = Columns(sample, given)
    work = Drafting(columns, zone, Draft(source, sample.head(), sample.notes))
    people = len(columns.counts(columns.user))
    work.take("user_id", columns.user, f"{people:,} people in {len(columns):,} rows")
    work.event = columns.event
    at = _time(work)
    outcome_columns.split_events(work)
    _zone(work, at)
    _names(work)
    _identity(work, at)
    _channel(work)
    if work.draft.interactions is None:
        outcome_columns.draft_outcome(work)
        outcome_columns.draft_flags(work)
        outcome_columns.draft_opt_outs(work, at)
    _probability(work)
    _formats(work, at)
    _not_read(work)
    return work.draft


def _not_read(work: Drafting) -> None:
    """Note the columns without a role, and rows that were not looked at."""
    columns, draft = work.columns, work.draft
    work.taken.update(draft.interactions.where if draft.interactions else ())
    if unread := [c for c in columns.sample.columns if c not in work.taken and c != columns.zone]:
        draft.not_seen.append(f"columns that are not read: {', '.join(unread)[:200]}")
    if not columns.sample.whole:
        draft.assumed.append(f"only the first {len(columns):,} rows were looked at")


def _time(work: Drafting) -> SendTime:
    """Take the columns of the time of a send and return them; a day and an hour in two columns are read as one.

    Raises ContractError where no column of times can be seen.
    """
    days: list[str] = []
    for column in work.columns.by_rank("sent_at_utc"):
        if column in work.taken or work.columns.share(column) < 0.5:
            continue
        if (clock := work.columns.clock(column)) is not None:
            return _timed(work, SendTime(column, clock), clock.evidence)
        if work.columns.clock(column, dates_only=True) is not None:
            days.append(column)
    for day in days:
        for hour in work.columns.by_rank("hour"):
            if hour != day and (clock := work.columns.clock_of_two(day, hour)) is not None:
                return _timed(work, SendTime((day, hour), clock), f"day and hour: {clock.evidence}")
    if days:
        raise work.columns.missing(
            "time", "sent_at_utc", f"when a message went out ({days[0]} holds days, without the hour)"
        )
    for column in work.columns.sample.columns:  # whatever it is called
        clock = None if column in work.taken or work.columns.numbers(column) else work.columns.clock(column)
        if clock is not None and work.columns.share(column) >= 0.9:
            work.draft.assumed.append(f"{column} is the time of the send: the first column that holds times")
            return _timed(work, SendTime(column, clock), clock.evidence)
    raise work.columns.missing("time", "sent_at_utc", "when a message went out")


def _timed(work: Drafting, at: SendTime, why: str) -> SendTime:
    """Take the columns of a time and return them."""
    work.take("sent_at_utc", at.raw, why)
    work.formats += at.clock.formats
    work.draft.to_the_minute = at.clock.to_the_minute
    if at.clock.assumed:
        work.draft.assumed.append(at.clock.assumed)
    return at


def _zone(work: Drafting, at: SendTime) -> None:
    """Draft the zone of people: a column, or one zone for all by the user, the language, the offsets, or UTC."""
    column, language = work.columns.zone, work.columns.language()
    if column is not None and work.zone is None:
        zones = work.columns.counts(column)
        work.take("timezone", column, f"{len(zones):,} zones, most often {zones.most_common(1)[0][0]}")
        if at.clock.naive:
            work.sends.times_in = Seen({"column": column}, "times carry no offset, and this column names their zone")
        return
    if work.zone is not None:
        zone, why = work.zone, "as --zone says"
    elif language is not None:
        zone, why = language[1], f"no column holds a zone, and the words are {language[0]} ({language[2]})"
    elif at.clock.offset is not None and (fixed := zone_named(at.clock.offset)) is not None:
        zone, why = fixed, f"no column holds a zone, and all times carry {at.clock.offset}"
    else:
        zone, why = "UTC", "no column holds a zone"
    if work.zone is None:
        work.draft.assumed.append(f"everybody lives in {zone}: {why}; give --zone where that is wrong")
    if at.clock.naive:
        work.sends.times_in = Seen(zone, f"times carry no offset; {why}")
    work.constant("timezone", zone, why)


def _formats(work: Drafting, at: SendTime) -> None:
    """Draft the formats of times, alike for both tables."""
    formats = tuple(dict.fromkeys(work.formats))
    work.sends.formats = Seen(formats, at.clock.evidence)
    if work.draft.interactions is not None:
        work.draft.interactions.formats = Seen(formats)
        work.draft.interactions.times_in = None if work.sends.times_in is None else Seen(work.sends.times_in.value)


def _names(work: Drafting) -> None:
    """Draft campaign and category: a column of names, or one name for all sends."""
    for role, name in (("campaign_id", "all"), ("category", "general")):
        column = work.columns.names(role, work.taken | ({work.event} if work.event else set()))
        if column is None:
            work.constant(role, name, f"no {role.removesuffix('_id')} column was seen")
            work.draft.not_seen.append(f"{role.removesuffix('_id')}: every send counts as {name!r}")
            continue
        values = work.columns.counts(column)
        work.take(role, column, f"{len(values):,} different, most often {values.most_common(1)[0][0]!r}")
        if new_names := renamed(values):
            work.sends.values[role] = new_names
        if work.columns.share(column) < 1:
            empty = len(work.columns) - values.total()
            work.sends.defaults[role] = Seen("none", f"{empty:,} rows hold none")


def _identity(work: Drafting, at: SendTime) -> None:
    """Draft the id of a send: a column of ids, else campaign and time; and how interactions find their send."""
    user = work.columns.rows[work.columns.user]
    sends = _send_rows(work)
    for column in work.columns.by_rank("notification_id"):
        if column in work.taken or column == work.event:
            continue
        ids = work.columns.rows[column][sends].dropna()
        pairs = set(zip(user[ids.index], ids, strict=True))
        if len(ids) < 0.9 * sends.sum() or len(pairs) < 0.95 * len(ids):
            continue
        if work.draft.interactions is not None and not _shared(work, column):
            continue
        work.take("notification_id", column, f"{len(pairs):,} different with their person in {len(ids):,} sends")
        return _interaction_identity(work, column)
    campaign = work.sends.columns.get("campaign_id")
    parts = (*(as_tuple(campaign.value) if campaign else ()), *as_tuple(at.raw))
    work.take(
        "notification_id",
        parts if len(parts) > 1 else parts[0],
        "no column of ids was seen: person, campaign and time make a send one of a kind",
    )
    _interaction_identity(work, None)


def _send_rows(work: Drafting) -> pd.Series[bool]:
    """Return True for the rows that are sends."""
    if work.draft.interactions is None or work.event is None:
        return pd.Series(True, index=work.columns.rows.index)
    return work.columns.rows[work.event].isin(work.sends.where[work.event])


def _shared(work: Drafting, column: str) -> bool:
    """Return True where outcomes carry the ids of their sends in this column."""
    assert work.event is not None
    assert work.draft.interactions is not None
    rows, sent = work.columns.rows, _send_rows(work)
    outcomes = rows[rows[work.event].isin(list(work.draft.interactions.where[work.event]))]
    return bool(len(outcomes)) and bool(outcomes[column].isin(set(rows.loc[sent, column].dropna())).mean() >= 0.5)


def _interaction_identity(work: Drafting, column: str | None) -> None:
    """Draft how an interaction finds its send: by the ids in a column, or as the latest send before it."""
    table = work.draft.interactions
    if table is None:
        return
    if column is not None:
        table.columns["notification_id"] = Seen(column, "the id of the send")
    else:
        table.match = Seen("nearest_send", "outcomes carry no id of their send: the person's latest send before it")


def _channel(work: Drafting) -> None:
    """Draft the channel: a column, the names of events, or one channel for all sends."""
    column = work.columns.names("channel", work.taken | ({work.event} if work.event else set()))
    values = work.columns.counts(column) if column else Counter[str]()
    if column and sum(n for v, n in values.items() if words.channel_of(v)) >= 0.5 * values.total() > 0:
        work.take("channel", column, ", ".join(f"{n:,} {v}" for v, n in values.most_common(5)))
        spelt = {v: words.channel_of(v) or renamed(Counter([v])).get(v, v) for v in values}
        if any(v != name for v, name in spelt.items()):
            work.sends.values["channel"] = {v: name for v, name in spelt.items() if v != name}
        work.draft.channels = Seen(tuple(sorted(set(spelt.values()))), "every channel of the log")
        return
    if work.event and work.draft.interactions is not None:
        named = {v: words.channel_of(v) for v in work.sends.where[work.event]}
        if all(named.values()):
            work.sends.columns["channel"] = Seen(work.event, "the event names it")
            work.sends.values["channel"] = {v: str(c) for v, c in named.items()}
            work.draft.channels = Seen(tuple(sorted({str(c) for c in named.values()})), "every channel of the log")
            return
    channel, why = work.columns.named_channel()
    if channel is None:
        channel = "push"
        work.draft.assumed.append("the channel is push: no column and no name says another")
    work.constant("channel", channel, why)
    work.draft.channels = Seen((channel,), why)


def _probability(work: Drafting) -> None:
    """Draft pscore: the probability of sending, where rows say that nothing was sent; else that of the time."""
    unsent = "sent" in work.sends.columns and "sent" not in work.sends.values
    kind, of = ("send", "sending") if unsent else ("slot", "the time of the send")
    work.constant("decision_kind", kind, f"a pscore would be the probability of {of}")
    some_away = "available" in work.sends.columns
    for column in work.columns.by_rank("pscore"):
        values = [float(v) if is_number(v) else 2.0 for v in work.columns.counts(column)]
        if values and max(values) <= 1 and (min(values) > 0 or (some_away and min(values) == 0)):
            work.take("pscore", column, f"numbers from {min(values):g} to {max(values):g}")
            work.draft.assumed.append(f"{column} is the logged probability of {of} (decision_kind: {kind})")
            return
