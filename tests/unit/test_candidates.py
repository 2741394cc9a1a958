"""One reason a refused cell, the first that applies; solvable by eye."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sendopt import candidates
from sendopt.config.schema import AudienceAll, Campaign, LocalWindow, QuietHours

SALE = Campaign(
    channel="push", category="deals", audience=AudienceAll(kind="all"), window=LocalWindow(start="09:00", end="21:00")
)
QUIET = QuietHours(
    everyone=LocalWindow(start="22:00", end="08:00"), channels={"sms": LocalWindow(start="18:00", end="10:00")}
)


def cell(**changes):
    row = {
        "campaign_id": "sale",
        "channel": "push",
        "category": "deals",
        "arm": "treatment",
        "known_user": True,
        "already_sent": False,
        "channels": ("push", "sms"),
        "opted_out_categories": (),
        "opted_out_channels": (),
        "wall_minute": 12 * 60,
        "wall_length": 60,
        "local_hour": 12,
        "quiet_start": None,
        "quiet_end": None,
        "slot_start": pd.Timestamp("2026-03-29 10:00"),
        "slot_end": pd.Timestamp("2026-03-29 11:00"),
        "earliest_utc": pd.NaT,
        "expiry_utc": pd.NaT,
    }
    return {**row, **changes}


def reason_of(**changes):
    rows = pd.DataFrame([cell(**changes)])
    for column in ("earliest_utc", "expiry_utc"):
        rows[column] = pd.to_datetime(rows[column])
    (reason,) = candidates.refusals(
        rows, campaigns={"sale": SALE}, quiet_hours=QUIET, supported_hours=frozenset(range(8, 22))
    )
    return reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"known_user": False}, "unknown_user"),
        ({"campaign_id": "gone"}, "unknown_campaign"),
        ({"arm": "holdout"}, "holdout"),
        ({"arm": "uniform_time"}, None),
        ({"already_sent": True}, "already_sent"),
        ({"channel": "email"}, "no_channel"),
        ({"opted_out_channels": ("push",)}, "channel_opted_out"),
        ({"opted_out_channels": ("sms",)}, None),
        ({"opted_out_categories": ("deals",)}, "category_opted_out"),
        ({"wall_minute": -1, "local_hour": -1}, "zone_unknown"),
        ({"wall_minute": 21 * 60 + 30, "local_hour": 21}, "quiet_hours"),  # its last half hour is quiet
        ({"wall_minute": 7 * 60 + 30, "local_hour": 7}, "quiet_hours"),
        ({"channel": "sms", "wall_minute": 17 * 60 + 30, "local_hour": 17}, "quiet_hours"),
        ({"channel": "sms", "wall_minute": 17 * 60, "local_hour": 17}, None),
        ({"quiet_start": "11:30", "quiet_end": "12:15"}, "quiet_hours"),
        ({"quiet_start": "13:00", "quiet_end": "12:00"}, None),  # the slot just fits between
        ({"quiet_start": "12:00", "quiet_end": "12:00"}, None),  # empty: the user has none
        ({"wall_minute": 8 * 60, "local_hour": 8}, "window"),
        ({"wall_minute": 20 * 60 + 30, "local_hour": 20}, "window"),
        ({"wall_minute": 20 * 60, "local_hour": 20}, None),
        ({"earliest_utc": pd.Timestamp("2026-03-29 10:01")}, "earliest"),
        ({"earliest_utc": pd.Timestamp("2026-03-29 10:00")}, None),
        ({"expiry_utc": pd.Timestamp("2026-03-29 10:00")}, "expiry"),
        ({"expiry_utc": pd.Timestamp("2026-03-29 10:59:59")}, "expiry"),  # the whole slot lies before it
        ({"expiry_utc": pd.Timestamp("2026-03-29 11:00")}, None),
        ({"local_hour": 5}, "no_support"),
        ({"arm": "holdout", "already_sent": True, "local_hour": 5}, "holdout"),  # the person before the slot
    ],
)
def test_the_first_rule_that_refuses_is_the_reason(changes, reason):
    assert reason_of(**changes) == reason


def test_value_is_weighted_opens_less_the_cost_of_opting_out():
    got = candidates.values(np.array([0.2, 0.1]), np.array([0.01, 0.5]), np.array([2.0, 1.0]), 3.0)
    assert got == pytest.approx([0.37, -1.4])


def test_a_message_takes_the_reason_that_refuses_most_of_its_slots_and_ties_go_by_precedence():
    assert candidates.message_reason(pd.Series(["window", "quiet_hours", "window"])) == "window"
    assert candidates.message_reason(pd.Series(["no_support", "quiet_hours"])) == "quiet_hours"
