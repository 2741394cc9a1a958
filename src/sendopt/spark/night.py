"""The input and the result of every stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

from sendopt.config.loader import config_hash
from sendopt.config.schema import Settings
from sendopt.domain import slots
from sendopt.domain.clock import Clock, require_ahead
from sendopt.spark.engine.lake import Lake


@dataclass(frozen=True)
class Night:
    """A plan_date with its lake, its configuration and its clock."""

    lake: Lake
    settings: Settings
    plan_date: date
    conf_dir: Path
    retrain: bool = False  # train even where a champion exists
    clock: Clock | None = None  # set by `sendopt.night.runtime` for every stage; a stage reads no other clock

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
    def now(self) -> datetime:
        """The time that this night takes as now (UTC)."""
        return self.stated_clock.now

    @property
    def stated_clock(self) -> Clock:
        """The clock of the night; raises ValueError where it was given none."""
        if self.clock is None:
            raise ValueError("this night was given no clock: Night(..., clock=Clock(now))")
        return self.clock

    def require_ahead(self) -> None:
        """Raise ConfigError where the plan date is over by the night's clock."""
        require_ahead(self.plan_date, timedelta(hours=self.settings.grid.horizon_hours), self.stated_clock)

    @property
    def config_hash(self) -> str:
        return config_hash(self.settings)

    @property
    def n_slots(self) -> int:
        return self.settings.grid.horizon_hours * 60 // self.settings.grid.slot_minutes


@dataclass(frozen=True)
class StageResult:
    """The result of a stage. Where it filters rows, `rows_in` = `rows_out` + the sum of `dropped`."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)  # ready for JSON, never a user id
