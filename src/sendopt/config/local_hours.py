"""Local windows that no slot fits: windows and quiet hours against the slots of every zone, all year round.

A slot is sent only where it lies wholly in its campaign's window and touches no quiet hours (model ¶3). Slots start on
the hour of UTC, so in a zone of another offset they start at other minutes, and a window may fall between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sendopt.config.schema import Campaign, Settings
from sendopt.domain.slots import MINUTES_PER_DAY, inside, outside, zone_or_none, zones_of_places

# Well-known zones; of the zones with the same offset, a warning names these first.
WELL_KNOWN = (
    *("Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran", "Asia/Kabul", "Asia/Yangon", "Australia/Adelaide"),
    *("America/St_Johns", "Europe/London", "Europe/Berlin", "America/New_York", "America/Los_Angeles"),
    *("Asia/Tokyo", "Asia/Shanghai", "Australia/Sydney", "America/Sao_Paulo"),
)
NAMED = 2  # zones that a warning names; the others are counted


def warnings(settings: Settings, year: int) -> Iterator[str]:
    """Yield `dotted.path: sentence` for each campaign that a zone, or a user of unknown zone, can never get."""
    for name, campaign in settings.campaigns.items():
        fits = _fits(settings, campaign)
        if not fits.any():
            yield f"campaigns.{name}.window: {_nowhere(settings, campaign)}, so nothing is sent"
            continue
        yield from _in_zones(settings, f"campaigns.{name}", campaign, fits, year)


def _fits(settings: Settings, campaign: Campaign) -> NDArray[np.bool_]:
    """Return (1440,) True where a slot that starts at this local minute may be sent."""
    starts = np.arange(MINUTES_PER_DAY)
    length = np.full(MINUTES_PER_DAY, settings.grid.slot_minutes)
    fits = np.ones(MINUTES_PER_DAY, bool)
    if campaign.window:
        fits &= inside(starts, length, campaign.window.start, campaign.window.end)
    for quiet in (settings.quiet_hours.everyone, settings.quiet_hours.channels.get(campaign.channel)):
        if quiet:
            fits &= outside(starts, length, quiet.start, quiet.end)
    return fits


def _nowhere(settings: Settings, campaign: Campaign) -> str:
    """Return why no slot at all may be sent, as a clause."""
    without_quiet = settings.model_copy(update={"quiet_hours": type(settings.quiet_hours)()})
    if _fits(without_quiet, campaign).any():
        return "every slot in it lies in quiet hours"
    return f"no slot of {settings.grid.slot_minutes} minutes fits into it"


def _in_zones(settings: Settings, at: str, campaign: Campaign, fits: NDArray[np.bool_], year: int) -> Iterator[str]:
    slot = settings.grid.slot_minutes
    # (slot,) by the minute at which a zone's slots start, counted from a multiple of the slot's length
    meets = np.asarray(fits.reshape(-1, slot).any(axis=0))
    if meets.all():
        yield from _of_unknown_zone(settings, at, fits, year)
        return
    never: list[str] = []
    partly: list[str] = []
    for zone, offsets in offsets_of_zones(year).items():
        met = {bool(meets[offset % slot]) for offset in offsets}
        if True not in met:
            never.append(zone)
        elif False in met:
            partly.append(zone)
    window = campaign.window
    hours = f"{window.start}–{window.end}" if window else "quiet hours"
    if len(never) == len(offsets_of_zones(year)):
        yield f"{at}.window: no slot of {slot} minutes meets {hours} in any zone, so nothing is sent; {_remedy(slot)}"
        return
    for zones, how in ((never, ""), (partly, "for a part of the year ")):
        if zones:
            yield f"{at}.window: {how}no slot of {slot} minutes meets {hours} in {_named(zones, year)}; {_remedy(slot)}"
    yield from _of_unknown_zone(settings, at, fits, year)


def _remedy(slot: int) -> str:
    return f"a window of {2 * slot} minutes has one everywhere" + ("" if slot == 15 else ", and so have shorter slots")


def _of_unknown_zone(settings: Settings, at: str, fits: NDArray[np.bool_], year: int) -> Iterator[str]:
    """Yield a warning where no slot is allowed in every plausible zone at once, as users of unknown zone need it."""
    zones = [zone for zone in settings.zones.plausible if zone_or_none(zone) is not None]
    if len(zones) < 2:
        return
    starts = np.arange(0, MINUTES_PER_DAY, settings.grid.slot_minutes)
    for moment in _moments(year):
        offsets = [_offset(zone, moment) for zone in zones]
        if np.all([fits[(starts + offset) % MINUTES_PER_DAY] for offset in offsets], axis=0).any():
            return
    yield (
        f"{at}.window: no slot lies in it in all of zones.plausible ({', '.join(zones[:3])}"
        f"{' …' if len(zones) > 3 else ''}) at once, so users of unknown zone never get it"
    )


def _named(zones: Sequence[str], year: int) -> str:
    """Return `Asia/Kolkata (+05:30), Asia/Kathmandu (+05:45) and 12 more zones`, first one zone of each offset."""
    rank = {zone: i for i, zone in enumerate(WELL_KNOWN)}
    ordered = sorted(zones, key=lambda zone: (rank.get(zone, len(rank)), zone))
    firsts: dict[int, str] = {}
    for zone in ordered:
        firsts.setdefault(min(offsets_of_zones(year)[zone]), zone)
    shown = sorted(firsts.values(), key=ordered.index)[:NAMED] if len(firsts) >= NAMED else ordered[:NAMED]
    words = ", ".join(f"{zone} ({_offset_words(offsets_of_zones(year)[zone])})" for zone in shown)
    rest = len(zones) - len(shown)
    return words + (f" and {rest} more zone{'s' * (rest > 1)}" if rest else "")


def _offset_words(offsets: frozenset[int]) -> str:
    return " and ".join(f"{'-' if o < 0 else '+'}{abs(o) // 60:02d}:{abs(o) % 60:02d}" for o in sorted(offsets))


@cache
def offsets_of_zones(year: int) -> dict[str, frozenset[int]]:
    """Return the UTC offsets, in minutes, that each zone of the world has in a year, by the pinned tzdata."""
    return {zone: frozenset(_offset(zone, moment) for moment in _moments(year)) for zone in zones_of_places()}


@cache
def _moments(year: int) -> tuple[datetime, ...]:
    """Return a moment in each week of the year."""
    return tuple(datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(weeks=week) for week in range(52))


def _offset(zone: str, moment: datetime) -> int:
    info = zone_or_none(zone)
    shift = moment.astimezone(info).utcoffset() or timedelta(0)
    return round(shift.total_seconds() / 60)
