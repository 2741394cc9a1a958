"""`sendopt rollback`: an earlier model as champion again."""

from __future__ import annotations

import sys

from sendopt.config.schema import Settings
from sendopt.process import output


def rollback(model: str, version: str | None, settings: Settings, as_json: bool = False) -> None:
    """Make a version of `model` its champion, by default the champion before this one; print both versions."""
    from sendopt.tracking import registries

    before, after = registries.roll_back(settings.mlflow, model, settings.objective.goals, version)
    if as_json:
        output.document({"from": before, "to": after})
        return
    sys.stdout.write(f"Champion was {before}, now is {after}. The next night uses it; nothing is retrained by this.\n")
