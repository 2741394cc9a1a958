"""Drift of a night: of its features since the champion's training, of delivered plans and of prices (model ¶17)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain.tables import TABLES, USER_FEATURES, USER_SLOT_FEATURES
from sendopt.errors import SendoptError
from sendopt.features import CELLS
from sendopt.measurement import drift
from sendopt.measurement.drift import Alert
from sendopt.spark import history
from sendopt.spark.engine.lake import schema_of
from sendopt.spark.engine.sampling import PARTS, sampled_users
from sendopt.spark.features.build_features import mature_sends
from sendopt.spark.features.feature_counts import exposures_of, rules_of_night
from sendopt.spark.night import Night
from sendopt.stats.arrays import Floats
from sendopt.tracking import Registered, Tracker

ALERTS = "sendopt.alerts"  # tag of the champion's run: the last night checked, and its alerts
_SALT = "drift"
_UNWATCHED = re.compile(
    r"tenure|mature|successes"  # grow with the log's age, night by night
    r"|sends|fatigue|since_send|rate_7d"  # moved by the plans themselves, by how many they send
)


def reference(night: Night, influence: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the distribution of the night's features, with which later nights are compared; kept with the model.

    The population is that of a night's scoring: all users and all their hours. Each item of `influence` has a `feature`
    and its `share`.
    """
    share = {str(row["feature"]): float(row["share"]) for row in influence}
    columns = _columns(night)
    least = night.settings.drift.min_importance
    watched = [name for name in columns if share.get(name, 0.0) >= least and not _UNWATCHED.search(name)]
    return {"plan_date": str(night.plan_date), "features": drift.describe(columns, watched)}


def look(night: Night, tracker: Tracker) -> list[str]:
    """Return sentences on what drifts on this night, and on what could not be checked.

    Write the alerts to the table `alerts` and to a tag of the champion's run. A failure is a sentence, not an error.
    """
    alerts: list[Alert] = []
    unchecked: list[str] = []
    run_id = None
    try:
        champion = tracker.champion()
        if champion is not None:
            run_id = champion.run_id
            alerts += _inputs(night, champion)
            if champion.reference is None:
                unchecked.append(
                    f"champion {champion.model_version} has no reference of its inputs; drift is not watched"
                )
    except SendoptError as error:  # the night is planned already: the check must not fail it
        unchecked.append(f"drift of inputs was not watched: {error.message}")
    alerts += [*_labels(night), *_prices(night)]
    keep(night, alerts)
    sentences = [alert.sentence for alert in alerts]
    if run_id is not None:
        summary = " ".join(sentences) or "none"
        unchecked += tracker.note(run_id, {ALERTS: f"{night.plan_date}: {summary}"})
    return [*sentences, *unchecked]


def keep(night: Night, alerts: Sequence[Alert], kinds: Sequence[str] = drift.KINDS) -> None:
    """Replace the night's alerts of these kinds by `alerts`, which may be empty."""
    rows = [{"plan_date": night.plan_date, **vars(alert)} for alert in alerts]
    only = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    if rows or night.lake.exists("alerts"):
        night.lake.replace(
            "alerts", night.spark.createDataFrame(rows, schema_of(TABLES["alerts"])), night.plan_date, only
        )


def holding(night: Night, champion: Registered) -> list[str]:
    """Return the sentences of the alerts that forbid a promotion: those of inputs and labels."""
    return [alert.sentence for alert in (*_inputs(night, champion), *_labels(night))]


def _inputs(night: Night, champion: Registered) -> list[Alert]:
    if champion.reference is None:
        return []
    features = champion.reference["features"]
    of_user = {c.name: float(len(CELLS)) for c in USER_SLOT_FEATURES}
    return drift.inputs(features, _columns(night), night.settings.drift, of_user)


def _columns(night: Night) -> dict[str, Floats]:
    """Return the features of at most about `drift.max_users` users, one value per user, or per user and hour."""
    users = night.lake.read("user_features", night.plan_date)
    count = max(1, users.count())
    share = min(1.0, night.settings.drift.max_users / count)
    kept = sampled_users(users, _SALT, int(PARTS * share))
    by_user, by_hour = ([c.name for c in columns] for columns in (USER_FEATURES, USER_SLOT_FEATURES))
    frame = kept.select(*(F.col(c).cast("double") for c in by_user), *by_hour).toPandas()
    return {c: frame[c].to_numpy(np.float64) for c in by_user} | {
        c: np.concatenate([np.empty(0), *frame[c]]).astype(np.float64) for c in by_hour
    }


def _labels(night: Night) -> list[Alert]:
    """Return the alerts on mature delivered sends: their successes against those that their plans expected."""
    settings, rules = night.settings.drift, rules_of_night(night)
    since = night.plan_date - timedelta(days=settings.nights + 2)
    mature = mature_sends(exposures_of(night, since, rules), night, since, rules).where(~F.col("suspected"))
    plans = history.plans_before(night, night.plan_date).where(F.col("plan_date") >= F.lit(since))
    plans = plans.select("plan_date", "send_key", "user_id", "channel", "p_open")
    happened = mature.select("send_key", F.col("label").cast("double").alias("success"))
    rows = plans.join(happened, "send_key").toPandas().sort_values("send_key")
    planned, channel = (pd.factorize(rows[c], sort=True) for c in ("plan_date", "channel"))
    sends = drift.Delivered(
        success=rows["success"].to_numpy(float),
        expected=rows["p_open"].to_numpy(float),
        user=pd.factorize(rows["user_id"], sort=True)[0].astype(np.int64),
        night=planned[0].astype(np.int64),
        channel=channel[0].astype(np.int64),
        channels=tuple(channel[1]),
    )
    return drift.labels(sends, settings)


def _prices(night: Night) -> list[Alert]:
    """Return the alerts on tonight's prices of limits; the price of a channel's capacity is the mean over its slots."""
    settings = night.settings.drift
    since = night.plan_date - timedelta(days=settings.nights)
    day = F.col("plan_date")
    table = night.lake.read("shadow_prices").where((day >= F.lit(since)) & (day <= F.lit(night.plan_date)))
    rows = _by_limit(table).toPandas().sort_values(["name", "plan_date"])
    tonight = rows["plan_date"] == night.plan_date
    prices = dict(zip(rows["name"][tonight], rows["price"][tonight], strict=True))
    before = {str(name): list(p) for name, p in rows[~tonight].groupby("name")["price"]}
    return drift.prices(prices, before, settings)


def _by_limit(table: DataFrame) -> DataFrame:
    capacity = F.col("kind") == "capacity"
    name = F.when(capacity, F.regexp_replace("row", r"\W*\d+$", "")).otherwise(F.col("row"))
    # rounded, because the order of a sum may change its last digits
    return table.groupBy("plan_date", name.alias("name")).agg(F.round(F.avg("price"), 9).alias("price"))
