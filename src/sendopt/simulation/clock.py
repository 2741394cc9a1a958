"""Local time of many users at once, by the zone arithmetic of `domain.slots` (model ¶1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from sendopt.domain.slots import MINUTES_PER_DAY, offset_periods, plan_start
from sendopt.stats.arrays import Flags, Ints

DAY = 86_400  # seconds
_EPOCH_DAY = date(1970, 1, 1)
_FIRST_MONDAY = 4  # 1970-01-05
_DAYS_BEFORE, _DAYS_AFTER = 400, 800


def day_number(day: date) -> int:
    """Return the days since 1970-01-01.

    >>> day_number(date(1970, 1, 31))
    30
    """
    return (day - _EPOCH_DAY).days


def day_start(day: date) -> int:
    """Return the epoch seconds of `day` 00:00Z."""
    return day_number(day) * DAY


def iso(at: Ints) -> list[str]:
    """Return epoch seconds as `2026-01-31T08:00:00Z`."""
    return [f"{text}Z" for text in np.datetime_as_string(at.astype("datetime64[s]"), unit="s")]


def seconds_of(texts: Iterable[str]) -> Ints:
    """Return the epoch seconds of times as `iso` writes them, shape (N,)."""
    return np.array([text[:19] for text in texts], "datetime64[s]").astype(np.int64)


@dataclass(frozen=True)
class Clock:
    """Offsets of some zones from 400 days before to 800 days after a date; outside, the nearest offset applies."""

    zones: tuple[str, ...]
    changes: tuple[Ints, ...]  # by zone: epoch seconds where an offset begins, without the first
    offsets: tuple[Ints, ...]  # by zone: minutes, one more than `changes`

    @classmethod
    def around(cls, zones: tuple[str, ...], middle: date) -> Clock:
        """Return the clock of `zones` around the date `middle`."""
        begin, end = (plan_start(middle + timedelta(days=n)) for n in (-_DAYS_BEFORE, _DAYS_AFTER))
        periods = [offset_periods(zone, begin, end) for zone in zones]
        return cls(
            zones,
            tuple(np.array([int(p[0].timestamp()) for p in zone[1:]], np.int64) for zone in periods),
            tuple(np.array([p[2] for p in zone], np.int64) for zone in periods),
        )

    def local(self, zone: Ints, at: Ints) -> tuple[Ints, Flags]:
        """Return (local minute of the day, weekend) at epoch seconds `at`; `zone`: indices; shapes broadcast."""
        zone, at = np.broadcast_arrays(zone, at)
        offset = np.zeros(at.shape, np.int64)
        for index in np.unique(zone):
            rows = zone == index
            offset[rows] = self.offsets[index][np.searchsorted(self.changes[index], at[rows], side="right")]
        minutes = at // 60 + offset
        weekday = (minutes // MINUTES_PER_DAY - _FIRST_MONDAY) % 7
        return minutes % MINUTES_PER_DAY, weekday >= 5
