"""What a night says of its goals: which count, by which model, how right it is, what is expected and what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words

HEAD = ("Goal", "Counts", "Worth, in opens", "Chance by", "Expected of this plan", "Seen / expected on later days")


def expected(data: ReportData) -> list[str]:
    """Like `12 of goal order`, of each goal of the night's plan; none where no goals are configured."""
    found = data.facts("publish_schedule").get("expected_goals") or {}
    return [f"{words.expected(float(value))} of goal {name}" for name, value in sorted(found.items())]


def card(data: ReportData) -> str:
    """The goals of the night, or nothing where none is configured."""
    counted: Mapping[str, Any] = data.facts("score_slots").get("goals") or {}
    if not counted:
        return ""
    brings = data.facts("publish_schedule").get("expected_goals") or {}
    rows = [_row(data, name, facts, brings.get(name)) for name, facts in sorted(counted.items())]
    note = (
        "A send is worth its chance of success plus, for each goal, its chance times its worth. A goal without a "
        "trusted model counts as the same share of every success. Intervals: 95 %, over people."
    )
    return parts.card(
        f"{words.plural(len(rows), 'goal')} beside the label",
        parts.table(HEAD, rows, numeric=(2, 4, 5), stack=True),
        note=note,
    )


def measured(data: ReportData) -> str:
    """What earlier plans brought of each goal, or nothing where none is measured."""
    if data.goal_outcomes.empty:
        return ""
    rows = [
        [
            str(r["goal"]),
            str(r["plan_date"]),
            words.count(r["sent"]),
            words.count(r["successes"]),
            words.amount(float(r["expected_successes"]), 3),
        ]
        for _, r in data.goal_outcomes.iterrows()
    ]
    head = ("Goal", "Plan of", "Sends", "Seen", "Expected")
    note = "A goal's window may be longer than the label's, so its last plan may be an earlier one."
    return parts.card("Goals of earlier plans", parts.table(head, rows, numeric=(2, 3, 4), stack=True), note=note)


def _row(data: ReportData, name: str, facts: Mapping[str, Any], brings: float | None) -> list[str]:
    evaluation = data.goal_evaluations.get(name) or {}
    version, share = facts.get("model_version"), words.number(facts.get("share_of_success"))
    by = f"Model {version}" if version else f"{0.0 if share is None else share:.3f} of each success, no trusted model"
    overall = next((r for r in evaluation.get("calibration_groups") or [] if r.get("by") == "overall"), None)
    seen = "\u2013"
    if overall is not None and evaluation.get("model_version") == version:
        seen = f"{overall['ratio']:.2f} [{overall['low']:.2f}, {overall['high']:.2f}]"
    return [
        name,
        f"{facts['kind']} within {facts['window_hours']:g} hours",
        f"{facts['weight']:g}",
        by,
        "\u2013" if brings is None else words.expected(brings),
        seen,
    ]
