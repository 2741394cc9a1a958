"""Text of a raw log as typed values: times, flags, numbers, zones and hours as logs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendopt.domain.slots import from_local, zone_or_none
from sendopt.ingest import SourceMapping, TableMapping, values
from sendopt.ingest.schema import Booleans
from sendopt.ingest.typed import typed_rows
from sendopt.ingest.vocabulary import clock_of, kind_of, known_zones, zone_named

WORDS = Booleans().meaning()


def session_at(text, time_format, zone, format_="csv"):
    """The time of a session whose raw text is `text`: a naive UTC text, or the reason why not."""
    table = TableMapping(
        format=format_, time_format=time_format, times_in={"column": "tz"}, columns={"user_id": "u", "at_utc": "at"}
    )
    rows = pd.DataFrame({"raw": ["r"], "malformed": [False], "u": ["x"], "at": [text], "tz": [zone]}, dtype=object)
    row = typed_rows(rows, "sessions", SourceMapping(source="s", tables={"sessions": table})).iloc[0]
    return row["reason"] or row["at_utc"].replace(tzinfo=None).isoformat()


@pytest.mark.parametrize(
    ("text", "time_format", "zone", "expected"),
    [
        ("2026-03-01T09:30:00Z", "iso8601", "UTC", "2026-03-01T09:30:00"),
        ("2026-03-01 09:30", "iso8601", "Europe/Paris", "2026-03-01T08:30:00"),
        ("2026-03-01T09:30:00.123456789+02:00", "iso8601", "Europe/Paris", "2026-03-01T07:30:00.123456"),
        ("2026-03-29T02:30:00", "iso8601", "Europe/Paris", "nonexistent_local_time"),
        ("2026-10-25T02:30:00", "iso8601", "Europe/Paris", "2026-10-25T00:30:00"),  # read twice: the first
        ("2026-03-01T09:30:00", "iso8601", None, "local_time_without_zone"),
        ("2026-03-01T09:30:00", "iso8601", "Mars/Base", "unknown_zone"),
        ("2026-03-01T09:30:00Z", "iso8601", None, "2026-03-01T09:30:00"),
        ("2026-13-01T09:30:00Z", "iso8601", "UTC", "bad_time:at_utc"),
        ("20260301T093000Z", "iso8601", "UTC", "bad_time:at_utc"),
        ("1772357400", "epoch_seconds", "UTC", "2026-03-01T09:30:00"),
        ("1772357400250", "epoch_millis", "UTC", "2026-03-01T09:30:00.250000"),
        ("1772357400250", "epoch_seconds", "UTC", "bad_time:at_utc"),
        ("-5", "epoch_seconds", "UTC", "bad_time:at_utc"),
        ("01/03/2026 09:30", "%d/%m/%Y %H:%M", "UTC", "2026-03-01T09:30:00"),
        ("31/02/2026 09:30", "%d/%m/%Y %H:%M", "UTC", "bad_time:at_utc"),
        ("1 Mar 2026 9:30 PM +0100", "%d %b %Y %I:%M %p %z", "UTC", "2026-03-01T20:30:00"),
        ("1999-12-31T23:59:59Z", "iso8601", "UTC", "time_before_2000"),
    ],
)
def test_times(text, time_format, zone, expected):
    assert session_at(text, time_format, zone) == expected


@pytest.mark.parametrize(
    ("text", "time_format", "expected"),
    [
        ("1772357400000001", "epoch_micros", "2026-03-01T09:30:00.000001"),
        ("1772357400000001999", "epoch_nanos", "2026-03-01T09:30:00.000001"),
        ("2026-03-01 09:30:00 UTC", "iso8601", "2026-03-01T09:30:00"),
        ("2026-03-01 09:30:00.5 UTC", "iso8601", "2026-03-01T09:30:00.500000"),
        ("Sun, 01 Mar 2026 10:30:00 +0100", "rfc2822", "2026-03-01T09:30:00"),
        ("01 Mar 2026 09:30:00 GMT", "rfc2822", "2026-03-01T09:30:00"),
        ("01.03.2026 09:30:00", "%d.%m.%Y %H:%M:%S", "2026-03-01T09:30:00"),
        ("01.03.2026 09:30:00.25", "%d.%m.%Y %H:%M:%S", "2026-03-01T09:30:00.250000"),
        ("01.03.2026 09:30:00,25", "%d.%m.%Y %H:%M:%S", "2026-03-01T09:30:00.250000"),
        ("1772357400", ("iso8601", "epoch_seconds"), "2026-03-01T09:30:00"),
        ("2026-03-01T09:30:00Z", ("epoch_seconds", "iso8601"), "2026-03-01T09:30:00"),
        ("0000-00-00 00:00:00", "iso8601", "missing_value:at_utc"),
        ("NULL", "iso8601", "missing_value:at_utc"),
        ("9" * 5000, "epoch_seconds", "bad_time:at_utc"),
    ],
)
def test_times_as_products_export_them(text, time_format, expected):
    assert session_at(text, time_format, "UTC") == expected


def test_a_real_timestamp_of_parquet_is_read_whatever_the_format_says():
    text = "2026-03-01 09:30:00.000000Z"
    assert session_at(text, "epoch_seconds", "UTC", "parquet") == "2026-03-01T09:30:00"
    assert session_at(text, "epoch_seconds", "UTC") == "bad_time:at_utc"


def test_flags_and_numbers():
    flags = values.boolean(pd.Series(["TRUE", "no", "1.0", "2", None, "Nein"], dtype=object), "f", WORDS)
    assert flags.values.tolist() == [True, False, True, None, None, False]
    assert flags.problem.tolist() == [None, None, None, "bad_boolean:f", None, None]
    numbers = values.number(pd.Series(["1e-2", ".5", "nan", "1,5", None, "9" * 5000], dtype=object), "n")
    assert numbers.values.tolist() == [0.01, 0.5, None, None, None, None]
    assert numbers.problem.tolist() == [None, None, "not_a_number:n", "bad_number:n", None, "bad_number:n"]


def test_micros_are_exact():
    assert session_at("2026-03-01T09:30:00.000001Z", "iso8601", "UTC").endswith("00.000001")
    assert values.micros([datetime(2026, 3, 1, 9, 30, 0, 1, UTC)]).tolist() == [1_772_357_400_000_001]


@given(
    st.sampled_from(["Europe/Paris", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca", "Pacific/Apia"]),
    st.integers(0, 60 * 24 * 365 * 3),
)
def test_local_times_undo_zoneinfo(zone, minute):
    local = datetime(2010, 12, 11, tzinfo=UTC).replace(tzinfo=None) + timedelta(minutes=minute)
    utc = local.replace(tzinfo=zone_or_none(zone)).astimezone(UTC)
    exists = utc.astimezone(zone_or_none(zone)).replace(tzinfo=None) == local
    assert from_local(local, zone) == (utc if exists else None)  # of a time read twice, fold=0 is the first


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("AMERICA/NEW YORK", "America/New_York"),
        ("+02:00", "Etc/GMT-2"),
        ("-0500", "Etc/GMT+5"),
        ("UTC+1", "Etc/GMT-1"),
        ("GMT", "GMT"),
        ("Z", "UTC"),
        ("+05:30", "Asia/Kolkata"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("pacific standard time", "America/Los_Angeles"),
        ("Factory", None),
        ("Etc/Unknown", None),
        ("+07:13", None),
        ("Mars/Phobos", None),
        ("CET Standard", None),
        ("../UTC", None),
        ("+99:00", None),
    ],
)
def test_zones_as_logs_write_them(text, zone):
    assert zone_named(text) == zone
    assert zone is None or zone_or_none(zone) is not None


def test_every_known_zone_names_itself_except_those_that_are_no_place():
    assert {name for name in known_zones() if zone_named(name) != name} == {"Factory"}


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("9:00", "09:00"),
        ("22", "22:00"),
        ("22h", "22:00"),
        ("24:00", "00:00"),
        ("10:00 PM", "22:00"),
        ("10 p.m.", "22:00"),
        ("12 am", "00:00"),
        ("12:30 pm", "12:30"),
        ("07:00:00", "07:00"),
        ("0800", "08:00"),
        ("21.30", "21:30"),
        ("25:00", None),
        ("13 pm", None),
        ("late", None),
        ("22:60", None),
        ("-1", None),
    ],
)
def test_hours_of_the_day_as_people_write_them(text, clock):
    assert clock_of(text) == clock


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OPEN", "open"),
        ("OPT_OUT", "opt_out"),
        ("opt-out", "opt_out"),
        ("unsubscribe", "opt_out"),
        ("Spam Report", "opt_out"),
        ("resubscribe", "opt_in"),
        ("opened", None),
        ("bounce", None),
        ("", None),
    ],
)
def test_only_consent_is_read_by_words_of_others(text, kind):
    """Whoever opts out by any word must not be sent to; which event is an open is the mapping's to say."""
    assert kind_of(text) == kind
