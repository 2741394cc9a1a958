"""What is legal and can never mean anything is said by `sendopt check`, with the zones and dates concerned."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import available_timezones

import pytest

from sendopt.config.forecast import forecast, warnings
from sendopt.config.local_hours import offsets_of_zones
from sendopt.config.schema import Settings
from sendopt.domain.slots import inside, readings

TODAY = date(2026, 6, 1)


def settings(campaign: dict | None = None, **sections: object) -> Settings:
    news = {"channel": "push", "category": "info", "audience": {"kind": "all"}, **(campaign or {})}
    base = {"channels": {"push": {}}, "campaigns": {"news": news}, "capacity": {"push": 10}}
    return Settings.model_validate({**base, **sections})


def of(path: str, found: list[str]) -> list[str]:
    return [line.partition(": ")[2] for line in found if line.startswith(f"{path}: ")]


def window(start: str, end: str, slot: int = 60, **sections: object) -> list[str]:
    within = settings({"window": {"start": start, "end": end}}, grid={"slot_minutes": slot}, **sections)
    return of("campaigns.news.window", warnings(within, TODAY))


def test_a_window_of_one_hour_meets_no_slot_where_slots_start_at_half_past() -> None:
    never, partly = window("12:00", "13:00")
    assert never.startswith("no slot of 60 minutes meets 12:00–13:00 in Asia/Kolkata (+05:30), Asia/Kathmandu (+05:45)")
    assert "more zones" in never
    assert partly.startswith("for a part of the year no slot of 60 minutes meets 12:00–13:00 in Australia/Lord_Howe")


@pytest.mark.parametrize(
    ("start", "end", "slot", "words"),
    [
        ("12:30", "13:30", 60, "Europe/London"),
        ("09:00", "11:00", 120, "for a part of the year"),
        ("12:10", "13:10", 60, "in any zone, so nothing is sent"),
        ("23:30", "00:30", 60, "more zones"),
        ("08:00", "12:00", 240, "more zones"),
    ],
)
def test_a_window_that_some_zones_never_meet_is_said(start: str, end: str, slot: int, words: str) -> None:
    assert any(words in line for line in window(start, end, slot))


@pytest.mark.parametrize(
    ("start", "end", "slot"), [("12:00", "13:45", 60), ("12:00", "12:15", 15), ("09:00", "17:00", 240)]
)
def test_a_window_that_every_zone_meets_is_not_mentioned(start: str, end: str, slot: int) -> None:
    assert window(start, end, slot) == []


@pytest.mark.parametrize(
    "quiet",
    [{"everyone": {"start": "13:00", "end": "12:00"}}, {"channels": {"push": {"start": "13:00", "end": "12:00"}}}],
)
def test_what_quiet_hours_leave_must_hold_a_slot_in_every_zone(quiet: dict) -> None:
    lines = of("campaigns.news.window", warnings(settings(quiet_hours=quiet), TODAY))
    assert any("Asia/Kolkata" in line for line in lines)


def test_quiet_hours_and_a_window_that_leave_nothing_are_said_once() -> None:
    assert window("20:00", "23:00", quiet_hours={"everyone": {"start": "19:00", "end": "08:00"}}) == [
        "every slot in it lies in quiet hours, so nothing is sent"
    ]


def test_zones_that_are_named_really_have_no_slot_on_any_day_of_the_year() -> None:
    """Against the slots as eligibility reads them, on four days of the year."""
    days = [datetime(2026, month, 10, tzinfo=UTC) for month in (1, 4, 7, 10)]

    def meets(zone: str) -> bool:
        slots = [reading for day in days for reading in readings(zone, day, 60, 24)]
        return any(bool(inside(r.wall_minute, r.wall_length, "12:00", "13:00")) for r in slots)  # type: ignore[arg-type]

    never = {zone for zone in offsets_of_zones(2026) if not meets(zone)}
    said = window("12:00", "13:00")[0]
    assert len(never) - 2 == int(said.partition(" and ")[2].split()[0])
    assert {"Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham", "America/St_Johns"} <= never


def test_the_zones_of_a_year_are_those_that_people_live_in() -> None:
    zones = offsets_of_zones(2026)
    assert len(zones) > 400
    assert set(zones) <= available_timezones()
    assert zones["Europe/Berlin"] == {60, 120}
    assert zones["Asia/Kathmandu"] == {345}


def test_a_window_that_no_slot_meets_in_all_plausible_zones_is_said() -> None:
    far = {"plausible": ("America/Los_Angeles", "Asia/Tokyo")}
    assert window("09:00", "12:00", zones=far) == [
        "no slot lies in it in all of zones.plausible (America/Los_Angeles, Asia/Tokyo) at once, so users of unknown "
        "zone never get it"
    ]
    assert window("09:00", "12:00", zones={"plausible": ("Europe/Berlin", "Europe/London")}) == []


def test_a_campaign_past_its_last_date_is_said() -> None:
    over = settings({"last_date": "2026-05-31"})
    assert of("campaigns.news.last_date", warnings(over, TODAY)) == [
        "2026-05-31 is past; no night after 2026-05-31 offers the campaign"
    ]
    assert of("campaigns", warnings(over, TODAY)) == ["the last_date of every one is past, so nothing is sent"]
    assert "Campaign news is offered until 2026-05-31, and on no night after it." in forecast(over)
    for going_on in ({"last_date": "2026-06-01"}, {"first_date": "2026-07-01"}, {}):
        assert of("campaigns.news.last_date", warnings(settings(going_on), TODAY)) == []


@pytest.mark.parametrize(
    ("sections", "path", "sentence"),
    [
        (
            {"opt_outs": {"max_expected": 0}},
            "opt_outs.max_expected",
            "0 stops every message that has any chance of an opt-out",
        ),
        (
            {"channels": {"push": {"cost_per_send": 0.5}}, "cost": {"max_total": 0}},
            "channels.push.cost_per_send",
            "0.5 is more than cost.max_total 0, so nothing is sent there",
        ),
        (
            {"fatigue": {"max_points": 1, "points_per_send": {"push": 0}}},
            "fatigue",
            "without effect, because no channel costs points",
        ),
        (
            {"channels": {"push": {}, "sms": {}}, "fatigue": {"max_points": 1, "points_per_send": {"sms": 1}}},
            "fatigue.points_per_send",
            "push is left out, so its sends cost no points",
        ),
        (
            {"arms": {"holdout_fraction": 0.9}},
            "arms",
            "holdout and uniform_time together are more than half of the users, so most are not planned",
        ),
        (
            {"training": {"max_trees": 10}},
            "training.early_stopping_rounds",
            "30 is not less than max_trees 10, so training never stops early",
        ),
    ],
)
def test_what_can_never_have_an_effect_is_said(sections: dict, path: str, sentence: str) -> None:
    assert sentence in of(path, warnings(settings(**sections), TODAY))
