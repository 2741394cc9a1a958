"""Local time of UTC columns, by a broadcast join with offset periods that Python's zoneinfo worked out.

The JVM's zone rules differ from the pinned tzdata for some zones, so no zone function of Spark is ever used.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.domain.slots import offset_periods, zone_or_none


def with_local_time(rows: DataFrame, time_column: str, zone_column: str) -> DataFrame:
    """The rows plus local_time (wall clock held in a timestamp), local_hour (0 to 23) and weekend.

    The three are NULL where the zone is NULL or unknown or the time is NULL.
    """
    spark = rows.sparkSession
    found = rows.agg(F.min(time_column), F.max(time_column), F.collect_set(zone_column)).head()
    assert found is not None
    periods: list[tuple[str, datetime, datetime, int]] = []
    if found[0] is not None:
        start = _utc(found[0]) - timedelta(days=1)
        end = _utc(found[1]) + timedelta(days=1)
        for zone in sorted(found[2]):
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


def is_weekend(local_time: str) -> Column:
    return F.weekday(local_time) >= 5


def _utc(naive: datetime) -> datetime:
    return naive.replace(tzinfo=UTC)
