"""What every stage gets and gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from sendopt.config.loader import config_hash
from sendopt.config.schema import Settings
from sendopt.domain import slots
from sendopt.spark.tables import Lake


@dataclass(frozen=True)
class Night:
    """One plan_date on one lake with one configuration."""

    lake: Lake
    settings: Settings
    plan_date: date
    conf_dir: Path
    retrain: bool = False  # train even where a champion exists
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def spark(self) -> SparkSession:
        return self.lake.spark

    @property
    def plan_start(self) -> datetime:
        return slots.plan_start(self.plan_date)

    @property
    def as_of(self) -> datetime:
        return slots.as_of(self.plan_date, self.settings.grid.lead_minutes)

    @property
    def config_hash(self) -> str:
        return config_hash(self.settings)

    @property
    def n_slots(self) -> int:
        return self.settings.grid.horizon_hours * 60 // self.settings.grid.slot_minutes


@dataclass(frozen=True)
class StageResult:
    """What a stage did: `rows_in` = `rows_out` + the sum of `dropped` wherever rows are filtered."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)  # JSON-ready, never a user id
