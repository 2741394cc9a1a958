"""Slots and local time (model ¶1). All zone arithmetic is in this module: zoneinfo over the pinned tzdata.

A slot is a half-open UTC interval. In each zone it has exactly one local reading, that of its start. So a day on which
the clock changes neither loses nor repeats a slot.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

MINUTES_PER_DAY = 24 * 60
Minutes = NDArray[np.int64]
_EPOCH = date(1970, 1, 1)


@lru_cache(maxsize=1024)
def zone_or_none(name: str) -> ZoneInfo | None:
    """Return the zone of an IANA name, or None for an unknown name.

    Only the pinned package tzdata is read: the machine's own data may differ.
    """
    if not name or name.startswith(("/", ".")) or "\\" in name or ".." in name:
        return None
    *folders, leaf = name.split("/")
    file = importlib.resources.files("tzdata").joinpath("zoneinfo", *folders, leaf)
    try:
        with file.open("rb") as data:
            return ZoneInfo.from_file(data, key=name)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def zones_of_places() -> tuple[str, ...]:
    """Return the zones that tzdata gives a place on the map (those that people live in), sorted."""
    text = importlib.resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    names = {line.split("\t")[2].strip() for line in text.splitlines() if line and not line.startswith("#")}
    return tuple(sorted(name for name in names if zone_or_none(name) is not None))


def plan_start(plan_date: date) -> datetime:
    """Return 00:00 UTC of the plan date, the start of slot 0."""
    return datetime(plan_date.year, plan_date.month, plan_date.day, tzinfo=UTC)


def as_of(plan_date: date, lead_minutes: int) -> datetime:
    """Return the time of decision (UTC). A night uses nothing that happened at this time or later (¶16).

    >>> as_of(date(2026, 3, 29), 60).isoformat()
    '2026-03-28T23:00:00+00:00'
    """
    return plan_start(plan_date) - timedelta(minutes=lead_minutes)


@dataclass(frozen=True)
class Reading:
    """A slot in local time of a zone, read at the start of the slot."""

    slot: int
    start_utc: datetime
    end_utc: datetime
    local_start: datetime  # wall clock, with its offset
    local_minute: int  # of the day, 0 to 1439
    weekday: int  # Monday 0
    local_day: int  # days since 1970-01-01
    wall_minute: int  # first minute of the day that the clock shows during the slot
    wall_length: int  # minutes of the clock face that the slot covers; more than the slot where the clock jumps ahead

    @property
    def local_hour(self) -> int:
        return self.local_minute // 60

    @property
    def weekend(self) -> bool:
        return self.weekday >= 5


def readings(zone: str, start: datetime, slot_minutes: int, n_slots: int) -> list[Reading]:
    """Return one reading per slot from `start` (UTC). Raise KeyError for an unknown zone.

    >>> night = readings("Europe/Berlin", plan_start(date(2026, 3, 29)), 60, 3)
    >>> [(r.slot, r.local_hour) for r in night]  # the clock jumps from 02:00 to 03:00
    [(0, 1), (1, 3), (2, 4)]
    """
    info = zone_or_none(zone)
    if info is None:
        raise KeyError(zone)
    result = []
    for slot in range(n_slots):
        begin = start + timedelta(minutes=slot * slot_minutes)
        end = begin + timedelta(minutes=slot_minutes)
        local = begin.astimezone(info)
        minute = local.hour * 60 + local.minute
        wall = _wall(begin, end, info)
        result.append(Reading(slot, begin, end, local, minute, local.weekday(), (local.date() - _EPOCH).days, *wall))
    return result


def _wall(begin: datetime, end: datetime, info: ZoneInfo) -> tuple[int, int]:
    """Return (minute of day, length) of the part of the clock face that covers all local minutes of [begin, end)."""
    starts = [begin, _bisect(lambda at: _offset_minutes(at, info), begin, end)]
    wall = [
        (at + timedelta(minutes=_offset_minutes(at, info)), stop)
        for at, stop in zip(starts, [starts[1], end], strict=True)
        if at < stop
    ]
    first = min(at for at, _ in wall)
    last = max(stop + timedelta(minutes=_offset_minutes(stop - timedelta(minutes=1), info)) for _, stop in wall)
    return first.hour * 60 + first.minute, round((last - first).total_seconds() / 60)


def local_day(at: datetime, zone: str) -> int:
    """Return the calendar day in a zone at that time, days since 1970-01-01. Raise KeyError for an unknown zone."""
    info = zone_or_none(zone)
    if info is None:
        raise KeyError(zone)
    return (at.astimezone(info).date() - _EPOCH).days


def local_text(at: datetime, zone: str) -> str | None:
    """Return the wall clock of a zone with its offset, or None for an unknown zone.

    >>> local_text(datetime(2026, 3, 29, 7, tzinfo=UTC), "Europe/Berlin")
    '2026-03-29T09:00:00+02:00'
    """
    info = zone_or_none(zone)
    return None if info is None else at.astimezone(info).isoformat(timespec="seconds")


def local_hour(at: datetime, zone: str) -> int | None:
    """Return the hour that a zone's clock shows at that time, 0 to 23, or None for an unknown zone."""
    info = zone_or_none(zone)
    return None if info is None else at.astimezone(info).hour


def from_local(wall: datetime, zone: str) -> datetime | None:
    """Return the UTC time of a wall clock without offset.

    It is the first time where the clock showed this twice, and None where it never did. Raise KeyError for an unknown
    zone.
    """
    info = zone_or_none(zone)
    if info is None:
        raise KeyError(zone)
    at = wall.replace(tzinfo=info, fold=0).astimezone(UTC)
    return at if at.astimezone(info).replace(tzinfo=None) == wall else None


def offset_periods(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime, int]]:
    """Return the periods of constant UTC offset that cover [start, end): (from_utc, to_utc, offset in minutes).

    Periods are half open. Offsets with seconds (before 1972) are rounded to the minute. Raise KeyError for an unknown
    zone.
    """
    info = zone_or_none(zone)
    if info is None:
        raise KeyError(zone)

    def offset(at: datetime) -> int:
        return _offset_minutes(at, info)

    periods: list[tuple[datetime, datetime, int]] = []
    begin, low = start, start
    while low < end:
        high = min(low + timedelta(days=1), end)
        if offset(high) != offset(low):
            change = _bisect(offset, low, high)
            periods.append((begin, change, offset(begin)))
            begin = change
        low = high
    periods.append((begin, end, offset(begin)))
    return [p for p in periods if p[0] < p[1]]


def _offset_minutes(at: datetime, info: ZoneInfo) -> int:
    shift = at.astimezone(info).utcoffset() or timedelta(0)
    return round(shift.total_seconds() / 60)


def _bisect(offset: Callable[[datetime], int], low: datetime, high: datetime) -> datetime:
    """Return the first minute in (low, high] whose offset is not that of `low`, or `high` where the offset stays."""
    before = offset(low)
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) / 2
        middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
        if middle <= low:
            break
        low, high = (middle, high) if offset(middle) == before else (low, middle)
    return high


def minute_of(text: str) -> int:
    """Return the minutes since midnight of "HH:MM"."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def inside(wall_minute: Minutes, wall_length: Minutes, start: str, end: str) -> NDArray[np.bool_]:
    """Return which stretches of the clock face lie wholly in the local window [start, end); it may span midnight.

    Arrays have shape (N,); a stretch begins at `wall_minute` and covers `wall_length` minutes.

    >>> inside(np.array([1320, 1380, 420]), np.array([60, 60, 60]), "22:00", "07:00")
    array([ True,  True, False])
    """
    begin, stop = minute_of(start), minute_of(end)
    offset = (wall_minute - begin) % MINUTES_PER_DAY
    return offset + wall_length <= (stop - begin) % MINUTES_PER_DAY


def outside(wall_minute: Minutes, wall_length: Minutes, start: str, end: str) -> NDArray[np.bool_]:
    """Return which stretches have no minute in the local window [start, end), such as quiet hours (¶3)."""
    return inside(wall_minute, wall_length, end, start)
