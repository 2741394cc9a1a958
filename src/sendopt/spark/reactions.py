"""Interactions joined to their sends: the one join, for labels, opt-outs and counts of decision points.

Consent is not here: there an opt-out counts with and without a send (`sendopt.spark.people`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from sendopt.domain.success import MILLION, SuccessRule
from sendopt.spark.night import Night


def seen(night: Night, kinds: Sequence[str]) -> DataFrame:
    """Return the interactions of these kinds before the night's as_of; at most one per send_key and kind."""
    known = F.col("kind").isin(*kinds) & (F.col("at_utc") < F.lit(night.as_of))
    return night.lake.read("interactions").where(known)


def with_reaction(night: Night, sends: DataFrame, kind: str, name: str) -> DataFrame:
    """Return the rows plus the boolean column `name`: did an interaction of this kind follow the send in its window?

    `sends` has send_key and sent_at_utc. The window is label.window_hours from the send on, both ends included, and
    ends at the night's as_of. A row without sent_at_utc was not sent and has no reaction.
    """
    at, reacted_at = F.col("sent_at_utc"), F.col("_reacted_at")
    window = timedelta(hours=night.settings.label.window_hours)
    reactions = seen(night, [kind]).select("send_key", F.col("at_utc").alias("_reacted_at"))
    inside = (reacted_at >= at) & (reacted_at <= at + F.lit(window))
    return (
        sends.join(reactions, "send_key", "left").withColumn(name, F.coalesce(inside, F.lit(False))).drop("_reacted_at")
    )


def judged(night: Night, sends: DataFrame, rule: SuccessRule) -> DataFrame:
    """Return one row per send with an interaction of the rule's kinds that belongs to it (`domain.success`).

    `sends` has send_key, user_id and sent_at (microseconds). Columns: send_key, label (0 or 1), suspected, and open_at,
    the time of a person's first interaction (microseconds).
    """
    sent, at = F.col("sent_at"), F.col("at")
    alike = F.count("*").over(Window.partitionBy("user_id", "kind", F.floor(at / MILLION)))
    flagged = F.coalesce("machine", F.lit(False))
    person, within = ~F.col("by_machine"), rule.in_window(sent, at)
    return (
        seen(night, rule.kinds)
        .select("send_key", "kind", F.unix_micros("at_utc").alias("at"), flagged.alias("flagged"))
        .join(sends.select("send_key", "user_id", "sent_at"), "send_key")
        .where(rule.belongs(sent, at))
        .withColumn("by_machine", rule.machine(sent, at, alike, F.col("flagged")))
        .groupBy("send_key")
        .agg(
            F.max(within.cast("int")).alias("label"),
            (F.max("by_machine") & ~F.max(person & within)).alias("suspected"),
            F.min(F.when(person, at)).alias("open_at"),
        )
    )
