"""What `sendopt check` says of a conf folder: every fault of every file, or what the settings mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sendopt.config import forecast
from sendopt.config.checks import unknown
from sendopt.config.loader import load
from sendopt.config.presets import mapping_file
from sendopt.config.schema import Settings
from sendopt.config.yaml_tree import Mark, Problem, Tree, read, sentences
from sendopt.errors import ConfigError
from sendopt.ingest import load_mapping


@dataclass(frozen=True)
class Checked:
    """Valid settings: what is probably not meant in them, and what a night under them may do."""

    conf: str
    environments: tuple[str, ...]
    warnings: tuple[str, ...]
    forecast: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        yield f"{self.conf} is valid for {', '.join(self.environments)}"
        yield from (f"warning: {warning}" for warning in self.warnings)
        yield from (f"  {sentence}" for sentence in self.forecast)


def check(conf: Path, env: str | None, today: date) -> Checked:
    """What the settings of a folder mean, where they are valid.

    `env` None means every env/*.yaml. Raises ConfigError (exit 2) whose `problems` are all faults of the settings and
    of the mappings that they name, as `FILE:LINE: dotted.path: sentence`.
    """
    if not conf.is_dir():
        raise ConfigError(f"{conf}: no such folder; give one that holds growth.yaml and env/NAME.yaml")
    names = [env] if env else sorted(path.stem for path in (conf / "env").glob("*.yaml"))
    if not names:
        raise ConfigError(f"{conf}/env holds no *.yaml: write at least {conf}/env/local.yaml")
    problems: dict[str, None] = {}
    valid: list[Settings] = []
    clocks: list[str] = []
    for name in names:
        try:
            valid.append(load(conf, name))
            clocks += forecast.stated_clock(name, valid[-1])
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems or (error.message,))
    for settings in valid:
        for source in settings.sources.values():
            problems |= dict.fromkeys(_mapping_problems(source.mapping, settings))
    if problems:
        raise ConfigError(f"{len(problems)} problem{'s' * (len(problems) != 1)} in {conf}:", tuple(problems))
    warnings = dict.fromkeys(w for settings in valid for w in forecast.warnings(settings, today))
    return Checked(str(conf), tuple(names), tuple(warnings), (*forecast.forecast(valid[-1]), *clocks))


def _mapping_problems(path: str, settings: Settings) -> tuple[str, ...]:
    try:
        mapping = load_mapping(path)
    except ConfigError as error:
        return error.problems or (error.message,)
    tree = read(mapping_file(path), path)[0] or Tree()
    derived = mapping.derived_users.channels if mapping.derived_users else ()
    places = [(("tables", "users", "channels", i), name) for i, name in enumerate(derived)]
    return sentences(
        Problem(tree.mark(place) or Mark(path, 0), place, unknown("channel", name, settings.channels))
        for place, name in places
        if name not in settings.channels
    )
