"""`sendopt check`: whether a folder of settings is sound, and what it means for a night."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sendopt import settings_check
from sendopt.commands.printing import print_lines
from sendopt.night import runtime
from sendopt.process import output


def check(conf: Path, env: str | None = None, as_json: bool = False) -> None:
    """Check the settings in `conf` and print what they mean; raise ConfigError with every fault in them."""
    checked = settings_check.check(conf, env, runtime.machine_time().date())
    if as_json:
        output.document(asdict(checked))
        return
    print_lines(checked.lines())
