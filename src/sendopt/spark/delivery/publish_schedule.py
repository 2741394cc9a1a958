"""Stage publish_schedule: the audited allocation, checked again on the present tables, becomes `send_plan` (model ¶3).

A send that is no longer allowed is suppressed with a reason. Each send_key is published at most once. If the plan does
not add up, nothing is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain.clock import parse_time
from sendopt.domain.rules import Send, first_broken
from sendopt.domain.tables import TABLES
from sendopt.errors import AuditError, ConfigError, InputNotReady
from sendopt.spark import lineage
from sendopt.spark.allocation import past_sends
from sendopt.spark.candidates import eligibility
from sendopt.spark.engine import keys, workers
from sendopt.spark.engine.zones import slot_readings, slot_times
from sendopt.spark.lineage import Versions
from sendopt.spark.night import Night, StageResult
from sendopt.spark.people import current_users
from sendopt.spark.propensity import goals

MESSAGE = ["user_id", "notification_id"]
SLOT_PAST, WITHDRAWN = "slot_past", "withdrawn"
_PLAN = tuple(c for c in TABLES["send_plan"].names if c not in ("plan_version", "config_hash", "model_version"))
_LEFT_OUT = "user_id string, notification_id string, reason string"


@dataclass(frozen=True)
class _Decided:
    """The night's candidates and allocation, as stored."""

    candidates: DataFrame
    chosen: DataFrame  # planned rows of the allocation: user_id, notification_id, slot, arm, pscore
    held: DataFrame  # rows that the allocation suppressed, with their reasons
    frozen: DataFrame  # rows that were published before and whose slot has begun


def run(night: Night) -> StageResult:
    """Write `send_plan` of the night, and to `suppressed` the sends that are no longer allowed.

    Raise ConfigError if the plan date is over or the published plan may not be replaced, InputNotReady if the tables
    are of different plan versions, and AuditError if messages do not add up; nothing is written then.
    """
    night.require_ahead()
    versions = lineage.of_scores(night)
    _require_one_version(night, versions.plan_version)
    _require_replaceable(night, versions.plan_version)
    decided = _decided(night, versions)
    ahead = _rows(night, decided).localCheckpoint()
    left_out = _left_out(night, versions, ahead, decided.frozen)
    late = Counter(reason for _, _, reason in left_out)
    refused = F.broadcast(night.spark.createDataFrame(left_out, _LEFT_OUT))
    plan = ahead.join(refused, MESSAGE, "left_anti").select(*_PLAN).unionByName(decided.frozen.select(*_PLAN))
    held = decided.held.unionByName(_suppressed(decided, refused))
    offered, planned = _require_complete(night, decided, plan, held)
    night.lake.replace("suppressed", versions.on(held), night.plan_date)
    night.lake.replace("send_plan", versions.on(plan), night.plan_date)
    reasons = {str(r["reason"]): int(r["count"]) for r in held.groupBy("reason").count().orderBy("reason").collect()}
    facts: dict[str, object] = {"plan_version": versions.plan_version, "left_out": dict(sorted(late.items()))}
    if late:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(late.items()))
        facts["warnings"] = [f"{late.total()} allocated sends may not go any more and are not published: {counts}"]
    if names := sorted(night.settings.objective.goals):
        chances = decided.candidates.select(*MESSAGE, "slot", "p_goals").join(decided.chosen, [*MESSAGE, "slot"])
        facts["expected_goals"] = goals.expected(chances.join(plan.select(*MESSAGE), MESSAGE), names)
    return StageResult(offered, planned, reasons, facts)


def _decided(night: Night, versions: Versions) -> _Decided:
    lake, day = night.lake, night.plan_date
    candidates = lake.read("candidates", day)
    chosen = lake.read("allocation", day).where("planned").select(*MESSAGE, "slot", "arm", "pscore")
    # `suppressed` also holds what an earlier publishing of this allocation left out: it is decided anew
    held = lake.read("suppressed", day).join(chosen, MESSAGE, "left_anti").drop(*vars(versions))
    begun = lake.read("send_plan", day).where(F.col("send_at_utc") < F.lit(night.now))
    return _Decided(candidates, chosen, held, begun)


def _rows(night: Night, decided: _Decided) -> DataFrame:
    """Return the planned rows without `frozen`, in the users' present zones: columns `_PLAN` and of candidates."""
    users = current_users(night, night.now).select("user_id", "timezone")
    grid = night.plan_start, night.settings.grid.slot_minutes, night.n_slots
    times = slot_times(night.spark, *grid).withColumnsRenamed({"start_utc": "send_at_utc", "end_utc": "slot_end_utc"})
    local = slot_readings(users, *grid).select("timezone", "slot", F.col("start_local").alias("send_at_local"))
    details = decided.candidates.where("eligible").drop("arm", "plan_version", "config_hash", "model_version")
    return (
        decided.chosen.join(decided.frozen.select(*MESSAGE), MESSAGE, "left_anti")
        .join(details, [*MESSAGE, "slot"])
        .join(users, "user_id", "left")
        .join(F.broadcast(times), "slot")
        .join(F.broadcast(local), ["timezone", "slot"], "left")
        .withColumn("send_key", keys.keyed_hash("send", F.col("user_id"), F.col("notification_id")))
    )


def _left_out(night: Night, versions: Versions, ahead: DataFrame, frozen: DataFrame) -> list[tuple[str, str, str]]:
    """Return (user, message, reason) of the sends of `ahead` that are no longer allowed, each once."""
    refused = _refused(night, versions.treated, ahead)
    return [*refused, *_over_limits(night, ahead, {(user, message) for user, message, _ in refused}, frozen)]


def _refused(night: Night, treated: str, ahead: DataFrame) -> list[tuple[str, str, str]]:
    """Return (user, message, reason) of the sends that the rules of eligibility refuse on the present tables.

    Sends whose slot has begun have the reason `SLOT_PAST`, sends whose message is no longer offered `WITHDRAWN`.
    """
    reasons, now = eligibility.judge(night, treated), pd.Timestamp(night.now).tz_convert(None)

    def judged(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for rows in batches:
            reason = reasons(rows)
            begun = (rows["slot_start"] < now).to_numpy()
            reason[begun & (reason == None)] = SLOT_PAST  # noqa: E711
            yield rows[MESSAGE].assign(reason=reason)

    offered = night.lake.read("messages", night.plan_date).drop("plan_date", "origin", "campaign_id")
    planned = ahead.select(*MESSAGE, "slot", "campaign_id")
    cells = eligibility.cells(night, planned.join(offered, MESSAGE), night.now)
    withdrawn = planned.join(offered, MESSAGE, "left_anti").select(*MESSAGE, F.lit(WITHDRAWN).alias("reason"))
    refused = workers.map_frames(cells, judged, _LEFT_OUT).where("reason IS NOT NULL").unionByName(withdrawn)
    return sorted((str(r[0]), str(r[1]), str(r[2])) for r in refused.collect())


def _over_limits(
    night: Night, ahead: DataFrame, left_out: set[tuple[str, str]], frozen: DataFrame
) -> list[tuple[str, str, str]]:
    """Return (user, message, reason) of the sends of `ahead` that break a cap, the gap or the fatigue limit.

    Sends in `left_out` are not considered. Each user's sends are checked in order of time, together with the user's
    past sends as they are now, `frozen` included.
    """
    rows = ahead.select(*MESSAGE, "slot", "channel", "category", "campaign_id", "timezone").toPandas()
    rows = rows[[pair not in left_out for pair in zip(rows["user_id"], rows["notification_id"], strict=True)]]
    rows = rows.sort_values(["user_id", "slot", "notification_id"], ignore_index=True)
    days, limits = past_sends.local_days(night), night.settings.limits()
    rows["local_day"] = days.of_cells(rows["timezone"].tolist(), rows["slot"].tolist())
    began = frozen.withColumn("sent_at_utc", F.col("send_at_utc"))
    users = night.spark.createDataFrame([(u,) for u in sorted(set(rows["user_id"]))], "user_id string")
    past = past_sends.of_users(night, users, rows, days, night.now, began)
    sends = past_sends.by_user(past)
    rows["minute"] = rows["slot"].astype(float) * night.settings.grid.slot_minutes
    refused: list[tuple[str, str, str]] = []
    rows["planned"] = True
    planned = ["minute", "channel", "category", "campaign_id", "local_day", "planned"]
    for user, message, *send in zip(*(rows[name].tolist() for name in (*MESSAGE, *planned)), strict=True):
        new, accepted = Send(*send), sends.setdefault(user, [])
        reason = first_broken(limits, accepted, new)
        if reason is None:
            accepted.append(new)
        else:
            refused.append((user, message, reason))
    return refused


def _suppressed(decided: _Decided, left_out: DataFrame) -> DataFrame:
    """Return the rows of `suppressed` for the sends that are left out."""
    messages = decided.candidates.select("plan_date", *MESSAGE, "campaign_id", "arm").distinct()
    rows = left_out.join(messages, MESSAGE).withColumn("detail", F.lit(None).cast("string"))
    return rows.select(*decided.held.columns)


def _require_one_version(night: Night, plan_version: str) -> None:
    """Raise InputNotReady unless the plan is audited and all its tables are of `plan_version`."""
    if night.lake.read("certificate", night.plan_date).isEmpty():
        raise InputNotReady(
            f"no audited allocation of {night.plan_date} for plan version {plan_version}: "
            "run build_candidates and allocate"
        )
    lineage.require_version(
        night, plan_version, "slot_scores", "candidates", "allocation", "suppressed", "shadow_prices", "certificate"
    )


def _require_replaceable(night: Night, plan_version: str) -> None:
    """Raise ConfigError if the published plan of the date may not be replaced.

    It may be replaced only at the time it was published or later, so that a wrong clock undoes nothing. Once a send of
    it has begun, only the same plan version may replace it.
    """
    begun = F.col("send_at_utc") < F.lit(night.now)
    begun_of_other_plan = F.count_if(begun & (F.col("plan_version") != F.lit(plan_version)))
    sends = night.lake.read("send_plan", night.plan_date)
    n_sends, n_begun_of_other_plan = sends.agg(F.count("*"), begun_of_other_plan).collect()[0]
    if not n_sends:
        return
    before = lineage.facts_of(night, "publish_schedule").get("clock")
    published = parse_time(before["now"]) if isinstance(before, dict) else None
    if published is not None and _seconds(night.now) < _seconds(published):
        raise ConfigError(
            f"the plan of {night.plan_date} was published at {published:%Y-%m-%d %H:%M:%S} UTC, and now is "
            f"{night.stated_clock}, which is before: nothing was published. Give a later --now, or none",
            plan_date=str(night.plan_date),
        )
    if n_begun_of_other_plan:
        raise ConfigError(
            f"{n_begun_of_other_plan} sends of another plan of {night.plan_date} have begun by {night.stated_clock}: "
            "a plan that is under way is not replaced by another, and nothing was published. Plan the next date",
            plan_date=str(night.plan_date),
        )


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _require_complete(night: Night, decided: _Decided, plan: DataFrame, held: DataFrame) -> tuple[int, int]:
    """Return (messages offered, sends planned).

    Raise AuditError unless each message of the candidates is in exactly one of send_plan and suppressed.
    """
    sides = [
        decided.candidates.select(*MESSAGE).distinct().withColumn("side", F.lit(0)),
        plan.select(*MESSAGE).withColumn("side", F.lit(1)),
        held.select(*MESSAGE).withColumn("side", F.lit(2)),
    ]
    counts = [F.count_if(F.col("side") == n).alias(name) for n, name in enumerate(("offered", "planned", "held"))]
    messages = reduce(DataFrame.unionByName, sides).groupBy(*MESSAGE).agg(*counts)
    wrong = (F.col("offered") != 1) | (F.col("planned") + F.col("held") != 1)
    sums = [F.coalesce(F.sum(name), F.lit(0)) for name in ("offered", "planned", "held")]
    offered, planned, suppressed, broken = messages.agg(*sums, F.count_if(wrong)).collect()[0]
    if broken:
        raise AuditError(
            f"messages of {night.plan_date} do not add up: {offered} offered, {planned} planned, {suppressed} "
            f"suppressed; {broken} of them are not in exactly one of the two. Nothing was published: run allocate again"
        )
    return offered, planned
