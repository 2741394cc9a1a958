"""The sends that the rules of one user look back on, as the planner and the publisher count them (model ¶9)."""

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
    """The local days of the night's slots and of past sends, for caps that count by the calendar."""
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
    """History of `users` (user_id) before `at` as far back as any limit looks, one row a send in a fixed order.

    Columns: those of `history.sends`, minutes_before (the plan's start), local_day. `cells` has user_id, timezone and
    slot of what may be planned. `committed` are more sends, with the columns of `history.sends`: none twice.
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
    """The rows of `of_users` as the rules of one user take them."""
    sends: dict[str, list[Send]] = {}
    names = ["user_id", "minutes_before", "channel", "category", "campaign_id", "local_day"]
    for user, before, channel, category, campaign, day in zip(*(past[n].tolist() for n in names), strict=True):
        sends.setdefault(user, []).append(Send(-before, channel, category, campaign, day, False))
    return sends


def _days(past: pd.DataFrame, sent: pd.Series[pd.Timestamp], cells: pd.DataFrame, days: LocalDays) -> list[int]:
    """Local day of each past send: by its own zone where the user's is known and the send has one, else the user's."""
    own = dict(zip(cells["user_id"], cells["timezone"], strict=True))
    slots = cells.groupby("user_id")["slot"].agg(frozenset).to_dict()
    found = zip(sent, past["user_id"], past["timezone"], strict=True)
    return [days.of_past(at, zone if own[user] and zone else own[user], slots[user]) for at, user, zone in found]
