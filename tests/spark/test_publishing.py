"""Publishing looks again: what may not go any more at the plan's clock is suppressed with a reason, and adds up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tiny_nights import EVENING, PLAN_DATE, VERSION, allocated, as_catalogued, night_of, person, put, record, send

from sendopt.domain.keys import planned_send_key
from sendopt.domain.stages import STAGES
from sendopt.domain.tables import TABLES
from sendopt.errors import ConfigError, InputNotReady
from sendopt.spark import lineage
from sendopt.spark.delivery import publish_schedule
from sendopt.spark.engine.lake import Lake

pytestmark = pytest.mark.slow
PEOPLE = [person(f"u{n}") for n in range(6)]
OTHERS = [person(f"v{n}") for n in range(4)]
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def planned(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose night is allocated and not published: ten people, two sends each."""
    lake = Lake(spark, str(tmp_path_factory.mktemp("planned") / "lake"))
    assert allocated(lake, [*PEOPLE, *OTHERS]) == 20
    return Path(lake.root)


@pytest.fixture
def fresh(spark: SparkSession, planned: Path, tmp_path: Path) -> Lake:
    """A copy of that lake for one test."""
    import shutil

    shutil.copytree(planned, tmp_path / "lake")
    return Lake(spark, str(tmp_path / "lake"))


def published(lake: Lake, now: datetime = EVENING, **kwargs: Any) -> dict[str, int]:
    """Publish; what was left out, by reason, after checks that hold for every publishing."""
    night = night_of(lake, now=now, **kwargs)
    result = publish_schedule.run(night)
    as_catalogued(night, "publish_schedule")
    record(night, "publish_schedule", {"clock": night.stated_clock.facts})
    plan, held = (lake.read(name, PLAN_DATE) for name in ("send_plan", "suppressed"))
    offered = lake.read("candidates", PLAN_DATE).select("user_id", "notification_id").distinct().count()
    assert offered == result.rows_in == plan.count() + held.count()
    assert result.rows_out == plan.count()
    assert sum(result.dropped.values()) == held.count()
    assert plan.join(held, ["user_id", "notification_id"]).count() == 0
    left_out = result.facts["left_out"]
    assert isinstance(left_out, dict)
    assert bool(left_out) == ("warnings" in result.facts)
    return left_out


def rows_of(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    return {name: sorted(map(tuple, lake.read(name).collect()), key=str) for name in ("send_plan", "suppressed")}


def test_what_has_changed_since_the_allocation_holds_and_each_send_has_its_reason(fresh: Lake) -> None:
    """One person a change; a second publishing decides anew, so that what is allowed again goes again."""
    changes: dict[str, dict[str, Any]] = {
        "u0": {"channels": []},
        "u1": {"channels": ["email"]},
        "u2": {"opted_out_categories": ["deals"]},
        "u3": {"timezone": "Pacific/Auckland"},
        "u4": {"quiet_start": "08:00", "quiet_end": "21:59"},
        "u5": {"created_at": datetime(2026, 6, 1, tzinfo=UTC).replace(tzinfo=None)},
        "v0": {"timezone": None},  # every zone of the others: one
    }
    put(fresh, "users", [{**p, **changes.get(p["user_id"], {})} for p in [*PEOPLE, *OTHERS]])
    messages = fresh.read("messages", PLAN_DATE).localCheckpoint()
    soon = F.lit(datetime(2026, 5, 4, 1, tzinfo=UTC))
    is_late, is_sale = F.col("user_id") == "v1", F.col("campaign_id") == "sale"
    changed = messages.withColumn("expiry_utc", F.when(is_late & is_sale, soon)).where(~is_late | is_sale)
    fresh.replace("messages", changed, PLAN_DATE, only="origin = 'audience'")
    just_now = EVENING + timedelta(minutes=15)  # within a day of every planned send
    sale = messages.where(is_sale & (F.col("user_id") == "v3")).collect()[0]
    before = EVENING - timedelta(days=20)
    put(
        fresh,
        "sends",
        [
            send("v2", "k2", just_now),
            send("v0", "k0", before),
            send("v3", planned_send_key("v3", sale["notification_id"]), before),
        ],
    )
    not_yet = EVENING + timedelta(minutes=45)
    outs = {"k0": just_now, "k2": not_yet}
    put(
        fresh,
        "interactions",
        [
            {"send_key": key, "kind": "opt_out", "at_utc": at.replace(tzinfo=None), "at_imputed": False}
            for key, at in outs.items()
        ],
    )

    assert published(fresh, now=EVENING + timedelta(minutes=30)) == {
        "no_channel": 3,
        "category_opted_out": 1,
        "quiet_hours": 4,
        "unknown_user": 2,
        "expiry": 1,
        "withdrawn": 1,
        "user_cap": 1,
        "already_sent": 1,
        "channel_opted_out": 1,
    }
    held = {(r["user_id"], r["reason"]) for r in fresh.read("suppressed", PLAN_DATE).collect()}
    assert held == {
        ("u0", "no_channel"),
        ("u1", "no_channel"),
        ("u2", "category_opted_out"),
        ("u3", "quiet_hours"),
        ("u4", "quiet_hours"),
        ("u5", "unknown_user"),
        ("v1", "expiry"),
        ("v1", "withdrawn"),
        ("v2", "user_cap"),
        ("v3", "already_sent"),
        ("v0", "channel_opted_out"),
    }
    first = rows_of(fresh)
    assert sum(published(fresh, now=EVENING + timedelta(minutes=30)).values()) == 15
    assert rows_of(fresh) == first, "the same again gives equal rows"
    put(fresh, "users", [*PEOPLE, *OTHERS])
    assert sum(published(fresh, now=EVENING + timedelta(minutes=40)).values()) == 5


def test_slots_that_have_begun_are_left_out_and_what_was_published_in_them_stays_as_it_was(fresh: Lake) -> None:
    slots = Counter(r["slot"] for r in fresh.read("allocation", PLAN_DATE).where("planned").collect())
    (_, n_first), (second, n_second) = sorted(slots.items())
    start = datetime(2026, 5, 4, second, tzinfo=UTC)
    assert published(fresh, now=start) == {"slot_past": n_first}, "a slot that begins now is ahead"
    before = {tuple(r) for r in fresh.read("send_plan", PLAN_DATE).collect()}
    assert len(before) == n_second
    put(fresh, "users", [{**p, "channels": [], "timezone": "Pacific/Auckland"} for p in [*PEOPLE, *OTHERS]])
    left_out = published(fresh, now=start + timedelta(minutes=1))
    assert left_out == {"no_channel": n_first}, "what has not begun is looked at again"
    assert {tuple(r) for r in fresh.read("send_plan", PLAN_DATE).collect()} == before


def test_a_published_plan_is_not_overwritten_when_it_is_over_by_an_earlier_clock_or_by_another_when_it_is_under_way(
    fresh: Lake,
) -> None:
    row = {
        "plan_date": PLAN_DATE,
        "arm": "treatment",
        "plan_version": VERSION,
        "send_at_utc": datetime(2026, 5, 4, 9, tzinfo=UTC).replace(tzinfo=None),
    }
    put(fresh, "send_plan", [row])
    record(night_of(fresh), "publish_schedule", {"clock": {"now": "2026-05-03T23:10:00Z", "by": "machine"}})
    version = fresh.version("send_plan")
    with pytest.raises(ConfigError, match=r"2026-05-04 is over: it ended at 2026-05-05 00:00 UTC and now is .*never"):
        published(fresh, now=datetime(2026, 5, 5, tzinfo=UTC))
    with pytest.raises(ConfigError, match="was published at 2026-05-03 23:10:00 UTC, and now is 2026-05-03 23:00 UTC"):
        published(fresh, now=EVENING)
    put(fresh, "send_plan", [{**row, "plan_version": "v0"}])
    with pytest.raises(ConfigError, match=r"1 sends of another plan of 2026-05-04 have begun by 2026-05-04 12:00 UTC"):
        published(fresh, now=NOON)
    assert fresh.version("send_plan") == version + 1


def test_tables_of_another_attempt_are_never_mixed_in(fresh: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(fresh, "candidates", [{"plan_version": "other", "plan_date": PLAN_DATE, "arm": "treatment"}])
    said = "table candidates of 2026-05-04 holds rows of plan version other, .*run build_candidates and the stages"
    with pytest.raises(InputNotReady, match=said):
        published(fresh)
    assert not fresh.exists("send_plan")
    asked: set[str] = set()
    monkeypatch.setattr(lineage, "require_version", lambda night, version, *names: asked.update(names))
    publish_schedule._require_one_version(night_of(fresh), VERSION)
    of_a_plan = {name for name in STAGES["publish_schedule"].reads if "config_hash" in TABLES[name].names}
    assert asked == of_a_plan - {"send_plan"}, "of every table of the plan"


def test_a_night_without_a_clock_is_not_published(fresh: Lake) -> None:
    with pytest.raises(ValueError, match="was given no clock"):
        publish_schedule.run(replace(night_of(fresh), clock=None))
