"""The rules of eligibility on the night's tables (model ¶3); `sendopt.candidates` defines the rules.

build_candidates applies them to all cells, publish_schedule once more to the planned cells.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt import candidates
from sendopt.experiment.arms import arms_at
from sendopt.spark import history, unknown_zone
from sendopt.spark.engine import keys
from sendopt.spark.engine.zones import slot_readings, slot_times
from sendopt.spark.night import Night
from sendopt.spark.people import current_users

UNKNOWN = "unknown"  # channel and category of a message whose campaign is not configured
_COLUMNS = (
    "user_id",
    "notification_id",
    "slot",
    "campaign_id",
    "channel",
    "category",
    "position",
    "weight",
    "known_user",
    "already_sent",
    "channels",
    "opted_out_categories",
    "opted_out_channels",
    "wall_minute",
    "wall_length",
    "local_hour",
    "quiet_start",
    "quiet_end",
    "slot_start",
    "slot_end",
    "earliest_utc",
    "expiry_utc",
)
Judge = Callable[[pd.DataFrame], NDArray[np.object_]]


def cells(night: Night, messages: DataFrame, at: datetime) -> DataFrame:
    """Return messages × slots with the columns that the rules need; users and sends are those known at `at`.

    `messages` has the columns user_id, notification_id, campaign_id, earliest_utc and expiry_utc. If it has a column
    `slot` too, each message has that slot only.
    """
    spark, settings = night.spark, night.settings
    users = current_users(night, at).withColumn("known_user", F.lit(True))
    campaigns = spark.createDataFrame(
        [(name, c.channel, c.category, c.value) for name, c in sorted(settings.campaigns.items())],
        "campaign_id string, channel string, category string, weight double",
    )
    grid = slot_readings(users, night.plan_start, settings.grid.slot_minutes, night.n_slots).select(
        "timezone", "slot", "local_hour", "wall_minute", "wall_length"
    )
    slots = slot_times(spark, night.plan_start, settings.grid.slot_minutes, night.n_slots).select(
        "slot", F.col("start_utc").alias("slot_start"), F.col("end_utc").alias("slot_end")
    )
    already = history.known_send_keys(night, at).select("send_key", F.lit(True).alias("already_sent"))
    of_messages = (
        messages.join(users, "user_id", "left")
        .join(F.broadcast(campaigns), "campaign_id", "left")
        .fillna({"channel": UNKNOWN, "category": UNKNOWN, "weight": 0.0})
        .withColumn("send_key", keys.keyed_hash("send", F.col("user_id"), F.col("notification_id")))
        .join(already, "send_key", "left")
        .fillna({"already_sent": False, "known_user": False})
    )
    if "slot" in messages.columns:
        at_slots = of_messages.join(F.broadcast(slots), "slot")
    else:
        at_slots = of_messages.crossJoin(F.broadcast(slots))
    return (
        at_slots.join(F.broadcast(grid), ["timezone", "slot"], "left")
        .fillna({"wall_minute": -1, "wall_length": 0, "local_hour": -1})
        .withColumn("position", keys.unit_interval("arm", settings.arms.salt, F.col("user_id")))
        .select(*_COLUMNS)
    )


def judge(night: Night, treated: str) -> Judge:
    """Return a function that takes a batch of `cells`, returns one reason or None per row, and adds the column `arm`.

    The function closes over plain settings only, so that Spark can send it to its workers. `treated` is the arm of
    users that are neither held out nor drawn.
    """
    settings, supported = night.settings, history.supported_hours(night)
    plausible = unknown_zone.plausible_zones(night).walls(night.plan_start, settings.grid.slot_minutes, night.n_slots)

    def reasons(rows: pd.DataFrame) -> NDArray[np.object_]:
        for column in ("channels", "opted_out_categories", "opted_out_channels"):
            rows[column] = [() if c is None else c for c in rows[column]]
        rows["arm"] = arms_at(rows["position"].to_numpy(), settings.arms, treated)
        return candidates.refusals(
            rows,
            campaigns=settings.campaigns,
            quiet_hours=settings.quiet_hours,
            supported_hours=supported,
            plausible=plausible,
        )

    return reasons
