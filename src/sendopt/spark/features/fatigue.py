"""Fatigue of users at any moment, from the times of their sends (model ¶9d)."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sendopt.features import Rules

HALF_LIVES = 40  # the look-back: older sends weigh less than 1e-12 of a point


def with_fatigue(asked: DataFrame, sends: DataFrame, rules: Rules, middle: Column) -> DataFrame:
    """`asked` (user_id, at, any others) plus fatigue_points, from `sends` (user_id, at, channel) strictly before `at`.

    Times are microseconds. Weights 2^((t - middle) / half_life) make it one running sum for all; with `middle` amid
    the times they stay far from a double's limits: 200 days of 6-hour half-lives on either side are 800 doublings,
    and only what no longer counts gets lost below.
    """
    points = F.lit(1.0)
    if rules.points is not None:
        points = F.lit(0.0)
        for channel, cost in sorted(rules.points.items()):
            points = F.when(F.col("channel") == channel, F.lit(float(cost))).otherwise(points)
    # sends of one moment are added up as decimals, so that their order, which nobody knows, does not matter
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
