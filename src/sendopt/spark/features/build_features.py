"""Stage build_features: features as of a night, in Spark; `sendopt.features` defines each of them (model ¶16).

The night and the training log share one logic and differ only in their requests: (user_id, day) and (user_id, day,
local_hour, weekend), where `day` is the plan_date in days since 1970-01-01.
"""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from sendopt.domain.tables import USER_FEATURES, USER_SLOT_FEATURES
from sendopt.errors import InputNotReady
from sendopt.features import (
    DAY_MICROSECONDS,
    FEATURE_COLUMNS,
    SCORING_KEYS,
    SESSION_WINDOWS,
    TRAINING_KEYS,
    WINDOWS,
    Rules,
)
from sendopt.spark.features.feature_counts import (
    CELL,
    Log,
    as_of_microseconds,
    day_number,
    every_cell,
    exposures_of,
    fatigue_points,
    hour_counts,
    read_log,
    rules_of_night,
    user_counts,
    user_hour_counts,
)
from sendopt.spark.night import Night, StageResult


def run(night: Night) -> StageResult:
    """Write user_features, slot_features and group_features of the plan_date; return the counts of users.

    Users created before as_of have a row, with or without a history; `dropped` counts all other users.
    """
    log = read_log(night, night.plan_date)
    known = log.users.where(F.col("created_at") < F.lit(night.as_of)).select("user_id")
    groups = _group_rates(log)
    hours = _hour_rates(log, groups)
    users = _user_rows(log, known.crossJoin(log.days), groups).localCheckpoint()
    cells = _user_hour_rows(log, known.crossJoin(every_cell(log)), users, hours)
    zones = log.users.select("user_id", "timezone")
    users = users.join(_by_place(cells), ["user_id", "day"]).join(zones, "user_id")
    features = {"user_features": users, "slot_features": hours, "group_features": groups}
    written = {name: night.lake.replace(name, _stored(rows, night), night.plan_date) for name, rows in features.items()}
    users_in = log.users.count()
    sends = log.exposures.agg(F.count("*"), F.count_if(F.col("local_hour").isNull())).head()
    assert sends is not None
    left_out = users_in - written["user_features"]
    return StageResult(
        rows_in=users_in,
        rows_out=written["user_features"],
        dropped={"created_after_as_of": left_out} if left_out else {},
        facts={"rows": written, "sends": sends[0], "sends_without_zone": sends[1]},
    )


def training_rows(night: Night, days: int, decided: bool = False) -> DataFrame:
    """Return one row per labelled send of the `days` plan dates before the night's, with the features of that date.

    Columns: TRAINING_KEYS, then FEATURE_COLUMNS of `sendopt.features`; label is int 0 or 1. A send belongs to the plan
    date of its UTC day and must be mature at the night's as_of. Sends without a known zone are left out;
    `training_left_out` counts them. With `decided`, return one row per available decision point of kind `send`
    instead, sent or not, with the column `sent`.
    """
    first = night.plan_date - timedelta(days=days)
    log = read_log(night, first)
    points = exposures_of(night, first, log.rules, decided=True) if decided else log.exposures
    sends = mature_sends(points, night, first, log.rules).where(F.col("local_hour").isNotNull())
    return with_features(log, sends).select(*TRAINING_KEYS, *FEATURE_COLUMNS, *(["sent"] if decided else []))


def with_features(log: Log, rows: DataFrame) -> DataFrame:
    """Return the rows plus plan_date and FEATURE_COLUMNS as of the night of their `day`.

    `rows` has at least user_id, day, local_hour, weekend, channel and category; its days are days of the log.
    """
    groups = _group_rates(log)
    hours = _hour_rates(log, groups)
    users = _user_rows(log, rows.select("user_id", "day").distinct(), groups)
    cells = _user_hour_rows(log, rows.select("user_id", "day", *CELL).distinct(), users, hours)
    joined = rows.join(cells, ["user_id", "day", *CELL]).join(F.broadcast(hours), ["day", *CELL])
    return _with_group_rates(joined, groups, "day").withColumn(
        "plan_date", F.date_from_unix_date(F.col("day").cast("int"))
    )


def training_left_out(night: Night, days: int) -> dict[str, int]:
    """Return the number of mature sends by the reason why `training_rows` leaves them out."""
    first = night.plan_date - timedelta(days=days)
    rules = rules_of_night(night)
    mature = mature_sends(exposures_of(night, first, rules), night, first, rules)
    unknown = mature.where(F.col("local_hour").isNull()).count()
    return {"zone_unknown": unknown} if unknown else {}


def decided_counts(night: Night) -> DataFrame:
    """Return sent, n and successes of the mature available decision points of kind `send`: one row per `sent`."""
    first = night.plan_date - timedelta(days=night.settings.training.days)
    rules = rules_of_night(night)
    points = mature_sends(exposures_of(night, first, rules, decided=True), night, first, rules)
    return points.groupBy("sent").agg(F.count("*").alias("n"), F.sum("label").alias("successes"))


def scoring_rows(night: Night, keys: DataFrame) -> DataFrame:
    """Return the keys with the stored features of the plan_date, named as in `training_rows` (no label).

    `keys` has user_id, slot, local_hour, weekend, weekday, channel and category, one row per score. A channel or
    category without a history has the global rate. Raise InputNotReady if the plan_date has no features yet.
    """
    stored = stored_features(night)
    slot_features = {c.name: F.get(c.name, place()) for c in USER_SLOT_FEATURES}
    joined = (
        keys.join(stored["user_features"].drop("plan_date", "as_of", "timezone"), ["user_id"], "left")
        .withColumns(slot_features)
        .join(F.broadcast(stored["slot_features"].drop("plan_date")), list(CELL), "left")
        .withColumn("plan_date", F.lit(night.plan_date))
    )
    return _with_group_rates(joined, stored["group_features"], "plan_date").select(*SCORING_KEYS, *FEATURE_COLUMNS)


def stored_features(night: Night) -> dict[str, DataFrame]:
    """Return the feature tables of the plan_date by name. Raise InputNotReady if it has no features yet."""
    stored = {
        name: night.lake.read(name, night.plan_date) for name in ("user_features", "slot_features", "group_features")
    }
    if stored["group_features"].isEmpty():
        raise InputNotReady(
            f"table group_features: no rows of plan_date {night.plan_date}, expected some; run build_features first",
            table="group_features",
        )
    return stored


def place() -> Column:
    """Return the index of a row's local_hour and weekend in the arrays of user_features, 0 to 47."""
    return F.col("local_hour") + 24 * F.col("weekend").cast("int")


def mature_sends(exposures: DataFrame, night: Night, first: date, rules: Rules) -> DataFrame:
    """Return the exposures of the plan dates from `first` to before the night's, whose window ends before its as_of.

    Exposures with an unreadable outcome in the log are left out: an unreadable outcome is no failure.
    """
    as_of = as_of_microseconds(F.lit(day_number(night.plan_date)), rules)
    in_range = (F.col("day") >= day_number(first)) & (F.col("day") < day_number(night.plan_date))
    return exposures.where(in_range & (F.col("mature_at") < as_of) & F.col("outcome_known"))


def _user_rows(log: Log, requests: DataFrame, groups: DataFrame) -> DataFrame:
    """Return the user features of each request (user_id, day), plus the sessions of known zone by part of the week."""
    counted = user_counts(log, requests)
    common = groups.where("kind = 'all'").select("day", F.col("group_rate").alias("global_rate"))
    rows = (
        counted.join(F.broadcast(common), "day")
        .join(log.users.select("user_id", "created_at"), "user_id", "left")
        .join(fatigue_points(log, requests), ["user_id", "day"])
    )
    as_of = as_of_microseconds(F.col("day"), log.rules)
    created = F.unix_micros("created_at")
    return rows.select(
        *("user_id", "day", "global_rate", "weekday_sessions", "weekend_sessions", "fatigue_points"),
        _days_between(F.when(created <= as_of, created), as_of).alias("tenure_days"),
        *(
            _days_between(F.col(f"last_{what}"), as_of).alias(f"days_since_{what}")
            for what in ("send", "open", "session")
        ),
        *(f"{what}_{w}d" for what in ("sends", "mature", "successes") for w in WINDOWS),
        *(f"sessions_{w}d" for w in SESSION_WINDOWS),
        *(
            _shrink(f"successes_{w}d", f"mature_{w}d", F.col("global_rate"), log.rules).alias(f"rate_{w}d")
            for w in WINDOWS
        ),
    )


def _hour_rates(log: Log, groups: DataFrame) -> DataFrame:
    """Return slot_features of every day of the log, plus the daypart's rate and the shares of all users' sessions."""
    counted = hour_counts(log)
    common = groups.where("kind = 'all'").select("day", F.col("group_rate").alias("global_rate"))
    base = F.col("global_rate")
    all_sessions = F.sum("sessions").over(Window.partitionBy("day"))
    part_sessions = F.sum("sessions").over(Window.partitionBy("day", "weekend"))
    return (
        counted.join(F.broadcast(common), "day")
        .select(
            "day",
            *CELL,
            F.col("sends").alias("hour_sends"),
            F.col("mature").alias("hour_mature"),
            F.col("successes").alias("hour_successes"),
            _shrink("successes", "mature", base, log.rules).alias("hour_rate"),
            _shrink("near_successes", "near_mature", base, log.rules).alias("daypart_rate"),
            ((F.col("session_ninths") / 9 + 1) / (all_sessions + 24)).alias("hour_share"),
            ((F.col("part_session_ninths") / 9 + 1) / (part_sessions + 24)).alias("part_share"),
        )
        .localCheckpoint()
    )


def _user_hour_rows(log: Log, requests: DataFrame, users: DataFrame, hours: DataFrame) -> DataFrame:
    """Return all user and user_slot features of each request (user_id, day, local_hour, weekend)."""
    counted = user_hour_counts(log, requests)
    rules, prior_sessions = log.rules, F.lit(log.rules.prior_sessions)
    lean = F.col("rate_90d") / F.col("global_rate")
    hour_prior = F.least(F.lit(1.0), lean * F.col("hour_rate"))
    daypart_prior = F.least(F.lit(1.0), lean * F.col("daypart_rate"))
    in_part = F.when(F.col("weekend"), F.col("weekend_sessions")).otherwise(F.col("weekday_sessions"))
    in_all = F.col("weekend_sessions") + F.col("weekday_sessions")
    common = hours.select("day", *CELL, "hour_rate", "daypart_rate", "hour_share", "part_share")
    return (
        counted.join(F.broadcast(common), ["day", *CELL])
        .join(users, ["user_id", "day"])
        .select(
            *("user_id", "day", *CELL),
            *(c.name for c in USER_FEATURES),
            F.col("mature").alias("user_hour_mature"),
            F.col("successes").alias("user_hour_successes"),
            _shrink("successes", "mature", hour_prior, rules).alias("user_hour_rate"),
            _shrink("near_successes", "near_mature", daypart_prior, rules).alias("user_daypart_rate"),
            _activity("session_ninths", "hour_share", in_all, prior_sessions).alias("user_hour_activity"),
            _activity("part_session_ninths", "part_share", in_part, prior_sessions).alias("user_weekpart_activity"),
        )
    )


def _by_place(cells: DataFrame) -> DataFrame:
    """Return user_id, day and the features of the user's 48 hours as arrays indexed by `place`."""
    names = [c.name for c in USER_SLOT_FEATURES]
    by_place = F.sort_array(F.collect_list(F.struct(place().alias("place"), *names)))
    return (
        cells.groupBy("user_id", "day")
        .agg(by_place.alias("_cells"))
        .select("user_id", "day", *(F.col("_cells")[name].alias(name) for name in names))
    )


def _group_rates(log: Log) -> DataFrame:
    """Return group_features of every day of the log: the group `all` always, other groups if they have mature sends."""
    kinds = {
        "all": F.lit("all"),
        "channel": F.col("channel"),
        "category": F.col("category"),
        "campaign": F.col("campaign_id"),
    }
    named = F.array(*(F.struct(F.lit(kind).alias("kind"), name.alias("name")) for kind, name in kinds.items()))
    daily = (
        log.exposures.select("mature_day", "label", F.inline(named))
        .groupBy("mature_day", "kind", "name")
        .agg(F.count("*").alias("mature"), F.sum("label").alias("successes"))
    )
    before = F.col("day") - F.col("mature_day")
    seen = daily.join(F.broadcast(log.days), (before >= 1) & (before <= log.rules.history_days))
    always = log.days.select("day", F.lit("all").alias("kind"), F.lit("all").alias("name"))
    counted = (
        seen.select("day", "kind", "name", "mature", "successes")
        .unionByName(always, allowMissingColumns=True)
        .groupBy("day", "kind", "name")
        .agg(
            F.coalesce(F.sum("mature"), F.lit(0)).alias("group_mature"),
            F.coalesce(F.sum("successes"), F.lit(0)).alias("group_successes"),
        )
    )
    smoothed = (F.col("group_successes") + 1) / (F.col("group_mature") + 2)
    base = F.max(F.when(F.col("kind") == "all", smoothed)).over(Window.partitionBy("day"))
    shrunk = _shrink("group_successes", "group_mature", base, log.rules)
    return counted.withColumn("group_rate", F.when(F.col("kind") == "all", base).otherwise(shrunk)).localCheckpoint()


def _with_group_rates(rows: DataFrame, groups: DataFrame, date_column: str) -> DataFrame:
    """Return the rows plus category_rate and channel_rate of their date; a name without a row has the global rate."""
    base = groups.where("kind = 'all'").select(date_column, F.col("group_rate").alias("_global"))
    rows = rows.join(F.broadcast(base), date_column)
    for kind in ("category", "channel"):
        rates = groups.where(F.col("kind") == kind)
        rates = rates.select(date_column, F.col("name").alias(kind), F.col("group_rate").alias("_rate"))
        rate = F.coalesce(F.col("_rate"), F.col("_global"))
        rows = rows.join(F.broadcast(rates), [date_column, kind], "left").withColumn(f"{kind}_rate", rate).drop("_rate")
    return rows


def _stored(rows: DataFrame, night: Night) -> DataFrame:
    return rows.withColumns({"plan_date": F.lit(night.plan_date), "as_of": F.lit(night.as_of)})


def _shrink(successes: str, mature: str, prior: Column, rules: Rules) -> Column:
    """Return the success rate, shrunk towards `prior` with the weight of `rules.prior_sends` sends."""
    weight = F.lit(rules.prior_sends)
    return (F.col(successes) + weight * prior) / (F.col(mature) + weight)


def _activity(ninths: str, share: str, sessions: Column, weight: Column) -> Column:
    """Return the share of a user's sessions near the hour, shrunk towards `share` with a weight in sessions."""
    return (F.col(ninths) / 9 + weight * F.col(share)) / (sessions + weight)


def _days_between(at: Column, as_of: Column) -> Column:
    return (as_of - at) / F.lit(float(DAY_MICROSECONDS))
