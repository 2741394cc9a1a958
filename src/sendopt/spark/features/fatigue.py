"""Fatigue of users at any moment, from the times of their sends (model ¶9d)."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sendopt.features import Rules

HALF_LIVES = 40  # the look-back in half-lives: an older send counts less than 1e-12 of its points


def with_fatigue(asked: DataFrame, sends: DataFrame, rules: Rules, middle: Column) -> DataFrame:
    """Return `asked` (user_id, at and any further columns) plus fatigue_points.

    The points come from `sends` (user_id, at, channel) strictly before `at`. Times are in microseconds. The weights
    2^((t - middle) / half_life) reduce the decay to one running sum per user. With `middle` in the middle of the times
    they stay within a double's range: 200 days of 6-hour half-lives on either side are 800 doublings, and only weights
    that no longer count underflow.
    """
    points = F.lit(1.0)
    if rules.points is not None:
        points = F.lit(0.0)
        for channel, cost in sorted(rules.points.items()):
            points = F.when(F.col("channel") == channel, F.lit(float(cost))).otherwise(points)
    # decimals add up exactly, so that the undefined order of simultaneous sends does not matter
    moments = sends.groupBy("user_id", "at").agg(F.sum(points.cast("decimal(38,18)")).cast("double").alias("_points"))
    marked = moments.unionByName(asked.withColumn("_asked", F.lit(True)), allowMissingColumns=True)
    half_lives = (F.col("at") - middle) / F.lit(rules.half_life_hours * 3_600_000_000)
    before = Window.partitionBy("user_id").orderBy("at").rangeBetween(Window.unboundedPreceding, -1)
    total = F.coalesce(F.sum(F.col("_points") * F.pow(F.lit(2.0), half_lives)).over(before), F.lit(0.0))
    return (
        marked.withColumn("fatigue_points", total * F.pow(F.lit(2.0), -half_lives))
        .where("_asked")
        .select(*asked.columns, "fatigue_points")
    )
