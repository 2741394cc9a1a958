"""Which sends were followed by an opt-out: one definition for rates, plans and outcomes (model ¶7, ¶9d).

It is about what a send does. Whom a night may send to is `sendopt.spark.people`: there every opt-out counts.
"""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.spark.night import Night


def with_opt_out(night: Night, sends: DataFrame) -> DataFrame:
    """The rows plus `opted_out`: did an opt-out follow the send within label.window_hours, and before as_of?

    `sends` has send_key and sent_at_utc; a row that was not sent has no time and no opt-out.
    """
    at, outs_at = F.col("sent_at_utc"), F.col("_opted_out_at")
    window = timedelta(hours=night.settings.label.window_hours)
    known = (F.col("kind") == "opt_out") & (F.col("at_utc") < F.lit(night.as_of))
    outs = night.lake.read("interactions").where(known).select("send_key", F.col("at_utc").alias("_opted_out_at"))
    inside = (outs_at >= at) & (outs_at <= at + F.lit(window))
    return (
        sends.join(outs, "send_key", "left")
        .withColumn("opted_out", F.coalesce(inside, F.lit(False)))
        .drop("_opted_out_at")
    )
