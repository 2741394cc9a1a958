"""The time that a night takes for now, and who stated it; no stage reads a clock (decision 0011)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from sendopt.domain.slots import plan_start
from sendopt.errors import ConfigError


class StatedBy(StrEnum):
    """Who stated the time."""

    MACHINE = "machine"  # this machine's clock, or the scheduler's
    ARGUMENT = "argument"  # --now
    SETTINGS = "settings"  # clock.now


_SOURCES = {
    StatedBy.MACHINE: "this machine's clock",
    StatedBy.ARGUMENT: "stated by --now, not this machine's clock",
    StatedBy.SETTINGS: "stated by the setting clock.now, not this machine's clock",
}


@dataclass(frozen=True)
class Clock:
    """The time of a decision (UTC), who stated it, and what the machine's own clock showed when it was read."""

    now: datetime
    by: StatedBy = StatedBy.ARGUMENT
    machine: datetime | None = None

    @property
    def received_utc(self) -> datetime:
        """The time at which the logs were received; no row can be later.

        A world whose settings state its time may hold later rows: they are its future, not faults.
        """
        if self.by is StatedBy.SETTINGS and self.machine is not None:
            return max(self.now, self.machine)
        return self.now

    @property
    def facts(self) -> dict[str, str]:
        """The clock as the record of a stage keeps it: `now` (UTC, to the second) and `by`."""
        return {"now": f"{self.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "by": str(self.by)}

    def __str__(self) -> str:
        return in_words(self.facts)


def in_words(facts: dict[str, str]) -> str:
    """Return `Clock.facts` as a text for people.

    >>> in_words({"now": "2026-03-28T23:00:00Z", "by": "machine"})
    "2026-03-28 23:00 UTC, this machine's clock"
    """
    at = f"{facts['now'][:10]} {facts['now'][11:16]} UTC"
    return f"{at}, {_SOURCES[StatedBy(facts['by'])]}"


def parse_time(text: str, name: str = "--now") -> datetime:
    """Return the UTC time of "2026-03-28T23:10:00Z"; a time with another offset is converted.

    Raise ConfigError where the text is no time or has no offset. `name` is the option or setting that the error names.

    >>> parse_time("2026-03-29T01:10:00+02:00").isoformat()
    '2026-03-28T23:10:00+00:00'
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ConfigError(f"{name}: got {text!r}, expected a time in UTC as 2026-03-28T23:10:00Z")


def require_ahead(plan_date: date, horizon: timedelta, clock: Clock) -> None:
    """Raise ConfigError where the plan date is over by the clock: a plan of the past is neither made nor published."""
    end = plan_start(plan_date) + horizon
    if clock.now < end:
        return
    raise ConfigError(
        f"--plan-date {plan_date} is over: it ended at {end:%Y-%m-%d %H:%M} UTC and now is {clock}. A plan of the past "
        "is never published, and what was published stays. If the log is historic or simulated, say so in its "
        "env/NAME.yaml: `clock: {now: as_of}`, or a time like 2026-03-28T23:10:00Z; else give a --plan-date ahead",
        plan_date=str(plan_date),
        clock=clock.facts,
    )
