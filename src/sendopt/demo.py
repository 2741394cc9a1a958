"""The demo's world in its place: made once, played on after each planned night. Safe to run again."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from sendopt.config.schema import ClockSettings, Settings
from sendopt.lake.tables import read_table
from sendopt.simulation.delivery import deliver, simulate_history
from sendopt.simulation.world import World, world_file

SEED = 20


def prepare(raw: Path, settings: Settings, users: int, start: date, days: int) -> bool:
    """True where `raw` now holds a new world of `users` people and `days` of history; False where it did already."""
    if world_file(raw).is_file():
        there = World.load(world_file(raw), settings.campaigns)
        if (len(there.people.ids), there.seed, there.start) == (users, SEED, start):
            return False
    world = World.create(users, SEED, settings.campaigns, settings.channels, start, settings.grid)
    simulate_history(world, raw, days)
    return True


def at_its_own_time(settings: Settings) -> Settings:
    """The settings under the world's own clock, whatever they say: no machine's time means anything in it."""
    return settings.model_copy(update={"clock": ClockSettings(now="as_of")})


def play(raw: Path, settings: Settings, day: date) -> None:
    """Deliver the published plan of `day` into the raw logs, as the world and its people would."""
    world = World.load(world_file(raw), settings.campaigns)
    plan = read_table(settings.paths.data, "send_plan", day)
    deliver(world, raw, day, plan)
