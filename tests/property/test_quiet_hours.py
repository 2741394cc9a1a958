"""No minute of an eligible slot is quiet, in any zone, on any day, daylight saving's days included (model ¶1, ¶3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import available_timezones

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sendopt.domain.slots import inside, minute_of, offset_periods, outside, readings, zone_or_none

ZONES = sorted(z for z in available_timezones() if zone_or_none(z))
TIMES = st.integers(0, 24 * 4 - 1).map(lambda q: f"{q // 4:02d}:{q % 4 * 15:02d}")
DAYS = st.integers(0, 365 * 14).map(lambda d: datetime(2014, 1, 1, tzinfo=UTC) + timedelta(days=d))


def minutes_shown(zone, start, minutes):
    """Every minute of day that the clock shows in [start, start + minutes): the slow, plain way."""
    info = zone_or_none(zone)
    shown = [(start + timedelta(minutes=m)).astimezone(info) for m in range(minutes)]
    return {s.hour * 60 + s.minute for s in shown}


def in_window(minute, start, end):
    return (minute - minute_of(start)) % 1440 < (minute_of(end) - minute_of(start)) % 1440


@given(st.sampled_from(ZONES), DAYS, st.sampled_from([15, 30, 60, 120, 240]), TIMES, TIMES)
@example("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC), 60, "03:00", "08:00")
@example("America/New_York", datetime(2026, 11, 1, tzinfo=UTC), 60, "01:00", "01:30")
@example("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC), 120, "22:00", "08:00")
@example("America/New_York", datetime(2026, 3, 8, tzinfo=UTC), 60, "02:00", "08:00")
@settings(max_examples=300)
def test_an_allowed_slot_shows_no_quiet_minute_and_a_window_holds_all_of_it(zone, day, slot_minutes, start, end):
    if start == end:
        return
    slots = readings(zone, day, slot_minutes, 24 * 60 // slot_minutes)
    assert len({r.start_utc for r in slots}) == len(slots) == 24 * 60 // slot_minutes
    wall = np.array([r.wall_minute for r in slots]), np.array([r.wall_length for r in slots])
    for reading, quiet_ok, window_ok in zip(slots, outside(*wall, start, end), inside(*wall, start, end), strict=True):
        shown = minutes_shown(zone, reading.start_utc, slot_minutes)
        if quiet_ok:
            assert not any(in_window(m, start, end) for m in shown)
        if window_ok:
            assert all(in_window(m, start, end) for m in shown)
        if reading.wall_length == slot_minutes:  # an ordinary slot: exactly as the plain way says
            assert quiet_ok == (not any(in_window(m, start, end) for m in shown))
            assert window_ok == all(in_window(m, start, end) for m in shown)


@given(st.sampled_from(ZONES), DAYS, st.integers(1, 400))
@settings(max_examples=100)
def test_offset_periods_tell_what_the_zone_tells(zone, start, days):
    end = start + timedelta(days=days)
    periods = offset_periods(zone, start, end)
    assert periods[0][0] == start
    assert periods[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(periods))
    info = zone_or_none(zone)
    for begin, stop, offset in periods:
        for at in (begin, begin + (stop - begin) / 2, stop - timedelta(minutes=1)):
            assert round(at.astimezone(info).utcoffset().total_seconds() / 60) == offset
