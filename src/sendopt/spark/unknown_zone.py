"""Users of unknown time zone in a night: the zones they may live in, and their mean scores over these (model ¶3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.config.schema import QuietHours
from sendopt.domain.plausible import Plausible, Wall
from sendopt.domain.slots import outside, zone_or_none
from sendopt.spark.night import Night

_KEYS = ("user_id", "slot", "category", "channel")
_SAME = ("local_hour", "p_opt_out")  # not averaged: the hour differs by zone, p_opt_out is equal in all of them


def plausible_zones(night: Night) -> Plausible:
    """Return the plausible zones by the settings and the users of the night's features."""
    by_zone = _users_by_zone(night.lake.read("user_features", night.plan_date))
    return Plausible.of(night.settings.zones.plausible, _known(by_zone))


def with_unknown(
    night: Night, users: DataFrame, score: Callable[[DataFrame], DataFrame]
) -> tuple[DataFrame, dict[str, object]]:
    """Return (scores of all users, facts on the users of unknown zone).

    `users` are rows of user_features. `score` returns user_id, slot, category, channel, local_hour, p_opt_out and other
    numbers for such rows, by their column `timezone`. A user of unknown zone has the mean of these numbers over the
    plausible zones, weighted by their shares (NULL where a number is NULL), and no local_hour. The user has no row
    where no zone is plausible, or where everyone's quiet hours in the plausible zones together cover the whole night.
    """
    scored = score(users)
    by_zone = _users_by_zone(users)
    unknown = {zone: n for zone, n in by_zone.items() if n and _is_unknown(zone)}
    if not unknown:
        return scored, {}
    plausible = Plausible.of(night.settings.zones.plausible, _known(by_zone))
    grid = night.plan_start, night.settings.grid.slot_minutes, night.n_slots
    weights, open_slots = plausible.weights(*grid), _open_slots(plausible.walls(*grid), night.settings.quiet_hours)
    facts: dict[str, object] = {
        "users": sum(unknown.values()),
        "zones": len(plausible.zones),
        "readings": weights,
        "open_slots": open_slots,
    }
    if not open_slots:
        return scored, facts
    names = [zone for zone in unknown if zone is not None]
    of_unknown_zone = users.where(F.col("timezone").isNull() | F.col("timezone").isin(names))
    readings = [(share, score(of_unknown_zone.withColumn("timezone", F.lit(zone)))) for zone, share in weights.items()]
    return scored.unionByName(_mean(readings)), facts


def _open_slots(walls: tuple[Wall, ...], quiet: QuietHours) -> int:
    """Return the number of slots outside everyone's quiet hours in all plausible zones."""
    if not walls:
        return 0
    if quiet.everyone is None:
        return len(walls[0].minute)
    hours = quiet.everyone
    return int(np.logical_and.reduce([outside(w.minute, w.length, hours.start, hours.end) for w in walls]).sum())


def _users_by_zone(users: DataFrame) -> dict[str | None, int]:
    return {row["timezone"]: int(row["count"]) for row in users.groupBy("timezone").count().collect()}


def _known(by_zone: dict[str | None, int]) -> dict[str, int]:
    return {zone: n for zone, n in by_zone.items() if zone is not None and not _is_unknown(zone)}


def _is_unknown(zone: str | None) -> bool:
    return zone is None or zone_or_none(zone) is None


def _mean(readings: list[tuple[float, DataFrame]]) -> DataFrame:
    """Return the weighted mean by key. Sums are in the order of the readings, so equal inputs give equal bits (¶14)."""
    parts = [rows.withColumns({"_n": F.lit(n), "_share": F.lit(w)}) for n, (w, rows) in enumerate(readings)]
    numbers = [c for c in readings[0][1].columns if c not in (*_KEYS, *_SAME)]
    collected = F.array_sort(F.collect_list(F.struct("_n", "_share", "p_opt_out", *numbers)))
    grouped = reduce(DataFrame.unionByName, parts).groupBy(*_KEYS).agg(collected.alias("read"))

    def mean(name: str) -> Column:
        return F.aggregate("read", F.lit(0.0), lambda total, reading: total + reading["_share"] * reading[name]).alias(
            name
        )

    no_hour = F.lit(None).cast("int").alias("local_hour")
    return grouped.select(*_KEYS, no_hour, F.col("read")[0]["p_opt_out"].alias("p_opt_out"), *map(mean, numbers))
