"""A night of a few people with given scores, so that only the stages after scoring run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lake_rows

from sendopt.config.schema import Arms, AudienceAll, Campaign, Channel, LocalWindow, QuietHours, Settings, Support
from sendopt.domain.clock import Clock
from sendopt.domain.limits import Cap
from sendopt.domain.stages import STAGES
from sendopt.domain.tables import TABLES

if TYPE_CHECKING:
    from sendopt.spark.engine.lake import Lake
    from sendopt.spark.night import Night

PLAN_DATE = date(2026, 5, 4)
EVENING = datetime(2026, 5, 3, 23, 0, tzinfo=UTC)  # as_of
VERSION = "v1"


def put(lake: Lake, name: str, values: Sequence[dict[str, Any]], only: str = "") -> None:
    """Write rows with `lake_rows.put`; rows of a table with a plan date are of PLAN_DATE by default."""
    dated = "plan_date" in TABLES[name].names
    lake_rows.put(lake.root, name, [{"plan_date": PLAN_DATE, **value} if dated else value for value in values], only)


def settings(**changes: Any) -> Settings:
    """Return settings of two campaigns for everybody, by push and by e-mail.

    Sends are an hour apart and at most two a day, nights are quiet and nobody is held out.
    """
    everyone = AudienceAll(kind="all")
    defaults: dict[str, Any] = {
        "campaigns": {
            "sale": Campaign(channel="push", category="deals", audience=everyone),
            "digest": Campaign(channel="email", category="news", audience=everyone),
        },
        "channels": {"push": Channel(), "email": Channel()},
        "quiet_hours": QuietHours(everyone=LocalWindow(start="22:00", end="08:00")),
        "min_gap_minutes": 60,
        "caps": {"daily": Cap(window_minutes=1440, max=2)},
        "arms": Arms(holdout_fraction=0.0, uniform_time_fraction=0.0),
        "support": Support(min_sends=0),
    }
    return Settings(**{**defaults, **changes})


def person(user: str, **changes: Any) -> dict[str, Any]:
    """Return a row of `users` in Berlin with both channels."""
    return {"user_id": user, "timezone": "Europe/Berlin", "channels": ["push", "email"], **changes}


def send(user: str, key: str, at: datetime, **changes: Any) -> dict[str, Any]:
    """Return a row of `sends`: sent by push, for a campaign that is not planned."""
    return {
        "send_key": key,
        "user_id": user,
        "notification_id": key,
        "campaign_id": "old",
        "channel": "push",
        "category": "old",
        "sent_at_utc": at.replace(tzinfo=None),
        "available": True,
        "sent": True,
        "source": "app",
        **changes,
    }


def night_of(lake: Lake, conf: Settings | None = None, now: datetime = EVENING, day: date = PLAN_DATE) -> Night:
    """Return the night of `day` as of `now`, on a lake that records what is read and written."""
    from sendopt.spark.night import Night

    return Night(lake.recording(), conf or settings(), day, Path("conf"), clock=Clock(now))


def scored(night: Night, people: Sequence[dict[str, Any]], version: str = VERSION) -> None:
    """Write users, features and scores of the night. The probability of an open rises through the day."""
    lake, day = night.lake, night.plan_date
    put(lake, "users", people)
    facts = {"config_hash": night.config_hash, "model_version": "m/1"}
    stamp = {"plan_date": day, "plan_version": version, **facts}
    pairs = sorted({(c.channel, c.category) for c in night.settings.campaigns.values()})
    users = [str(p["user_id"]) for p in people]
    put(lake, "user_features", [{"plan_date": day, "user_id": p["user_id"], "timezone": p["timezone"]} for p in people])
    put(lake, "slot_features", [{"plan_date": day, "local_hour": h, "hour_sends": 100} for h in range(24)])
    scores = [
        {"user_id": u, "slot": s, "channel": c, "category": k, "p_open": 0.1 + s / 100, "p_opt_out": 0.0, **stamp}
        for u in users
        for s in range(night.n_slots)
        for c, k in pairs
    ]
    put(lake, "slot_scores", scores)
    record(night, "score_slots", facts, version)


def record(night: Night, stage: str, facts: dict[str, Any], version: str = VERSION) -> None:
    """Write the row of `runs` that the runtime writes after a stage."""
    row = {
        "plan_date": night.plan_date,
        "stage": stage,
        "plan_version": version,
        "facts": json.dumps(facts),
        "delta_versions": "{}",
        "dropped_by_reason": "{}",
    }
    put(night.lake, "runs", [row], only=f"plan_date = '{night.plan_date}' AND stage = '{stage}'")


def allocated(lake: Lake, people: Sequence[dict[str, Any]], conf: Settings | None = None, day: date = PLAN_DATE) -> int:
    """Run the night of these people up to `allocate`. Return the number of sends allocated."""
    from sendopt.spark.allocation import allocate
    from sendopt.spark.candidates import build_candidates

    as_of = EVENING + timedelta(days=(day - PLAN_DATE).days)
    scored(night_of(lake, conf, as_of, day), people, VERSION if day == PLAN_DATE else str(day))
    for stage in (build_candidates, allocate):
        night = night_of(lake, conf, as_of, day)
        result = stage.run(night)
        as_catalogued(night, stage.__name__.rpartition(".")[2])
    return result.rows_out


def as_catalogued(night: Night, name: str) -> None:
    """Raise AssertionError unless the stage read and wrote the tables that `STAGES` lists for it."""
    stage, touched = STAGES[name], night.lake.touched
    assert set(stage.reads) <= set(touched.read) <= {*stage.reads, *stage.may_read}
    assert set(stage.writes) <= set(touched.written) <= {*stage.writes, *stage.may_write}
