"""Stage score_slots: p_open and p_opt_out of every user, slot, channel and category of the night (model ¶5, ¶7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sendopt.domain import slots
from sendopt.errors import ModelError
from sendopt.features import DEFAULT_HALF_LIFE_HOURS
from sendopt.propensity import opt_out
from sendopt.propensity.model import Model, UserSlotBaseline
from sendopt.spark.build_features import scoring_rows
from sendopt.spark.lineage import BASELINE, Versions, plan_version
from sendopt.spark.stage import Night, StageResult
from sendopt.tracking.mlflow import MlflowTracker

MOST_HALF_LIVES = 500  # older sends weigh nothing, and 2^-1074 is the least double
_SCORES = "user_id string, slot int, category string, channel string, local_hour int, p_open double, p_opt_out double"


def run(night: Night) -> StageResult:
    """Rows written: slot_scores of the plan_date, one a user of known zone, slot and configured (channel, category).

    Scored by the champion; where none was promoted by the baseline, and facts name the arm `fallback`. Raises
    InputNotReady where the registry or the night's features are missing, ModelError where the champion does not fit.
    """
    model, version = _model(night)
    rates = opt_out.fit(opt_out_counts(night).toPandas(), night.settings.opt_out)
    pairs = sorted({(c.channel, c.category) for c in night.settings.campaigns.values()})
    users = night.lake.read("users").where(F.col("created_at") < F.lit(night.as_of)).select("user_id", "timezone")
    keys = scoring_keys(night, users, pairs)
    scored = scoring_rows(night, keys).mapInPandas(_scorer(model, rates), _SCORES)
    versions = Versions(plan_version(night, version), night.config_hash, version)
    rows = versions.on(scored.withColumn("plan_date", F.lit(night.plan_date)))
    written = night.lake.replace("slot_scores", rows, night.plan_date)
    asked = users.count() * night.n_slots * len(pairs)
    return StageResult(
        rows_in=asked,
        rows_out=written,
        dropped={"zone_unknown": asked - written} if asked > written else {},
        facts={
            **vars(versions),
            "arm": "fallback" if version == BASELINE else None,
            "opt_out_rates": {"overall": rates.overall, **{name: list(r) for name, r in rates.by_channel.items()}},
        },
    )


def scoring_keys(night: Night, users: DataFrame, pairs: list[tuple[str, str]]) -> DataFrame:
    """user_id, slot, local_hour, weekend, weekday, channel, category: the grain of scores; unknown zones have none."""
    names = sorted(r["timezone"] for r in users.select("timezone").distinct().collect() if r["timezone"] is not None)
    grid = [
        (zone, r.slot, r.local_hour, r.weekend, r.weekday)
        for zone in names
        if slots.zone_or_none(zone) is not None
        for r in slots.readings(zone, night.plan_start, night.settings.grid.slot_minutes, night.n_slots)
    ]
    readings = night.spark.createDataFrame(
        grid, "timezone string, slot int, local_hour int, weekend boolean, weekday int"
    )
    kinds = night.spark.createDataFrame(pairs, "channel string, category string")
    return users.join(F.broadcast(readings), "timezone").crossJoin(F.broadcast(kinds)).drop("timezone")


def opt_out_counts(night: Night) -> DataFrame:
    """channel, fatigue_bin, sends, opt_outs of the mature sends as of the night (¶7, ¶9d).

    A send's bin is that of its user's fatigue just before it, from the sends before; where no fatigue is configured
    every send is 1 point with the features' default half-life. An opt-out counts within label.window_hours.
    """
    window = timedelta(hours=night.settings.label.window_hours)
    at = F.col("sent_at_utc")
    sends = _with_fatigue(night).where(at <= F.lit(night.as_of - window))
    known = (F.col("kind") == "opt_out") & (F.col("at_utc") < F.lit(night.as_of))
    outs = night.lake.read("interactions").where(known).select("send_key", "at_utc")
    inside = (F.col("at_utc") >= at) & (F.col("at_utc") <= at + F.lit(window))
    fatigue_bin = F.lit(0)
    for edge in night.settings.opt_out.fatigue_edges:
        fatigue_bin = fatigue_bin + (F.col("fatigue") >= edge).cast("int")
    return (
        sends.join(outs, "send_key", "left")
        .groupBy("channel", fatigue_bin.alias("fatigue_bin"))
        .agg(F.count("*").alias("sends"), F.count_if(inside).alias("opt_outs"))
        .orderBy("channel", "fatigue_bin")
    )


def _with_fatigue(night: Night) -> DataFrame:
    """Sends of the history with the user's fatigue points just before each.

    fatigue(t) = sum over earlier sends of points * 2^(-(t - t_i) / h) = 2^(-t / h) * sum of points * 2^(t_i / h), with
    times counted back from as_of: one running sum a user.
    """
    limits = night.settings.fatigue
    half_life = limits.half_life_hours if limits else DEFAULT_HALF_LIFE_HOURS
    back = min(timedelta(days=night.settings.features.history_days), timedelta(hours=half_life * MOST_HALF_LIVES))
    at = F.col("sent_at_utc")
    sends = night.lake.read("sends").where(
        F.col("sent") & F.col("available") & (at >= F.lit(night.as_of - back)) & (at < F.lit(night.as_of))
    )
    age = (F.lit(int(night.as_of.timestamp() * 1e6)) - F.unix_micros(at)) / F.lit(half_life * 3.6e9)
    weight = F.pow(F.lit(2.0), -age)
    before = Window.partitionBy("user_id").orderBy(F.unix_micros(at)).rangeBetween(Window.unboundedPreceding, -1)
    points = _points(limits.points_per_send) if limits else F.lit(1.0)
    fatigue = F.coalesce(F.sum(points * weight).over(before), F.lit(0.0)) / weight
    return sends.select("send_key", "channel", "sent_at_utc", fatigue.alias("fatigue"))


def _points(by_channel: dict[str, float]) -> Column:
    points = F.lit(0.0)
    for channel, cost in by_channel.items():
        points = F.when(F.col("channel") == channel, F.lit(cost)).otherwise(points)
    return points


def _model(night: Night) -> tuple[Model, str]:
    champion = MlflowTracker(night.settings.mlflow).champion()
    if champion is None:
        common = night.lake.read("group_features", night.plan_date).where("kind = 'all'").head()
        return UserSlotBaseline(0.5 if common is None else float(common["group_rate"])), BASELINE
    label = night.settings.label.kind
    if champion.model.card.label != label:
        raise ModelError(
            f"champion {champion.model_version} predicts {champion.model.card.label!r}, label.kind is {label!r}; "
            "train one for it with --train",
            model_version=champion.model_version,
        )
    return champion.model, champion.model_version


def _scorer(model: Model, rates: opt_out.OptOutRates) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """The function of each partition; the trees travel in it as text."""

    def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for rows in batches:
            yield rows[["user_id", "slot", "category", "channel", "local_hour"]].assign(
                p_open=model.predict(rows),
                p_opt_out=rates.predict(rows["channel"], rows["fatigue_points"].to_numpy(float)),
            )

    return score
