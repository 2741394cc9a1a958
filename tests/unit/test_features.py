"""The reference's features, each by hand on a log of a few rows (model ¶16)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pandas as pd
import pytest
from plain_features import Reference

from sendopt.config.schema import FeatureSettings, Grid, Label
from sendopt.domain.limits import Fatigue
from sendopt.domain.tables import TABLES
from sendopt.features import CELLS, FEATURE_COLUMNS, rules_of

D = date(2026, 3, 30)  # as_of is Sunday 29 March 23:00Z; Berlin's clock went forward that morning
AS_OF = datetime(2026, 3, 29, 23, tzinfo=UTC).replace(tzinfo=None)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SEND_COLUMNS = (
    *("user_id", "send_key", "sent_at_utc", "timezone", "channel", "category", "campaign_id"),
    *("pscore", "available", "sent"),
)


class Send(NamedTuple):
    """A send of user `u` in campaign `c`."""

    key: str
    age: timedelta  # before as_of
    zone: str | None = "UTC"
    channel: str = "push"
    sent: bool = True


def reference(sends=(), interactions=(), sessions=(), users=None, fatigue=None, suspected=0.0, **features):
    """Return the features of a log: sends, interactions (key, age), ages of sessions, users (id, zone, created at)."""
    users = [("u", "UTC", AS_OF - 10 * DAY)] if users is None else users
    return Reference(
        pd.DataFrame(
            [
                {
                    "user_id": "u",
                    "send_key": s.key,
                    "sent_at_utc": AS_OF - s.age,
                    "timezone": s.zone,
                    "channel": s.channel,
                    "category": "cat",
                    "campaign_id": "c",
                    "pscore": None,
                    "available": s.sent,
                    "sent": s.sent,
                }
                for s in sends
            ],
            columns=SEND_COLUMNS,
        ).astype({"sent_at_utc": "datetime64[us]"}),
        pd.DataFrame(
            [(key, "open", AS_OF - age) for key, age in interactions], columns=["send_key", "kind", "at_utc"]
        ).astype({"at_utc": "datetime64[us]"}),
        pd.DataFrame([("u", AS_OF - age) for age in sessions], columns=["user_id", "at_utc"]).astype(
            {"at_utc": "datetime64[us]"}
        ),
        pd.DataFrame(users, columns=["user_id", "timezone", "created_at"]),
        rules_of(
            Grid(),
            Label(machine_open_seconds=suspected),
            FeatureSettings(prior_sends=2.0, prior_sessions=2.0, **features),
            fatigue,
        ),
    )


def test_rates_count_mature_sends_and_shrink_to_the_global_rate():
    sends = [Send("a", 3 * DAY), Send("b", 2 * DAY), Send("young", 5 * HOUR), Send("unsent", 2 * DAY, sent=False)]
    log = reference(sends, [("a", 3 * DAY - HOUR), ("young", 4 * HOUR), ("unsent", DAY)])
    user = log.user(D, "u")
    assert (user["sends_7d"], user["mature_7d"], user["successes_7d"]) == (3, 2, 1)
    assert log.global_rate(D) == 2 / 4
    assert user["rate_7d"] == (1 + 2 * 0.5) / (2 + 2)
    assert user["days_since_send"] == pytest.approx(5 / 24)
    assert user["days_since_open"] == pytest.approx(4 / 24)  # its label is not final, yet it was seen
    assert user["days_since_session"] is None


def test_opens_that_no_person_makes_are_in_no_rate():
    """At once after the send, or three in one second; the sends themselves count."""
    sends = [Send(k, 2 * DAY) for k in ("at once", "in a minute", "x", "y", "z")]
    minute = timedelta(minutes=1)
    opens = [("at once", 2 * DAY), ("in a minute", 2 * DAY - minute), *((k, DAY) for k in ("x", "y", "z"))]
    log = reference(sends, opens, suspected=5.0, history_days=90)
    user = log.user(D, "u")
    assert (user["sends_7d"], user["mature_7d"], user["successes_7d"]) == (5, 1, 1)
    assert user["days_since_open"] == pytest.approx(2 - 1 / (24 * 60))
    assert log.sends.set_index("send_key").suspected.to_dict() == {
        "at once": True,
        "in a minute": False,
        "x": True,
        "y": True,
        "z": True,
    }
    assert reference(sends, opens, suspected=0.0).user(D, "u")["mature_7d"] == 5


def test_a_late_open_is_no_success_and_one_before_the_send_is_none_at_all():
    log = reference([Send("late", 3 * DAY), Send("early", 3 * DAY)], [("late", DAY), ("early", 4 * DAY)])
    user = log.user(D, "u")
    assert (user["mature_7d"], user["successes_7d"], user["days_since_open"]) == (2, 0, 1.0)


@pytest.mark.parametrize(
    ("age", "seen", "mature"),
    [
        (timedelta(0), 0, 0),
        (timedelta(microseconds=1), 1, 0),
        (DAY, 1, 0),  # final at as_of itself: not known before it
        (DAY + timedelta(microseconds=1), 1, 1),
        (7 * DAY, 1, 1),
        (7 * DAY + timedelta(microseconds=1), 0, 1),
        (8 * DAY, 0, 1),
        (8 * DAY + timedelta(microseconds=1), 0, 0),
    ],
)
def test_windows_hold_their_first_moment_and_not_as_of(age, seen, mature):
    user = reference([Send("a", age)]).user(D, "u")
    assert (user["sends_7d"], user["mature_7d"]) == (seen, mature)


def test_history_days_bounds_the_longer_windows():
    user = reference([Send("a", 20 * DAY)], [("a", 20 * DAY)], [20 * DAY], history_days=15).user(D, "u")
    assert (user["sends_30d"], user["mature_90d"], user["sessions_30d"]) == (0, 0, 0)
    assert user["days_since_send"] is user["days_since_open"] is user["days_since_session"] is None
    assert user["fatigue_points"] == pytest.approx(2.0 ** (-20 * 24 / 72))  # fatigue has its own memory


def test_fatigue_halves_each_half_life_and_a_channel_left_out_costs_nothing():
    sends = [Send("a", 24 * HOUR), Send("b", 48 * HOUR, channel="email"), Send("c", 48 * HOUR, channel="sms")]
    fatigue = Fatigue(half_life_hours=24.0, points_per_send={"push": 1.0, "email": 2.0}, max_points=9.0)
    assert reference(sends, fatigue=fatigue).user(D, "u")["fatigue_points"] == pytest.approx(1 / 2 + 2 / 4)
    assert reference(sends[:1]).user(D, "u")["fatigue_points"] == pytest.approx(2 ** (-1 / 3))


def test_tenure_is_null_for_a_user_created_later_who_also_has_no_rows():
    log = reference(users=[("u", "UTC", AS_OF - 10 * DAY), ("new", "UTC", AS_OF + HOUR), ("now", "UTC", AS_OF)])
    assert (log.user(D, "u")["tenure_days"], log.user(D, "new")["tenure_days"]) == (10.0, None)
    tables = log.tables(D)
    assert tables["user_features"].user_id.tolist() == ["u"]
    assert len(tables["user_features"].user_hour_rate[0]) == len(tables["slot_features"]) == len(CELLS) == 48


def test_hours_are_local_and_an_unknown_zone_counts_for_the_user_only():
    at = AS_OF - datetime(2026, 3, 28, 5, 30, tzinfo=UTC).replace(tzinfo=None)  # a Saturday
    log = reference([Send("b", at, "Europe/Berlin"), Send("k", at, "Asia/Kathmandu"), Send("x", at, None)], [("b", at)])
    assert log.user(D, "u")["mature_7d"] == 3
    filled = {cell: log.slot(D, *cell) for cell in CELLS if log.slot(D, *cell)["hour_mature"]}
    assert set(filled) == {(6, True), (11, True)}  # 06:30 at +1, 11:15 at +5:45
    assert filled[6, True] == {
        "hour_sends": 1,
        "hour_mature": 1,
        "hour_successes": 1,
        "hour_rate": (1 + 2 * 2 / 5) / 3,
    }


def test_a_users_hour_leans_on_his_rate_times_the_hours_and_his_daypart_on_three_hours():
    night = AS_OF - datetime(2026, 3, 27, 23, 30, tzinfo=UTC).replace(tzinfo=None)  # Friday 23h
    log = reference([Send("a", night)], [("a", night)])
    user, common = log.user(D, "u"), log.slot(D, 0, True)
    base = log.global_rate(D)  # 2/3
    assert user["rate_90d"] == pytest.approx((1 + 2 * base) / 3)
    cell = log.user_slot(D, "u", 0, True, user, common)
    assert (cell["user_hour_mature"], cell["user_hour_successes"]) == (0, 0)
    assert cell["user_hour_rate"] == pytest.approx(user["rate_90d"])  # no send at 0h: the hour's rate is the global one
    near = (1 + 2 * base) / 3  # 23h neighbours 0h, whatever the part of the week
    assert cell["user_daypart_rate"] == pytest.approx((1 + 2 * min(1, user["rate_90d"] * near / base)) / 3)


def test_activity_is_a_shrunk_share_that_sums_to_one():
    monday = AS_OF - datetime(2026, 3, 23, 8, 5, tzinfo=UTC).replace(tzinfo=None)
    log = reference(sessions=[monday, monday - 5 * DAY])  # Monday and Saturday, 8h
    user = log.tables(D)["user_features"].iloc[0]
    assert user.user_hour_activity[8] == user.user_hour_activity[24 + 8] == (2 / 3 + 2 * (2 / 3 + 1) / 26) / 4
    assert user.user_hour_activity[10] == pytest.approx((2 / 9 + 2 * (2 / 9 + 1) / 26) / 4)  # two hours off: a third
    assert user.user_hour_activity[11] == (0 + 2 * 1 / 26) / 4
    assert user.user_weekpart_activity[24 + 8] == (1 / 3 + 2 * (1 / 3 + 1) / 25) / 3
    for part in (slice(0, 24), slice(24, 48)):
        assert sum(user.user_hour_activity[part]) == pytest.approx(1)
        assert sum(user.user_weekpart_activity[part]) == pytest.approx(1)


def test_training_rows_see_the_night_of_their_own_date():
    """The send of 29 March sees nothing of itself, nor of the send of the evening before as_of(29 March)... 23:00Z."""
    at = AS_OF - datetime(2026, 3, 28, 12, tzinfo=UTC).replace(tzinfo=None)
    log = reference([Send("old", at + 5 * DAY), Send("eve", at + 12.5 * HOUR), Send("a", at)], [("a", at - HOUR)])
    rows = log.training_rows(D, 3).set_index("send_key")
    assert rows.index.tolist() == ["eve", "a"]
    assert rows.plan_date.tolist() == [date(2026, 3, 27), date(2026, 3, 28)]
    assert rows.label.tolist() == [0, 1]
    assert rows.sends_7d.tolist() == [1, 1]  # `eve` went out at 23:30Z, after as_of of 28 March
    assert rows.mature_7d.tolist() == [1, 1]
    assert (rows.weekday["a"], rows.local_hour["a"], rows.weekend["a"]) == (5, 12, True)


def test_groups_without_mature_sends_have_no_row():
    assert [g["kind"] for g in reference([Send("young", HOUR)]).groups(D)] == ["all"]
    rows = {
        (g["kind"], g["name"]): g["group_rate"] for g in reference([Send("a", 2 * DAY)], [("a", 2 * DAY)]).groups(D)
    }
    rate = (1 + 2 * 2 / 3) / 3
    expected = {("all", "all"): 2 / 3, ("channel", "push"): rate, ("category", "cat"): rate, ("campaign", "c"): rate}
    assert rows == pytest.approx(expected)


def test_feature_columns_are_the_contracts():
    contract = [c for t in ("user_features", "slot_features") for c in TABLES[t].names]
    assert set(FEATURE_COLUMNS) - {"category_rate", "channel_rate"} <= set(contract)
    assert len(set(FEATURE_COLUMNS)) == len(FEATURE_COLUMNS) == 31
    assert not {"plan_date", "as_of", "user_id", "local_hour", "weekend", "campaign_rate"} & set(FEATURE_COLUMNS)
