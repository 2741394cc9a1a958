"""Users as a night may use them at a given time: the one place that says whom a message may reach (model ¶3)."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.spark.stage import Night


def current_users(night: Night, at: datetime) -> DataFrame:
    """One row a user known before `at`, with the consent, zone and quiet hours that hold then.

    Columns: user_id, timezone, channels, opted_out_categories, opted_out_channels, quiet_start, quiet_end. The three
    sequences may be NULL, which is an empty one.
    """
    users = night.lake.read("users").where(F.col("created_at") < F.lit(at)).drop("created_at")
    return users.join(_opted_out_channels(night, at), "user_id", "left")


def _opted_out_channels(night: Night, at: datetime) -> DataFrame:
    """One row a user that turned channels off before `at`: user_id, opted_out_channels."""
    known = F.col("at_utc") < F.lit(at)
    outs = night.lake.read("interactions").where((F.col("kind") == "opt_out") & known).select("send_key")
    return (
        night.lake.read("sends")
        .join(outs, "send_key")
        .groupBy("user_id")
        .agg(F.collect_set("channel").alias("opted_out_channels"))
    )
