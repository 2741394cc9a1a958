"""The send of each interaction: by its key, else by its id, else the user's latest send before it."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.ingest import SourceMapping


def with_send(mapping: SourceMapping, rows: DataFrame, sends: DataFrame, tolerance: int) -> DataFrame:
    """Return the rows with found_key, sent_at, send_user and send_channel of their send; NULL without a send.

    A row with a send key is matched by it, else by (source, id). If the log names the user, the send must be of that
    user. An id of several sends matches none. With `match: nearest_send`, a row without key and id is matched to the
    latest send of its user (and of its campaign and channel, if the row names them), at most `within_hours` before the
    row. `tolerance` (microseconds) is how far a row may precede its send.
    """
    table = mapping.tables["interactions"]
    user = [F.col("user_id")] if "user_id" in table.columns else []

    def match(kind: str, column: str) -> Column:
        return F.concat_ws("\x1f", F.lit(kind), F.col(column), *user)

    about = {
        "found_key": F.col("send_key"),
        "sent_at": F.col("sent_at_utc"),
        "send_user": F.col("user_id"),
        "send_channel": F.col("channel"),
    }
    keyed = sends.select(match("key", "send_key").alias("_match"), *(c.alias(n) for n, c in about.items()))
    named = (
        sends.where(F.col("source") == mapping.source)
        .groupBy(match("id", "notification_id").alias("_match"))
        .agg(*(F.min(c).alias(n) for n, c in about.items()), F.count("*").alias("n"))
        .where("n = 1")
        .drop("n")
    )
    by_key = F.when(F.col("send_key").isNotNull(), match("key", "send_key"))
    by_id = F.when(F.col("notification_id").isNotNull(), match("id", "notification_id"))
    matchable = rows.withColumn("_match", F.coalesce(by_key, by_id))
    matched = matchable.join(keyed.unionByName(named), "_match", "left")
    if table.match == "nearest_send":
        matched = _nearest(matched, sends.where(F.col("source") == mapping.source), table.within_hours, tolerance)
    return matched.drop("_match")


def _nearest(rows: DataFrame, sends: DataFrame, within_hours: float, tolerance: int) -> DataFrame:
    """Return the rows, with those without key and id matched to the latest send of their user before them."""
    at, sent = F.unix_micros("at_utc"), F.unix_micros("_sent")
    candidates = sends.select(
        F.col("user_id").alias("_user"),
        F.col("campaign_id").alias("_campaign"),
        F.col("channel").alias("_channel"),
        F.col("sent_at_utc").alias("_sent"),
        F.col("send_key").alias("_key"),
    )
    fits = (
        (F.col("user_id") == F.col("_user"))
        & F.coalesce(F.col("campaign_id") == F.col("_campaign"), F.lit(True))
        & F.coalesce(F.col("channel") == F.col("_channel"), F.lit(True))
        & (sent <= at + tolerance)
        & (sent >= at - int(within_hours * 3600 * 1_000_000))
    )
    unmatched = rows.where(F.col("_match").isNull() & F.col("at_utc").isNotNull())
    latest = (
        unmatched.join(candidates, fits)
        .groupBy("place")
        .agg(F.max(F.struct("_sent", "_key", "_user", "_channel")).alias("_send"))
    )
    joined = rows.join(latest, "place", "left")
    for name, field in (
        ("found_key", "_key"),
        ("sent_at", "_sent"),
        ("send_user", "_user"),
        ("send_channel", "_channel"),
    ):
        joined = joined.withColumn(name, F.coalesce(name, F.col("_send").getField(field)))
    return joined.drop("_send")
