"""What a night's report is made of, read from the Delta tables without Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow.dataset as ds

from sendopt.errors import ContractError
from sendopt.lake.tables import dataset

_VERSIONS = ("plan_version", "config_hash", "model_version")
# What the report reads, so that a column added to a contract does not make older tables unreadable.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "send_plan": (
        "user_id",
        "campaign_id",
        "channel",
        "category",
        "send_at_utc",
        "slot_end_utc",
        "send_at_local",
        "arm",
        "pscore",
        "p_open",
        "p_opt_out",
        "value",
        *_VERSIONS,
    ),
    "suppressed": ("user_id", "campaign_id", "arm", "reason", "detail", *_VERSIONS),
    "shadow_prices": ("row", "kind", "limit", "used", "kept_free", "price", *_VERSIONS),
    "certificate": (
        "value",
        "penalty",
        "objective",
        "bound",
        "gap",
        "method",
        "termination",
        "users",
        "messages",
        "cells",
        "sends",
        *_VERSIONS,
    ),
    "outcomes": (
        "plan_date",
        "arm",
        "channel",
        "planned",
        "sent",
        "successes",
        "opt_outs",
        "expected_successes",
        "expected_opt_outs",
    ),
    "lift": ("plan_date", "metric", "estimate", "low", "high", "users", "sends", "note"),
    "quarantine": ("source", "table_name", "reason", "occurrences"),
    "alerts": ("plan_date", "kind", "name", "sentence"),
    "goal_outcomes": ("plan_date", "goal", "sent", "successes", "expected_successes"),
    "runs": ("stage", "delta_versions", "seconds", "rows_in", "rows_out", "dropped_by_reason", "facts"),
}
_LATER = {"suppressed": ("detail",)}  # columns that tables of earlier versions lack: read as missing


@dataclass(frozen=True)
class ReportData:
    """Frames of one night with columns of their contracts (`domain/tables.py`), empty where nothing was written.

    `missing` names the tables that do not exist at all; `evaluation` is the model's evaluation as training wrote it;
    `measured_date` is the plan date that `outcomes` and `lift` are about: the latest measured one, never after
    `plan_date`; `goal_outcomes` has of each goal the latest plan date measured. `goal_evaluations`: by goal, as
    `evaluation`.
    """

    plan_date: date
    plan: pd.DataFrame
    suppressed: pd.DataFrame
    prices: pd.DataFrame
    certificate: pd.DataFrame
    outcomes: pd.DataFrame
    lift: pd.DataFrame
    quarantine: pd.DataFrame
    runs: pd.DataFrame
    evaluation: Mapping[str, Any] | None = None
    measured_date: date | None = None
    missing: frozenset[str] = field(default_factory=frozenset)
    alerts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_COLUMNS["alerts"])))
    goal_outcomes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_COLUMNS["goal_outcomes"])))
    goal_evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def slot_minutes(self) -> int | None:
        """Length of a slot in minutes as the planned sends show it; None when nothing is planned."""
        if self.plan.empty:
            return None
        row = self.plan.iloc[0]
        return int((row["slot_end_utc"] - row["send_at_utc"]).total_seconds() // 60) or None

    def facts(self, stage: str) -> Mapping[str, Any]:
        """What the stage's run of this night says of itself; empty where it has not run."""
        found = self.runs.loc[self.runs["stage"] == stage, "facts"]
        return dict(json.loads(found.iloc[0])) if len(found) and isinstance(found.iloc[0], str) else {}

    @property
    def candidates(self) -> int:
        """Candidate messages: each is in exactly one of plan and suppressed."""
        return len(self.plan) + len(self.suppressed)

    @property
    def versions(self) -> dict[str, str]:
        """plan_version, config_hash and model_version of the rows at hand; empty when there are none."""
        for frame in (self.certificate, self.plan, self.suppressed, self.prices):
            if not frame.empty:
                return {name: str(frame.iloc[0][name]) for name in _VERSIONS}
        return {}


def load(
    data_root: str | Path,
    plan_date: date,
    evaluation: dict[str, Any] | None,
    goal_evaluations: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> ReportData:
    """Return the night of `plan_date` as frames, read from `<data_root>/<table>`.

    A table that is not there gives an empty frame and its name in `missing`. Raises ContractError when a table lacks
    a column of its contract.
    """
    root = str(data_root).rstrip("/")
    night = ds.field("plan_date") == plan_date
    until = ds.field("plan_date") <= plan_date
    missing: set[str] = set()

    def read(name: str, where: ds.Expression | None) -> pd.DataFrame:
        frame = _read(f"{root}/{name}", name, where)
        if frame is None:
            if name not in ("alerts", "goal_outcomes"):  # written with the first alert, where goals are configured
                missing.add(name)
            return pd.DataFrame(columns=list(_COLUMNS[name]))
        return frame

    outcomes, lift, of_goals = read("outcomes", until), read("lift", until), read("goal_outcomes", until)
    measured = max([*outcomes["plan_date"], *lift["plan_date"]], default=None)
    return ReportData(
        plan_date=plan_date,
        plan=read("send_plan", night),
        suppressed=read("suppressed", night),
        prices=read("shadow_prices", night),
        certificate=read("certificate", night),
        outcomes=outcomes[outcomes["plan_date"] == measured].reset_index(drop=True),
        lift=lift[lift["plan_date"] == measured].reset_index(drop=True),
        quarantine=read("quarantine", None),
        runs=read("runs", night),
        evaluation=evaluation,
        measured_date=measured,
        alerts=_recent(read("alerts", until), plan_date),
        goal_outcomes=of_goals.sort_values("plan_date").drop_duplicates("goal", keep="last").sort_values("goal"),
        goal_evaluations=goal_evaluations,
        missing=frozenset(missing),
    )


def _recent(alerts: pd.DataFrame, plan_date: date) -> pd.DataFrame:
    """The night's own alerts, and refusals of the gate in the week before it: training is weekly."""
    since = plan_date - timedelta(days=7)
    shown = (alerts["plan_date"] == plan_date) | ((alerts["kind"] == "gate") & (alerts["plan_date"] > since))
    return alerts[shown.astype(bool)].sort_values(["plan_date", "kind", "name"], ignore_index=True)


def _read(uri: str, name: str, where: ds.Expression | None) -> pd.DataFrame | None:
    """Rows of one Delta table, None if it is not there."""
    rows = dataset(uri)
    if rows is None:
        return None
    there = set(rows.schema.names)
    absent = [column for column in _COLUMNS[name] if column not in there and column not in _LATER.get(name, ())]
    if absent:
        raise ContractError(
            f"table {name} lacks the column(s) {', '.join(absent)} of its contract; run the stage that writes it again",
            table=name,
            columns=absent,
        )
    columns = [column for column in _COLUMNS[name] if column in there]
    frame: pd.DataFrame = rows.to_table(columns=columns, filter=where).to_pandas()
    return frame.reindex(columns=list(_COLUMNS[name]))
