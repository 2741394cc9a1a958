"""Rules across settings: names that must exist, windows that must hold a slot, features that are not built yet."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

from sendopt.config import places
from sendopt.config.schema import Campaign, Grid, LocalWindow, Settings
from sendopt.config.yaml_tree import KeyPath, shown
from sendopt.domain.limits import Cap
from sendopt.domain.outside_text import nearest
from sendopt.domain.slots import zone_or_none, zones_of_places

MINUTES_PER_DAY = 24 * 60
Finding: TypeAlias = tuple[KeyPath, str]  # the path of a faulty setting, and the sentence


@dataclass(frozen=True)
class Names:
    """Ids as the files hold them, also those with faults, so that a fault is reported once."""

    channels: Collection[str]
    categories: Collection[str]
    campaigns: Collection[str]


def findings(settings: Settings, names: Names, grid_is_sound: bool = True) -> list[Finding]:
    """Return every broken rule across sections, in the order of the schema.

    `grid_is_sound` is False where the grid has a fault of its own. Then the rules that depend on it are left out, since
    they would judge by a default.
    """
    violations = [
        *_campaigns(settings, names),
        *_channel_keys(settings, names),
        *_scopes(settings, names),
        *_not_built(settings),
        *_order(settings),
        *_zones(settings),
        *_clock(settings),
        *places.findings(settings),
    ]
    return [*violations, *_grid(settings)] if grid_is_sound else violations


def window_minutes(window: LocalWindow) -> int:
    """Return the length of a local window on a day without a clock change, in minutes, 1 to 1439."""
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in (window.start, window.end))
    return (end - start) % MINUTES_PER_DAY


PLURALS = {"channel": "channels", "category": "categories", "campaign": "campaigns"}


def unknown(kind: str, name: str, known: Collection[str], names: Names | None = None) -> str:
    """Return the sentence for a name that is not in `known`; `names` may hold it as another kind.

    >>> unknown("channel", "pushh", ["push", "email"])
    'unknown channel pushh, did you mean push?'
    """
    for known_kind, section in PLURALS.items() if names else ():
        if name in getattr(names, section):
            return f"unknown {kind} {name}; {name} is a {known_kind}: write {known_kind}:{name}"
    close = nearest(name, known)
    if close:
        return f"unknown {kind} {name}, did you mean {close}?"
    return (
        f"unknown {kind} {name}; expected one of the {PLURALS[kind]}: "
        f"{', '.join(sorted(known)) or 'none is configured'}"
    )


def _campaigns(settings: Settings, names: Names) -> Iterator[Finding]:
    for name, campaign in settings.campaigns.items():
        if campaign.channel not in names.channels:
            yield ("campaigns", name, "channel"), unknown("channel", campaign.channel, names.channels)
        dates: list[date] = []
        for key, text in (("first_date", campaign.first_date), ("last_date", campaign.last_date)):
            try:
                dates += [date.fromisoformat(text)] if text else []
            except ValueError:
                yield ("campaigns", name, key), f"no such day in the calendar; got {shown(text)}"
        if len(dates) == 2 and dates[0] > dates[1]:
            yield (
                ("campaigns", name, "last_date"),
                f"before first_date; got {shown(campaign.last_date)}; expected {campaign.first_date} or later",
            )


def _clock(settings: Settings) -> Iterator[Finding]:
    if settings.clock.now not in ("machine", "as_of"):
        try:
            datetime.fromisoformat(settings.clock.now)
        except ValueError:
            yield ("clock", "now"), f"no such time in the calendar; got {shown(settings.clock.now)}"


def _channel_keys(settings: Settings, names: Names) -> Iterator[Finding]:
    maps: tuple[tuple[KeyPath, Collection[str]], ...] = (
        (("quiet_hours", "channels"), settings.quiet_hours.channels),
        (("fatigue", "points_per_send"), settings.fatigue.points_per_send if settings.fatigue else ()),
        (("capacity",), settings.capacity),
    )
    for path, keys in maps:
        for key in keys:
            if key not in names.channels:
                yield (*path, key), unknown("channel", key, names.channels)


def _scopes(settings: Settings, names: Names) -> Iterator[Finding]:
    known = {"channel": names.channels, "category": names.categories, "campaign": names.campaigns}
    for name, cap in settings.caps.items():
        kind, _, target = cap.scope.partition(":")
        if kind != "all" and target not in known[kind]:
            yield ("caps", name, "scope"), unknown(kind, target, known[kind], names)


def _not_built(settings: Settings) -> Iterator[Finding]:
    if settings.grid.horizon_hours != 24:
        yield (
            ("grid", "horizon_hours"),
            f"horizons other than a day are not built yet; got {settings.grid.horizon_hours}; expected 24",
        )
    if settings.objective.kind == "incremental" and settings.objective.goals:
        yield (
            ("objective", "goals"),
            "what sending adds to a goal is not learnt yet, so kind incremental counts none; remove the goals, or set "
            "objective.kind to open",
        )
    for name, campaign in settings.campaigns.items():
        if campaign.tier != 1:
            yield ("campaigns", name, "tier"), f"priority tiers are not built yet; got {campaign.tier}; expected 1"
        for key, what in (
            ("half_life_hours", "decay of value with delay is"),
            ("exclusive_group", "exclusive groups are"),
            ("novelty", "novelty is"),
            ("opening_hours", "opening hours are"),
        ):
            if getattr(campaign, key) is not None:
                yield ("campaigns", name, key), f"{what} not built yet; remove the key"


def _order(settings: Settings) -> Iterator[Finding]:
    """Yield bounds that no value satisfies: a minimum above its maximum, a list out of order, a limit of two sizes."""
    pairs: list[tuple[KeyPath, str, float, float | None]] = [
        (
            ("gate", "min_calibration_ratio"),
            "max_calibration_ratio",
            settings.gate.min_calibration_ratio,
            settings.gate.max_calibration_ratio,
        ),
        (
            ("drift", "min_label_ratio"),
            "max_label_ratio",
            settings.drift.min_label_ratio,
            settings.drift.max_label_ratio,
        ),
        *(
            (("campaigns", name, "min_sends"), "max_sends", campaign.min_sends, campaign.max_sends)
            for name, campaign in settings.campaigns.items()
        ),
    ]
    for path, upper, low, high in pairs:
        if high is not None and low > high:
            yield path, f"above {upper}; got {low:g}; expected at most {high:g}"
    first: dict[tuple[str, int | None, str | None], tuple[str, Cap]] = {}
    for name, cap in settings.caps.items():
        first_name, first_cap = first.setdefault((cap.scope, cap.window_minutes, cap.calendar), (name, cap))
        if first_cap.max != cap.max:
            yield (
                ("caps", name, "max"),
                f"another maximum than caps.{first_name} has for the same scope and window; got {cap.max}; "
                f"expected {first_cap.max}, or one cap only",
            )
    for section, key in (("opt_out", "fatigue_edges"), ("features", "segment_edges")):
        edges: tuple[float, ...] = getattr(getattr(settings, section), key)
        if any(later <= earlier for earlier, later in itertools.pairwise(edges)):
            yield (section, key), f"not in rising order; got {', '.join(f'{edge:g}' for edge in edges)}"


def _zones(settings: Settings) -> Iterator[Finding]:
    for i, zone in enumerate(settings.zones.plausible):
        if zone_or_none(zone) is None:
            yield (
                ("zones", "plausible", i),
                f"unknown zone; got {shown(zone)}; expected {_zone_meant(zone) or 'an IANA name like Europe/Paris'}",
            )


def _zone_meant(name: str) -> str | None:
    """Return the zone that has this name in another case or with spaces; None where there is none."""
    spelt = {zone.casefold(): zone for zone in zones_of_places()}
    return spelt.get(name.strip().replace(" ", "_").casefold())


def _grid(settings: Settings) -> Iterator[Finding]:
    grid = settings.grid
    if grid.horizon_hours * 60 % grid.slot_minutes:
        yield (
            ("grid", "slot_minutes"),
            f"does not divide the horizon of {grid.horizon_hours} hours; got {grid.slot_minutes}",
        )
    slots = grid.horizon_hours * 60 // grid.slot_minutes
    for channel, capacity in settings.capacity.items():
        for slot in capacity if isinstance(capacity, dict) else ():
            if not 0 <= slot < slots:
                yield (
                    ("capacity", channel, slot),
                    f"no such slot; got {slot}; expected 0 to {slots - 1} ({grid.slot_minutes}-minute slots)",
                )
    for name, cap in settings.caps.items():
        if cap.window_minutes is not None and cap.window_minutes < grid.slot_minutes:
            yield (
                ("caps", name, "window_minutes"),
                f"shorter than a slot; got {cap.window_minutes}; expected at least {grid.slot_minutes} minutes",
            )
    for name, campaign in settings.campaigns.items():
        yield from _campaign_window(name, campaign, grid)


def _campaign_window(name: str, campaign: Campaign, grid: Grid) -> Iterator[Finding]:
    if campaign.window is None:
        return
    minutes = window_minutes(campaign.window)
    if minutes < grid.slot_minutes:
        yield (
            ("campaigns", name, "window"),
            f"shorter than a slot, nothing could be sent; got {minutes} minutes; expected at least {grid.slot_minutes}",
        )
