"""The people that a night may send to, with their consent at a point in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain.consent import Statement, effective
from sendopt.spark.engine import workers
from sendopt.spark.night import Night

_ALLOWED_NAMES = ("channels", "opted_out_channels", "opted_out_categories")
_ALLOWED = "user_id string, " + ", ".join(f"{name} array<string>" for name in _ALLOWED_NAMES)


def current_users(night: Night, at: datetime) -> DataFrame:
    """Return the users created before `at` who have not left, with their consent at `at`.

    The columns are those of `users` and `opted_out_channels`; `channels`, `opted_out_categories` and
    `opted_out_channels` follow from the latest statements before `at`. An opt-out without a time of its own may have
    been made at any time, so it counts in every night.
    """
    users = night.lake.read("users").where((F.col("created_at") < F.lit(at)) & ~F.coalesce("left", F.lit(False)))
    statements = (
        _statements(night, at)
        .groupBy("user_id")
        .agg(
            F.collect_list(F.struct("scope", "name", "allowed", F.unix_micros("at_utc").alias("at"))).alias(
                "statements"
            )
        )
    )
    with_statements = users.join(statements, "user_id").select(
        "user_id",
        "channels",
        "opted_out_categories",
        F.unix_micros(F.coalesce("stated_at", "created_at")).alias("stated_at"),
        "statements",
    )
    decided = workers.map_frames(with_statements, _decide, _ALLOWED).withColumnsRenamed(
        {"channels": "_channels", "opted_out_categories": "_categories"}
    )
    return (
        users.join(decided, "user_id", "left")
        .withColumn("channels", F.coalesce("_channels", "channels"))
        .withColumn("opted_out_categories", F.coalesce("_categories", "opted_out_categories"))
        .drop("_channels", "_categories")
    )


def _statements(night: Night, at: datetime) -> DataFrame:
    """Return the statements that count at `at`: user_id, scope, name, allowed, at_utc.

    Lakes of earlier versions hold opt-outs among the interactions without a statement. Such an opt-out is a statement
    on the channel of its send.
    """
    consents = night.lake.read("consents")
    known = (F.col("kind") == "opt_out") & (F.col("at_utc") < F.lit(at))
    outs = night.lake.read("interactions").where(known).select("send_key", "at_utc")
    sends = night.lake.read("sends").select("send_key", "user_id", F.col("channel").alias("name"))
    columns = ["user_id", "scope", "name", "allowed", "at_utc"]
    earlier = (
        sends.join(F.broadcast(outs), "send_key")
        .withColumns({"scope": F.lit("channel"), "allowed": F.lit(False)})
        .join(consents.select("user_id", "at_utc"), ["user_id", "at_utc"], "left_anti")
    )
    counts = (F.col("at_utc") < F.lit(at)) | (F.col("at_imputed") & ~F.col("allowed"))
    return consents.where(counts).select(*columns).unionByName(earlier.select(*columns))


def _decide(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield the consent that follows from each row and its statements (`domain.consent.effective`)."""
    for rows in batches:
        columns = (rows[c] for c in ("channels", "opted_out_categories", "stated_at", "statements"))
        decided = [
            effective(channels, opted_out, int(at), [Statement(**s) for s in statements])
            for channels, opted_out, at, statements in zip(*columns, strict=True)
        ]
        yield pd.DataFrame(
            {
                "user_id": rows["user_id"],
                **{name: [sorted(getattr(c, name)) for c in decided] for name in _ALLOWED_NAMES},
            }
        )
