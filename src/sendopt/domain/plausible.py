"""Users of unknown time zone: the zones they may live in, and what must hold whichever is theirs (model ¶3, ¶9b)."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sendopt.domain.slots import Minutes, local_day, readings, zone_or_none

_EPOCH = date(1970, 1, 1)


class Wall(NamedTuple):
    """The night's slots as one zone reads them, each of shape (S,): first minute of day, minutes passed, hour."""

    minute: Minutes
    length: Minutes
    local_hour: Minutes


@dataclass(frozen=True)
class Plausible:
    """Zones by name, each once, and the share of users of unknown zone that is taken to live in each (sum 1).

    Both are empty where neither the settings nor a known user names a zone.
    """

    zones: tuple[str, ...]
    shares: tuple[float, ...]

    @staticmethod
    def of(configured: Collection[str], known_users: Mapping[str, int]) -> Plausible:
        """The configured zones, or every zone of `known_users` (users by zone) where none is configured.

        Shares are those of the known users among these zones; equal where no known user lives in any.
        """
        known = {zone: n for zone, n in known_users.items() if n > 0 and zone_or_none(zone) is not None}
        zones = tuple(sorted(set(configured) or known))
        total = sum(known.get(zone, 0) for zone in zones)
        return Plausible(zones, tuple(known.get(z, 0) / total if total else 1.0 / len(zones) for z in zones))

    def walls(self, start: datetime, slot_minutes: int, n_slots: int) -> tuple[Wall, ...]:
        """What the rules of local time look at, once a distinct reading of the night."""
        found = {
            tuple((r.wall_minute, r.wall_length, r.local_hour) for r in readings(zone, start, slot_minutes, n_slots))
            for zone in self.zones
        }
        return tuple(Wall(*np.array(rows, np.int64).reshape(-1, 3).T) for rows in sorted(found))

    def weights(self, start: datetime, slot_minutes: int, n_slots: int) -> dict[str, float]:
        """Share by zone, above 0, of sum 1: zones in which a model sees the same night are one, the first by name."""
        first: dict[Hashable, str] = {}
        weight: dict[str, float] = {}
        for zone, share in zip(self.zones, self.shares, strict=True):
            if share > 0:
                night = readings(zone, start, slot_minutes, n_slots)
                name = first.setdefault(tuple((r.local_hour, r.weekday) for r in night), zone)
                weight[name] = weight.get(name, 0.0) + share
        return weight


@dataclass(frozen=True)
class LocalDays:
    """Which local day a send counts in, days since 1970-01-01, where a cap counts by calendar.

    For a user of unknown zone all slots of the night are one day, `night_day`, and a past send counts in it if any
    plausible zone puts it on a day, or for weekly caps in a week, that one of the user's slots has there. In each
    zone, what a day or week then really holds of past and plan is a part of what was counted, so a cap that is kept
    here is kept in the true zone too. It may refuse a send that the true zone would allow. One plausible zone is read
    like a known one.
    """

    plausible: Plausible
    start: datetime
    slot_minutes: int
    n_slots: int

    @property
    def night_day(self) -> int:
        return (self.start.date() - _EPOCH).days

    def of_cells(self, zones: Sequence[object], slots: Sequence[int]) -> Minutes:
        """The day of each (zone of the user, slot); shape (N,)."""
        days = {zone: self._days(zone) for zone in map(self._known, {*zones}) if zone}
        known = map(self._known, zones)
        found = (days[zone][slot] if zone else self.night_day for zone, slot in zip(known, slots, strict=True))
        return np.fromiter(found, np.int64, len(zones))

    def of_past(self, sent: datetime, zone: object, slots: frozenset[int]) -> int:
        """The day of a send at `sent` of a user of this zone, whose plan may use these slots."""
        known = self._known(zone)
        if known:
            return local_day(sent, known)
        same_week = False
        for plausible in self.plausible.zones:
            day = local_day(sent, plausible)
            planned = {self._plausible_days[plausible][slot] for slot in slots}
            if day in planned:
                return self.night_day
            same_week |= _week(day) in map(_week, planned)
        if not same_week:
            return self.night_day - 7
        return self.night_day + (1 if _week(self.night_day + 1) == _week(self.night_day) else -1)

    def _known(self, zone: object) -> str | None:
        if isinstance(zone, str) and zone_or_none(zone) is not None:
            return zone
        return self.plausible.zones[0] if len(self.plausible.zones) == 1 else None

    @cached_property
    def _plausible_days(self) -> dict[str, list[int]]:
        return {zone: self._days(zone) for zone in self.plausible.zones}

    def _days(self, zone: str) -> list[int]:
        return [r.local_day for r in readings(zone, self.start, self.slot_minutes, self.n_slots)]


def _week(day: int) -> int:
    return (day + 3) // 7  # 1970-01-01 was a Thursday
