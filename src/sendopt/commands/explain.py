"""`sendopt explain`: which messages a person gets, when and why."""

from __future__ import annotations

from datetime import date

from sendopt.commands.printing import print_lines
from sendopt.config.schema import Settings
from sendopt.process import output


def explain(user: str, message: str | None, day: date | None, settings: Settings, as_json: bool = False) -> None:
    """Print the decision about every message of a user, or about one, on a plan date; default: the last one."""
    from sendopt.report.explain import explain as explain_night

    costs = {name: channel.cost_per_send for name, channel in settings.channels.items()}
    explanation = explain_night(settings.paths.data, user, message, day, settings.grid.slot_minutes, costs)
    if as_json:
        output.document(explanation.as_json())
        return
    print_lines(explanation.lines())
