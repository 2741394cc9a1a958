"""The log as of a night, and the counts of it that features are computed from (model ¶16).

`day` is a plan_date in days since 1970-01-01. Facts are dated by feature day. A request adds up the facts of the days
before its own, so that it uses nothing of its own day or later. Sums are of integers, or in the order of time, so that
the rows are equal to the byte whatever the number of partitions (¶14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.domain import slots
from sendopt.features import DAY_MICROSECONDS, SESSION_WINDOWS, WINDOWS, Rules, rules_of
from sendopt.spark import reactions
from sendopt.spark.engine.zones import with_local_time
from sendopt.spark.features.fatigue import HALF_LIVES, with_fatigue
from sendopt.spark.night import Night

CELL = ("local_hour", "weekend")
_EPOCH = date(1970, 1, 1)
_HOURLY = ("sends", "mature", "successes", "sessions")
_DAILY = (*_HOURLY, "weekday_sessions", "weekend_sessions", "last_send", "last_open", "last_session")


@dataclass(frozen=True)
class Log:
    """The log before the night's as_of, as far back as the features of the first request look."""

    exposures: DataFrame  # one row per send that reached its user
    sessions: DataFrame
    users: DataFrame
    days: DataFrame  # the plan dates asked for, as `day`
    middle: int  # the middle day of them
    rules: Rules


def rules_of_night(night: Night) -> Rules:
    """Return the rules of features by the night's settings."""
    settings = night.settings
    return rules_of(settings.grid, settings.label, settings.features, settings.fatigue)


def read_log(night: Night, first: date) -> Log:
    """Return the log that the nights from `first` to the plan_date may use; it holds nothing of as_of or later."""
    rules = rules_of_night(night)
    since = slots.as_of(first, rules.lead_minutes) - timedelta(days=rules.history_days)
    users = night.lake.read("users").select("user_id", "timezone", "created_at")
    recent = (F.col("at_utc") >= F.lit(since)) & (F.col("at_utc") < F.lit(night.as_of))
    sessions = night.lake.read("sessions").where(recent).join(users.drop("created_at"), "user_id", "left")
    at = F.unix_micros("at_utc")
    start = day_number(first)
    end = max(start + 1, day_number(night.plan_date))
    return Log(
        exposures=_held(exposures_of(night, first, rules)),
        sessions=_held(
            with_local_time(sessions, "at_utc", "timezone").select(
                "user_id", at.alias("at"), _feature_day(at, rules).alias("day"), *CELL
            )
        ),
        users=users,
        days=night.spark.range(start, end).toDF("day"),
        middle=(start + end) // 2,
        rules=rules,
    )


def _held(rows: DataFrame) -> DataFrame:
    """Return the rows, computed once and partitioned by user.

    They are read many times, and planning them anew would take longer than computing them. A checkpoint, unlike a
    cache, ends with the last frame that reads it.
    """
    partitions = int(str(rows.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    return rows.repartition(partitions, "user_id").localCheckpoint()


def exposures_of(night: Night, first: date, rules: Rules, decided: bool = False) -> DataFrame:
    """Return one row per send that was sent and available: times in microseconds, feature days, label, local time.

    With `decided`, return one row per available decision point of kind `send`, sent or not.
    """
    sends = _recent_sends(night, first, rules, decided)
    rows = with_local_time(sends, "sent_at_utc", "timezone").withColumn("sent_at", F.unix_micros("sent_at_utc"))
    labelled = (
        rows.join(reactions.judged(night, rows, rules.success), "send_key", "left")
        .withColumn("mature_at", F.col("sent_at") + F.lit(rules.success.window))
        .fillna({"label": 0, "suspected": False})
    )
    known = F.coalesce("outcome_known", F.lit(True))
    unclear = F.col("suspected") | ~known
    return labelled.select(
        *("send_key", "user_id", "campaign_id", "channel", "category", "sent_at_utc", "pscore", "sent"),
        unclear.alias("suspected"),
        known.alias("outcome_known"),
        *CELL,
        F.weekday("local_time").alias("weekday"),
        *("sent_at", "mature_at", "open_at", "label"),
        _feature_day(F.col("sent_at"), rules).alias("sent_day"),
        _feature_day(F.when(~unclear, F.col("mature_at")), rules).alias("mature_day"),
        _feature_day(F.when(~unclear, F.col("open_at")), rules).alias("open_day"),
        F.unix_date(F.to_date("sent_at_utc")).cast("bigint").alias("day"),
    )


def _recent_sends(night: Night, first: date, rules: Rules, decided: bool) -> DataFrame:
    """Return the sends (or decision points) that features, labels and fatigue of the nights from `first` on look at."""
    lookback = max(
        timedelta(days=rules.history_days, hours=rules.success.window_hours),
        timedelta(hours=HALF_LIVES * rules.half_life_hours),
    )
    since = F.lit(slots.as_of(first, rules.lead_minutes) - lookback)
    kind = (F.col("decision_kind") == "send") if decided else F.col("sent")
    at = F.col("sent_at_utc")
    return night.lake.read("sends").where(kind & F.col("available") & (at >= since) & (at < F.lit(night.as_of)))


def user_counts(log: Log, requests: DataFrame) -> DataFrame:
    """Return counts in the windows before each request, and the last send, open and session in its history."""
    sent, unit = log.exposures, F.lit(1)
    part = {"weekday_sessions": F.when(~F.col("weekend"), 1), "weekend_sessions": F.when(F.col("weekend"), 1)}
    daily = (
        _facts(sent, "sent_day", _DAILY, sends=unit, last_send=F.col("sent_at"))
        .unionByName(_facts(sent, "mature_day", _DAILY, mature=unit, successes=F.col("label")))
        .unionByName(_facts(sent, "open_day", _DAILY, last_open=F.col("open_at")))
        .unionByName(_facts(log.sessions, "day", _DAILY, sessions=unit, last_session=F.col("at"), **part))
        .groupBy("user_id", "day")
        .agg(*((F.max if c.startswith("last") else F.sum)(c).alias(c) for c in _DAILY))
    )

    def within(name: str, days: int) -> Column:
        return _sum_where(F.col("age") <= days, F.col(name)).alias(f"{name}_{days}d")

    return (
        _pairs(requests, daily, log.rules, F.lit(True))
        .groupBy("user_id", "day")
        .agg(
            *(within(what, w) for what in ("sends", "mature", "successes") for w in WINDOWS),
            *(within("sessions", w) for w in SESSION_WINDOWS),
            *(F.coalesce(F.sum(c), F.lit(0)).alias(c) for c in part),
            *(F.max(c).alias(c) for c in _DAILY if c.startswith("last")),
        )
    )


def _facts(rows: DataFrame, day: str, names: Sequence[str], *kept: Column, **values: Column) -> DataFrame:
    """Return user_id, day, `kept` and `names` of the rows whose column `day` (a feature day) is not NULL.

    Names without a value are NULL, so that facts of several kinds can be united.
    """
    columns = (values.get(name, F.lit(None)).cast("bigint").alias(name) for name in names)
    return rows.where(F.col(day).isNotNull()).select("user_id", F.col(day).alias("day"), *kept, *columns)


def _pairs(requests: DataFrame, facts: DataFrame, rules: Rules, concerned: Column) -> DataFrame:
    """Return each request with each fact of its user's history that meets `concerned`.

    `age` is in days; it is 1 for facts of the last day that the request uses. The pairs are many, but they stream into
    sums: measured, that costs less than sliding windows over the same rows.
    """
    past = facts.withColumnRenamed("user_id", "_user").withColumnRenamed("day", "_day")
    age = F.col("day") - F.col("_day")
    known = (F.col("user_id") == F.col("_user")) & (age >= 1) & (age <= rules.history_days)
    return requests.join(past, known & concerned, "left").withColumn("age", age).drop("_user", "_day")


def _sum_where(condition: Column, value: Column) -> Column:
    return F.coalesce(F.sum(F.when(condition, value)), F.lit(0))


def fatigue_points(log: Log, requests: DataFrame) -> DataFrame:
    """Return user_id, day and fatigue_points of each request."""
    sends = log.exposures.select("user_id", F.col("sent_at").alias("at"), "channel")
    moments = requests.withColumn("at", as_of_microseconds(F.col("day"), log.rules))
    return with_fatigue(moments, sends, log.rules, as_of_microseconds(F.lit(log.middle), log.rules)).drop("at")


def user_hour_counts(log: Log, requests: DataFrame) -> DataFrame:
    """Return counts over the history of each request (user_id, day, local_hour, weekend), named as in `_hour_sums`."""
    facts = _hour_facts(log.exposures, "mature_day", mature=F.lit(1), successes=F.col("label")).unionByName(
        _hour_facts(log.sessions, "day", sessions=F.lit(1))
    )
    sums = _hour_sums("mature", "successes", "sessions")
    return _pairs(requests, facts, log.rules, _ninths() > 0).groupBy("user_id", "day", *CELL).agg(*sums)


def hour_counts(log: Log) -> DataFrame:
    """Return counts over the history and all users of each (day, local_hour, weekend), named as in `_hour_sums`."""
    facts = (
        _hour_facts(log.exposures, "mature_day", mature=F.lit(1), successes=F.col("label"))
        .unionByName(_hour_facts(log.exposures, "sent_day", sends=F.lit(1)))
        .unionByName(_hour_facts(log.sessions, "day", sessions=F.lit(1)))
        .groupBy(F.col("day").alias("_day"), "_hour", "_weekend")
        .agg(*(F.sum(c).alias(c) for c in _HOURLY))
    )
    age = F.col("day") - F.col("_day")
    seen = facts.join(F.broadcast(log.days), (age >= 1) & (age <= log.rules.history_days))
    seen = seen.groupBy("day", "_hour", "_weekend").agg(*(F.sum(c).alias(c) for c in _HOURLY))
    return every_cell(log).join(seen, "day", "left").groupBy("day", *CELL).agg(*_hour_sums(*_HOURLY))


def every_cell(log: Log) -> DataFrame:
    """Return (day, local_hour, weekend), 48 rows per day of the log."""
    hours = F.explode(F.sequence(F.lit(0), F.lit(23))).alias("local_hour")
    return log.days.select("day", hours).select("*", F.explode(F.array(F.lit(False), F.lit(True))).alias("weekend"))


def _hour_facts(rows: DataFrame, day: str, **counts: Column) -> DataFrame:
    """Return the rows of known local time as facts of their hour."""
    known = rows.where(F.col("local_hour").isNotNull())
    return _facts(known, day, _HOURLY, F.col("local_hour").alias("_hour"), F.col("weekend").alias("_weekend"), **counts)


def _apart() -> Column:
    """Return the hours from the request's hour forward to the fact's, 0 to 23."""
    return F.pmod(F.col("_hour") - F.col("local_hour"), F.lit(24))


def _near() -> Column:
    return _apart().isin(0, 1, 23)


def _ninths() -> Column:
    """Return how many ninths a session counts for the request's hour: 3, 2 or 1 within two hours, else 0."""
    apart = F.least(_apart(), 24 - _apart())
    return F.greatest(3 - apart, F.lit(0))


def _hour_sums(*names: str) -> list[Column]:
    """Return the sums over the facts of a request.

    `names` are summed over the facts of the request's hour and part of the week (weekdays or weekend). `near_*` are
    summed over that hour, the one before and the one after, with weekdays and weekends pooled. `session_ninths` is the
    number of ninths of sessions within two hours, pooled; `part_session_ninths` that of the request's part of the week.
    """
    part = F.col("_weekend") == F.col("weekend")
    same_hour = (F.col("_hour") == F.col("local_hour")) & part
    ninths = F.col("sessions") * _ninths()
    return [
        *(_sum_where(same_hour, F.col(name)).alias(name) for name in names),
        _sum_where(_near(), F.col("mature")).alias("near_mature"),
        _sum_where(_near(), F.col("successes")).alias("near_successes"),
        _sum_where(F.lit(True), ninths).alias("session_ninths"),
        _sum_where(part, ninths).alias("part_session_ninths"),
    ]


def _feature_day(at: Column, rules: Rules) -> Column:
    """Return the day of the last night whose as_of is not after `at` (microseconds); NULL where `at` is NULL."""
    shifted = at + F.lit(rules.lead_minutes * 60_000_000)
    return ((shifted - F.pmod(shifted, F.lit(DAY_MICROSECONDS))) / DAY_MICROSECONDS).cast("bigint")


def as_of_microseconds(day: Column, rules: Rules) -> Column:
    """Return as_of, in microseconds, of a plan_date given in days."""
    return day * F.lit(DAY_MICROSECONDS) - F.lit(rules.lead_minutes * 60_000_000)


def day_number(plan_date: date) -> int:
    """Return the plan_date in days since 1970-01-01."""
    return (plan_date - _EPOCH).days
