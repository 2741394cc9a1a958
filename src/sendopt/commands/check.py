"""`sendopt check`: what a folder of settings means, or what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sendopt import settings_check
from sendopt.commands.printing import print_lines
from sendopt.night import runtime
from sendopt.process import output


def check(conf: Path, env: str | None, as_json: bool) -> None:
    checked = settings_check.check(conf, env, runtime.machine_time().date())
    if as_json:
        output.document(asdict(checked))
        return
    print_lines(checked.lines())
