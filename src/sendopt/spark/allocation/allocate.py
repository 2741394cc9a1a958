"""Stage allocate: plan all arms of the night, audit them together, give a reason for each other message (¶9 to ¶15)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt import candidates
from sendopt.allocation import audit_plan, check
from sendopt.allocation.build import CellColumns, HistoryColumns, MessageColumns, build_history, build_problem
from sendopt.allocation.coupling import rows_of
from sendopt.allocation.problem import Problem
from sendopt.domain import reasons
from sendopt.domain.limits import Limits
from sendopt.domain.tables import TABLES
from sendopt.errors import AuditError
from sendopt.experiment import ArmsPlan, plan_arms
from sendopt.experiment.arms import UNIFORM_TIME
from sendopt.experiment.uniform_time import MESSAGE
from sendopt.spark import lineage
from sendopt.spark.allocation import past_sends
from sendopt.spark.engine.lake import schema_of
from sendopt.spark.night import Night, StageResult
from sendopt.spark.people import current_users
from sendopt.stats.arrays import Flags


@dataclass(frozen=True)
class _Inputs:
    cells: pd.DataFrame  # eligible cells of all arms, sorted
    refused: (
        pd.DataFrame
    )  # messages without an eligible cell: user_id, notification_id, campaign_id, arm, reason, detail
    past: pd.DataFrame  # sends of the users with cells: minutes_before, local_day, channel, category, campaign_id
    messages: int


def run(night: Night) -> StageResult:
    """Write `allocation`, `shadow_prices`, `certificate` and `suppressed`; a failed audit writes nothing."""
    versions = lineage.of_scores(night)
    lineage.require_version(night, versions.plan_version, "slot_scores", "candidates")
    settings = night.settings
    inputs = _read(night)
    problem = _problem(night, inputs.cells, inputs.past, settings.limits())
    plan = plan_arms(
        problem, _drawn(inputs.cells, problem), settings.allocation, f"{settings.arms.salt} {night.plan_date}"
    )
    check(plan.others, plan.solution)
    if violations := audit_plan(problem, plan.chosen):
        raise AuditError(
            f"the audit of all arms together refused the plan: {'; '.join(violations)}; nothing was published",
            violations=list(violations),
        )
    tables = {
        "allocation": _allocation(inputs.cells, plan),
        "suppressed": _suppressed(inputs, problem, plan),
        "shadow_prices": _prices(problem, plan),
        "certificate": _certificate(plan),
    }
    for name, frame in tables.items():
        night.lake.replace(name, versions.on(_frame(night, name, frame)), night.plan_date)
    left_out = {str(k): int(v) for k, v in tables["suppressed"]["reason"].value_counts().items()}
    solution = plan.solution
    facts: dict[str, object] = {
        "plan_version": versions.plan_version,
        "gap": solution.gap,
        "method": str(solution.method),
        "termination": str(solution.termination),
        "value": solution.value,
        "shortfall": dict(solution.shortfall),
        "warnings": [*solution.warnings, *plan.warnings],
    }
    if plan.cost is not None:
        facts["random_times_cost"] = vars(plan.cost)
    return StageResult(inputs.messages, len(plan.chosen), left_out, facts)


def _read(night: Night) -> _Inputs:
    rows = night.lake.read("candidates", night.plan_date)
    users = current_users(night, night.as_of).select("user_id", "timezone")
    eligible = (
        rows.where("eligible")
        .join(users, "user_id", "left")
        .select(
            "user_id",
            "notification_id",
            "campaign_id",
            "channel",
            "category",
            "slot",
            "arm",
            "value",
            "p_open",
            "p_opt_out",
            "timezone",
        )
    )
    cells = eligible.toPandas().sort_values([*MESSAGE, "slot"], ignore_index=True)
    costs = {name: c.cost_per_send for name, c in night.settings.channels.items()}
    cells["cost"] = cells["channel"].map(costs).astype(float)
    days = past_sends.local_days(night)
    cells["local_day"] = days.of_cells(cells["timezone"].tolist(), cells["slot"].tolist())
    counted = (
        rows.groupBy(*MESSAGE, "campaign_id", "arm")
        .agg(F.collect_list("reason").alias("reasons"), F.max("eligible").alias("eligible"))
        .toPandas()
    )
    refused = counted[~counted["eligible"]].sort_values(MESSAGE, ignore_index=True)
    refused["reason"] = [candidates.message_reason(r) for r in refused["reasons"]]
    refused["detail"] = [reasons.as_detail({"slots": Counter(r)}) for r in refused["reasons"]]
    planned_for = rows.where("eligible").select("user_id").distinct()
    past = past_sends.of_users(night, planned_for, cells, days, night.as_of)
    return _Inputs(cells, refused.drop(columns=["reasons", "eligible"]), past, len(counted))


def _problem(night: Night, cells: pd.DataFrame, past: pd.DataFrame, limits: Limits) -> Problem:
    """Return the problem of the night. Its users are those with cells; the history of others is left out."""
    message, _keys = pd.factorize(pd.MultiIndex.from_frame(cells[MESSAGE]))
    first = cells.groupby(message).first() if len(cells) else cells
    users = np.array(sorted(cells["user_id"].unique()), dtype=object)
    number = pd.Series(np.arange(len(users)), index=users)
    past = past[past["user_id"].isin(users)]
    names = ("campaign_id", "channel", "category")
    texts = {name: first[name].to_numpy(object) for name in names}
    return build_problem(
        limits=limits,
        slot_minutes=night.settings.grid.slot_minutes,
        n_slots=night.n_slots,
        users=users,
        messages=MessageColumns(
            user=number.loc[first["user_id"]].to_numpy(),
            texts={**texts, "message_id": first["notification_id"].to_numpy(object)},
        ),
        cells=CellColumns(
            message=message,
            slot=cells["slot"].to_numpy(),
            value=cells["value"].to_numpy(float),
            p_opt_out=cells["p_opt_out"].to_numpy(float),
            cost=cells["cost"].to_numpy(float),
            local_day=cells["local_day"].to_numpy(),
        ),
        history=build_history(
            HistoryColumns(
                user=number.loc[past["user_id"]].to_numpy(),
                texts={name: past[name].to_numpy(object) for name in names},
                minutes_before=past["minutes_before"].to_numpy(float),
                local_day=past["local_day"].to_numpy(),
                p_opt_out=past["p_opt_out"].to_numpy(float),
            )
        ),
    )


def _drawn(cells: pd.DataFrame, problem: Problem) -> Flags:
    """Return which users of `problem` (U,) have their times drawn."""
    return np.isin(problem.users.astype(str), cells.loc[cells["arm"] == UNIFORM_TIME, "user_id"].unique().astype(str))


def _allocation(cells: pd.DataFrame, plan: ArmsPlan) -> pd.DataFrame:
    sent = cells.loc[plan.chosen, [*MESSAGE, "slot", "arm"]]
    lost_slots = (plan.lost.get(c) for c in plan.chosen.tolist())
    detail = [None if why is None else reasons.as_detail({"reason": why.reason, **why.detail}) for why in lost_slots]
    return sent.assign(pscore=plan.pscore, planned=True, reason=None, detail=np.array(detail, object))


def _suppressed(inputs: _Inputs, problem: Problem, plan: ArmsPlan) -> pd.DataFrame:
    """Return a row a message that is not planned, with its reason."""
    rows = sorted(plan.why)
    unplanned = pd.DataFrame(
        {
            "user_id": problem.users[problem.messages.user[rows]],
            "notification_id": problem.messages.message_id[rows],
            "reason": [plan.why[m].reason for m in rows],
            "detail": [reasons.as_detail(plan.why[m].detail) for m in rows],
        }
    )
    about = inputs.cells.drop_duplicates(MESSAGE).set_index(MESSAGE)[["campaign_id", "arm"]]
    eligible = unplanned.join(about, on=MESSAGE)
    table = pd.concat([rows for rows in (eligible, inputs.refused) if len(rows)] or [eligible])
    if strange := reasons.unknown(table["reason"].unique()):
        raise AuditError(f"reasons that the registry does not hold: {', '.join(strange)}; nothing was published")
    return table


def _prices(problem: Problem, plan: ArmsPlan) -> pd.DataFrame:
    """Return limits and use of all arms together with the prices of the program. No part of a limit is kept free."""
    rows = rows_of(problem)
    price = {p.row: p.price for p in plan.solution.prices}
    return pd.DataFrame(
        {
            "row": rows.names,
            "kind": [str(kind) for kind in rows.kinds],
            "limit": rows.limit,
            "used": rows.used(problem, plan.chosen),
            "kept_free": 0.0,
            "price": [float(price.get(name, 0.0)) for name in rows.names],
        }
    )


def _certificate(plan: ArmsPlan) -> pd.DataFrame:
    """Return the proof of the program within the room left by the draws, and the sizes of the program."""
    numbers = ("value", "penalty", "objective", "bound", "gap")
    words = ("method", "termination")
    message = np.unique(plan.others.cells.message)
    sizes = {
        "users": len(np.unique(plan.others.messages.user[message])),
        "messages": len(message),
        "cells": len(plan.others.cells.slot),
        "sends": len(plan.chosen),
    }
    stated = {name: getattr(plan.solution, name) for name in numbers}
    stated |= {name: str(getattr(plan.solution, name)) for name in words}
    return pd.DataFrame([{**stated, **sizes}])


def _frame(night: Night, name: str, rows: pd.DataFrame) -> DataFrame:
    versions = ("plan_version", "config_hash", "model_version")
    columns = [c for c in TABLES[name].names if c not in versions]
    ready = rows.assign(plan_date=night.plan_date).reindex(columns=columns)
    schema = schema_of(TABLES[name])
    records = [tuple(None if v is None or v != v else v for v in r) for r in ready.itertuples(index=False, name=None)]
    return night.spark.createDataFrame(records, schema=type(schema)([f for f in schema if f.name in columns]))
