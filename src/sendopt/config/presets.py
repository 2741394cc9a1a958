"""Mappings of well-known products that come with the package, named `preset:NAME` wherever a mapping is asked for."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from sendopt.errors import ConfigError

PREFIX = "preset:"
_FOLDER = Path(str(resources.files("sendopt"))) / "ingest" / "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def mapping_file(text: str) -> Path:
    """Return the file of a mapping as settings and commands name it; raises ConfigError for an unknown preset."""
    if not text.startswith(PREFIX):
        return Path(text)
    name = text.removeprefix(PREFIX)
    if name not in preset_names():
        close = get_close_matches(name, preset_names(), n=1)
        advice = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(preset_names())}"
        raise ConfigError(f"unknown preset {name!r}, {advice}")
    return _FOLDER / f"{name}.yaml"
