"""Rules that join several settings: names that must exist, windows that must hold a slot, what is not built yet."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path

from sendopt.config.presets import PREFIX, preset_names
from sendopt.config.schema import Campaign, Grid, LocalWindow, Settings
from sendopt.config.yaml_tree import KeyPath, shown
from sendopt.domain.slots import zone_or_none

MINUTES_PER_DAY = 24 * 60
Finding = tuple[KeyPath, str]

SECRET_KEY = re.compile(r"password|secret|token|credential|access\.key", re.IGNORECASE)
SECRET_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")


@dataclass(frozen=True)
class Names:
    """Ids as written, those with faults included, so that one fault is not told twice."""

    channels: Collection[str]
    categories: Collection[str]
    campaigns: Collection[str]


def findings(settings: Settings, names: Names, grid_is_sound: bool = True) -> list[Finding]:
    """Every broken rule across sections, in the order of the schema. `grid_is_sound` is false where the grid itself
    has a fault, so that what depends on it is not judged by a default."""
    found = [
        *_campaigns(settings, names),
        *_channel_keys(settings, names),
        *_scopes(settings, names),
        *_not_built(settings),
        *_order(settings),
        *_zones(settings),
        *_sources(settings),
        *_secrets(settings),
    ]
    return [*found, *_grid(settings)] if grid_is_sound else found


def window_minutes(window: LocalWindow) -> int:
    """Length of a local window on a day without a clock change, minutes, 1 to 1439."""
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in (window.start, window.end))
    return (end - start) % MINUTES_PER_DAY


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"unknown {kind} {name}, did you mean {close[0]}?"
    plural = {"channel": "channels", "category": "categories", "campaign": "campaigns"}[kind]
    return f"unknown {kind} {name}; expected one of the {plural}: {', '.join(sorted(known)) or 'none is configured'}"


def _campaigns(settings: Settings, names: Names) -> Iterator[Finding]:
    for name, campaign in settings.campaigns.items():
        if campaign.channel not in names.channels:
            yield ("campaigns", name, "channel"), _unknown("channel", campaign.channel, names.channels)
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


def _channel_keys(settings: Settings, names: Names) -> Iterator[Finding]:
    maps: tuple[tuple[KeyPath, Collection[str]], ...] = (
        (("quiet_hours", "channels"), settings.quiet_hours.channels),
        (("fatigue", "points_per_send"), settings.fatigue.points_per_send if settings.fatigue else ()),
        (("capacity",), settings.capacity),
    )
    for path, keys in maps:
        for key in keys:
            if key not in names.channels:
                yield (*path, key), _unknown("channel", key, names.channels)


def _scopes(settings: Settings, names: Names) -> Iterator[Finding]:
    known = {"channel": names.channels, "category": names.categories, "campaign": names.campaigns}
    for name, cap in settings.caps.items():
        kind, _, target = cap.scope.partition(":")
        if kind != "all" and target not in known[kind]:
            yield ("caps", name, "scope"), _unknown(kind, target, known[kind])


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
    gate = settings.gate
    if gate.min_calibration_ratio > gate.max_calibration_ratio:
        yield (
            ("gate", "min_calibration_ratio"),
            f"above max_calibration_ratio; got {gate.min_calibration_ratio:g}; "
            f"expected at most {gate.max_calibration_ratio:g}",
        )
    if settings.drift.min_label_ratio > settings.drift.max_label_ratio:
        yield (
            ("drift", "min_label_ratio"),
            f"above max_label_ratio; got {settings.drift.min_label_ratio:g}; "
            f"expected at most {settings.drift.max_label_ratio:g}",
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
                f"unknown zone; got {shown(zone)}; expected an IANA name like Europe/Paris",
            )


def _sources(settings: Settings) -> Iterator[Finding]:
    for name, source in settings.sources.items():
        if source.mapping.startswith(PREFIX):
            if source.mapping.removeprefix(PREFIX) not in preset_names():
                names = ", ".join(preset_names())
                yield (
                    ("sources", name, "mapping"),
                    f"unknown preset; got {shown(source.mapping)}; expected one of {names}",
                )
        elif not Path(source.mapping).is_file():
            yield (
                ("sources", name, "mapping"),
                f"no such file; got {shown(source.mapping)}; "
                "expected a path from the working directory, like conf/sources/demo.yaml",
            )


def _secrets(settings: Settings) -> Iterator[Finding]:
    """The value is not repeated: a message ends in logs."""
    for key in settings.spark.conf:
        if SECRET_KEY.search(key):
            yield ("spark", "conf", key), "looks like a secret; take it out and let the cluster's own settings hold it"
    if SECRET_URL.search(settings.mlflow.tracking_uri):
        yield (
            ("mlflow", "tracking_uri"),
            "holds a password; take it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )


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
