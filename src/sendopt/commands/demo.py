"""`sendopt demo`: a simulated world and its nights."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from rich.console import Console

from sendopt import demo as demo_world
from sendopt import summary
from sendopt.commands.night import night
from sendopt.config.loader import load
from sendopt.errors import ConfigError
from sendopt.night import runtime
from sendopt.process import output

DEMO_DATE = date(2026, 3, 29)  # Europe's clocks change on it
DEMO_DAYS = 60


def demo(users: int, nights: int, conf: Path, env: str, as_json: bool = False) -> None:
    """Simulate a world of `users` people, plan `nights` nights in a row, and print what came of each."""
    settings = demo_world.at_its_own_time(load(conf, env))
    source = settings.sources.get("demo")
    if source is None:
        raise ConfigError(f"{conf}/env/{env}.yaml: sources.demo is missing; the demo writes its raw logs there")
    raw = Path(source.input)
    with runtime.writing(settings):  # from the first raw log to the last night, or two demos would mix
        Console(stderr=True).print(f"simulating {users} people over {DEMO_DAYS} days")
        demo_world.prepare(raw, settings, users, DEMO_DATE, DEMO_DAYS)
        planned = []
        for n in range(nights):
            day = DEMO_DATE + timedelta(days=n)
            planned.append(night(day, settings, conf, runtime.Times(), train=False, as_json=as_json))
            if n + 1 < nights:
                demo_world.play(raw, settings, day)
    if as_json:
        output.document({"users": users, "nights": planned})
        return
    for line in summary.where_next(settings, conf, env, day):
        Console(highlight=False).print(line, soft_wrap=True)
