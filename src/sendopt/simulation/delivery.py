"""Play the world into raw logs: first its history under the legacy policy, then plans, night by night."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from sendopt.errors import ConfigError
from sendopt.lake.files import write_whole
from sendopt.simulation.clock import day_start, iso
from sendopt.simulation.dirt import add_dirt
from sendopt.simulation.draws import seeds_of
from sendopt.simulation.nature import CONSENT, NEVER, WITHHELD, Memory, Offers, Reactions, react, sessions
from sendopt.simulation.policy import LegacyNight, legacy_night
from sendopt.simulation.population import ZONES
from sendopt.simulation.raw import (
    FOLDERS,
    HISTORY,
    interactions,
    json_lines,
    remember,
    sessions_csv,
    users_csv,
    written,
)
from sendopt.simulation.world import World, world_file
from sendopt.stats.arrays import Flags

PLAN_COLUMNS = (
    "user_id",
    "notification_id",
    "campaign_id",
    "channel",
    "category",
    "send_at_utc",
    "timezone",
    "arm",
    "pscore",
    "send_key",
    "plan_version",
)


@dataclass(frozen=True)
class Counts:
    """Counts of written rows: by kind without dirt, sends withheld by reason, and lines of dirt by kind."""

    users: int = 0
    sends: int = 0
    opens: int = 0
    clicks: int = 0
    orders: int = 0
    opt_outs: int = 0
    sessions: int = 0
    expected_opens: float = 0.0  # sum of the true p_open (opens within 24 h) over the sends
    withheld: dict[str, int] = field(default_factory=dict)
    dirt: dict[str, int] = field(default_factory=dict)


def simulate_history(world: World, raw: Path, days: int, dirt: bool = True) -> Counts:
    """Write the logs of the `days` nights before `world.start` to `raw`, and the world beside it; return the counts.

    Files: users.csv, sends/DATE.jsonl, interactions/DATE.jsonl, sessions/DATE.csv, each row in the file of its own
    date (reactions after the last night: DATE.from-history.jsonl). An earlier world's files in `raw` are replaced.
    `dirt` adds the bad rows of `dirt.AMOUNTS`. Raises ConfigError.
    """
    if not isinstance(days, int) or not 1 <= days <= 365:
        raise ConfigError(f"days of history to simulate: got {days!r}, expected 1 to 365; give a number in that range")
    _clear(raw)
    first = world.start - timedelta(days=days)
    memory, counts = Memory.blank(world), Counts(users=len(world.people.ids))
    later: dict[str, list[dict[str, object]]] = {}  # reactions of later dates, by date
    write_whole(raw / "users.csv", users_csv(world))
    for day in (first + timedelta(days=n) for n in range(days)):
        night = legacy_night(world, day, memory)
        reactions = react(world, day, night.offers, memory, live_consent=False)
        memory.pass_day(world, day, night.offers.user, night.offers.channel, night.offers.at)
        write_whole(raw / "sends" / f"{day}.jsonl", json_lines(_history_rows(world, night)))
        users, no_keys = world.people.ids[night.offers.user], [None] * len(night.ids)
        for at, rows in interactions(users, night.ids, no_keys, reactions).items():
            later.setdefault(at, []).extend(rows)
        of_day = sorted(later.pop(day.isoformat(), []), key=lambda r: (str(r["at"]), str(r["user"]), str(r["id"])))
        write_whole(raw / "interactions" / f"{day}.jsonl", json_lines(of_day))
        counts = _add(counts, reactions, _write_sessions(world, raw, day))
    for at, rows in later.items():
        write_whole(raw / "interactions" / f"{at}.from-{HISTORY}.jsonl", json_lines(rows))
    world.save(world_file(raw))
    return Counts(**{**counts.__dict__, "dirt": add_dirt(raw, first) if dirt else {}})


def offers_of(world: World, plan: pd.DataFrame) -> Offers:
    """Return the planned sends as offers, in the plan's order; column `second`: epoch seconds of each."""
    people = pd.Series(np.arange(len(world.people.ids)), index=world.people.ids)
    return Offers(
        seeds_of(world.seed, plan["send_key"]),
        people.loc[plan["user_id"]].to_numpy(np.int64),
        plan["second"].to_numpy(np.int64),
        np.array([world.categories.index(k) for k in plan["category"]], np.int64),
        np.array([world.channels.index(c) for c in plan["channel"]], np.int64),
    )


def deliver(world: World, raw: Path, plan_date: date, plan: pd.DataFrame) -> Counts:
    """Play `plan_date` with the given rows of the send plan and write its sends, interactions and sessions to `raw`.

    `plan` holds PLAN_COLUMNS of table `send_plan`, `send_at_utc` within the date. Fatigue and opt-outs come from the
    logs of earlier dates, so any process may deliver any night. A user who turned the channel off by the second of the
    send, never had it, or refuses the category is not sent (`withheld`). The same plan again writes the same bytes;
    another plan changes only the users it touches. Dates after `plan_date` must be delivered again by the caller.
    Raises ConfigError for a date before `world.start`, missing columns, unknown users, channels or categories.
    """
    plan = _checked(world, plan_date, plan)
    memory = remember(world, raw, plan_date)
    offers = offers_of(world, plan)
    reactions = react(world, plan_date, offers, memory, live_consent=True)
    sent = reactions.refusal == CONSENT
    write_whole(raw / "sends" / f"{plan_date}.jsonl", json_lines(_plan_rows(plan[sent])))
    ids, keys = plan["notification_id"], plan["send_key"]
    by_date = interactions(plan["user_id"], ids, keys, reactions)
    for path, _, owner in written(raw, "interactions"):
        if owner == plan_date.isoformat():
            path.unlink()
    for at, rows in {plan_date.isoformat(): [], **by_date}.items():
        name = at if at == plan_date.isoformat() else f"{at}.from-{plan_date}"
        write_whole(raw / "interactions" / f"{name}.jsonl", json_lines(rows))
    return _add(Counts(users=len(world.people.ids)), reactions, _write_sessions(world, raw, plan_date))


def _history_rows(world: World, night: LegacyNight) -> Iterable[dict[str, object]]:
    people, names, zones = world.people, list(world.campaigns), list(ZONES)
    offers = night.offers
    for i, (user, at) in enumerate(zip(offers.user.tolist(), iso(offers.at), strict=True)):
        campaign = names[night.campaign[i]]
        yield {
            "user": people.ids[user],
            "id": night.ids[i],
            "campaign": campaign,
            "channel": world.campaigns[campaign].channel,
            "category": world.campaigns[campaign].category,
            "sent_at": at,
            "tz": zones[people.zone[user]] if people.zone_known[user] else None,
            "pscore": float(night.pscore[i]),
            "arm": None,
            "send_key": None,
            "plan_version": None,
        }


def _plan_rows(plan: pd.DataFrame) -> Iterable[dict[str, object]]:
    names = {
        "user": "user_id",
        "id": "notification_id",
        "campaign": "campaign_id",
        "channel": "channel",
        "category": "category",
        "sent_at": "sent_at",
        "tz": "timezone",
        "pscore": "pscore",
        "arm": "arm",
        "send_key": "send_key",
        "plan_version": "plan_version",
    }
    columns = [plan[column].astype(object).where(plan[column].notna(), None).tolist() for column in names.values()]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _write_sessions(world: World, raw: Path, day: date) -> int:
    user, at = sessions(world, day)
    write_whole(raw / "sessions" / f"{day}.csv", sessions_csv(world, user, at))
    return len(user)


def _add(counts: Counts, reactions: Reactions, sessions_written: int) -> Counts:
    kinds = {
        "opens": reactions.opened,
        "clicks": reactions.clicked,
        "orders": reactions.ordered,
        "opt_outs": reactions.opted_out,
    }
    new = {kind: getattr(counts, kind) + int((times != NEVER).sum()) for kind, times in kinds.items()}
    withheld = {reason: int((reactions.refusal == code).sum()) for code, reason in WITHHELD.items()}
    return Counts(
        users=counts.users,
        sends=counts.sends + int((reactions.refusal == CONSENT).sum()),
        sessions=counts.sessions + sessions_written,
        expected_opens=counts.expected_opens + float(reactions.p_open.sum()),
        withheld={reason: counts.withheld.get(reason, 0) + n for reason, n in withheld.items()},
        **new,
    )


def _clear(raw: Path) -> None:
    """Remove an earlier world's logs; refuse to touch logs that no world wrote."""
    old = [path for folder in FOLDERS for path, _, _ in written(raw, folder)]
    if (old or (raw / "users.csv").exists()) and not world_file(raw).exists():
        raise ConfigError(
            f"{raw} holds logs that no simulated world wrote (there is no {world_file(raw)}), expected an empty one; "
            "simulate into another one"
        )
    for path in old:
        path.unlink()


def _refuse(column: str, expected: str, wrong: Flags) -> None:
    if wrong.any():
        raise ConfigError(
            f"plan to deliver: column {column} of {int(wrong.sum())} rows is not as expected ({expected}); deliver the "
            "send_plan of this date, made for this world"
        )


def _checked(world: World, plan_date: date, plan: pd.DataFrame) -> pd.DataFrame:
    """Return the plan's rows in order of time, user, id, with columns `second` (epoch) and `sent_at` (ISO)."""
    if plan_date < world.start:
        raise ConfigError(
            f"plan_date to deliver: got {plan_date}, expected {world.start} or later, for the days before are the "
            "simulated history; deliver a later date"
        )
    if missing := [c for c in PLAN_COLUMNS if c not in plan.columns]:
        raise ConfigError(
            f"plan to deliver: got no {', '.join(missing)}, expected the columns of table send_plan; add them"
        )
    at = pd.to_datetime(plan["send_at_utc"], utc=True).dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    begin = day_start(plan_date)
    _refuse("send_at_utc", "times within the plan_date", (at < begin) | (at >= begin + 86_400))
    _refuse("user_id", "users of this world", ~plan["user_id"].isin(world.people.ids).to_numpy())
    _refuse("channel", ", ".join(world.channels), ~plan["channel"].isin(world.channels).to_numpy())
    _refuse("category", ", ".join(world.categories), ~plan["category"].isin(world.categories).to_numpy())
    _refuse("send_key", "each key once", plan["send_key"].duplicated().to_numpy())
    ordered = plan.assign(second=at).sort_values(["second", "user_id", "notification_id"], kind="stable")
    return ordered.assign(sent_at=iso(ordered["second"].to_numpy(np.int64))).reset_index(drop=True)
