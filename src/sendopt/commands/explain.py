"""`sendopt explain`: why a person gets what, when."""

from __future__ import annotations

from datetime import date

from sendopt.commands.printing import print_lines
from sendopt.config.schema import Settings
from sendopt.process import output


def explain(user: str, message: str | None, day: date | None, settings: Settings, as_json: bool) -> None:
    from sendopt.report.explain import explain as explain_night

    costs = {name: c.cost_per_send for name, c in settings.channels.items()}
    found = explain_night(settings.paths.data, user, message, day, settings.grid.slot_minutes, costs)
    if as_json:
        output.document(found.as_json())
        return
    print_lines(found.lines())
