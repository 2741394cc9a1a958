"""Figures of a log under its mapping: people, campaigns, hours, the frequency of sends, and successes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from sendopt.config.schema import Ingest
from sendopt.domain.slots import zone_or_none
from sendopt.errors import ContractError
from sendopt.ingest.counts import OUTCOMES, Counts, require_readable
from sendopt.ingest.reader import RawTable, Reading, read_table
from sendopt.ingest.schema import SourceMapping
from sendopt.ingest.summary import in_words

RECENT_DAYS = 28


@dataclass(frozen=True)
class Campaign:
    """A campaign of the last weeks; `share` is the share of people that it went to on a day that it ran."""

    name: str
    channel: str
    category: str
    sends: int
    share: float
    last: date


@dataclass(frozen=True)
class Observed:
    """The figures of a log. Hours are local hours of the day; a gap is the minutes between two sends to one person."""

    sends: int
    people: int
    first: date
    newest: datetime
    successes: int
    opt_outs: int
    channels: Mapping[str, int]  # channel -> the most sends in an hour
    campaigns: tuple[Campaign, ...]
    all_campaigns: int
    by_hour: tuple[int, ...]
    per_day: tuple[int, int]  # sends on a day that 95 % of people-days do not exceed, and the most
    per_week: tuple[int, int]
    gap: float | None  # minutes; 5 % of gaps are shorter
    counts: tuple[str, ...]  # the lines that an ingest would print

    @property
    def days(self) -> int:
        """The days from the first send to the newest, both included."""
        return (self.newest.date() - self.first).days + 1

    @property
    def plan_date(self) -> date:
        """The day after the newest send."""
        return self.newest.date() + timedelta(days=1)


def observe(mapping: SourceMapping, source: Path, received_utc: datetime) -> Observed:
    """Return the figures of a log; raises ContractError where too much cannot be read, or nothing was sent."""
    raw = read_table(Reading("sends", mapping, received_utc), source)
    counts = {"sends": _counts(raw)}
    rows = raw.rows
    outcome = mapping.tables["sends"].outcome
    if outcome is not None:
        sound = rows[rows["reason"].isna()]
        problems = Counter(sound["outcome_problem"].dropna())
        counts[OUTCOMES] = Counts(
            rows_in=int((sound["outcome"] == True).sum()) + sum(problems.values()),  # noqa: E712  elementwise
            rows_out=int((sound["outcome"] == True).sum()),  # noqa: E712
            quarantined=dict(problems),
        )
    kinds = Counter[str]()
    if "interactions" in mapping.tables:
        events = read_table(Reading("interactions", mapping, received_utc), source)
        counts["interactions"] = _counts(events)
        kinds = Counter(events.rows.loc[events.rows["reason"].isna(), "kind"].dropna())
    require_readable(mapping.source, counts, Ingest())
    made = rows[rows["reason"].isna() & (rows["sent"] == True)].drop_duplicates("send_key")  # noqa: E712
    if made.empty:
        raise ContractError(f"{source}: no row is a send that was made; looked at {len(rows):,} rows")
    successes = kinds["open"] or kinds["click"] or kinds["goal"]
    if outcome is not None:
        successes = int((made["outcome"] == True).sum())  # noqa: E712
    return _figures(made, successes, kinds["opt_out"], tuple(in_words({n: vars(c) for n, c in counts.items()})))


def _counts(raw: RawTable) -> Counts:
    """Return what became of the rows of a table."""
    reasons = Counter(raw.rows["reason"].dropna())
    lost = Counter(r for text in raw.rows["lost"].dropna() for r in str(text).split(","))
    return Counts(
        rows_in=len(raw.rows),
        rows_out=len(raw.rows) - sum(reasons.values()),
        quarantined=dict(reasons),
        files=raw.files,
        empty_files=raw.empty_files,
        lost=dict(lost),
        elsewhere=raw.tally.elsewhere,
        examples=dict(raw.tally.examples),
    )


def _figures(made: pd.DataFrame, successes: int, opt_outs: int, counts: tuple[str, ...]) -> Observed:
    """Return the figures of the sends that were made."""
    at = pd.to_datetime(made["sent_at_utc"], utc=True)
    wall = [_wall(t, z) for t, z in zip(at, made["timezone"], strict=True)]
    hours, local = [t.hour for t in wall], pd.Series([t.date() for t in wall], index=made.index)
    by_hour = np.bincount(np.array(hours, int), minlength=24)[:24]
    per_day = made.groupby([made["user_id"], local]).size()
    weeks = local.map(lambda d: d - timedelta(days=d.weekday()))
    per_week = made.groupby([made["user_id"], weeks]).size()
    ordered = pd.DataFrame({"user": made["user_id"], "at": at}).sort_values(["user", "at"])
    gaps = ordered.groupby("user")["at"].diff().dropna().dt.total_seconds() / 60
    return Observed(
        sends=len(made),
        people=made["user_id"].nunique(),
        first=at.min().date(),
        newest=at.max().to_pydatetime(),
        successes=successes,
        opt_outs=opt_outs,
        channels={str(c): int(h.value_counts().max()) for c, h in at.dt.floor("h").groupby(made["channel"])},
        campaigns=_campaigns(made, at),
        all_campaigns=made["campaign_id"].nunique(),
        by_hour=tuple(int(n) for n in by_hour),
        per_day=_most(per_day),
        per_week=_most(per_week),
        gap=float(gaps.quantile(0.05)) if len(gaps) else None,
        counts=counts,
    )


def _wall(at: pd.Timestamp, zone: str | None) -> datetime:
    """Return the time on the zone's clock, in UTC where the zone is not known."""
    place = zone_or_none(zone) if isinstance(zone, str) else None
    return at.to_pydatetime().astimezone(place or UTC)


def _most(sizes: pd.Series[int]) -> tuple[int, int]:
    """Return the size that 95 % of the sizes do not exceed, at least 1, and the largest."""
    return max(1, int(np.ceil(sizes.quantile(0.95)))), int(sizes.max())


def _campaigns(made: pd.DataFrame, at: pd.Series[pd.Timestamp], most: int = 20) -> tuple[Campaign, ...]:
    """Return the campaigns of the last four weeks of the log, at most `most`, the largest first."""
    recent = made[at > at.max() - pd.Timedelta(days=RECENT_DAYS)]
    people = made["user_id"].nunique()
    campaigns = []
    for name, rows in recent.groupby("campaign_id"):
        day = at[rows.index].dt.date
        reached = rows.groupby(day)["user_id"].nunique()
        campaigns.append(
            Campaign(
                name=str(name),
                channel=str(rows["channel"].mode().iloc[0]),
                category=str(rows["category"].mode().iloc[0]),
                sends=len(rows),
                share=float(reached.mean() / people),
                last=day.max(),
            )
        )
    return tuple(sorted(campaigns, key=lambda c: (-c.sends, c.name))[:most])
