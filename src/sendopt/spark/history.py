"""The past as a night may see it: sends, committed sends, hours with support (model ¶3, ¶16)."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.spark.night import Night


def sends(night: Night, at: datetime) -> DataFrame:
    """Return the sends made before `at`, and those planned on earlier dates that have no row in the log yet.

    One row per send_key. A planned send that the log marks as not sent is left out, and may be planned again.
    Columns: send_key, user_id, channel, category, campaign_id, sent_at_utc, timezone, p_opt_out.
    """
    columns = ["send_key", "user_id", "channel", "category", "campaign_id"]
    logged = night.lake.read("sends").where(F.col("sent_at_utc") < F.lit(at))
    made = logged.where("sent").select(*columns, "sent_at_utc", "timezone", F.lit(0.0).alias("p_opt_out"))
    earlier = plans_before(night, night.plan_date)
    committed = earlier.join(logged.select("send_key"), "send_key", "left_anti").select(
        *columns, F.col("send_at_utc").alias("sent_at_utc"), "timezone", "p_opt_out"
    )
    return made.unionByName(committed)


def plans_before(night: Night, day: date) -> DataFrame:
    """Return the rows of `send_plan` of dates before `day`, of each send_key the last (it may be planned again)."""
    earlier = night.lake.read("send_plan").where(F.col("plan_date") < F.lit(day))
    newest = earlier.groupBy("send_key").agg(F.max("plan_date").alias("plan_date"))
    return earlier.join(newest, ["send_key", "plan_date"])


def planned_again(night: Night, day: date) -> DataFrame:
    """Return the send_keys that plans after `day` hold: rows of the log with these keys belong to the later plan."""
    return night.lake.read("send_plan").where(F.col("plan_date") > F.lit(day)).select("send_key").distinct()


def known_send_keys(night: Night, at: datetime) -> DataFrame:
    """Return the keys of `sends`, which no plan may hold again."""
    return sends(night, at).select("send_key")


def supported_hours(night: Night) -> frozenset[int]:
    """Return the local hours with at least `support.min_sends` sends in the log; others are not planned."""
    counted = (
        night.lake.read("slot_features", night.plan_date).groupBy("local_hour").agg(F.sum("hour_sends").alias("n"))
    )
    supported = counted.where(F.col("n") >= night.settings.support.min_sends).collect()
    return frozenset(int(r["local_hour"]) for r in supported)


def last_mature_plan(night: Night, window: timedelta) -> date | None:
    """Return the last plan date with the windows of all its sends over at the night's as_of; None if there is none."""
    last = (
        night.lake.read("send_plan")
        .groupBy("plan_date")
        .agg(F.max("send_at_utc").alias("last_send"))
        .where(F.col("last_send") + F.expr(f"INTERVAL {int(window.total_seconds())} SECONDS") <= F.lit(night.as_of))
        .agg(F.max("plan_date"))
        .head()
    )
    return None if last is None else last[0]
