"""Times, flags and numbers of a raw log without Spark: what ingest reads, read alike."""

from __future__ import annotations

import pandas as pd
import pytest

from sendopt.evaluation import values


@pytest.mark.parametrize(
    ("text", "time_format", "zone", "found"),
    [
        ("2026-03-01T09:30:00Z", "iso8601", "UTC", "2026-03-01T09:30:00"),
        ("2026-03-01 09:30", "iso8601", "Europe/Paris", "2026-03-01T08:30:00"),
        ("2026-03-01T09:30:00.123456789+02:00", "iso8601", "Europe/Paris", "2026-03-01T07:30:00.123456"),
        ("2026-03-29T02:30:00", "iso8601", "Europe/Paris", "nonexistent_local_time"),
        ("2026-10-25T02:30:00", "iso8601", "Europe/Paris", "2026-10-25T00:30:00"),  # read twice: the first
        ("2026-03-01T09:30:00", "iso8601", None, "local_time_without_zone"),
        ("2026-03-01T09:30:00", "iso8601", "Mars/Base", "unknown_zone"),
        ("2026-03-01T09:30:00Z", "iso8601", None, "2026-03-01T09:30:00"),
        ("2026-13-01T09:30:00Z", "iso8601", "UTC", "bad_time:at"),
        ("20260301T093000Z", "iso8601", "UTC", "bad_time:at"),
        ("1772357400", "epoch_seconds", "UTC", "2026-03-01T09:30:00"),
        ("1772357400250", "epoch_millis", "UTC", "2026-03-01T09:30:00.250000"),
        ("1772357400250", "epoch_seconds", "UTC", "bad_time:at"),
        ("-5", "epoch_seconds", "UTC", "bad_time:at"),
        ("01/03/2026 09:30", "%d/%m/%Y %H:%M", "UTC", "2026-03-01T09:30:00"),
        ("31/02/2026 09:30", "%d/%m/%Y %H:%M", "UTC", "bad_time:at"),
        ("1 Mar 2026 9:30 PM +0100", "%d %b %Y %I:%M %p %z", "UTC", "2026-03-01T20:30:00"),
        ("1999-12-31T23:59:59Z", "iso8601", "UTC", "time_before_2000"),
    ],
)
def test_times(text, time_format, zone, found):
    texts, zones = pd.Series([None, text], dtype=object), pd.Series([zone, zone], dtype=object)
    read = values.moment(texts, zones, time_format, False, "at")
    assert read.values[0] is None
    assert read.problem[0] is None
    assert (read.problem[1] or read.values[1].replace(tzinfo=None).isoformat()) == found


def test_a_real_timestamp_of_parquet_is_read_whatever_the_format_says():
    text = pd.Series(["2026-03-01 09:30:00.000000Z"], dtype=object)
    assert values.moment(text, "UTC", "epoch_seconds", True, "at").values[0].hour == 9
    assert values.moment(text, "UTC", "epoch_seconds", False, "at").problem[0] == "bad_time:at"


def test_flags_and_numbers():
    flags = values.boolean(pd.Series(["TRUE", "no", "1.0", "2", None], dtype=object), "f")
    assert flags.values.tolist() == [True, False, True, None, None]
    assert flags.problem.tolist() == [None, None, None, "bad_boolean:f", None]
    numbers = values.number(pd.Series(["1e-2", ".5", "nan", "1,5", None], dtype=object), "n")
    assert numbers.values.tolist() == [0.01, 0.5, None, None, None]
    assert numbers.problem.tolist() == [None, None, "not_a_number:n", "bad_number:n", None]


def test_micros_are_exact():
    read = values.moment(pd.Series(["2026-03-01T09:30:00.000001Z"], dtype=object), "UTC", "iso8601", False, "at")
    assert values.micros(read.values).tolist() == [1_772_357_400_000_001]
