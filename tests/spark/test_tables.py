"""The lake keeps its contracts: atomic replacement, idempotent merge, refusals that write nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from lake_rows import in_order, slot_feature
from pyspark.sql import functions as F

from sendopt.domain.keys import keyed_hash, unit_interval
from sendopt.domain.tables import TABLES
from sendopt.errors import ContractError
from sendopt.spark.engine import keys
from sendopt.spark.engine.lake import schema_of

pytestmark = pytest.mark.slow
D1, D2 = date(2026, 3, 1), date(2026, 3, 2)


def slot_features(spark, day, hours, rate=0.5):
    rows = [slot_feature(day, hour, rate) for hour in hours]
    return spark.createDataFrame(in_order("slot_features", rows), schema_of(TABLES["slot_features"]))


def opens(spark, **imputed):
    """Return rows of `interactions`: one open for each send key, and whether its time is imputed."""
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    rows = [{"send_key": key, "kind": "open", "at_utc": at, "at_imputed": flag} for key, flag in imputed.items()]
    return spark.createDataFrame(in_order("interactions", rows), schema_of(TABLES["interactions"]))


def rows_of(lake, name):
    return sorted(map(tuple, lake.read(name).collect()))


def test_replace_twice_leaves_equal_rows_and_other_dates_alone(spark, lake):
    assert lake.replace("slot_features", slot_features(spark, D1, [1, 2]), D1) == 2
    lake.replace("slot_features", slot_features(spark, D2, [3]), D2)
    before = rows_of(lake, "slot_features")
    lake.replace("slot_features", slot_features(spark, D1, [1, 2]), D1)
    assert rows_of(lake, "slot_features") == before
    assert len(before) == 3
    lake.replace("slot_features", slot_features(spark, D1, []), D1)
    assert [r[0] for r in rows_of(lake, "slot_features")] == [D2]


@pytest.mark.parametrize(
    ("hours", "rate", "sentence"),
    [
        ([1, 1], 0.5, "1 rows repeat a key (plan_date, local_hour, weekend) of another row"),
        ([1], float("nan"), "column hour_rate: 1 of 1 rows break its contract"),
        ([1], 1.5, "hour_rate >= 0 AND hour_rate <= 1); examples: 1.5"),
        ([25], 0.5, "column local_hour"),
    ],
)
def test_rows_that_break_the_contract_are_refused_and_nothing_is_written(spark, lake, hours, rate, sentence):
    with pytest.raises(ContractError) as error:
        lake.replace("slot_features", slot_features(spark, D1, hours, rate), D1)
    assert sentence in str(error.value)
    assert not lake.exists("slot_features")


def test_rows_of_another_date_and_other_types_are_refused(spark, lake):
    with pytest.raises(ContractError, match="1 rows of another plan_date"):
        lake.replace("slot_features", slot_features(spark, D2, [1]), D1)
    with pytest.raises(ContractError, match="hour_rate is string, expected double"):
        lake.replace("slot_features", slot_features(spark, D1, [1]).withColumn("hour_rate", F.lit("x")), D1)
    with pytest.raises(ContractError, match="hour_rate is missing"):
        lake.replace("slot_features", slot_features(spark, D1, [1]).drop("hour_rate"), D1)


def test_merge_inserts_updates_and_is_idempotent(spark, lake):
    lake.merge("interactions", opens(spark, a=False, b=False))
    again = opens(spark, b=True, c=False)
    for _ in range(2):
        lake.merge("interactions", again)
        imputed = [(r["send_key"], r["at_imputed"]) for r in lake.read("interactions").orderBy("send_key").collect()]
        assert imputed == [("a", False), ("b", True), ("c", False)]
    with pytest.raises(ContractError, match="1 rows repeat a key"):
        lake.merge("interactions", opens(spark, d=True).union(opens(spark, d=True)))


def test_a_column_that_has_become_optional_takes_null_in_a_table_made_before(spark, lake, monkeypatch):
    now = TABLES["slot_scores"]
    before = tuple(replace(c, nullable=False) if c.name == "local_hour" else c for c in now.columns)
    row = {
        "plan_date": D1,
        "user_id": "u",
        "slot": 0,
        "category": "news",
        "channel": "push",
        "local_hour": 9,
        "p_open": 0.5,
        "p_opt_out": 0.0,
        "plan_version": "v",
        "config_hash": "h",
        "model_version": "m",
    }

    def scores():
        return spark.createDataFrame(in_order("slot_scores", [row]), schema_of(now))

    monkeypatch.setitem(TABLES, "slot_scores", replace(now, columns=before))
    lake.replace("slot_scores", scores(), D1)
    monkeypatch.undo()
    row["local_hour"] = None
    lake.replace("slot_scores", scores(), D1)
    assert [r["local_hour"] for r in lake.read("slot_scores").collect()] == [None]


def test_spark_and_python_hash_alike(spark):
    frame = spark.createDataFrame([("u1",), ("ü2",), ("",)], "u string").select(
        "u", keys.keyed_hash("arm", F.col("u")), keys.unit_interval("arm", F.col("u"))
    )
    for user, key, unit in frame.collect():
        assert key == keyed_hash("arm", user)
        assert unit == unit_interval("arm", user)
