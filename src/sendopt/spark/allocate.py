"""Stage allocate: draw the uniform_time arm, plan the others under what is left, audit both together (¶9 to ¶15)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt import candidates
from sendopt.allocation import allocate, audit_plan, check, unplanned_reasons
from sendopt.allocation.coupling import rows_of
from sendopt.allocation.problem import Cells, History, Ints, Messages, Problem
from sendopt.allocation.solution import Solution
from sendopt.domain.limits import Limits
from sendopt.domain.tables import TABLES
from sendopt.errors import AuditError
from sendopt.measurement.experiment import UNIFORM_TIME
from sendopt.measurement.uniform_time import MESSAGE, UniformArm, plan_uniform_time
from sendopt.spark import lineage, past_sends
from sendopt.spark.people import current_users
from sendopt.spark.stage import Night, StageResult
from sendopt.spark.tables import schema_of


@dataclass(frozen=True)
class _Inputs:
    cells: pd.DataFrame  # eligible cells of all arms, sorted
    refused: pd.DataFrame  # user_id, notification_id, campaign_id, arm, reason of messages without an eligible cell
    past: pd.DataFrame  # sends of the users with cells: minutes_before, local_day, channel, category, campaign_id
    messages: int


def run(night: Night) -> StageResult:
    """Write `allocation`, `shadow_prices`, `certificate` and `suppressed`; a failed audit writes nothing."""
    versions = lineage.of_scores(night)
    lineage.require_version(night, versions.plan_version, "slot_scores", "candidates")
    limits, settings = night.settings.limits(), night.settings
    inputs = _read(night)
    drawn_cells = inputs.cells[inputs.cells["arm"] == UNIFORM_TIME]
    share = settings.arms.uniform_time_fraction / max(1e-9, 1.0 - settings.arms.holdout_fraction)
    uniform = plan_uniform_time(
        drawn_cells, past_sends.by_user(inputs.past), limits, share, settings.grid.slot_minutes, night.n_slots,
        f"{settings.arms.salt} {night.plan_date}",
    )  # fmt: skip
    treated = inputs.cells[inputs.cells["arm"] != UNIFORM_TIME].reset_index(drop=True)
    problem = _problem(night, treated, inputs.past, uniform.rest)
    solution = allocate(problem, settings.allocation)
    check(problem, solution)
    everyone, chosen = _together(night, inputs, treated.loc[solution.chosen], uniform, limits)
    tables = {
        "allocation": _allocation(treated.loc[solution.chosen], uniform),
        "suppressed": _suppressed(inputs, problem, solution, uniform),
        "shadow_prices": _prices(everyone, chosen, problem, solution),
        "certificate": _certificate(problem, solution, len(chosen)),
    }
    for name, frame in tables.items():
        night.lake.replace(name, versions.on(_frame(night, name, frame)), night.plan_date)
    reasons = {str(k): int(v) for k, v in tables["suppressed"]["reason"].value_counts().items()}
    facts: dict[str, object] = {
        "plan_version": versions.plan_version, "gap": solution.gap, "method": solution.method,
        "termination": solution.termination, "value": solution.value, "shortfall": dict(solution.shortfall),
        "warnings": [*uniform.warnings],
    }  # fmt: skip
    return StageResult(inputs.messages, len(chosen), reasons, facts)


def _read(night: Night) -> _Inputs:
    rows = night.lake.read("candidates", night.plan_date)
    users = current_users(night, night.as_of).select("user_id", "timezone")
    eligible = rows.where("eligible").join(users, "user_id", "left").select(
        "user_id", "notification_id", "campaign_id", "channel", "category", "slot", "arm", "value", "p_open",
        "p_opt_out", "timezone",
    )  # fmt: skip
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
    planned_for = rows.where("eligible").select("user_id").distinct()
    past = past_sends.of_users(night, planned_for, cells, days, night.as_of)
    return _Inputs(cells, refused.drop(columns=["reasons", "eligible"]), past, len(counted))


def _problem(night: Night, cells: pd.DataFrame, past: pd.DataFrame, limits: Limits) -> Problem:
    """The program's columns; users are those with cells, history is theirs."""
    message, _keys = pd.factorize(pd.MultiIndex.from_frame(cells[MESSAGE]))
    first = cells.groupby(message).first() if len(cells) else cells
    users = np.array(sorted(cells["user_id"].unique()), dtype=object)
    number = pd.Series(np.arange(len(users)), index=users)
    mine = past[past["user_id"].isin(users)]
    texts = {name: first[column].to_numpy(object) for name, column in _TEXTS.items()}
    return Problem(
        slot_minutes=night.settings.grid.slot_minutes,
        n_slots=night.n_slots,
        users=users,
        messages=Messages(
            user=number.loc[first["user_id"]].to_numpy(np.int64),
            message_id=first["notification_id"].to_numpy(object),
            exclusive_group=np.full(len(first), "", object),
            tier=np.ones(len(first), np.int64),
            **texts,
        ),
        cells=Cells(
            message=message.astype(np.int64),
            slot=cells["slot"].to_numpy(np.int64),
            value=cells["value"].to_numpy(float),
            p_opt_out=cells["p_opt_out"].to_numpy(float),
            cost=cells["cost"].to_numpy(float),
            local_day=cells["local_day"].to_numpy(np.int64),
        ),
        limits=limits,
        history=History(
            user=number.loc[mine["user_id"]].to_numpy(np.int64),
            minutes_before=mine["minutes_before"].to_numpy(float),
            local_day=mine["local_day"].to_numpy(np.int64),
            p_opt_out=mine["p_opt_out"].to_numpy(float),
            cost=np.zeros(len(mine)),
            **{name: mine[column].to_numpy(object) for name, column in _TEXTS.items()},
        ),
    )


_TEXTS = {"campaign": "campaign_id", "channel": "channel", "category": "category"}


def _together(
    night: Night, inputs: _Inputs, planned: pd.DataFrame, uniform: UniformArm, limits: Limits
) -> tuple[Problem, Ints]:
    """All arms under the limits as configured, and the rows planned; raises AuditError where they break one."""
    everyone = _problem(night, inputs.cells, inputs.past, limits)
    sent = uniform.drawn[uniform.drawn["planned"].astype(bool)]
    keys = pd.concat([planned[[*MESSAGE, "slot"]], sent[[*MESSAGE, "slot"]]])
    wanted = pd.MultiIndex.from_frame(keys)
    chosen = np.flatnonzero(pd.MultiIndex.from_frame(inputs.cells[[*MESSAGE, "slot"]]).isin(wanted))
    violations = audit_plan(everyone, chosen)
    if len(chosen) != len(keys):
        violations = (*violations, f"{len(keys)} sends planned, {len(chosen)} of them among the eligible cells")
    if violations:
        raise AuditError(
            f"the audit of all arms together refused the plan: {'; '.join(violations)}; nothing was published",
            violations=list(violations),
        )
    return everyone, chosen


def _allocation(planned: pd.DataFrame, uniform: UniformArm) -> pd.DataFrame:
    treated = planned[[*MESSAGE, "slot", "arm"]].assign(pscore=1.0, planned=True, reason=None)
    drawn = uniform.drawn.assign(arm=UNIFORM_TIME)
    return pd.concat([part for part in (treated, drawn) if len(part)] or [treated])


def _suppressed(inputs: _Inputs, problem: Problem, solution: Solution, uniform: UniformArm) -> pd.DataFrame:
    """One row a message that is not planned, with its reason."""
    about = inputs.cells.drop_duplicates(MESSAGE).set_index(MESSAGE)[["campaign_id", "arm"]]
    reason = pd.Series(unplanned_reasons(problem, solution), dtype=object)
    users = problem.users[problem.messages.user]
    unplanned = pd.DataFrame({"user_id": users, "notification_id": problem.messages.message_id, "reason": reason})
    unsent = uniform.drawn[~uniform.drawn["planned"].astype(bool)][[*MESSAGE, "reason"]]
    parts = [unplanned[unplanned["reason"] != "planned"], uniform.refused, unsent]
    held = pd.concat([p for p in parts if len(p)] or [unplanned.iloc[:0]]).join(about, on=MESSAGE)
    return pd.concat([p for p in (held, inputs.refused) if len(p)] or [held])


def _prices(everyone: Problem, chosen: Ints, problem: Problem, solution: Solution) -> pd.DataFrame:
    """Limits and use of all arms together, with the prices of the program; `kept_free` is what the uniform_time arm
    has reserved of a maximum and not used: where it is the only room left, a price stands at a limit with room."""
    rows, left = rows_of(everyone), rows_of(problem)
    used = rows.used(everyone, chosen)
    room = dict(zip(left.names, left.limit - left.used(problem, solution.chosen), strict=True))
    kept = rows.limit - used - [max(0.0, room.get(name, 0.0)) for name in rows.names]
    price = {p.row: p.price for p in solution.prices}
    return pd.DataFrame(
        {
            "row": rows.names,
            "kind": rows.kinds,
            "limit": rows.limit,
            "used": used,
            "kept_free": np.where(rows.is_minimum, 0.0, np.maximum(0.0, kept)),
            "price": [float(price.get(name, 0.0)) for name in rows.names],
        }
    )


def _certificate(problem: Problem, solution: Solution, sends: int) -> pd.DataFrame:
    stated = ("value", "penalty", "objective", "bound", "gap", "method", "termination")
    sizes = {
        "users": len(problem.users),
        "messages": len(problem.messages.user),
        "cells": len(problem.cells.slot),
        "sends": sends,
    }
    return pd.DataFrame([{**{name: getattr(solution, name) for name in stated}, **sizes}])


def _frame(night: Night, name: str, rows: pd.DataFrame) -> DataFrame:
    versions = ("plan_version", "config_hash", "model_version")
    columns = [c for c in TABLES[name].names if c not in versions]
    ready = rows.assign(plan_date=night.plan_date).reindex(columns=columns)
    schema = schema_of(TABLES[name])
    records = [tuple(None if v is None or v != v else v for v in r) for r in ready.itertuples(index=False, name=None)]
    return night.spark.createDataFrame(records, schema=type(schema)([f for f in schema if f.name in columns]))
