"""Users of unknown time zone in a night: the zones they may live in, and scores as a mean over these (model ¶3)."""

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
_SAME = ("local_hour", "p_opt_out")  # not averaged: no reading has its hour, all have the same chance of opting out


def plausible_zones(night: Night) -> Plausible:
    """What the settings and the users of the night's features say."""
    by_zone = _users_by_zone(night.lake.read("user_features", night.plan_date))
    return Plausible.of(night.settings.zones.plausible, _known(by_zone))


def with_unknown(
    night: Night, users: DataFrame, score: Callable[[DataFrame], DataFrame]
) -> tuple[DataFrame, dict[str, object]]:
    """(scores of all users, what became of those of unknown zone, as facts of the stage).

    `users` are the night's user_features; `score` gives user_id, slot, category, channel, local_hour, p_opt_out and
    other numbers for rows of it, read in the zone that stands there. A user of unknown zone has the mean of those
    numbers over the plausible zones, by their shares, NULL where one is NULL, and no local_hour; no row where no zone
    is plausible, or where everyone's quiet hours in one or another of them leave no slot of the night.
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
    lost = users.where(F.col("timezone").isNull() | F.col("timezone").isin(names))
    readings = [(share, score(lost.withColumn("timezone", F.lit(zone)))) for zone, share in weights.items()]
    return scored.unionByName(_mean(readings)), facts


def _open_slots(walls: tuple[Wall, ...], quiet: QuietHours) -> int:
    """Slots that everyone's quiet hours leave in all plausible zones."""
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
    """The weighted mean by key, added in the order of the readings, so that equal inputs give equal bits (¶14)."""
    parts = [rows.withColumns({"_n": F.lit(n), "_share": F.lit(w)}) for n, (w, rows) in enumerate(readings)]
    numbers = [c for c in readings[0][1].columns if c not in (*_KEYS, *_SAME)]
    collected = F.array_sort(F.collect_list(F.struct("_n", "_share", "p_opt_out", *numbers)))
    grouped = reduce(DataFrame.unionByName, parts).groupBy(*_KEYS).agg(collected.alias("read"))

    def mean(name: str) -> Column:
        return F.aggregate("read", F.lit(0.0), lambda total, one: total + one["_share"] * one[name]).alias(name)

    nothing = F.lit(None).cast("int").alias("local_hour")
    return grouped.select(*_KEYS, nothing, F.col("read")[0]["p_opt_out"].alias("p_opt_out"), *map(mean, numbers))
