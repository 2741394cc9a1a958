"""Users of unknown time zone: the zones they may live in, and rules that hold in all of these (model ¶3, ¶9b)."""

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
    """The night's slots in local time of one zone; each array has shape (S,)."""

    minute: Minutes  # first minute of the day
    length: Minutes  # minutes of the clock face that the slot covers
    local_hour: Minutes


@dataclass(frozen=True)
class Plausible:
    """The zones that a user of unknown zone may live in, and the share of these users in each zone (sum 1).

    Zones are sorted by name. Both are empty where neither the settings nor a known user names a zone.
    """

    zones: tuple[str, ...]
    shares: tuple[float, ...]

    @staticmethod
    def of(configured: Collection[str], known_users: Mapping[str, int]) -> Plausible:
        """Return the configured zones, or all zones of `known_users` (users by zone) where none is configured.

        A zone's share is its share of the known users; all shares are equal where no known user lives in these zones.

        >>> Plausible.of([], {"Europe/Berlin": 3, "Asia/Tokyo": 1})
        Plausible(zones=('Asia/Tokyo', 'Europe/Berlin'), shares=(0.25, 0.75))
        """
        known = {zone: n for zone, n in known_users.items() if n > 0 and zone_or_none(zone) is not None}
        zones = tuple(sorted(set(configured) or known))
        total = sum(known.get(zone, 0) for zone in zones)
        return Plausible(zones, tuple(known.get(z, 0) / total if total else 1.0 / len(zones) for z in zones))

    def walls(self, start: datetime, slot_minutes: int, n_slots: int) -> tuple[Wall, ...]:
        """Return the night in local time, for the rules of local time: one `Wall` per distinct reading of the night."""
        distinct = {
            tuple((r.wall_minute, r.wall_length, r.local_hour) for r in readings(zone, start, slot_minutes, n_slots))
            for zone in self.zones
        }
        return tuple(Wall(*np.array(rows, np.int64).reshape(-1, 3).T) for rows in sorted(distinct))

    def weights(self, start: datetime, slot_minutes: int, n_slots: int) -> dict[str, float]:
        """Return the positive shares by zone (sum 1).

        Zones in which the night has the same local hours and weekdays are merged into the first by name: a model
        cannot tell them apart.
        """
        first_zone: dict[Hashable, str] = {}
        weights: dict[str, float] = {}
        for zone, share in zip(self.zones, self.shares, strict=True):
            if share > 0:
                night = readings(zone, start, slot_minutes, n_slots)
                name = first_zone.setdefault(tuple((r.local_hour, r.weekday) for r in night), zone)
                weights[name] = weights.get(name, 0.0) + share
        return weights


@dataclass(frozen=True)
class LocalDays:
    """The local day (days since 1970-01-01) that a send counts in, for caps by calendar day or week.

    For a user of unknown zone all slots of the night are one day, `night_day`. A past send counts in that day (or, for
    weekly caps, in its week) if in any plausible zone it shares a day (or a week) with a slot that the user may have.
    The true day or week can only hold fewer sends than were counted, so a cap that is kept here is kept in the true
    zone too. It may refuse a send that the true zone would allow. A single plausible zone is read as a known one.
    """

    plausible: Plausible
    start: datetime
    slot_minutes: int
    n_slots: int

    @property
    def night_day(self) -> int:
        return (self.start.date() - _EPOCH).days

    def of_cells(self, zones: Sequence[object], slots: Sequence[int]) -> Minutes:
        """Return the day of each pair (zone of the user, slot); shape (N,)."""
        days = {zone: self._days(zone) for zone in map(self._known, {*zones}) if zone}
        known = map(self._known, zones)
        of_cells = (days[zone][slot] if zone else self.night_day for zone, slot in zip(known, slots, strict=True))
        return np.fromiter(of_cells, np.int64, len(zones))

    def of_past(self, sent: datetime, zone: object, slots: frozenset[int]) -> int:
        """Return the day of a send made at `sent` to a user of this zone whose plan may use these slots."""
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
