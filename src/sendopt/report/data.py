"""The frames of a night's report, read from the Delta tables without Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow.dataset as ds

from sendopt.errors import ContractError
from sendopt.lake.tables import dataset
from sendopt.report.model.evaluation import ModelEvaluation, read

_VERSIONS = ("plan_version", "config_hash", "model_version")
# The columns that the report reads: a column added to a contract later does not make older tables unreadable.
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
_LATER = {"suppressed": ("detail",)}  # columns that tables of earlier versions lack: read as null
_OPTIONAL = ("alerts", "goal_outcomes")  # written with the first alert, and where goals are configured
_OF_A_NIGHT = ("send_plan", "suppressed", "shadow_prices", "certificate", "runs")
_UP_TO_A_NIGHT = ("outcomes", "lift", "alerts", "goal_outcomes")


@dataclass(frozen=True)
class ReportData:
    """Frames of one night with columns of their contracts (`domain/tables.py`), empty where nothing was written.

    `missing` names the tables that do not exist. `evaluation` is the model's evaluation as training wrote it, and
    `goal_evaluations` holds those of the goals' models. `measured_date` is the plan date of `outcomes` and `lift`: the
    latest measured one, never after `plan_date`. `goal_outcomes` holds the latest measured plan date of each goal.
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
    evaluation: Mapping[str, object] | None = None
    measured_date: date | None = None
    missing: frozenset[str] = field(default_factory=frozenset)
    alerts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_COLUMNS["alerts"])))
    goal_outcomes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(_COLUMNS["goal_outcomes"])))
    goal_evaluations: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def slot_minutes(self) -> int | None:
        """Length of a slot in minutes, from a planned send; None when nothing is planned."""
        if self.plan.empty:
            return None
        row = self.plan.iloc[0]
        return int((row["slot_end_utc"] - row["send_at_utc"]).total_seconds() // 60) or None

    def facts(self, stage: str) -> Mapping[str, Any]:
        """Return the facts that the stage's run of this night recorded; empty where it has not run."""
        facts = self.runs.loc[self.runs["stage"] == stage, "facts"]
        return dict(json.loads(facts.iloc[0])) if len(facts) and isinstance(facts.iloc[0], str) else {}

    @cached_property
    def model(self) -> ModelEvaluation | None:
        """The model's evaluation with types; None where there is none."""
        return read(self.evaluation) if self.evaluation else None

    @property
    def candidates(self) -> int:
        """Number of candidate messages; each is in exactly one of plan and suppressed."""
        return len(self.plan) + len(self.suppressed)

    @property
    def versions(self) -> dict[str, str]:
        """plan_version, config_hash and model_version of the night's rows; empty when there are none."""
        for frame in (self.certificate, self.plan, self.suppressed, self.prices):
            if not frame.empty:
                return {name: str(frame.iloc[0][name]) for name in _VERSIONS}
        return {}


def load(
    data_root: str | Path,
    plan_date: date,
    evaluation: Mapping[str, object] | None,
    goal_evaluations: Mapping[str, Mapping[str, object]] = MappingProxyType({}),
) -> ReportData:
    """Return the night of `plan_date` as frames, read from `<data_root>/<table>`.

    A table that does not exist gives an empty frame and its name in `missing`. Raises ContractError when a table lacks
    a column of its contract.
    """
    root = str(data_root).rstrip("/")
    night = ds.field("plan_date") == plan_date
    until = ds.field("plan_date") <= plan_date
    rows: dict[str, ds.Expression | None] = {
        **dict.fromkeys(_UP_TO_A_NIGHT, until),
        **dict.fromkeys(_OF_A_NIGHT, night),
        "quarantine": None,
    }
    stored = {name: _read(f"{root}/{name}", name, where) for name, where in rows.items()}
    frames = {
        name: pd.DataFrame(columns=list(_COLUMNS[name])) if frame is None else frame for name, frame in stored.items()
    }
    outcomes, lift = frames["outcomes"], frames["lift"]
    measured = max([*outcomes["plan_date"], *lift["plan_date"]], default=None)
    return ReportData(
        plan_date=plan_date,
        plan=frames["send_plan"],
        suppressed=frames["suppressed"],
        prices=frames["shadow_prices"],
        certificate=frames["certificate"],
        outcomes=outcomes[outcomes["plan_date"] == measured].reset_index(drop=True),
        lift=lift[lift["plan_date"] == measured].reset_index(drop=True),
        quarantine=frames["quarantine"],
        runs=frames["runs"],
        evaluation=evaluation,
        measured_date=measured,
        alerts=_recent(frames["alerts"], plan_date),
        goal_outcomes=_latest(frames["goal_outcomes"]),
        goal_evaluations=goal_evaluations,
        missing=frozenset(name for name, frame in stored.items() if frame is None and name not in _OPTIONAL),
    )


def _recent(alerts: pd.DataFrame, plan_date: date) -> pd.DataFrame:
    """Return the night's alerts, and the gate's refusals in the week before it, since training is weekly."""
    since = plan_date - timedelta(days=7)
    shown = (alerts["plan_date"] == plan_date) | ((alerts["kind"] == "gate") & (alerts["plan_date"] > since))
    return alerts[shown.astype(bool)].sort_values(["plan_date", "kind", "name"], ignore_index=True)


def _latest(goal_outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each goal's latest plan date, by goal."""
    return goal_outcomes.sort_values("plan_date").drop_duplicates("goal", keep="last").sort_values("goal")


def _read(uri: str, name: str, where: ds.Expression | None) -> pd.DataFrame | None:
    """Return the rows of one Delta table that fulfil `where`, all for None; None if the table does not exist."""
    table = dataset(uri)
    if table is None:
        return None
    stored = set(table.schema.names)
    absent = [column for column in _COLUMNS[name] if column not in stored and column not in _LATER.get(name, ())]
    if absent:
        raise ContractError(
            f"table {name} lacks the column(s) {', '.join(absent)} of its contract; run the stage that writes it again",
            table=name,
            columns=absent,
        )
    columns = [column for column in _COLUMNS[name] if column in stored]
    frame: pd.DataFrame = table.to_table(columns=columns, filter=where).to_pandas()
    return frame.reindex(columns=list(_COLUMNS[name]))
