"""The page names the goals of its night: what gives their chance, what they are worth, what is expected, what came."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pandas as pd

from sendopt.report import render
from sendopt.report.data import ReportData

COUNTED = {
    "order": {"kind": "goal", "window_hours": 72.0, "weight": 4.0, "model_version": "m-goal-order/2"},
    "visit": {"kind": "click", "window_hours": 24.0, "weight": 0.5, "share_of_success": 0.154},
}
EVALUATION = {
    "model_version": "m-goal-order/2",
    "calibration_groups": [{"by": "overall", "name": "overall", "ratio": 1.016, "low": 0.91, "high": 1.12}],
}


def with_goals(night: ReportData) -> ReportData:
    facts = {"score_slots": {"goals": COUNTED}, "publish_schedule": {"expected_goals": {"order": 89.5, "visit": 61.0}}}
    runs = night.runs.assign(facts=[json.dumps(facts.get(stage, {})) for stage in night.runs["stage"]])
    came = {"plan_date": date(2026, 3, 1), "goal": "order", "sent": 1800, "successes": 71, "expected_successes": 80.25}
    return replace(
        night,
        runs=runs,
        goal_outcomes=pd.DataFrame([came]),
        goal_evaluations={"order": EVALUATION},
    )


def test_goals_are_named_with_weight_model_and_calibration(night: ReportData) -> None:
    page = render(with_goals(night))
    for words in (
        "2 goals beside the label",
        "goal within 72 hours",
        "click within 24 hours",
        "Model m-goal-order/2",
        "1.02 [0.91, 1.12]",
        "0.154 of each success, no trusted model",
        "90 of goal order, 61 of goal visit and",
        "Goals of earlier plans",
        "2026-03-01",
    ):
        assert words in page, words


def test_the_evaluation_of_another_version_is_not_shown_as_this_ones(night: ReportData) -> None:
    other = {"order": {**EVALUATION, "model_version": "m-goal-order/3"}}
    assert "1.02 [0.91, 1.12]" not in render(replace(with_goals(night), goal_evaluations=other))


def test_without_goals_nothing_is_said_of_them(page: str) -> None:
    assert "beside the label" not in page
    assert "of goal" not in page
    assert "Goals of earlier plans" not in page
