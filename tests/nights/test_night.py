"""Whole nights in a small world: equal rows when run again, each night going on from the one before."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from worlds import make_world

from sendopt.config.loader import load
from sendopt.demo import play
from sendopt.domain import reasons
from sendopt.domain.keys import keyed_hash, planned_send_key
from sendopt.domain.limits import Limits
from sendopt.domain.stages import CATALOGUE
from sendopt.domain.tables import TABLES
from sendopt.lake.tables import read_table
from sendopt.night import runtime
from sendopt.report.explain import explain
from sendopt.summary import of_night

pytestmark = pytest.mark.slow
USERS = 120
PLAUSIBLE = ("Europe/Berlin", "Europe/Helsinki", "Europe/London")
KEPT = {"runs": ["plan_date", "stage", "plan_version"]}  # the rest of a run is about itself: times, versions, ids


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.long)], ids="{}-nights".format)
def number(request):
    return request.param


@pytest.fixture(scope="module")
def home(tmp_path_factory, number):
    folder = tmp_path_factory.mktemp("nights")
    make_world(folder, users=USERS, days=21)
    forget_zones(folder)
    return folder


def forget_zones(folder: Path) -> None:
    """Every third European has no zone in the log, and the settings say that such users live in Europe."""
    path = folder / "world" / "raw" / "users.csv"
    users = pd.read_csv(path, dtype=str, keep_default_na=False)
    european = users.index[users["tz"].str.startswith("Europe/")]
    users.loc[european[::3], "tz"] = ""
    users.to_csv(path, index=False)
    defaults = folder / "conf" / "defaults.yaml"
    text = defaults.read_text()
    assert "  plausible: []" in text
    defaults.write_text(text.replace("  plausible: []", f"  plausible: [{', '.join(PLAUSIBLE)}]"))


@pytest.fixture(scope="module")
def settings(home):
    return load(home / "conf")


@pytest.fixture(scope="module")
def nights(spark, home, settings, number):
    """Night D twice with a snapshot after each, then the next ones on delivered logs; the snapshots and dates.

    `sendopt demo` plans it first, in a process of its own, then the suite's session. Of the evening after the last
    night only what reads logs and measures runs: the first night is mature then.
    """
    first = date(2026, 3, 29)
    dates = [first + timedelta(days=n) for n in range(number)]
    snapshots = []
    for plan in (partial(demo, home), partial(run_night, spark, settings, home, first)):
        plan()
        snapshots.append({name: row_hashes(settings, name) for name in TABLES})
    for day in dates[1:]:
        play(home / "world" / "raw", settings, day - timedelta(days=1))
        run_night(spark, settings, home, day)
    play(home / "world" / "raw", settings, dates[-1])
    run_night(spark, settings, home, dates[-1] + timedelta(days=1), ["ingest", "measure"])
    return dates, snapshots


def demo(home: Path) -> None:
    """What a newcomer runs, here in the world that stands there already."""
    command = Path(sys.executable).with_name("sendopt")
    done = subprocess.run(
        [command, "demo", "--users", f"{USERS}", "--conf", home / "conf"], cwd=home, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"open {home}/out/report.html" in done.stdout
    assert "messages planned for" in done.stdout


def run_night(spark, settings, home: Path, day: date, stages=tuple(runtime.STAGES)):
    """In the suite's session, which must outlive the night."""
    return list(runtime.run_in(spark, day, settings, home / "conf", stages))


def row_hashes(settings, name):
    rows = read_table(settings.paths.data, name)
    rows = rows[KEPT.get(name, list(rows.columns))]
    return sorted(keyed_hash(*(str(v) for v in row)) for row in rows.itertuples(index=False))


def test_a_night_run_twice_leaves_equal_rows_in_every_table_and_adds_none(nights):
    _, (once, twice) = nights
    assert once["send_plan"]
    assert once["quarantine"]
    assert {name for name in once if once[name] != twice[name]} == set()


def test_every_candidate_message_is_planned_or_suppressed_once(nights, settings):
    dates, _ = nights
    for day in dates:
        message = ["user_id", "notification_id"]
        offered = read_table(settings.paths.data, "candidates", day)[message].drop_duplicates()
        planned = read_table(settings.paths.data, "send_plan", day)[message]
        held = read_table(settings.paths.data, "suppressed", day)[message]
        both = pd.concat([planned, held])
        assert len(both) == len(offered) > 0
        assert not both.duplicated().any()
        assert len(both.merge(offered, on=message)) == len(offered)


def test_planned_sends_are_local_legal_and_keyed_for_ever(nights, settings):
    plans = pd.concat([read_table(settings.paths.data, "send_plan", d) for d in nights[0]])
    known = plans["send_at_local"].notna()
    local = plans.loc[known, "send_at_local"].str[11:13].astype(int)
    assert local.between(8, 21).all()
    assert plans["send_key"].is_unique
    keys = [planned_send_key(u, n) for u, n in zip(plans["user_id"], plans["notification_id"], strict=True)]
    assert plans["send_key"].tolist() == keys
    assert set(plans["arm"]) <= {"treatment", "uniform_time", "fallback"}
    assert plans[plans["arm"] != "uniform_time"]["pscore"].eq(1.0).all()


def test_users_of_unknown_zone_are_sent_to_only_where_every_plausible_zone_allows_it(nights, settings):
    users = read_table(settings.paths.data, "users")
    lost = set(users.loc[users["timezone"].isna(), "user_id"])
    assert len(lost) > 5
    for day in nights[0]:
        candidates = read_table(settings.paths.data, "candidates", day)
        cells = candidates[candidates["user_id"].isin(lost) & candidates["eligible"]]
        at = pd.Timestamp(day, tz="UTC") + pd.to_timedelta(cells["slot"] * settings.grid.slot_minutes, unit="m")
        for zone in PLAUSIBLE:
            hour = at.dt.tz_convert(zone).dt.hour
            assert hour.between(8, 21).all(), zone
        assert cells["p_open"].notna().all()
        refused = set(candidates.loc[candidates["user_id"].isin(lost), "reason"].dropna())
        assert {"zone_unknown", "quiet_hours"} <= refused
        scores = read_table(settings.paths.data, "slot_scores", day)
        assert set(scores["user_id"]) >= lost
    plans = pd.concat([read_table(settings.paths.data, "send_plan", d) for d in nights[0]])
    theirs = plans[plans["user_id"].isin(lost)]
    assert len(theirs) > 5
    assert theirs[["timezone", "send_at_local"]].isna().all(axis=None)
    assert (plans["send_at_local"].isna() == plans["user_id"].isin(lost)).all()
    user, day = theirs["user_id"].iloc[0], theirs["plan_date"].iloc[0]
    (said, *_) = explain(settings.paths.data, user, None, day, 60).lines()
    assert "zone unknown" in said


def test_caps_and_gap_hold_across_nights_with_what_the_world_really_sent(nights, settings):
    """History, caps and gap are carried over: counted on the log of sends, with code of this test's own."""
    limits: Limits = settings.limits()
    log = read_table(settings.paths.data, "sends")
    log = log[log["sent"]]
    plans = pd.concat([read_table(settings.paths.data, "send_plan", d) for d in nights[0]])
    # what the system before us sent in the hour between decision and first slot, no night could know
    known = pd.Timestamp(nights[0][0], tz="UTC") - pd.Timedelta(minutes=settings.grid.lead_minutes)
    log = log[(log["sent_at_utc"] < known) | log["send_key"].isin(plans["send_key"])]
    unlogged = plans[~plans["send_key"].isin(log["send_key"])]
    times = pd.concat(
        [
            log[["user_id", "sent_at_utc", "send_key"]],
            unlogged.rename(columns={"send_at_utc": "sent_at_utc"})[["user_id", "sent_at_utc", "send_key"]],
        ]
    )
    planned = set(plans["send_key"])
    followed = 0
    for _, mine in times.groupby("user_id"):
        ordered = mine.sort_values("sent_at_utc").reset_index(drop=True)
        for row in ordered[ordered["send_key"].isin(planned)].itertuples():
            others = ordered[ordered["send_key"] != row.send_key]
            apart = (others["sent_at_utc"] - row.sent_at_utc).abs()
            assert not (apart < pd.Timedelta(minutes=limits.min_gap_minutes)).any()
            before = others[others["sent_at_utc"] <= row.sent_at_utc]["sent_at_utc"]
            daily = limits.caps["daily"]
            inside = before > row.sent_at_utc - pd.Timedelta(minutes=daily.window_minutes)
            assert inside.sum() + 1 <= daily.max
            followed += len(before) > 0
    assert followed > 20, "the nights must have met histories"


def test_no_limit_is_exceeded_and_nothing_is_kept_free(nights, settings):
    for day in nights[0]:
        rows = read_table(settings.paths.data, "shadow_prices", day)
        most = rows[rows["kind"] != "campaign_min"]
        assert (most["used"] <= most["limit"] + 1e-9).all()
        assert (rows["kept_free"] == 0).all()


def test_what_is_not_sent_names_its_rule_and_what_is_sent_why_a_better_slot_lost(nights, settings):
    caps = {f"cap:{name}" for name in settings.caps}
    better = 0
    for day in nights[0]:
        held = read_table(settings.paths.data, "suppressed", day)
        assert reasons.unknown(held["reason"]) == []
        details = held["detail"].map(reasons.from_detail)
        assert all(d.get("slots") or d.get("rule") for d in details if "slots" in d or "rule" in d)
        capped = details[held["reason"] == "user_cap"]
        assert {d["rule"] for d in capped} <= caps
        assert all(d["used"] >= d["limit"] for d in capped)
        sent = read_table(settings.paths.data, "allocation", day)
        better += int(sent["detail"].notna().sum())
        assert sent.loc[sent["arm"] == "uniform_time", "detail"].isna().all()
        assert sent["planned"].all()
    assert better > 0


def test_later_nights_are_planned_from_delivered_logs_and_measured(nights, settings):
    (first, *_, last), _ = nights
    delivered = read_table(settings.paths.data, "sends")
    plan = read_table(settings.paths.data, "send_plan", first)
    back = delivered[delivered["send_key"].isin(plan["send_key"])]
    assert 0 < len(back) <= len(plan)
    assert back["plan_version"].eq(plan["plan_version"].iloc[0]).all()
    assert back["arm"].notna().all()
    outcomes = read_table(settings.paths.data, "outcomes")
    assert first in set(outcomes["plan_date"])
    assert (outcomes["sent"] <= outcomes["planned"]).all()
    versions = {read_table(settings.paths.data, "send_plan", d)["plan_version"].iloc[0] for d in (first, last)}
    assert len(versions) == 2


def test_normal_nights_have_no_alert(nights, settings):
    assert read_table(settings.paths.data, "alerts").empty
    measured = read_table(settings.paths.data, "runs").query("stage == 'measure'")
    assert not any(json.loads(facts).get("warnings") for facts in measured["facts"])


def test_the_record_of_a_night_reconciles(nights, settings):
    runs = read_table(settings.paths.data, "runs", nights[0][0]).set_index("stage")
    assert set(runs.index) == set(runtime.NAMES)
    for stage in ("ingest", "score_slots", "build_candidates", "publish_schedule"):
        row = runs.loc[stage]
        assert row["rows_in"] == row["rows_out"] + sum(json.loads(row["dropped_by_reason"]).values()), stage


def test_changed_settings_never_meet_old_scores(spark, nights, settings, home):
    from sendopt.errors import InputNotReady

    other = settings.model_copy(update={"min_gap_minutes": 300})
    with pytest.raises(InputNotReady, match="made under other settings"):
        list(runtime.run_in(spark, nights[0][-1], other, home / "conf", ["allocate"]))
    with pytest.raises(InputNotReady, match="run score_slots first"):
        list(runtime.run_in(spark, date(2026, 5, 1), settings, home / "conf", ["publish_schedule"]))


def test_what_each_stage_read_and_wrote_is_what_the_catalogue_says(nights, settings):
    for day in nights[0]:
        runs = read_table(settings.paths.data, "runs", day).set_index("stage")
        for stage in CATALOGUE:
            record = runs.loc[stage.name]
            read, wrote = set(json.loads(record["delta_versions"])), set(json.loads(record["facts"])["written"])
            assert set(stage.reads) <= read <= {*stage.reads, *stage.may_read}, (day, stage.name)
            assert set(stage.writes) <= wrote <= {*stage.writes, *stage.may_write}, (day, stage.name)


def test_a_night_says_whose_clock_it_had(nights, settings):
    for day in nights[0]:
        as_of = f"{day - timedelta(days=1)}T23:00:00Z"
        for facts in read_table(settings.paths.data, "runs", day)["facts"]:
            assert json.loads(facts)["clock"] == {"now": as_of, "by": "settings"}
    said = "\n".join(of_night(settings.paths.data, nights[0][0], Path("report.html")))
    assert "Now was 2026-03-28 23:00 UTC, stated by the setting clock.now, not this machine's clock." in said
