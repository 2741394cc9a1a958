"""The simulated world: its logs are what its truth says, to the byte the same again, and dirty by known amounts."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from sendopt.config.schema import AudienceAll, AudienceShare, Campaign
from sendopt.domain.keys import planned_send_key
from sendopt.errors import ConfigError
from sendopt.simulation.clock import day_start, seconds_of
from sendopt.simulation.delivery import PLAN_COLUMNS, Counts, deliver, simulate_history
from sendopt.simulation.dirt import AMOUNTS
from sendopt.simulation.draws import seeds_of
from sendopt.simulation.nature import CONSENT, NEVER, Memory, Offers, p_order, react, sessions
from sendopt.simulation.population import QUIET, ZONES
from sendopt.simulation.raw import remember
from sendopt.simulation.world import World, world_file

START, DAYS, USERS = date(2026, 3, 10), 30, 500  # New York's clocks change on 8 March
CHANNELS = ("push", "email", "sms")


def campaign(channel: str, category: str, fraction: float | None = None) -> Campaign:
    audience = AudienceAll(kind="all") if fraction is None else AudienceShare(kind="share", fraction=fraction)
    return Campaign(channel=channel, category=category, audience=audience)


CAMPAIGNS = {
    "weekend_sale": campaign("push", "deals", 0.5),
    "daily_digest": campaign("email", "news"),
    "friend_activity": campaign("push", "social", 0.5),
    "flash_deal": campaign("sms", "deals", 0.25),
}


def world_of(users: int = USERS, seed: int = 11, **more: float) -> World:
    return World.create(users, seed, CAMPAIGNS, CHANNELS, START, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world() -> World:
    return world_of()


@pytest.fixture(scope="module")
def played(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counts]:
    """A clean history; tests must not write to it."""
    raw = tmp_path_factory.mktemp("world") / "raw"
    return raw, simulate_history(world, raw, DAYS, dirt=False)


@pytest.fixture
def raw(played: tuple[Path, Counts], tmp_path: Path) -> Path:
    """A copy of the history to deliver into."""
    shutil.copytree(played[0].parent, tmp_path / "copy")
    return tmp_path / "copy" / "raw"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows_of(raw: Path, folder: str) -> list[dict[str, object]]:
    files = sorted((raw / folder).glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def index_of(world: World) -> dict[str, int]:
    return {u: i for i, u in enumerate(world.people.ids)}


def logged(world: World, raw: Path) -> pd.DataFrame:
    """The sends with fatigue and truth recomputed the slow way, send by send, and whether they opened within 24 h."""
    index, sends = index_of(world), pd.DataFrame(rows_of(raw, "sends"))
    sends["user_index"], sends["at"] = sends["user"].map(index), seconds_of(sends["sent_at"])
    sends["channel_index"] = sends["channel"].map(CHANNELS.index)
    sends["category_index"] = sends["category"].map(world.categories.index)
    points, earlier, fatigue = {"push": 1.0, "email": 0.5, "sms": 1.5}, {}, []
    for user, at, channel in zip(sends["user"], sends["at"], sends["channel"], strict=True):
        past = earlier.setdefault(user, [])
        fatigue.append(sum(p * 0.5 ** ((at - then) / 259_200) for then, p in past))
        past.append((at, points[channel]))
    sends["fatigue"] = fatigue
    opens = {r["id"]: r["at"] for r in rows_of(raw, "interactions") if r["kind"] == "open"}
    wait = [
        seconds_of([opens[i]])[0] - at if i in opens else NEVER for i, at in zip(sends["id"], sends["at"], strict=True)
    ]
    sends["opened"], sends["late"] = np.array(wait) <= 86_400, (np.array(wait) > 86_400) & (np.array(wait) < NEVER)
    sends["p"] = truth(world, sends, sends["fatigue"].to_numpy())
    return sends


def truth(world: World, sends: pd.DataFrame, fatigue: np.ndarray) -> np.ndarray:
    columns = ("user_index", "at", "category_index", "channel_index")
    return world.p_open(*(sends[c].to_numpy() for c in columns), fatigue)


def surprise(observed: pd.Series, p: pd.Series) -> float:
    """Observed − expected, in standard deviations of a sum of coins of probability p."""
    return float((observed.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()))


def plan_of(world: World, per_user: dict[int, int], hour: int = 12, campaign_id: str = "weekend_sale") -> pd.DataFrame:
    """A plan for START: `per_user` messages of one campaign to users by index, an hour apart."""
    rows = []
    for i, count in per_user.items():
        for nth in range(count):
            user, notification = world.people.ids[i], f"{campaign_id}-{nth}-{i}"
            at = pd.Timestamp(day_start(START) + 3600 * (hour + nth), unit="s", tz="UTC")
            spec = CAMPAIGNS[campaign_id]
            key = planned_send_key(user, notification)
            rows.append(
                (user, notification, campaign_id, spec.channel, spec.category, at, "UTC", "treatment", 1.0, key, "v1")
            )
    return pd.DataFrame(rows, columns=list(PLAN_COLUMNS))


# -- the same again


def test_same_arguments_write_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 11), ("b", 11), ("c", 12)):
        simulate_history(world_of(60, seed), tmp_path / name / "raw", 4)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a["raw/sends/2026-03-09.jsonl"] != c["raw/sends/2026-03-09.jsonl"]


def test_a_second_history_replaces_the_first_but_never_logs_of_others(tmp_path: Path) -> None:
    raw, once = tmp_path / "w" / "raw", tmp_path / "once" / "raw"
    simulate_history(world_of(60), raw, 6)
    simulate_history(world_of(60), raw, 3)
    simulate_history(world_of(60), once, 3)
    assert contents(raw) == contents(once)
    world_file(raw).unlink()
    with pytest.raises(ConfigError, match="no simulated world wrote"):
        simulate_history(world_of(60), raw, 3)


def test_a_user_is_the_same_in_a_larger_world() -> None:
    small, large = world_of(20), world_of(40)
    when = small.slot_starts(START)[None, :]
    some = np.arange(20)[:, None]
    assert np.array_equal(small.p_open(some, when, 0, 0, 1.0), large.p_open(some, when, 0, 0, 1.0))  # type: ignore[arg-type]
    for field in fields(small.people):
        assert np.array_equal(getattr(small.people, field.name), getattr(large.people, field.name)[:20]), field.name


def test_a_saved_world_comes_back(world: World, played: tuple[Path, Counts]) -> None:
    back = World.load(world_file(played[0]), CAMPAIGNS)
    assert np.array_equal(back.people.strength, world.people.strength)
    assert (back.start, back.channels, back.slot_minutes, back.seed) == (START, CHANNELS, 60, 11)


# -- the log against the truth


def test_opens_are_those_of_the_truth_overall_and_by_group(world: World, played: tuple[Path, Counts]) -> None:
    sends = logged(world, played[0])
    assert len(sends) == played[1].sends > 10_000
    assert played[1].expected_opens == pytest.approx(sends["p"].sum(), rel=1e-9)
    assert 0.10 < sends["opened"].mean() < 0.20
    assert abs(surprise(sends["opened"], sends["p"])) < 4
    minute, weekend = world.clock.local(world.people.zone[sends["user_index"]], sends["at"].to_numpy())
    decile = pd.qcut(sends["p"], 10, labels=False)
    for group in (sends["channel"], sends["category"], minute // 120, weekend, decile, sends["fatigue"].round()):
        for _, some in sends.groupby(np.asarray(group)):
            assert abs(surprise(some["opened"], some["p"])) < 4.5
    assert 0.005 < sends["late"].sum() / sends["opened"].sum() < 0.03


def test_orders_are_those_of_the_truth_overall_and_by_group(world: World, played: tuple[Path, Counts]) -> None:
    sends = logged(world, played[0])
    orders = {r["id"]: r["at"] for r in rows_of(played[0], "interactions") if r["kind"] == "goal"}
    assert set(orders) <= {r["id"] for r in rows_of(played[0], "interactions") if r["kind"] == "open"}
    assert len(orders) == played[1].orders > 100
    wait = seconds_of([orders.get(i, "2100-01-01T00:00:00Z") for i in sends["id"]]) - sends["at"].to_numpy()
    user, category = (sends[c].to_numpy() for c in ("user_index", "category_index"))
    for hours in (1.0, 72.0):
        came = pd.Series(wait <= hours * 3600)
        p = pd.Series(p_order(world, user, category, sends["p"].to_numpy(), hours))
        often = world.people.sessions[user] > np.median(world.people.sessions[user])
        for group in (np.zeros(len(sends)), sends["category"], often):
            for _, some in pd.DataFrame({"came": came, "p": p}).groupby(np.asarray(group)):
                assert abs(surprise(some["came"], some["p"])) < 4
    by_category = world.p_order(np.arange(USERS)[:, None], np.arange(len(world.categories))).mean(axis=0)
    assert by_category.max() > 5 * by_category.min(), "some campaigns sell, others do not"


def test_orders_leave_the_rest_of_the_world_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = world_of(60)
    simulate_history(small, tmp_path / "with" / "raw", 5, dirt=False)
    monkeypatch.setattr(World, "p_order", lambda _, user, category: 0.0 * (user + category))
    simulate_history(small, tmp_path / "without" / "raw", 5, dirt=False)
    whole, bare = contents(tmp_path / "with"), contents(tmp_path / "without")
    goal = b'"kind":"goal"'
    left = {name: b"".join(x for x in text.splitlines(True) if goal not in x) for name, text in whole.items()}
    assert any(goal in text for text in whole.values())
    assert {name: text for name, text in left.items() if text or name in bare} == bare


def test_fatigue_lowers_opens_in_the_log(world: World, played: tuple[Path, Counts]) -> None:
    sends = logged(world, played[0])
    rested = pd.Series(truth(world, sends, np.zeros(len(sends))))
    tired = sends["fatigue"] > 4
    assert surprise(sends["opened"][tired], rested[tired]) < -6


def test_fatigue_raises_opt_outs() -> None:
    many = world_of(40_000)
    everyone = np.arange(40_000)
    rates = []
    for points in (0.0, 9.0):
        memory = Memory.blank(many)
        memory.points[:] = points
        offers = Offers(
            seeds_of(1, many.people.ids), everyone, np.full(40_000, day_start(START)), everyone * 0, everyone * 0
        )
        reactions = react(many, START, offers, memory, live_consent=True)
        sent = reactions.refusal == CONSENT
        p = many.p_opt_out(everyone, everyone * 0, points)[sent]
        left = (reactions.opted_out != NEVER)[sent]
        assert abs(surprise(pd.Series(left), pd.Series(p))) < 4
        assert ((memory.off_at[:, 0] != NEVER)[sent] == left).all()
        rates.append(p.mean())
        twice = react(many, START, offers, memory, live_consent=False)
        assert (twice.refusal == reactions.refusal).all()  # the nightly list does not know yet
        assert (twice.opted_out[reactions.opted_out != NEVER] == NEVER).all()  # but nobody opts out twice
    assert 0.0005 < rates[0] < 0.003
    assert rates[1] == pytest.approx(10 * rates[0], rel=0.01)


def test_opens_and_sessions_peak_where_the_user_prefers(world: World) -> None:
    """Truth and sessions agree about a user's best time; on a weekday the true peak lies near a preferred one."""
    monday = date(2026, 2, 2)
    many = world_of(2000)
    starts = many.slot_starts(monday)
    p = many.p_open(np.arange(2000)[:, None], starts[None, :], 0, 0, 0.0)  # type: ignore[arg-type]
    minute, _ = many.clock.local(many.people.zone[:, None], starts[None, :])
    best = minute[np.arange(2000), p.argmax(axis=1)]
    apart = np.abs((best[:, None] - many.people.preferred[:, 0, :] + 720) % 1440 - 720).min(axis=1)
    assert np.median(apart) < 60
    user, at = sessions(many, monday)
    likely = p > np.median(p, axis=1, keepdims=True)
    assert likely[user, (at - starts[0]) // 3600].mean() > 0.75


def test_without_personal_timing_all_share_one_curve() -> None:
    common, personal = world_of(300, personal_timing=0.0), world_of(300)
    same_zone = np.flatnonzero(common.people.zone == 0)[:, None]
    when = common.slot_starts(START)[None, :]
    assert len(same_zone) > 20
    assert np.ptp(common.habit(same_zone, when), axis=0).max() == 0
    assert np.ptp(common.habit(same_zone, when)) > 1
    assert np.ptp(personal.habit(same_zone, when), axis=0).min() > 0.2
    half = world_of(300, personal_timing=0.5)
    middle = (common.habit(same_zone, when) + personal.habit(same_zone, when)) / 2
    assert np.allclose(half.habit(same_zone, when), middle)
    # no curve left but the common one: everyone's best time is the same
    assert len(set(common.p_open(same_zone, when, 0, 0, 0.0).argmax(axis=1))) == 1  # type: ignore[arg-type]


# -- the old policy


@cache
def slots_by_hand(day: str, zone: str, quiet: int) -> list[datetime]:
    begin, end = QUIET[quiet] if quiet >= 0 else ("24:00", "00:00")
    permitted = []
    for slot in range(24):
        start = datetime.fromisoformat(f"{day}T{slot:02}:00:00Z")
        local, last = (t.astimezone(ZoneInfo(zone)) for t in (start, start + timedelta(minutes=59)))
        if 8 <= local.hour <= 21 and all(end <= f"{t:%H:%M}" < begin for t in (local, last)):
            permitted.append(start)
    return permitted


def test_pscore_is_one_over_the_permitted_slots(world: World, played: tuple[Path, Counts]) -> None:
    index, seen = index_of(world), Counter[int]()
    for row in rows_of(played[0], "sends"):
        quiet = int(world.people.quiet[index[str(row["user"])]])
        permitted = slots_by_hand(str(row["sent_at"])[:10], str(row["tz"] or "Europe/London"), quiet)
        assert datetime.fromisoformat(str(row["sent_at"])) in permitted
        assert row["pscore"] == 1 / len(permitted)
        seen[len(permitted)] += 1
    assert {14, 15} < set(seen)  # 15 where the clocks change, fewer with quiet hours of one's own
    assert min(seen) < 14


def test_every_permitted_slot_is_drawn_as_often(world: World, played: tuple[Path, Counts]) -> None:
    index, drawn = index_of(world), Counter[int]()
    for row in rows_of(played[0], "sends"):
        quiet = int(world.people.quiet[index[str(row["user"])]])
        permitted = slots_by_hand(str(row["sent_at"])[:10], str(row["tz"] or "Europe/London"), quiet)
        if len(permitted) == 14:
            drawn[permitted.index(datetime.fromisoformat(str(row["sent_at"])))] += 1
    expected = drawn.total() / 14
    assert expected > 500
    assert sum((drawn[n] - expected) ** 2 for n in range(14)) / expected < 40  # chi², 13 degrees: 1 in 10,000


def test_the_old_policy_keeps_to_consent(world: World, played: tuple[Path, Counts]) -> None:
    index, sends = index_of(world), rows_of(played[0], "sends")
    channel_of = {r["id"]: r["channel"] for r in sends}
    off = {
        (r["user"], channel_of[r["id"]]): str(r["at"])
        for r in rows_of(played[0], "interactions")
        if r["kind"] == "opt_out"
    }
    assert len(off) == played[1].opt_outs > 5
    for row in sends:
        user = index[str(row["user"])]
        assert world.people.owns[user, CHANNELS.index(str(row["channel"]))]
        assert not world.people.refuses[user, world.categories.index(str(row["category"]))]
        assert str(row["sent_at"])[:10] <= off.get((row["user"], row["channel"]), "9")[:10]
        assert day_start(date.fromisoformat(str(row["sent_at"])[:10])) > world.people.created[user]
    per_night = Counter((r["user"], str(r["sent_at"])[:10]) for r in sends)
    assert set(per_night.values()) == {1, 2, 3}


# -- files


def test_files_have_the_raw_format(world: World, played: tuple[Path, Counts]) -> None:
    raw, counts = played
    with (raw / "users.csv").open() as file:
        users = list(csv.DictReader(file))
    assert list(users[0]) == ["user", "tz", "channels", "opted_out", "quiet_start", "quiet_end", "created"]
    assert (users[0]["user"], len(users)) == ("u000001", USERS)
    assert 0 < sum(u["tz"] == "" for u in users) < 0.03 * USERS
    assert any(u["quiet_start"] for u in users)
    assert any("|" in u["channels"] for u in users)
    assert {u["tz"] for u in users} >= {"Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Sydney"}
    assert all(u["created"].endswith("Z") and u["created"] < f"{START}" for u in users)
    assert any(u["created"] > f"{START - timedelta(days=DAYS)}" for u in users)
    sends = rows_of(raw, "sends")
    keys = ["user", "id", "campaign", "channel", "category", "sent_at", "tz", "pscore"]
    keys += ["arm", "send_key", "plan_version"]
    assert all(list(r) == keys and r["arm"] is r["send_key"] is r["plan_version"] is None for r in sends)
    assert len({r["id"] for r in sends}) == len(sends) == counts.sends
    interactions = rows_of(raw, "interactions")
    assert all(list(r) == ["user", "id", "send_key", "kind", "at"] for r in interactions)
    kinds = Counter(r["kind"] for r in interactions)
    assert kinds == {"open": counts.opens, "click": counts.clicks, "goal": counts.orders, "opt_out": counts.opt_outs}
    assert {r["id"] for r in interactions} <= {r["id"] for r in sends}
    for folder, field in (("sends", "sent_at"), ("interactions", "at")):
        for path in (raw / folder).glob("*.jsonl"):
            assert {json.loads(line)[field][:10] for line in path.read_text().splitlines()} <= {path.name[:10]}
    rows = 0
    for path in (raw / "sessions").glob("*.csv"):
        header, *lines = path.read_text().splitlines()
        assert header == "user,at"
        assert {line.split(",")[1][:10] for line in lines} == {path.name[:10]}
        rows += len(lines)
    assert rows == counts.sessions


def test_dirt_is_added_in_known_amounts_and_changes_nothing_else(tmp_path: Path) -> None:
    world, clean, dirty = world_of(80), tmp_path / "clean" / "raw", tmp_path / "dirty" / "raw"
    assert simulate_history(world, clean, 5, dirt=False).dirt == {}
    assert simulate_history(world, dirty, 5).dirt == AMOUNTS
    before, after = contents(clean), contents(dirty)
    extra: list[str] = []
    for name, data in after.items():
        assert data.startswith(before.get(name, b""))
        extra += [f"{name} {line}" for line in data[len(before.get(name, b"")) :].decode().splitlines()]
    good = {line for name, data in before.items() for line in data.decode().splitlines()}
    found = Counter[str]()
    for name, line in (e.split(" ", 1) for e in extra):
        if name == "users.csv":
            found["unparseable_zone_user"] += "Mars/Phobos" in line
        elif "interactions" in name:
            found["interaction_without_send"] += json.loads(line)["id"].startswith("lost-")
        elif line in good:
            found["duplicated_send"] += 1
        elif not line.endswith("}"):
            found["malformed_json"] += 1
        else:
            row = json.loads(line)
            found["nan_pscore"] += row["pscore"] != row["pscore"]
            found["far_future"] += row["sent_at"] > "2099"
            found["unparseable_zone_send"] += row["tz"] == "Mars/Phobos"
    found["empty_file"] += sum(not data for name, data in after.items() if name not in before)
    assert found == AMOUNTS
    for one, other in ((world, clean), (world, dirty)):
        assert remember(one, other, START).points.sum() > 0
    assert np.array_equal(remember(world, clean, START).points, remember(world, dirty, START).points)


# -- delivering plans


def test_what_is_remembered_from_the_log_is_what_was_lived(world: World, played: tuple[Path, Counts]) -> None:
    sends = logged(world, played[0])
    ages = (day_start(START) - sends["at"]) / 259_200
    points = sends["channel"].map({"push": 1.0, "email": 0.5, "sms": 1.5}) * 0.5**ages
    by_hand = np.bincount(sends["user_index"], weights=points, minlength=USERS)
    memory = remember(world, played[0], START)
    assert np.allclose(memory.points, by_hand, rtol=1e-9)
    assert (memory.off_at != NEVER).sum() == played[1].opt_outs


def test_delivering_twice_writes_the_same_bytes_in_any_process_and_order(world: World, raw: Path) -> None:
    plan = plan_of(world, {i: 2 for i in range(400)})
    history = contents(raw)
    counts = deliver(world, raw, START, plan)
    first = contents(raw)
    again = deliver(World.load(world_file(raw), CAMPAIGNS), raw, START, plan.sample(frac=1, random_state=1))
    assert (again, contents(raw)) == (counts, first)
    assert all(first[name] == data for name, data in history.items())
    new = set(first) - set(history)
    assert {f"sends/{START}.jsonl", f"interactions/{START}.jsonl", f"sessions/{START}.csv"} < new
    assert any(f".from-{START}.jsonl" in name for name in new)  # what came after midnight
    assert counts.sends + sum(counts.withheld.values()) == 800
    assert counts.opens > 50
    row = json.loads(first[f"sends/{START}.jsonl"].decode().splitlines()[0])
    assert (row["arm"], row["plan_version"], row["tz"], row["sent_at"]) == (
        "treatment",
        "v1",
        "UTC",
        f"{START}T12:00:00Z",
    )
    assert row["send_key"] == planned_send_key(row["user"], row["id"])


def test_another_plan_changes_only_the_users_it_touches_and_leaves_nothing_behind(world: World, raw: Path) -> None:
    everyone = {i: 2 for i in range(400)}
    deliver(world, raw, START, plan_of(world, everyone))
    all_sent = rows_of(raw, "interactions")
    deliver(world, raw, START, plan_of(world, everyone | {i: 0 for i in range(200)}))
    half_sent = rows_of(raw, "interactions")
    dropped = set(world.people.ids[:200])
    planned = [r for r in all_sent if r["send_key"]]
    assert [r for r in half_sent if r["send_key"]] == [r for r in planned if r["user"] not in dropped]
    assert 0 < len([r for r in half_sent if r["send_key"]]) < len(planned)


def test_opt_outs_are_respected_to_the_second(world: World, raw: Path) -> None:
    """Known ones, one of the same afternoon, and never the other channels."""
    ids = world.people.ids
    known, fresh = (int(i) for i in np.flatnonzero(world.people.owns[:, 0] & ~world.people.refuses[:, 0])[:2])
    old = next(r for r in rows_of(raw, "sends") if r["user"] == ids[known] and r["channel"] == "push")
    row = {"user": ids[known], "id": old["id"], "send_key": None, "kind": "opt_out", "at": f"{START}T13:30:00Z"}
    with (raw / "interactions" / f"{START}.from-history.jsonl").open("a") as file:
        file.write(json.dumps(row, separators=(",", ":")) + "\n")
    assert remember(world, raw, START).off_at[known, 0] == day_start(START) + 13.5 * 3600
    counts = deliver(world, raw, START, plan_of(world, {known: 4, fresh: 4}))
    sent = Counter(r["user"] for r in rows_of(raw, "sends") if r["send_key"])
    assert sent == {ids[known]: 2, ids[fresh]: 4}  # 12:00 and 13:00 went, 14:00 and 15:00 did not
    assert counts.withheld == {"opted_out": 2, "channel_not_owned": 0, "category_opted_out": 0}


def test_an_opt_out_during_the_day_stops_the_next_send(world: World) -> None:
    memory, many = Memory.blank(world), np.zeros(2_000, np.int64) + int(np.flatnonzero(world.people.owns[:, 0])[0])
    at = day_start(START) + np.arange(2_000) * 40
    seeds = seeds_of(3, [str(i) for i in range(2_000)])
    category = np.full(2_000, int(np.flatnonzero(~world.people.refuses[many[0]])[0]))
    reactions = react(world, START, Offers(seeds, many, at, category, many * 0), memory, live_consent=True)
    left = reactions.opted_out.min()
    assert left < NEVER
    assert (reactions.refusal[at < left] == CONSENT).all()
    assert (reactions.refusal[at >= left] != CONSENT).all()
    assert (reactions.opted_out != NEVER).sum() == 1


def test_no_consent_no_send(world: World, raw: Path) -> None:
    no_sms = int(np.flatnonzero(~world.people.owns[:, 2])[0])
    deals = world.categories.index("deals")
    refuses = int(np.flatnonzero(world.people.refuses[:, deals] & world.people.owns[:, 0])[0])
    plan = pd.concat(
        [
            plan_of(world, {no_sms: 1}, campaign_id="flash_deal"),
            plan_of(world, {refuses: 1}, campaign_id="weekend_sale"),
        ]
    )
    counts = deliver(world, raw, START, plan)
    assert counts.sends == 0
    assert counts.withheld == {"opted_out": 0, "channel_not_owned": 1, "category_opted_out": 1}
    assert (raw / "sends" / f"{START}.jsonl").read_bytes() == b""


def test_fatigue_is_carried_from_night_to_night_and_over_a_night_without_plan(world: World, raw: Path) -> None:
    before = remember(world, raw, START).points
    deliver(world, raw, START, plan_of(world, {0: 3}))
    sent = len([r for r in rows_of(raw, "sends") if r["send_key"]])
    later = remember(world, raw, START + timedelta(days=3)).points
    assert np.allclose(later[1:], before[1:] / 2)
    hours = np.array([72 - 12, 72 - 13, 72 - 14])[:sent]
    assert later[0] == pytest.approx(before[0] / 2 + (0.5 ** (hours / 72)).sum())


def test_an_empty_plan_delivers_an_empty_day(world: World, raw: Path) -> None:
    counts = deliver(world, raw, START, plan_of(world, {}))
    assert (counts.sends, counts.opens) == (0, 0)
    assert counts.sessions > 100


# -- refusals


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"users": 0}, "users of a simulated world: got 0, expected 1 to 999999"),
        ({"seed": -1}, "seed of a simulated world: got -1"),
        ({"campaigns": {}}, "campaigns of a simulated world: got none"),
        ({"channels": ("push",)}, "campaigns use email, sms, which is not among push"),
        ({"channels": ("push", "push", "email", "sms")}, "expected each once"),
        ({"personal_timing": float("nan")}, "personal_timing of a simulated world: got nan"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, object], sentence: str) -> None:
    arguments = {"users": 5, "seed": 1, "campaigns": CAMPAIGNS, "channels": CHANNELS, "start": START} | change
    with pytest.raises(ConfigError, match=sentence):
        World.create(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_id", "u999999"),
        ("channel", "pigeon"),
        ("category", "gossip"),
        ("send_at_utc", pd.Timestamp(START + timedelta(days=1), tz="UTC")),
    ],
)
def test_a_plan_for_another_world_or_day_is_refused(world: World, raw: Path, column: str, value: object) -> None:
    before, plan = contents(raw), plan_of(world, {0: 1, 1: 1})
    plan[column] = [value, plan[column].iloc[1]]
    with pytest.raises(ConfigError, match=f"column {column} of 1 rows is not as expected"):
        deliver(world, raw, START, plan)
    assert contents(raw) == before


def test_other_refusals(world: World, raw: Path, tmp_path: Path) -> None:
    plan = plan_of(world, {0: 1})
    with pytest.raises(ConfigError, match="got no arm, expected the columns of table send_plan"):
        deliver(world, raw, START, plan.drop(columns="arm"))
    with pytest.raises(ConfigError, match="column send_key of 1 rows"):
        deliver(world, raw, START, pd.concat([plan, plan]))
    with pytest.raises(ConfigError, match="expected 2026-03-10 or later"):
        deliver(world, raw, START - timedelta(days=1), plan)
    with pytest.raises(ConfigError, match="days of history to simulate: got 0"):
        simulate_history(world, tmp_path / "new" / "raw", 0)
    with pytest.raises(ConfigError, match="there is no simulated world at"):
        World.load(tmp_path / "world.json", CAMPAIGNS)
    (tmp_path / "world.json").write_text('{"users": 5}')
    with pytest.raises(ConfigError, match="is no simulated world"):
        World.load(tmp_path / "world.json", CAMPAIGNS)


def test_local_time_is_zoneinfos(world: World) -> None:
    at = day_start(date(2026, 1, 1)) + 1800 * np.arange(48 * 365, dtype=np.int64)
    for index, zone in enumerate(ZONES):
        minute, weekend = world.clock.local(np.array(index), at)
        for k in range(0, len(at), 97):
            local = datetime.fromtimestamp(int(at[k]), UTC).astimezone(ZoneInfo(zone))
            assert (minute[k], weekend[k]) == (local.hour * 60 + local.minute, local.weekday() >= 5)
