"""Parts about the goals of a night: which count, by which model, how right it is, what is expected, what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.kit.rendering import NOTHING

HEAD = ("Goal", "Counts", "Worth, in opens", "Chance by", "Expected of this plan", "Seen / expected on later days")


def expected(data: ReportData) -> list[str]:
    """Return a text like `12 of goal order` for each goal of the plan; none where no goals are configured."""
    by_goal = data.facts("publish_schedule").get("expected_goals") or {}
    return [f"{words.expected(float(value))} of goal {name}" for name, value in sorted(by_goal.items())]


def card(data: ReportData) -> Markup:
    """Return the card of the night's goals; nothing where none is configured."""
    goals: Mapping[str, Any] = data.facts("score_slots").get("goals") or {}
    if not goals:
        return NOTHING
    by_goal = data.facts("publish_schedule").get("expected_goals") or {}
    rows = [_row(data, name, facts, by_goal.get(name)) for name, facts in sorted(goals.items())]
    note = (
        "A send is worth its chance of success plus, for each goal, its chance times its worth. A goal without a "
        "trusted model counts as the same share of every success. Intervals: 95 %, over people."
    )
    return parts.card(
        f"{words.plural(len(rows), 'goal')} beside the label",
        parts.table(HEAD, rows, numeric=(2, 4, 5), stack=True),
        note=note,
    )


def measured(data: ReportData) -> Markup:
    """Return the card of what earlier plans brought of each goal; nothing where none is measured."""
    if data.goal_outcomes.empty:
        return NOTHING
    rows = [
        [
            str(row["goal"]),
            str(row["plan_date"]),
            words.count(row["sent"]),
            words.count(row["successes"]),
            words.amount(float(row["expected_successes"]), 3),
        ]
        for _, row in data.goal_outcomes.iterrows()
    ]
    head = ("Goal", "Plan of", "Sends", "Seen", "Expected")
    note = "A goal's window may be longer than the label's, so its last plan may be an earlier one."
    return parts.card("Goals of earlier plans", parts.table(head, rows, numeric=(2, 3, 4), stack=True), note=note)


def _row(data: ReportData, name: str, facts: Mapping[str, Any], expected_goals: float | None) -> list[str]:
    version, share = facts.get("model_version"), words.number(facts.get("share_of_success"))
    return [
        name,
        f"{facts['kind']} within {facts['window_hours']:g} hours",
        f"{facts['weight']:g}",
        f"Model {version}" if version else f"{share or 0.0:.3f} of each success, no trusted model",
        "\u2013" if expected_goals is None else words.expected(expected_goals),
        _observed_over_expected(data.goal_evaluations.get(name) or {}, version),
    ]


def _observed_over_expected(evaluation: Mapping[str, Any], version: object) -> str:
    """Return the goal model's ratio with its interval; a dash where the evaluation is not of that version."""
    groups = evaluation.get("calibration_groups") or []
    overall = next((group for group in groups if group.get("by") == "overall"), None)
    if overall is None or evaluation.get("model_version") != version:
        return "\u2013"
    return f"{overall['ratio']:.2f} [{overall['low']:.2f}, {overall['high']:.2f}]"
