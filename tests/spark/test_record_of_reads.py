"""A lake records the versions that were read, as they are read, and reads what it has recorded."""

from __future__ import annotations

from datetime import date

import pytest
from tiny_nights import EVENING, put, send

from sendopt.spark.engine.lake import ABSENT, Lake

pytestmark = pytest.mark.slow


def write(lake: Lake, user: str, key: str) -> None:
    """As a stage writes."""
    elsewhere = Lake(lake.spark, f"{lake.root}-{key}")
    put(elsewhere, "sends", [send(user, key, EVENING)])
    lake.merge("sends", elsewhere.read("sends"))


def test_a_version_is_recorded_as_it_is_read_and_the_rows_stay_those_of_it(lake: Lake) -> None:
    put(lake, "sends", [send("u1", "k1", EVENING)])
    before = lake.version("sends")
    stage = lake.recording()
    rows = stage.read("sends")
    put(Lake(lake.spark, lake.root), "sends", [send("u2", "k2", EVENING)])  # another process
    assert lake.version("sends") > before
    assert [r["send_key"] for r in rows.collect()] == ["k1"], "not what was written since"
    write(stage, "u3", "k3")
    assert stage.read("sends").count() == 3
    assert stage.touched.read == {"sends": before}, "read, then written: the version read"
    assert stage.touched.written == {"sends": lake.version("sends")}
    assert stage.version_used("sends") == before


def test_a_table_that_is_not_there_is_recorded_and_what_a_stage_only_wrote_is_no_input(lake: Lake) -> None:
    assert lake.read("sessions").isEmpty()
    write(lake, "u1", "k1")
    write(lake, "u1", "k1")
    assert lake.read("sends").count() == 1
    assert lake.touched.read == {"sessions": ABSENT}
    assert set(lake.touched.written) == {"sends"}
    assert lake.version_used("sends") == lake.touched.written["sends"]
    assert lake.recording().touched.read == {}
    assert lake.read("slot_features", date(2026, 3, 1)).isEmpty()
    assert lake.touched.read == {"sessions": ABSENT, "slot_features": ABSENT}
