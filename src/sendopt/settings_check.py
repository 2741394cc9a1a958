"""What `sendopt check` says of a conf folder: every fault of every file, or what the settings mean."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from sendopt.config import forecast
from sendopt.config.loader import load
from sendopt.config.schema import Settings
from sendopt.errors import ConfigError
from sendopt.ingest import load_mapping


def lines(conf: Path, env: str | None, today: date) -> Iterator[str]:
    """Sentences about valid settings: warnings first, then what a night may do.

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
    for name in names:
        try:
            valid.append(load(conf, name))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems or (error.message,))
    for source in {source.mapping: source for settings in valid for source in settings.sources.values()}:
        problems |= dict.fromkeys(_mapping_problems(source))
    if problems:
        raise ConfigError(f"{len(problems)} problem{'s' * (len(problems) != 1)} in {conf}:", tuple(problems))
    yield f"{conf} is valid for {', '.join(names)}"
    for warning in dict.fromkeys(w for settings in valid for w in forecast.warnings(settings, today)):
        yield f"warning: {warning}"
    for sentence in forecast.forecast(valid[-1]):
        yield f"  {sentence}"


def _mapping_problems(path: str) -> tuple[str, ...]:
    try:
        load_mapping(Path(path))
    except ConfigError as error:
        return error.problems or (error.message,)
    return ()
