"""The report says what a night took for now, and that a stated time is not the machine's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sendopt.report import render
from sendopt.report.data import ReportData


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("machine", "2026-03-28 23:12 UTC, this machine&#x27;s clock"),
        ("settings", "2026-03-28 23:12 UTC, stated by the setting clock.now, not this machine&#x27;s clock"),
    ],
)
def test_the_report_says_whose_clock_a_plan_was_published_by(night: ReportData, by: str, words: str) -> None:
    facts = {"publish_schedule": {"clock": {"now": "2026-03-28T23:12:00Z", "by": by}}}
    runs = night.runs.assign(facts=[json.dumps(facts.get(stage, {})) for stage in night.runs["stage"]])
    assert words in render(replace(night, runs=runs))


def test_a_record_without_a_clock_shows_none(page: str) -> None:
    assert "Published as of" not in page
