"""Local time of UTC columns, by a broadcast join with the offset periods of Python's zoneinfo.

The JVM's zone rules differ from the pinned tzdata for some zones, so no zone function of Spark is used.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from sendopt.domain.slots import offset_periods, readings, zone_or_none


def with_local_time(rows: DataFrame, time_column: str, zone_column: str) -> DataFrame:
    """Return the rows plus local_time (wall clock stored in a timestamp), local_hour (0 to 23) and weekend.

    The three are NULL where the zone is NULL or unknown, or the time is NULL.
    """
    spark = rows.sparkSession
    extent = rows.agg(F.min(time_column), F.max(time_column), F.collect_set(zone_column)).head()
    assert extent is not None
    first, last, zones = extent
    periods: list[tuple[str, datetime, datetime, int]] = []
    if first is not None:
        start = _utc(first) - timedelta(days=1)
        end = _utc(last) + timedelta(days=1)
        for zone in sorted(zones):
            if zone_or_none(zone) is not None:
                periods += [(zone, *period) for period in offset_periods(zone, start, end)]
    table = spark.createDataFrame(periods, "zone string, from_utc timestamp, to_utc timestamp, offset_minutes int")
    at = F.col(time_column)
    joined = rows.join(
        F.broadcast(table), (F.col(zone_column) == table.zone) & (at >= table.from_utc) & (at < table.to_utc), "left"
    )
    local = F.timestamp_seconds(F.unix_seconds(at) + F.col("offset_minutes").cast("bigint") * 60)
    return joined.select(*rows.columns, local.alias("local_time")).select(
        *rows.columns, "local_time", F.hour("local_time").alias("local_hour"), is_weekend("local_time").alias("weekend")
    )


def slot_readings(users: DataFrame, start: datetime, slot_minutes: int, n_slots: int) -> DataFrame:
    """Return the `n_slots` slots from `start` in local time: one row per known zone of `users.timezone` and slot.

    Columns: timezone, slot, start_utc, end_utc, start_local (wall clock with its offset, text), local_hour, weekend,
    weekday (Monday 0), wall_minute and wall_length as in `domain.slots.Reading`. Unknown zones have no row.
    """
    names = [row[0] for row in users.select("timezone").distinct().collect() if row[0] and zone_or_none(row[0])]
    grid = [
        (
            *(zone, r.slot, r.start_utc, r.end_utc, r.local_start.isoformat(timespec="seconds")),
            *(r.local_hour, r.weekend, r.weekday, r.wall_minute, r.wall_length),
        )
        for zone in sorted(names)
        for r in readings(zone, start, slot_minutes, n_slots)
    ]
    return users.sparkSession.createDataFrame(
        grid,
        "timezone string, slot int, start_utc timestamp, end_utc timestamp, start_local string, local_hour int, "
        "weekend boolean, weekday int, wall_minute int, wall_length int",
    )


def slot_times(spark: SparkSession, start: datetime, slot_minutes: int, n_slots: int) -> DataFrame:
    """Return slot, start_utc and end_utc of the `n_slots` slots from `start`."""
    begin = [start + timedelta(minutes=slot * slot_minutes) for slot in range(n_slots)]
    rows = [(slot, at, at + timedelta(minutes=slot_minutes)) for slot, at in enumerate(begin)]
    return spark.createDataFrame(rows, "slot int, start_utc timestamp, end_utc timestamp")


def is_weekend(local_time: str) -> Column:
    """Return whether the column `local_time` is on a Saturday or Sunday."""
    return F.weekday(local_time) >= 5


def _utc(naive: datetime) -> datetime:
    return naive.replace(tzinfo=UTC)
