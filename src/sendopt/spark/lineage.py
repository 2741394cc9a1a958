"""What a plan was made from: a content hash of every input that the night may see (night.md, dates and identity)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.errors import InputNotReady
from sendopt.spark.stage import Night

BASELINE = "baseline"  # model version of scores that no trained model made


def plan_version(night: Night, model_version: str) -> str:
    """16 hex digits of inputs, configuration and model; independent of row order, partitions and Delta versions."""
    as_of = F.lit(night.as_of)
    seen = {
        "sends": F.col("sent_at_utc") < as_of,
        "interactions": F.col("at_utc") < as_of,
        "sessions": F.col("at_utc") < as_of,
        "users": F.col("created_at") < as_of,
        "messages": (F.col("plan_date") == F.lit(night.plan_date)) & F.col("origin").isNull(),
        "send_plan": F.col("plan_date") < F.lit(night.plan_date),
    }
    inputs = {name: _content(night.lake.read(name), condition) for name, condition in seen.items()}
    text = json.dumps([str(night.plan_date), inputs, night.config_hash, model_version], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(rows: DataFrame, condition: Column) -> list[str]:
    digest = F.xxhash64(*rows.columns).cast("decimal(38,0)")
    found = rows.where(condition).agg(F.count("*"), F.coalesce(F.sum(digest), F.lit(0))).head()
    assert found is not None
    return [str(found[0]), str(found[1])]


@dataclass(frozen=True)
class Versions:
    """What every row of a plan carries."""

    plan_version: str
    config_hash: str
    model_version: str

    def on(self, rows: DataFrame) -> DataFrame:
        for name, value in vars(self).items():
            rows = rows.withColumn(name, F.lit(value))
        return rows


def of_scores(night: Night) -> Versions:
    """The versions that score_slots settled for this plan_date.

    Raises InputNotReady where it has not run, ConfigError where the settings changed since.
    """
    found = (
        night.lake.read("runs")
        .where((F.col("plan_date") == F.lit(night.plan_date)) & (F.col("stage") == "score_slots"))
        .select("plan_version", "facts")
        .head()
    )
    if found is None:
        raise InputNotReady(f"no slot scores for {night.plan_date}: run score_slots first")
    facts = json.loads(found["facts"])
    if facts["config_hash"] != night.config_hash:
        raise InputNotReady(
            f"the slot scores of {night.plan_date} were made under other settings "
            f"(config {facts['config_hash']}, now {night.config_hash}): run score_slots again"
        )
    return Versions(found["plan_version"], night.config_hash, facts["model_version"])
