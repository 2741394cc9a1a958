"""Stage build_candidates: every message of the night × every slot, with its value or its one refusal reason (¶3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt import candidates
from sendopt.config.schema import Audience, AudienceActive, AudienceIngested, AudienceShare, Campaign
from sendopt.errors import InputNotReady
from sendopt.spark import lineage
from sendopt.spark.candidates import eligibility
from sendopt.spark.engine import keys, workers
from sendopt.spark.night import Night, StageResult
from sendopt.spark.people import current_users
from sendopt.spark.propensity import goals


def run(night: Night) -> StageResult:
    """Write `messages` of the audience rules and `candidates` of the night; `dropped` counts refused cells by reason.

    Raise InputNotReady if the plan date has no slot scores, or scores of another plan version.
    """
    versions = lineage.of_scores(night)
    lineage.require_version(night, versions.plan_version, "slot_scores")
    ingested = night.lake.read("messages", night.plan_date).where("origin IS NULL")
    night.lake.replace("messages", audience_messages(night), night.plan_date, only="origin = 'audience'")
    of_audience = night.lake.read("messages", night.plan_date).where("origin = 'audience'")
    scores = night.lake.read("slot_scores", night.plan_date)
    cells = eligibility.cells(night, ingested.unionByName(of_audience), night.as_of)
    scored = cells.join(
        scores.select(
            *("user_id", "slot", "category", "channel", "p_open", "p_opt_out", "incremental", "p_goals"),
            goals.worth(night.settings.objective).alias("worth"),
        ),
        ["user_id", "slot", "category", "channel"],
        "left",
    )
    judged = workers.map_frames(scored, _judge(night, versions.treated), _judged_schema())
    rows = versions.on(judged.withColumn("plan_date", F.lit(night.plan_date)))
    count = night.lake.replace("candidates", rows, night.plan_date)
    written = night.lake.read("candidates", night.plan_date)
    refused = {
        str(r["reason"]): int(r["count"]) for r in written.where("NOT eligible").groupBy("reason").count().collect()
    }
    return StageResult(count, count - sum(refused.values()), refused)


def audience_messages(night: Night) -> DataFrame:
    """Return the messages that the campaigns' audience rules offer on this plan_date; columns of table `messages`."""
    day = str(night.plan_date)
    rules = night.spark.createDataFrame(
        [(name, *_rule(c.audience), c.messages_per_user) for name, c in _offering(night)],
        "campaign_id string, fraction double, within_days int, messages_per_user int",
    )
    features = night.lake.read("user_features", night.plan_date)
    last_seen = F.least(F.col("days_since_session"), F.col("days_since_open"))
    users = current_users(night, night.as_of).join(
        features.select("user_id", last_seen.alias("days_since_seen")), "user_id", "left"
    )
    drawn = keys.unit_interval("audience", F.col("campaign_id"), day, F.col("user_id")) < F.col("fraction")
    recent = F.col("within_days").isNull() | F.coalesce(F.col("days_since_seen") <= F.col("within_days"), F.lit(False))
    number = F.col("n").cast("string")
    return (
        users.crossJoin(F.broadcast(rules))
        .where(drawn & recent)
        .select("user_id", "campaign_id", F.explode(F.sequence(F.lit(1), F.col("messages_per_user"))).alias("n"))
        .select(
            F.lit(night.plan_date).alias("plan_date"),
            "user_id",
            keys.keyed_hash("notification", F.col("campaign_id"), day, F.col("user_id"), number).alias(
                "notification_id"
            ),
            "campaign_id",
            F.lit(None).cast("timestamp").alias("earliest_utc"),
            F.lit(None).cast("timestamp").alias("expiry_utc"),
            F.lit("audience").alias("origin"),
        )
    )


def _offering(night: Night) -> list[tuple[str, Campaign]]:
    """Return (name, campaign) of the campaigns that run on this plan_date and have an audience rule, by name."""
    return [
        (name, c)
        for name, c in sorted(night.settings.campaigns.items())
        if _is_on(c, night.plan_date) and not isinstance(c.audience, AudienceIngested)
    ]


def _rule(audience: Audience) -> tuple[float, int | None]:
    """Return (share of users, days within which a user must have been seen); a share of 1 takes every user."""
    if isinstance(audience, AudienceActive):
        return audience.fraction, audience.within_days
    return (audience.fraction, None) if isinstance(audience, AudienceShare) else (1.0, None)


def _is_on(campaign: Campaign, day: date) -> bool:
    return (campaign.first_date or "") <= str(day) and (campaign.last_date is None or str(day) <= campaign.last_date)


def _judged_schema() -> str:
    return (
        "user_id string, notification_id string, slot int, campaign_id string, channel string, category string, "
        "arm string, eligible boolean, reason string, p_open double, p_opt_out double, incremental double, "
        "p_goals map<string,double>, value double"
    )


def _judge(night: Night, treated: str) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """Return the function that Spark maps over batches of cells; it closes over plain settings only."""
    reasons, opt_out_cost = eligibility.judge(night, treated), night.settings.objective.opt_out_cost
    day = night.plan_date

    def judge(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for rows in batches:
            reason = reasons(rows)
            unscored = rows["p_open"].isna().to_numpy() & (reason == None)  # noqa: E711
            if unscored.any():
                raise InputNotReady(f"{unscored.sum()} eligible cells of {day} have no score: run score_slots first")
            result = rows[["user_id", "notification_id", "slot", "campaign_id", "channel", "category", "arm"]].copy()
            result["eligible"] = reason == None  # noqa: E711
            result["reason"] = reason
            for column in ("p_open", "p_opt_out", "incremental", "p_goals"):
                result[column] = rows[column]
            result["value"] = candidates.values(
                rows["worth"].to_numpy(), rows["p_opt_out"].to_numpy(), rows["weight"].to_numpy(), opt_out_cost
            )
            yield result

    return judge
