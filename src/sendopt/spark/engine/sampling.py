"""Sampling of users by a keyed hash: equal users are drawn whatever the partitions, the order or the machine."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

PARTS = 1_000_000  # in which the hash places users


def sampled_users(rows: DataFrame, salt: str, per_million: int) -> DataFrame:
    """Return the rows of about `per_million` of a million users (column user_id), drawn by the hash of salt and user.

    All rows of a user are kept or none. From 1,000,000 on all rows are kept.
    """
    return rows.where(F.pmod(F.xxhash64(F.lit(salt), "user_id"), F.lit(PARTS)) < per_million)
