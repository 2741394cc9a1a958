"""The page says what the night holds, says so where something is missing, and leaks or runs nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import invented
import pandas as pd
import pytest

from sendopt.report import data, render, write
from sendopt.report.data import ReportData

FIGURES = {
    "sends-by-local-hour",
    "sends-by-campaign",
    "capacity-by-slot",
    "suppressed-by-reason",
    "measured-outcomes",
    "gain-over-baselines",
    "log-loss",
    "calibration",
    "slot-lift",
    "feature-importance",
    "placebo",
}


def figures(page: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r'data-figure="([^"]+)" data-marks="(\d+)"', page)}


def evaluated(night: ReportData, **changes: Any) -> str:
    return render(replace(night, evaluation={**invented.evaluation(), **changes}))


def test_headline_counts_what_the_tables_hold(night: ReportData, page: str) -> None:
    people = night.plan["user_id"].nunique()
    assert (
        f"{len(night.plan):,} of {night.candidates:,} candidate messages are planned for {people:,} people; "
        "proven within 0.02 % of the best possible plan."
    ) in page


def test_every_figure_is_there_with_marks(page: str) -> None:
    found = figures(page)
    assert set(found) == FIGURES
    assert min(found.values()) > 0


def test_nothing_is_asked_of_the_network_and_no_script_runs(page: str) -> None:
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)[^\"]*\"|url\(|@import|<script|https?:", page)


def test_no_user_is_named(page: str) -> None:
    assert "person-" not in page


def test_equal_data_gives_an_equal_page(night: ReportData, page: str) -> None:
    assert render(night) == page


def test_prices_are_said_in_words(page: str) -> None:
    assert "One more send of weekend_sale is worth 0.031 opens." in page
    assert "Asking for one more send of birthday_gift costs 0.012 opens." in page
    assert "One more expected opt-out in the budget is worth 0.71 opens." in page
    assert re.search(r"One more push send at \d\d:00 UTC is worth 0\.0\d+ opens\.", page)
    assert "limits cost nothing tonight" in page


def test_known_reasons_are_explained_and_unknown_ones_shown(night: ReportData) -> None:
    odd = night.suppressed.copy()
    odd.loc[:40, "reason"] = "moon_phase"
    page = render(replace(night, suppressed=odd))
    assert "Frequency cap (user_cap)" in page
    assert "moon_phase" in page
    assert "A reason code that this report has no explanation for." in page


def test_verdicts_follow_the_intervals(night: ReportData) -> None:
    gains = [
        {"baseline": "slot", "gain": 0.01, "low": 0.005, "high": 0.02},
        {"baseline": "user", "gain": 0.001, "low": -0.01, "high": 0.02},
        {"baseline": "user_slot", "gain": -0.01, "low": -0.02, "high": -0.001},
    ]
    page = evaluated(night, gains=gains)
    assert "Better than 1 of 3 simple rules" in page
    assert "Not shown to be better than the person&#x27;s own rate: the interval holds 0." in page
    assert "Worse than person&#x27;s rate + hour." in page
    assert "worse: −0.0100" in page


def test_shuffled_hours_that_lose_nothing_show_no_timing_gain(night: ReportData) -> None:
    gain = {"baseline": "model_shuffled_slots", "gain": 0.001, "low": -0.002, "high": 0.003}
    page = evaluated(night, log_loss={"model": 0.319, "model_shuffled_slots": 0.32}, gains=[gain])
    assert "No timing gain is shown: do not read the hours as an effect." in page
    assert "a gain of +0.0010 (95 % interval −0.0020 to +0.0030)" in page


def test_placebo_says_what_it_can_and_cannot_show(night: ReportData, page: str) -> None:
    assert "this shows when people walk/are active unless sent minus not sent shows more" in page
    assert "There is no placebo for this log" in evaluated(night)


def test_shuffled_hours_that_lose_show_a_timing_gain(page: str) -> None:
    assert "Knowing the hour is worth +0.0051 log loss" in page
    assert "The hours carry information." in page
    assert "Better than 3 of 4 simple rules" in page


def test_an_unfinished_solver_is_said_at_the_top(night: ReportData) -> None:
    certificate = night.certificate.assign(termination="time_limit", gap=0.031)
    page = render(replace(night, certificate=certificate))
    assert "The solver did not finish" in page
    assert "within 3.10 % of the best possible plan" in page


def test_fallback_and_a_refused_model_are_said_at_the_top(night: ReportData) -> None:
    plan = night.plan.assign(arm="fallback")
    evaluation = {**invented.evaluation(), "gate": {"promoted": False, "reasons": ["calibration 1.3"]}}
    page = render(replace(night, plan=plan, evaluation=evaluation))
    assert "planned without the model (arm fallback)" in page
    assert "did not pass its gate" in page


def test_an_empty_night_is_all_sentences(night_root: Path) -> None:
    page = render(data.load(night_root, invented.MEASURED - timedelta(days=9), None))
    assert figures(page) == {}
    assert "No candidate message was found for this night" in page
    assert "the table shadow_prices has no row for 2026-02-22; the stage allocate wrote none." in page
    assert "The model&#x27;s evaluation is missing" in page
    assert "No measured outcomes yet" in page


def test_no_tables_at_all_is_all_sentences(tmp_path: Path) -> None:
    page = render(data.load(tmp_path, invented.PLAN_DATE, None))
    assert figures(page) == {}
    assert "the table certificate does not exist yet; the stage allocate writes it." in page


@pytest.mark.parametrize("field", sorted(invented.evaluation()))
@pytest.mark.parametrize("value", ["absent", None, [], {}], ids=str)
def test_an_incomplete_evaluation_still_renders(night: ReportData, field: str, value: object) -> None:
    evaluation = {**invented.evaluation(placebo=True), field: value}
    if value == "absent":
        del evaluation[field]
    page = render(replace(night, evaluation=evaluation))
    assert "sends-by-local-hour" in figures(page)
    assert min(figures(page).values()) > 0


def test_not_a_number_is_not_drawn(night: ReportData) -> None:
    nan = float("nan")
    page = evaluated(
        night,
        gains=[{"baseline": "slot", "gain": nan, "low": nan, "high": nan}],
        calibration=[{"bin": 0, "expected": nan, "observed": 0.1, "n": 10}],
    )
    assert "gain-over-baselines" not in figures(page)
    assert "calibration" not in figures(page)
    assert not re.search(r"[\"> ]nan[\"< ]", page)


def test_sends_without_a_local_hour_are_counted_and_not_drawn(night: ReportData) -> None:
    some = night.plan["send_at_local"].where(night.plan.index >= 3)
    page = render(replace(night, plan=night.plan.assign(send_at_local=some)))
    assert "3 sends to people of unknown time zone" in page
    assert f"of {len(night.plan) - 3:,} sends" in page
    page = render(replace(night, plan=night.plan.assign(send_at_local=None)))
    assert "cannot be shown by hour" in page
    assert "sends-by-local-hour" not in figures(page)


def test_a_plan_without_sends_keeps_its_reasons(night: ReportData) -> None:
    page = render(replace(night, plan=night.plan.iloc[:0]))
    assert f"0 of {len(night.suppressed):,} candidate messages are planned for 0 people" in page
    assert "suppressed-by-reason" in figures(page)
    assert "sends-by-local-hour" not in figures(page)


def test_campaign_names_and_reasons_cannot_inject(night: ReportData) -> None:
    attack = "<script>alert(1)</script>\"><img src=x onerror='alert(2)'>"
    plan = night.plan.assign(campaign_id=attack, channel=attack)
    prices = pd.concat(
        [night.prices, night.prices.tail(1).assign(row=f"campaign_max:{attack}", kind="campaign_max", price=9.0)]
    )
    evaluation = {
        **invented.evaluation(),
        "importance": [{"feature": attack, "share": 1.0}],
        "gate": {"promoted": True, "reasons": [attack]},
        "model_version": attack,
    }
    lift = night.lift.assign(metric=attack, note=attack)
    page = render(
        replace(
            night,
            plan=plan,
            prices=prices,
            evaluation=evaluation,
            lift=lift,
            suppressed=night.suppressed.assign(reason=attack, arm=attack),
            quarantine=night.quarantine.assign(reason=attack),
            runs=night.runs.assign(stage=attack, dropped_by_reason=attack),
        )
    )
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<img" not in page
    assert attack not in page


def test_write_replaces_the_whole_file(night: ReportData, page: str, tmp_path: Path) -> None:
    target = tmp_path / "out" / "report.html"
    assert write(night, target) == target
    target.write_text("old", "utf-8")
    write(night, target)
    assert target.read_text("utf-8") == page
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
