"""Spark's features are those of the reference on random logs, and nothing of the future is in them (model ¶16)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lake_rows import in_order
from plain_features import Reference

from sendopt.config.schema import Settings
from sendopt.domain.tables import TABLES
from sendopt.errors import InputNotReady
from sendopt.features import FEATURE_COLUMNS, SCORING_KEYS, TRAINING_KEYS, rules_of
from sendopt.spark.engine.lake import schema_of
from sendopt.spark.features import build_features
from sendopt.spark.night import Night

pytestmark = pytest.mark.slow
PLAN_DATE = date(2026, 4, 2)  # the log holds both European and American changes of clock
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC", None)
FATIGUE = {"half_life_hours": 24.0, "points_per_send": {"push": 1.0, "email": 0.25}, "max_points": 3.0}
SCORED_PLACES = (
    "user_id string, slot int, local_hour int, weekend boolean, weekday int, channel string, category string"
)
NAMES = ("user_features", "slot_features", "group_features")
SETTINGS = {
    "usual": {},
    "short history, fatigue budget": {
        "features": {"history_days": 20, "prior_sends": 3.5, "prior_sessions": 2.5},
        "fatigue": FATIGUE,
        "grid": {"lead_minutes": 150},
    },
    "goal within an hour and a half": {"label": {"kind": "goal", "window_hours": 1.5}, "grid": {"lead_minutes": 0}},
    "opens within half an hour suspected": {"label": {"machine_open_seconds": 1800.0}},
}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # as the tables' frames hold it


LAST = utc(2026, 4, 1, 23)  # as_of of PLAN_DATE


def person(user, *, timezone, created_at, channels=("push",)):
    """Return a row of `users` without quiet hours."""
    return {
        "user_id": user,
        "timezone": timezone,
        "channels": list(channels),
        "opted_out_categories": [],
        "created_at": created_at,
    }


def interaction(send_key, kind, at):
    """Return a row of `interactions`."""
    return {"send_key": send_key, "kind": kind, "at_utc": at, "at_imputed": False}


def sent_to_u1(key, at):
    """Return a row of `sends` for user u1."""
    return {
        "send_key": key,
        "source": "test",
        "user_id": "u1",
        "notification_id": key,
        "campaign_id": "c0",
        "channel": "push",
        "category": "cat0",
        "sent_at_utc": at,
        "timezone": "UTC",
        "available": True,
        "sent": True,
    }


def invented_log(seed: int, users: int = 9, sends: int = 220, sessions: int = 160, days: int = 60):
    """Return rows, by table, of a random log that ends a day after PLAN_DATE's as_of. Some times are whole hours."""
    rng = np.random.default_rng(seed)
    start = utc(2026, 4, 3) - timedelta(days=days)

    def moment():
        seconds = int(rng.integers(0, days * 86400))
        return start + timedelta(seconds=seconds - seconds % 3600 if rng.random() < 0.3 else seconds)

    names = [f"u{i}" for i in range(users)]
    people = [
        person(name, timezone=ZONES[i % len(ZONES)], created_at=start + timedelta(days=int(rng.integers(-30, days))))
        for i, name in enumerate(names)
    ]
    exposures, interactions = [], []
    for i in range(sends):
        user = names[int(rng.integers(0, users - 1))] if i else "stranger"  # the last user has no sends
        zone = ZONES[int(rng.integers(len(ZONES)))]
        at, available = moment(), rng.random() < 0.9
        campaign, channel = int(rng.integers(4)), ("push", "email", "sms")[int(rng.integers(3))]
        exposures.append(
            {
                "send_key": f"k{i}",
                "source": "test",
                "user_id": user,
                "notification_id": f"n{i}",
                "campaign_id": f"c{campaign}",
                "channel": channel,
                "category": f"cat{campaign % 2}",
                "sent_at_utc": at,
                "timezone": zone,
                "arm": None,
                "pscore": float(rng.uniform(0.05, 1)) if available else None,
                "decision_kind": "slot",
                "plan_version": None,
                "available": available,
                "sent": available and rng.random() < 0.9,
            }
        )
        for kind in ("open", "goal"):
            if rng.random() < 0.5:
                delay = timedelta(hours=float(rng.choice([0, 1.5, 24, rng.exponential(1), rng.exponential(30)])))
                interactions.append(interaction(f"k{i}", kind, at + delay))
    visits = {(names[int(rng.integers(1, users))], moment()) for _ in range(sessions)}
    return {
        "users": people,
        "sends": exposures,
        "interactions": interactions,
        "sessions": [{"user_id": user, "at_utc": at} for user, at in sorted(visits)],
    }


def write(lake, log):
    for name, rows in log.items():
        lake.merge(name, lake.spark.createDataFrame(in_order(name, rows), schema_of(TABLES[name])))


def night_of(lake, plan_date=PLAN_DATE, **settings):
    return Night(lake, Settings.model_validate(settings, strict=False), plan_date, Path("conf"))


def reference(log, night):
    frames = {
        name: pd.DataFrame(rows, columns=None if rows else list(TABLES[name].names)) for name, rows in log.items()
    }
    s = night.settings
    return Reference(**frames, rules=rules_of(s.grid, s.label, s.features, s.fatigue))


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame, key: list[str]) -> None:
    assert list(actual.columns) == list(expected.columns)
    actual, expected = (f.sort_values(key).reset_index(drop=True) for f in (actual, expected))
    assert len(actual) == len(expected) > 0
    for column in expected.columns:
        if isinstance(expected[column][0], list):
            np.testing.assert_allclose([*actual[column]], [*expected[column]], rtol=1e-9, atol=1e-12, err_msg=column)
        elif pd.api.types.is_float_dtype(actual[column]) or pd.api.types.is_integer_dtype(actual[column]):
            left, right = actual[column].astype(float), expected[column].astype(float)
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12, err_msg=column)
        else:
            assert actual[column].tolist() == expected[column].tolist(), column


def stored(lake, name):
    return sorted(lake.read(name).collect(), key=lambda row: str([row[k] for k in TABLES[name].key]))


@pytest.mark.parametrize(("seed", "named"), list(enumerate(SETTINGS)))
def test_every_feature_is_the_references(lake, seed, named):
    log = invented_log(seed)
    write(lake, log)
    night = night_of(lake, **SETTINGS[named])
    result = build_features.run(night)
    oracle = reference(log, night)
    for name, expected in oracle.tables(PLAN_DATE).items():
        assert_same(lake.read(name).toPandas(), expected, [k for k in TABLES[name].key if k != "plan_date"])
    assert result.rows_in == 9 == result.rows_out + sum(result.dropped.values())
    actual = build_features.training_rows(night, 30).toPandas()
    assert_same(actual, oracle.training_rows(PLAN_DATE, 30), ["send_key"])
    assert 0 < actual.label.sum() < len(actual)
    in_zone = {send["send_key"] for send in log["sends"] if send["timezone"] is not None}
    assert set(actual.send_key) <= in_zone
    assert build_features.training_left_out(night, 30)["zone_unknown"] > 0


def test_the_future_changes_nothing_and_the_last_moment_counts(lake):
    log = invented_log(3)
    log = log | {
        "sends": [send for send in log["sends"] if send["sent_at_utc"] < LAST],
        "sessions": [session for session in log["sessions"] if session["at_utc"] < LAST],
        "interactions": [row for row in log["interactions"] if row["at_utc"] < LAST],
    }
    write(lake, log)
    night = night_of(lake)
    as_of = night.as_of.replace(tzinfo=None)
    opened = {row["send_key"] for row in log["interactions"] if row["kind"] == "open"}
    no_open_yet = next(
        send
        for send in log["sends"]
        if as_of - timedelta(days=9) < send["sent_at_utc"] < as_of - timedelta(days=1)
        and send["available"]
        and send["sent"]
        and send["user_id"] == "u1"
        and send["send_key"] not in opened
    )
    write(lake, {"sends": [sent_to_u1("x0", as_of - timedelta(hours=24))]})  # its outcome is not final yet

    def everything():
        build_features.run(night)
        return {n: stored(lake, n) for n in NAMES} | {
            "training": sorted(build_features.training_rows(night, 30).collect())
        }

    def injected(at):
        write(
            lake,
            {
                "sends": [sent_to_u1(f"f{at}", at)],
                "sessions": [{"user_id": "u1", "at_utc": at}],
                "interactions": [interaction(no_open_yet["send_key"], "open", at)],
            },
        )

    before = everything()
    injected(as_of)
    new = person("new", timezone="UTC", created_at=as_of, channels=[])
    write(lake, {"interactions": [interaction("x0", "open", as_of)], "users": [new]})
    assert everything() == before  # rows are tuples of Python floats: equal means equal to the bit
    injected(as_of - timedelta(microseconds=1))
    after = everything()
    assert after["user_features"] != before["user_features"]
    assert after["slot_features"] != before["slot_features"]
    row_after, row_before = (next(r for r in rows["user_features"] if r.user_id == "u1") for rows in (after, before))
    assert (row_after.sends_7d, row_after.sessions_7d) == (row_before.sends_7d + 1, row_before.sessions_7d + 1)
    assert (row_after.mature_7d, row_after.days_since_open) == (row_before.mature_7d, pytest.approx(0, abs=1e-10))
    assert after["training"] == before["training"]  # today's facts are in no earlier night


def test_partitions_and_a_second_run_change_nothing(lake):
    write(lake, invented_log(4))
    night = night_of(lake, fatigue=FATIGUE)
    spark, runs = lake.spark, []
    names = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.enabled")
    kept = {name: spark.conf.get(name) for name in names}
    try:
        for partitions, adaptive in (("1", "false"), ("8", "true")):
            spark.conf.set(names[0], partitions)
            spark.conf.set(names[1], adaptive)
            build_features.run(night)
            rows = {n: stored(lake, n) for n in NAMES}
            runs.append(rows | {"training": sorted(build_features.training_rows(night, 20).collect())})
    finally:
        for name, value in kept.items():
            spark.conf.set(name, value)
    assert runs[0] == runs[1]
    assert len(runs[0]["training"]) > 20


def test_a_training_row_holds_what_its_own_night_stored(lake):
    """The night of a past date wrote these features before the send; training sees the same."""
    write(lake, invented_log(5))
    past = date(2026, 3, 30)
    build_features.run(night_of(lake, past, fatigue=FATIGUE))
    trained = build_features.training_rows(night_of(lake, fatigue=FATIGUE), 30).where(f"plan_date = '{past}'")
    users = {r[0] for r in lake.read("user_features", past).select("user_id").collect()}
    rows = [r for r in trained.collect() if r.user_id in users]
    keys = lake.spark.createDataFrame(
        [(r.user_id, i, r.local_hour, r.weekend, r.weekday, r.channel, r.category) for i, r in enumerate(rows)],
        SCORED_PLACES,
    )
    scored = sorted(
        build_features.scoring_rows(night_of(lake, past, fatigue=FATIGUE), keys).collect(), key=lambda r: r.slot
    )
    exact = [c for c in FEATURE_COLUMNS if c != "fatigue_points"]
    assert len(scored) == len(rows) > 0
    for row, score in zip(rows, scored, strict=True):
        assert row.fatigue_points == pytest.approx(score.fatigue_points, rel=1e-12, abs=1e-12)  # its anchor moves
        assert [row[c] for c in exact] == [score[c] for c in exact]
    assert tuple(scored[0].__fields__) == (*SCORING_KEYS, *FEATURE_COLUMNS)
    assert tuple(rows[0].__fields__) == (*TRAINING_KEYS, *FEATURE_COLUMNS)


def test_scoring_without_features_says_what_to_run(lake):
    keys = lake.spark.createDataFrame(
        [("u1", 0, 8, False, 2, "push", "new")],
        SCORED_PLACES,
    )
    with pytest.raises(InputNotReady, match="run build_features first"):
        build_features.scoring_rows(night_of(lake), keys)


def test_an_empty_log_gives_priors(lake):
    """Nobody dropped: a user without any history has the global prior, one half where there is no data at all."""
    write(lake, {"users": [person("u1", timezone="UTC", created_at=utc(2026, 3, 1))]})
    night = night_of(lake)
    build_features.run(night)
    (user,) = stored(lake, "user_features")
    assert (user.rate_90d, user.fatigue_points, user.days_since_open) == (0.5, 0.0, None)
    assert user.tenure_days == (LAST - utc(2026, 3, 1)) / timedelta(days=1)
    assert user.user_hour_rate == user.user_daypart_rate == [0.5] * 48
    assert sum(user.user_hour_activity[24:]) == pytest.approx(1)
    assert build_features.training_rows(night, 30).count() == 0
