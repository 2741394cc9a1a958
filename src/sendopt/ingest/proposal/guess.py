"""The mapping of a log that nobody has described, guessed from its columns and values; each guess with its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from sendopt.ingest.proposal import outcomes, words
from sendopt.ingest.proposal.clocks import Clock
from sendopt.ingest.proposal.columns import Columns, renamed
from sendopt.ingest.proposal.draft import Draft, Seen, TableDraft
from sendopt.ingest.proposal.outcomes import KINDS
from sendopt.ingest.proposal.sample import Sample
from sendopt.ingest.values import is_number
from sendopt.ingest.vocabulary import zone_named


def guess(sample: Sample, source: str, zone: str | None, given: Mapping[str, str]) -> Draft:
    """The draft of the mapping.

    `zone` and `given`, columns by role, are the user's own. Raises ContractError where no user, time or outcome
    can be seen.
    """
    return _Guess(sample, source, zone, given).draft()


class _Time(NamedTuple):
    raw: str | tuple[str, ...]
    clock: Clock


class _Guess:
    def __init__(self, sample: Sample, source: str, zone: str | None, given: Mapping[str, str]) -> None:
        self.sample, self.columns, self.zone = sample, Columns(sample, given), zone
        self.out = Draft(source, sample.head(), sample.notes)
        self.sends = self.out.sends
        self.taken: set[str] = set()
        self.formats: list[str] = []

    def draft(self) -> Draft:
        people = len(self.columns.counts(self.columns.user))
        self._take("user_id", self.columns.user, f"{people:,} people in {len(self.columns):,} rows")
        self.event = self.columns.event
        at = self._time()
        self._events()
        self._zone(at)
        self._names()
        self._identity(at)
        self._channel()
        if self.out.interactions is None:
            self._outcome()
            self._flags()
            self._opt_outs(at)
        self._probability()
        self._formats(at)
        self.taken.update(self.out.interactions.where if self.out.interactions else ())
        if rest := [c for c in self.sample.columns if c not in self.taken and c != self.columns.zone]:
            self.out.not_seen.append(f"columns that are not read: {', '.join(rest)[:200]}")
        if not self.sample.whole:
            self.out.assumed.append(f"only the first {len(self.columns):,} rows were looked at")
        return self.out

    # --- small helpers

    def _take(self, role: str, raw: str | tuple[str, ...], why: str) -> None:
        self.sends.columns[role] = Seen(raw, why)
        self.taken.update((raw,) if isinstance(raw, str) else raw)

    def _constant(self, role: str, value: Any, why: str) -> None:
        self.sends.constants[role] = Seen(value, why)

    # --- times

    def _time(self) -> _Time:
        """The column of the time of a send; a day and an hour in two columns are read as one."""
        days: list[str] = []
        for column in self.columns.by_rank("sent_at_utc"):
            if column in self.taken or self.columns.share(column) < 0.5:
                continue
            if (clock := self.columns.clock(column)) is not None:
                return self._timed(_Time(column, clock), clock.evidence)
            if self.columns.clock(column, dates_only=True) is not None:
                days.append(column)
        for day in days:
            for hour in self.columns.by_rank("hour"):
                if hour != day and (clock := self.columns.clock_of_two(day, hour)) is not None:
                    return self._timed(_Time((day, hour), clock), f"day and hour: {clock.evidence}")
        if days:
            raise self.columns.missing(
                "time", "sent_at_utc", f"when a message went out ({days[0]} holds days, without the hour)"
            )
        for column in self.sample.columns:  # whatever it is called
            clock = None if column in self.taken or self.columns.numbers(column) else self.columns.clock(column)
            if clock is not None and self.columns.share(column) >= 0.9:
                self.out.assumed.append(f"{column} is the time of the send: the first column that holds times")
                return self._timed(_Time(column, clock), clock.evidence)
        raise self.columns.missing("time", "sent_at_utc", "when a message went out")

    def _timed(self, at: _Time, why: str) -> _Time:
        self._take("sent_at_utc", at.raw, why)
        self.formats += at.clock.formats
        self.out.to_the_minute = at.clock.to_the_minute
        if at.clock.assumed:
            self.out.assumed.append(at.clock.assumed)
        return at

    def _zone(self, at: _Time) -> None:
        column, language = self.columns.zone, self.columns.language()
        if column is not None and self.zone is None:
            zones = self.columns.counts(column)
            self._take("timezone", column, f"{len(zones):,} zones, most often {zones.most_common(1)[0][0]}")
            if at.clock.naive:
                self.sends.times_in = Seen(
                    {"column": column}, "times carry no offset, and this column names their zone"
                )
            return
        if self.zone is not None:
            zone, why = self.zone, "as --zone says"
        elif language is not None:
            zone, why = language[1], f"no column holds a zone, and the words are {language[0]} ({language[2]})"
        elif at.clock.offset is not None and (fixed := zone_named(at.clock.offset)) is not None:
            zone, why = fixed, f"no column holds a zone, and all times carry {at.clock.offset}"
        else:
            zone, why = "UTC", "no column holds a zone"
        if self.zone is None:
            self.out.assumed.append(f"everybody lives in {zone}: {why}; give --zone where that is wrong")
        if at.clock.naive:
            self.sends.times_in = Seen(zone, f"times carry no offset; {why}")
        self._constant("timezone", zone, why)

    def _formats(self, at: _Time) -> None:
        formats = tuple(dict.fromkeys(self.formats))
        self.sends.formats = Seen(formats, at.clock.evidence)
        if self.out.interactions is not None:
            self.out.interactions.formats = Seen(formats)
            self.out.interactions.times_in = None if self.sends.times_in is None else Seen(self.sends.times_in.value)

    # --- names and identity

    def _names(self) -> None:
        for role, instead in (("campaign_id", "all"), ("category", "general")):
            column = self.columns.names(role, self.taken | ({self.event} if self.event else set()))
            if column is None:
                self._constant(role, instead, f"no {role.removesuffix('_id')} column was seen")
                self.out.not_seen.append(f"{role.removesuffix('_id')}: every send counts as {instead!r}")
                continue
            values = self.columns.counts(column)
            self._take(role, column, f"{len(values):,} different, most often {values.most_common(1)[0][0]!r}")
            if strange := renamed(values):
                self.sends.values[role] = strange
            if self.columns.share(column) < 1:
                empty = len(self.columns) - values.total()
                self.sends.defaults[role] = Seen("none", f"{empty:,} rows hold none")

    def _identity(self, at: _Time) -> None:
        user = self.columns.rows[self.columns.user]
        sends = self._send_rows()
        for column in self.columns.by_rank("notification_id"):
            if column in self.taken or column == self.event:
                continue
            given = self.columns.rows[column][sends].dropna()
            pairs = set(zip(user[given.index], given, strict=True))
            if len(given) < 0.9 * sends.sum() or len(pairs) < 0.95 * len(given):
                continue
            if self.out.interactions is not None and not self._shared(column):
                continue
            self._take("notification_id", column, f"{len(pairs):,} different with their person in {len(given):,} sends")
            return self._interaction_identity(column)
        campaign = self.sends.columns.get("campaign_id")
        times = at.raw if isinstance(at.raw, tuple) else (at.raw,)
        parts = (campaign.value, *times) if campaign else times
        self._take(
            "notification_id",
            parts if len(parts) > 1 else parts[0],
            "no column of ids was seen: person, campaign and time make a send one of a kind",
        )
        self._interaction_identity(None)

    def _send_rows(self) -> Any:
        if self.out.interactions is None or self.event is None:
            return pd.Series(True, index=self.columns.rows.index)
        return self.columns.rows[self.event].isin(self.sends.where[self.event])

    def _shared(self, column: str) -> bool:
        """True where the outcomes carry the ids of their sends."""
        assert self.event is not None
        rows, sent = self.columns.rows, self._send_rows()
        others = rows[rows[self.event].isin(self._outcome_words())]
        return bool(len(others)) and others[column].isin(set(rows.loc[sent, column].dropna())).mean() >= 0.5

    def _outcome_words(self) -> list[str]:
        assert self.out.interactions is not None
        assert self.event is not None
        return list(self.out.interactions.where[self.event])

    def _interaction_identity(self, column: str | None) -> None:
        table = self.out.interactions
        if table is None:
            return
        if column is not None:
            table.columns["notification_id"] = Seen(column, "the id of the send")
        else:
            table.match = Seen("nearest_send", "outcomes carry no id of their send: the person's latest send before it")

    def _channel(self) -> None:
        column = self.columns.names("channel", self.taken | ({self.event} if self.event else set()))
        values = self.columns.counts(column) if column else Counter[str]()
        if column and sum(n for v, n in values.items() if words.channel_of(v)) >= 0.5 * values.total() > 0:
            self._take("channel", column, ", ".join(f"{n:,} {v}" for v, n in values.most_common(5)))
            spelt = {v: words.channel_of(v) or renamed(Counter([v])).get(v, v) for v in values}
            if any(v != name for v, name in spelt.items()):
                self.sends.values["channel"] = {v: name for v, name in spelt.items() if v != name}
            self.out.channels = Seen(tuple(sorted(set(spelt.values()))), "every channel of the log")
            return
        if self.event and self.out.interactions is not None:
            named = {v: words.channel_of(v) for v in self.sends.where[self.event]}
            if all(named.values()):
                self.sends.columns["channel"] = Seen(self.event, "the event names it")
                self.sends.values["channel"] = {v: str(c) for v, c in named.items()}
                self.out.channels = Seen(tuple(sorted({str(c) for c in named.values()})), "every channel of the log")
                return
        channel, why = self.columns.named_channel()
        if channel is None:
            channel = "push"
            self.out.assumed.append("the channel is push: no column and no name says another")
        self._constant("channel", channel, why)
        self.out.channels = Seen((channel,), why)

    def _probability(self) -> None:
        """pscore, and whether it is the probability of sending (rows say that nothing was sent) or of the time."""
        unsent = "sent" in self.sends.columns and "sent" not in self.sends.values
        kind, of = ("send", "sending") if unsent else ("slot", "the time of the send")
        self._constant("decision_kind", kind, f"a pscore would be the probability of {of}")
        some_away = "available" in self.sends.columns
        for column in self.columns.by_rank("pscore"):
            values = [float(v) if is_number(v) else 2.0 for v in self.columns.counts(column)]
            if values and max(values) <= 1 and (min(values) > 0 or (some_away and min(values) == 0)):
                self._take("pscore", column, f"numbers from {min(values):g} to {max(values):g}")
                self.out.assumed.append(f"{column} is the logged probability of {of} (decision_kind: {kind})")
                return

    # --- outcomes

    def _events(self) -> None:
        """An event stream: its sends, failures and outcomes as tables; a status in the row of its send is none."""
        if self.event is None:
            return
        values = self.columns.counts(self.event)
        meaning = outcomes.meanings(values)
        if not outcomes.is_stream(self.columns, self.event):
            return
        by_kind: dict[str, list[str]] = {}
        for value, kind in meaning.items():
            by_kind.setdefault(kind or "", []).append(value)
        totals = {kind: sum(values[v] for v in by_kind.get(kind, ())) for kind in ("sent", "delivered")}
        good = max(totals, key=lambda kind: totals[kind])
        ok, bad = by_kind[good], by_kind.get("failed", [])
        self.sends.where = {self.event: (*ok, *bad)}
        self.sends.where_why = ", ".join(f"{values[v]:,} {v}" for v in (*ok, *bad))
        self.taken.add(self.event)
        if bad:
            flags = {**dict.fromkeys(ok, True), **dict.fromkeys(bad, False)}
            for role in ("sent", "available"):
                self.sends.columns[role] = Seen(self.event, "a failure was no send" if role == "sent" else "")
                self.sends.values[role] = flags
        else:
            self._constant("sent", True, "no event of a failure was seen")
            self._constant("available", True, "")
        results = [v for kind in (*KINDS, "dismiss", "opt_out") for v in by_kind.get(kind, ())]
        table = TableDraft(where={self.event: results})
        table.where_why = ", ".join(f"{values[v]:,} {v}" for v in results)
        table.columns = {
            "user_id": Seen(self.columns.user),
            "at_utc": Seen(self.sends.columns["sent_at_utc"].value),
            "kind": Seen(self.event),
        }
        table.values = {"kind": {v: meaning[v] for v in results}}
        self.out.interactions = table
        self.out.label = next(kind for kind in KINDS if by_kind.get(kind))
        if ignored := by_kind.get("", []):
            self.out.not_seen.append(f"events that were left out: {', '.join(sorted(ignored)[:8])}")

    def _outcome(self) -> None:
        if self.event is not None and self.event not in self.taken:
            return self._status()
        for kind in KINDS:
            chosen = [c for c in self.columns.by_rank(kind) if c not in self.taken]
            times = [c for c in chosen if self.columns.clock(c) is not None and not self.columns.numbers(c)]
            for column in chosen:
                if column in times:
                    continue
                if (read := outcomes.readable(self.columns, column)) is not None:
                    return self._with_outcome(kind, column, read[0], read[1], times[:1])
            if times:
                filled = len(self.columns.filled(times[0]))
                why = f"{kind}: {filled:,} of {len(self.columns):,} hold a time in {times[0]!r}"
                return self._with_outcome(kind, None, {}, why, times[:1])
        raise self.columns.missing("outcome", "open", "what came of a message (opened, clicked, bought)")

    def _with_outcome(self, kind: str, column: str | None, further: dict[str, Any], why: str, times: list[str]) -> None:
        given: dict[str, Any] = {"column": column} if column else {}
        given["kind"] = kind
        if times:
            given["at"] = times[0]
            clock = self.columns.clock(times[0])
            assert clock is not None
            self.formats += clock.formats
        self.sends.outcome = Seen({**given, **further}, why if why.startswith(kind) else f"{kind}: {why}")
        self.out.label = kind
        self.taken.update([*times, *([column] if column else [])])
        others = [
            k
            for k in KINDS
            if k != kind and any(outcomes.readable(self.columns, c) for c in self.columns.by_rank(k)[:1])
        ]
        for other in others:
            column = self.columns.by_rank(other)[0]
            if column not in self.taken:
                self.out.not_seen.append(f"{column} ({other}) is not read: a row holds one outcome, of this log {kind}")

    def _status(self) -> None:
        """The last state of each send in one column."""
        assert self.event is not None
        values = self.columns.counts(self.event)
        meaning = outcomes.meanings(values)
        kind = next(k for k in KINDS if k in meaning.values())
        yes = tuple(v for v, m in meaning.items() if m in KINDS)
        no = tuple(v for v in values if v not in yes)
        shown = ", ".join(f"{values[v]:,} of {len(self.columns):,} are {v!r}" for v in yes)
        self.sends.outcome = Seen({"column": self.event, "kind": kind, "yes": yes, "no": no}, f"{kind}: {shown}")
        self.out.label = kind
        self.taken.add(self.event)
        self._failures(self.event)

    def _failures(self, column: str) -> None:
        """sent and available, by a column of states of which some are failures."""
        values = self.columns.counts(column)
        failed = [v for v in values if words.event_of(v) == "failed"]
        for role in ("sent", "available") if failed else ():
            why = f"{sum(values[v] for v in failed):,} of {len(self.columns):,} were not delivered"
            self.sends.columns[role] = Seen(column, why if role == "sent" else "")
            self.sends.values[role] = {**dict.fromkeys(failed, False), "*": True}
            if values.total() < len(self.columns):
                self.sends.defaults[role] = Seen("unknown", "empty: no failure")
        self.taken.add(column)

    def _flags(self) -> None:
        """sent and available, of a row that is a send."""
        if "sent" not in self.sends.columns and self.columns.state is not None:
            self._failures(self.columns.state)
        if "sent" in self.sends.columns:
            return
        sent, bounced = self.columns.flag("sent"), self.columns.flag("bounced")
        if sent is not None and sent not in self.taken and len(self.columns.counts(sent)) > 1:
            values = self.columns.counts(sent)
            self._take("sent", sent, ", ".join(f"{n:,} {v}" for v, n in values.most_common(3)))
            if (column := self.columns.flag("available")) is not None:
                values = self.columns.counts(column)
                self._take("available", column, ", ".join(f"{n:,} {v}" for v, n in values.most_common(3)))
            else:
                self._constant("available", True, "no column says who could not be reached")
        elif bounced is not None and bounced not in self.taken:
            values = self.columns.counts(bounced)
            flags = {v: not bad for v, bad in (outcomes.flags(values) or {}).items()}
            for role in ("sent", "available"):
                self._take(role, bounced, "a bounce was no send" if role == "sent" else "")
                self.sends.values[role] = flags
                if self.columns.share(bounced) < 1:
                    self.sends.defaults[role] = Seen("no", "empty: no bounce")
                    self.sends.values[role] = {**flags, "no": True}
        else:
            self._constant("sent", True, "no column says that a row was not sent")
            self._constant("available", True, "")

    def _opt_outs(self, at: _Time) -> None:
        """Opt-outs in the row of a send, as interactions: what a person forbids must not get lost."""
        statements = outcomes.opt_outs(self.columns, (self.event, self.columns.state))
        for one in statements[1:]:
            if one.rows and one.column != statements[0].column:
                self.out.not_seen.append(
                    f"OPT-OUTS: {one.rows:,} rows of {one.column!r} say that a person opted out; only "
                    f"{statements[0].column!r} is read, so put both into one column"
                )
        if not statements:
            return
        first = statements[0]
        table = TableDraft(where={first.column: first.where})
        table.where_why = f"{first.rows:,} rows say that the person opted out"
        table.columns = {
            "user_id": Seen(self.columns.user),
            "notification_id": Seen(self.sends.columns["notification_id"].value),
            "at_utc": Seen(*((first.column, "") if first.clock else (at.raw, "no time of its own: that of the send"))),
        }
        table.constants = {"kind": Seen("opt_out")}
        self.formats += first.clock.formats if first.clock else ()
        self.out.interactions = table
        self.taken.add(first.column)
