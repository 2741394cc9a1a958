"""The past sends that count for the rules of one user, for the planner and for the publisher (model ¶9)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain.plausible import LocalDays
from sendopt.domain.rules import Send
from sendopt.spark import history, unknown_zone
from sendopt.spark.features.fatigue import HALF_LIVES
from sendopt.spark.night import Night

_COMMITTED = ("send_key", "user_id", "channel", "category", "campaign_id", "sent_at_utc", "timezone", "p_opt_out")


def local_days(night: Night) -> LocalDays:
    """Return the local days of the night's slots and of past sends, for caps that count by the calendar."""
    grid = night.plan_start, night.settings.grid.slot_minutes, night.n_slots
    return LocalDays(unknown_zone.plausible_zones(night), *grid)


def of_users(
    night: Night,
    users: DataFrame,
    cells: pd.DataFrame,
    days: LocalDays,
    at: datetime,
    committed: DataFrame | None = None,
) -> pd.DataFrame:
    """Return the history of `users` (user_id) before `at`, as far back as any limit looks, one row a send, sorted.

    Columns: those of `history.sends`, minutes_before (minutes from the send to the plan's start), local_day. `cells`
    has user_id, timezone and slot of all cells. `committed` are more sends with the columns of `history.sends`; those
    that the history holds already are not counted twice.
    """
    limits = night.settings.limits()
    minutes = [limits.min_gap_minutes, *(c.window_minutes or 14 * 24 * 60 for c in limits.caps.values())]
    if limits.fatigue:
        minutes.append(int(limits.fatigue.half_life_hours * 60 * HALF_LIVES))
    since = night.plan_start - timedelta(minutes=max(minutes))
    rows = history.sends(night, at)
    if committed is not None:
        new = committed.select(*_COMMITTED).join(rows.select("send_key"), "send_key", "left_anti")
        rows = rows.unionByName(new)
    rows = rows.where(F.col("sent_at_utc") >= F.lit(since)).join(users, "user_id", "left_semi")
    past = rows.toPandas().sort_values(["user_id", "sent_at_utc", "send_key"], ignore_index=True)
    sent = past["sent_at_utc"].dt.tz_localize("UTC")
    past["minutes_before"] = (pd.Timestamp(night.plan_start) - sent).dt.total_seconds() / 60.0
    calendar = any(c.calendar for c in limits.caps.values())
    past["local_day"] = _days(past, sent, cells, days) if calendar else 0
    return past


def by_user(past: pd.DataFrame) -> dict[str, list[Send]]:
    """Return the rows of `of_users` as `Send`s, by user."""
    sends: dict[str, list[Send]] = {}
    names = ["user_id", "minutes_before", "channel", "category", "campaign_id", "local_day"]
    for user, before, channel, category, campaign, day in zip(*(past[n].tolist() for n in names), strict=True):
        sends.setdefault(user, []).append(Send(-before, channel, category, campaign, day, False))
    return sends


def _days(past: pd.DataFrame, sent: pd.Series[pd.Timestamp], cells: pd.DataFrame, days: LocalDays) -> list[int]:
    """Return the local day of each past send, in its own time zone where user and send have one, else the user's."""
    zone_of = dict(zip(cells["user_id"], cells["timezone"], strict=True))
    slots = cells.groupby("user_id")["slot"].agg(frozenset).to_dict()
    rows = zip(sent, past["user_id"], past["timezone"], strict=True)
    return [days.of_past(at, zone if zone_of[user] and zone else zone_of[user], slots[user]) for at, user, zone in rows]
