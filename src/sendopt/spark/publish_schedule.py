"""Stage publish_schedule: the audited allocation becomes `send_plan`, each send_key once for ever, or nothing does."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.errors import AuditError, InputNotReady
from sendopt.spark import goals, history, keys, lineage
from sendopt.spark.stage import Night, StageResult
from sendopt.spark.zones import slot_readings, slot_times


def run(night: Night) -> StageResult:
    """Write `send_plan` of the night after three last checks; a refusal leaves the published plan as it was."""
    versions = lineage.of_scores(night)
    lake, day = night.lake, night.plan_date
    candidates, allocation = lake.read("candidates", day), lake.read("allocation", day)
    suppressed = lake.read("suppressed", day)
    _require_audited(night, versions.plan_version)
    plan = _rows(night, candidates, allocation).persist()
    try:
        _require_new(night, plan)
        offered = candidates.select("user_id", "notification_id").distinct()
        counts = offered.count(), plan.count(), suppressed.count()
        _require_complete(night, plan, suppressed, offered, counts)
        lake.replace("send_plan", versions.on(plan), day)
        brings = goals.expected(plan, sorted(night.settings.objective.goals))
    finally:
        plan.unpersist()
    reasons = {str(r["reason"]): int(r["count"]) for r in suppressed.groupBy("reason").count().collect()}
    facts: dict[str, object] = {"plan_version": versions.plan_version}
    return StageResult(counts[0], counts[1], reasons, {**facts, "expected_goals": brings} if brings else facts)


def _rows(night: Night, candidates: DataFrame, allocation: DataFrame) -> DataFrame:
    users = night.lake.read("users").select("user_id", "timezone")
    grid = night.plan_start, night.settings.grid.slot_minutes, night.n_slots
    times = slot_times(night.spark, *grid).withColumnsRenamed({"start_utc": "send_at_utc", "end_utc": "slot_end_utc"})
    local = slot_readings(users, *grid).select("timezone", "slot", F.col("start_local").alias("send_at_local"))
    chosen = allocation.where("planned").select("user_id", "notification_id", "slot", "arm", "pscore")
    details = candidates.where("eligible").drop("arm", "plan_version", "config_hash", "model_version")
    return (
        chosen.join(details, ["user_id", "notification_id", "slot"])
        .join(users, "user_id")
        .join(F.broadcast(times), "slot")
        .join(F.broadcast(local), ["timezone", "slot"], "left")
        .withColumn("send_key", keys.keyed_hash("send", F.col("user_id"), F.col("notification_id")))
    )


def _require_audited(night: Night, plan_version: str) -> None:
    """The allocation must be the one that passed the audit under today's inputs, settings and model."""
    found = night.lake.read("certificate", night.plan_date).select("plan_version").head()
    if found is None or found["plan_version"] != plan_version:
        raise InputNotReady(
            f"no audited allocation of {night.plan_date} for plan version {plan_version}: "
            "run build_candidates and allocate"
        )


def _require_new(night: Night, plan: DataFrame) -> None:
    again = plan.join(history.known_send_keys(night), "send_key", "left_semi").count()
    if again:
        raise AuditError(
            f"{again} planned sends of {night.plan_date} have been sent or planned before; nothing was published. "
            "Run build_candidates and allocate again"
        )


def _require_complete(
    night: Night, plan: DataFrame, suppressed: DataFrame, offered: DataFrame, counts: tuple[int, int, int]
) -> None:
    """Every candidate message is in exactly one of send_plan and suppressed; every planned cell was eligible."""
    message = ["user_id", "notification_id"]
    both = plan.join(suppressed, message, "left_semi").count()
    neither = offered.join(plan, message, "left_anti").join(suppressed, message, "left_anti").count()
    planned = night.lake.read("allocation", night.plan_date).where("planned").count()
    if both or neither or counts[0] != counts[1] + counts[2] or planned != counts[1]:
        raise AuditError(
            f"messages of {night.plan_date} do not add up: {counts[0]} offered, {counts[1]} planned "
            f"({planned} allocated), {counts[2]} suppressed, {both} in both, {neither} in neither; "
            "nothing was published. Run allocate again"
        )
