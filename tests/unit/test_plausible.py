"""Users of unknown zone: what is allowed and counted for them is so in every zone they may live in (model ¶3, ¶9b)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sendopt import candidates
from sendopt.config.schema import AudienceAll, Campaign, LocalWindow, QuietHours
from sendopt.domain.limits import Cap, Limits
from sendopt.domain.plausible import LocalDays, Plausible
from sendopt.domain.rules import Send, first_broken
from sendopt.spark.allocation.past_sends import _days

ZONES = ("America/New_York", "Asia/Kathmandu", "Asia/Kolkata", "Europe/Berlin", "Europe/Lisbon", "Pacific/Auckland")
SOME_ZONES = st.lists(st.sampled_from(ZONES), min_size=1, max_size=4, unique=True)
QUIET = QuietHours(
    everyone=LocalWindow(start="22:00", end="07:00"), channels={"sms": LocalWindow(start="19:30", end="09:00")}
)
CAMPAIGNS = {
    "free": Campaign(channel="push", category="c", audience=AudienceAll(kind="all")),
    "midday": Campaign(
        channel="sms", category="c", audience=AudienceAll(kind="all"), window=LocalWindow(start="10:00", end="15:30")
    ),
    "night": Campaign(
        channel="push", category="c", audience=AudienceAll(kind="all"), window=LocalWindow(start="20:00", end="09:00")
    ),
}
SUPPORTED = frozenset({*range(6, 12), *range(13, 23)})


def shown(zone: str, start: datetime, minutes: int) -> list[int]:
    """Minutes of day on the wall of a zone while a slot passes, minute by minute."""
    clock = [(start + timedelta(minutes=m)).astimezone(ZoneInfo(zone)) for m in range(minutes)]
    return [at.hour * 60 + at.minute for at in clock]


def within(minute: int, start: str, end: str) -> bool:
    begin, stop = (int(t[:2]) * 60 + int(t[3:]) for t in (start, end))
    return begin <= minute < stop if begin < stop else minute >= begin or minute < stop


def broken_in(zone: str, start: datetime, minutes: int, campaign: str, own: tuple[str, str] | None) -> list[str]:
    """Rules of local time that refuse the slot if the user lives in `zone`: the slow, plain way."""
    wall, asked = shown(zone, start, minutes), CAMPAIGNS[campaign]
    windows = [("22:00", "07:00"), *([("19:30", "09:00")] if asked.channel == "sms" else []), *([own] if own else [])]
    rules = []
    if any(within(m, *window) for m in wall for window in windows):
        rules.append("quiet_hours")
    if asked.window and not all(within(m, asked.window.start, asked.window.end) for m in wall):
        rules.append("window")
    if wall[0] // 60 not in SUPPORTED:
        rules.append("no_support")
    return rules


def reason_by_zones(by_zone: list[list[str]]) -> str | None:
    """What the growth team should read, from each zone's rules."""
    if not any(by_zone):
        return None
    if not all(by_zone):
        return "zone_unknown"
    common = [r for r in candidates.LOCAL_RULES if all(r in rules for rules in by_zone)]
    return common[0] if common else next(r for r in candidates.LOCAL_RULES if any(r in rules for rules in by_zone))


def frame(slots: int, start: datetime, minutes: int, campaign: str, own: tuple[str, str] | None) -> pd.DataFrame:
    n = range(slots)
    return pd.DataFrame(
        {
            "slot": n,
            "campaign_id": campaign,
            "channel": CAMPAIGNS[campaign].channel,
            "category": "c",
            "arm": "treatment",
            "known_user": True,
            "already_sent": False,
            "channels": [("push", "sms")] * slots,
            "opted_out_categories": [()] * slots,
            "opted_out_channels": [()] * slots,
            "wall_minute": -1,
            "wall_length": 0,
            "local_hour": -1,
            "quiet_start": own and own[0],
            "quiet_end": own and own[1],
            "slot_start": [pd.Timestamp(start).tz_localize(None) + pd.Timedelta(minutes=minutes * s) for s in n],
            "slot_end": [pd.Timestamp(start).tz_localize(None) + pd.Timedelta(minutes=minutes * (s + 1)) for s in n],
            "earliest_utc": pd.NaT,
            "expiry_utc": pd.NaT,
        }
    )


def refused(rows: pd.DataFrame, zones: tuple[str, ...], start: datetime, minutes: int) -> list[str | None]:
    walls = Plausible.of(zones, {}).walls(start, minutes, len(rows))
    found = candidates.refusals(
        rows, campaigns=CAMPAIGNS, quiet_hours=QUIET, supported_hours=SUPPORTED, plausible=walls
    )
    return list(found)


@given(
    SOME_ZONES,
    st.integers(0, 364),
    st.sampled_from([30, 60, 240]),
    st.sampled_from(sorted(CAMPAIGNS)),
    st.sampled_from([None, ("12:15", "12:45"), ("20:00", "10:00")]),
)
@example(["Europe/Berlin", "Europe/Lisbon"], 87, 60, "free", None)  # both clocks jump ahead in this night
@example(["America/New_York"], 66, 60, "night", None)
@settings(max_examples=80)
def test_a_slot_is_open_only_where_every_plausible_zone_allows_it_and_else_says_why(zones, day, minutes, campaign, own):
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    n = 1440 // minutes
    got = refused(frame(n, start, minutes, campaign, own), tuple(zones), start, minutes)
    for slot in range(n):
        at = start + timedelta(minutes=minutes * slot)
        by_zone = [broken_in(zone, at, minutes, campaign, own) for zone in zones]
        offsets = {
            (z, (at + timedelta(minutes=m)).astimezone(ZoneInfo(z)).utcoffset()) for z in zones for m in (0, minutes)
        }
        if len(offsets) == len(zones):  # no clock changes in it
            assert got[slot] == reason_by_zones(by_zone), (slot, by_zone)
        else:  # the wall that a jump passes counts as a whole: never more is allowed than the plain way allows
            assert got[slot] is not None or not any(by_zone)


def test_a_known_user_beside_them_is_judged_by_the_own_zone_and_no_plausible_zone_is_no_slot():
    start = datetime(2026, 1, 5, tzinfo=UTC)
    rows = frame(24, start, 60, "free", None)
    (berlin,) = Plausible.of(("Europe/Berlin",), {}).walls(start, 60, 24)
    known = rows.assign(wall_minute=berlin.minute, wall_length=berlin.length, local_hour=berlin.local_hour)
    both = refused(pd.concat([known, rows], ignore_index=True), ("Asia/Kolkata", "Europe/Berlin"), start, 60)[:24]
    assert both == refused(rows, ("Europe/Berlin",), start, 60)
    assert set(refused(rows, (), start, 60)) == {"zone_unknown"}
    late = rows.assign(expiry_utc=pd.Timestamp(start).tz_localize(None))
    assert set(refused(late, ("Europe/Berlin",), start, 60)) == {"quiet_hours", "expiry", "no_support"} - {"no_support"}


def test_a_message_that_some_zone_would_let_through_is_lost_for_want_of_the_zone():
    assert candidates.message_reason(["quiet_hours"] * 20 + ["zone_unknown"] * 2) == "zone_unknown"
    assert candidates.message_reason(["quiet_hours"] * 20 + ["window"] * 2) == "quiet_hours"


def test_plausible_zones_are_the_configured_or_those_of_known_users_with_their_shares():
    known = {"Europe/Berlin": 3, "Asia/Kolkata": 1, "Mars": 5}
    assert Plausible.of((), known) == Plausible(("Asia/Kolkata", "Europe/Berlin"), (0.25, 0.75))
    assert Plausible.of(("Europe/Paris", "Europe/Berlin", "Europe/Paris"), known) == Plausible(
        ("Europe/Berlin", "Europe/Paris"), (1.0, 0.0)
    )
    assert Plausible.of(("Asia/Tokyo", "Asia/Seoul"), known).shares == (0.5, 0.5)
    assert Plausible.of((), {"Mars": 5}) == Plausible((), ())


def test_zones_that_read_the_night_alike_are_scored_once():
    known = {"Europe/Berlin": 4, "Europe/Madrid": 2, "Asia/Kolkata": 1, "Europe/Lisbon": 1}
    winter = Plausible.of((), known).weights(datetime(2026, 1, 5, tzinfo=UTC), 60, 24)
    assert winter == {"Asia/Kolkata": 0.125, "Europe/Berlin": 0.75, "Europe/Lisbon": 0.125}
    walls = Plausible.of((), known).walls(datetime(2026, 1, 5, tzinfo=UTC), 60, 24)
    assert len(walls) == 3
    assert all(column.shape == (24,) for wall in walls for column in wall)


START = datetime(2026, 3, 29, tzinfo=UTC)  # a Sunday on which Europe's clocks change
MINUTES = st.integers(-10 * 1440, 1439)


def periods(zone: str, times: list[datetime], calendar: str) -> list[object]:
    local = [at.astimezone(ZoneInfo(zone)) for at in times]
    return [at.date() if calendar == "day" else at.isocalendar()[:2] for at in local]


@given(
    SOME_ZONES,
    st.integers(0, 13),
    st.lists(MINUTES, max_size=12),
    st.lists(st.integers(0, 23), min_size=1, max_size=24, unique=True),
    st.sampled_from([("day", 1), ("day", 2), ("week", 3)]),
)
@settings(max_examples=120)
def test_a_calendar_cap_that_the_plan_keeps_holds_in_every_plausible_zone(zones, ahead, past, slots, cap):
    calendar, most = cap
    start, open_slots = START + timedelta(days=ahead), frozenset(slots)
    days = LocalDays(Plausible.of(zones, {}), start, 60, 24)
    made = [start + timedelta(minutes=m) for m in past]
    sends = [
        Send(float(m), "push", "c", "x", days.of_past(at, None, open_slots), False)
        for m, at in zip(past, made, strict=True)
    ]
    limits = Limits(caps={"it": Cap(calendar=calendar, max=most)})
    planned: list[datetime] = []
    for slot, day in zip(slots, days.of_cells([None] * len(slots), slots), strict=True):
        new = Send(slot * 60.0, "push", "c", "x", int(day), True, str(slot))
        if first_broken(limits, sends, new) is None:
            sends.append(new)
            planned.append(start + timedelta(hours=slot))
    for zone in zones:
        counts = Counter(periods(zone, made + planned, calendar))
        assert all(counts[period] <= most for period in periods(zone, planned, calendar)), zone


def test_past_sends_that_no_plausible_zone_puts_on_the_night_leave_the_day_cap_free():
    days = LocalDays(Plausible.of(("Europe/Berlin", "Europe/London"), {}), datetime(2026, 1, 7, tzinfo=UTC), 60, 24)
    noon = frozenset({10, 11, 12})
    sent = {hour: days.of_past(datetime(2026, 1, 6, hour, tzinfo=UTC), None, noon) for hour in (12, 23)}
    assert sent[23] == days.night_day  # in Berlin it was the 7th already
    assert sent[12] != days.night_day
    assert (sent[12] + 3) // 7 == (days.night_day + 3) // 7  # but of the same week
    assert (days.of_past(datetime(2026, 1, 3, 12, tzinfo=UTC), None, noon) + 3) // 7 < (days.night_day + 3) // 7


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_one_plausible_zone_counts_days_as_a_known_one_does(zone):
    start = datetime(2026, 1, 7, tzinfo=UTC)
    one, none = (LocalDays(Plausible.of(zones, {}), start, 60, 24) for zones in ((zone,), ()))
    slots = list(range(24))
    np.testing.assert_array_equal(one.of_cells([None] * 24, slots), none.of_cells([zone] * 24, slots))
    at = datetime(2026, 1, 6, 22, tzinfo=UTC)
    assert one.of_past(at, None, frozenset(slots)) == none.of_past(at, zone, frozenset(slots))


def test_a_past_send_is_dated_by_its_zone_else_the_users_else_all_that_are_plausible():
    start = datetime(2026, 1, 7, tzinfo=UTC)
    days = LocalDays(Plausible.of(("Asia/Tokyo", "Europe/London"), {}), start, 60, 24)
    cells = pd.DataFrame({"user_id": ["known", "known", "lost"], "timezone": ["Asia/Tokyo"] * 2 + [None], "slot": 12})
    past = pd.DataFrame({"user_id": ["known", "known", "lost"], "timezone": ["America/New_York", None, "Asia/Tokyo"]})
    sent = pd.Series(pd.to_datetime(["2026-01-06 02:00", "2026-01-06 16:00", "2026-01-06 16:00"], utc=True))
    in_new_york, in_tokyo, night = days.night_day - 2, days.night_day, days.night_day
    assert _days(past, sent, cells, days) == [in_new_york, in_tokyo, night]
