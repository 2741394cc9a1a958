"""Why a person gets what, when: chosen slot, runner-up, the rule that decided, and its price."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, cast

import pandas as pd

from sendopt.domain.slots import local_text
from sendopt.errors import InputNotReady
from sendopt.report.data import read_table
from sendopt.report.words import REASONS, amount


def explain_user(data_root: str, user: str, message: str | None, day: date | None, slot_minutes: int) -> Iterator[str]:
    """Lines about every message (or one) of a user on a plan date; raises InputNotReady where there is no plan."""
    day = day or _last_date(data_root)
    cells = _of(data_root, "candidates", day, user)
    if cells.empty:
        raise InputNotReady(f"no candidate message of that user on {day}: check the id, or give another --plan-date")
    if message is not None:
        cells = cells[cells["notification_id"] == message]
        if cells.empty:
            raise InputNotReady(
                f"that user has no candidate message of that id on {day}: leave --message out to see all"
            )
    chosen = _of(data_root, "allocation", day, user).set_index("notification_id")
    held = _of(data_root, "suppressed", day, user).set_index("notification_id")
    prices = read_table(data_root, "shadow_prices", day).set_index("row")["price"]
    zone = _zone(data_root, user)
    yield f"{user} on {day} ({zone or 'zone unknown'}; arm {cells['arm'].iloc[0]})"
    for notification, mine in sorted(
        cells.groupby("notification_id"), key=lambda g: (g[1]["campaign_id"].iloc[0], g[0])
    ):
        yield f"\n{mine['campaign_id'].iloc[0]} by {mine['channel'].iloc[0]}, message {notification}"
        planned = notification in chosen.index and notification not in held.index  # publishing may have left it out
        sent = cast("pd.Series[Any]", chosen.loc[notification]) if planned else None
        clock = _Clock(day, zone, slot_minutes)
        yield from _message(mine, sent, held["reason"].get(notification), prices, clock)


def _message(
    cells: pd.DataFrame,
    sent: pd.Series[Any] | None,
    reason: str | None,
    prices: pd.Series[Any],
    clock: _Clock,
) -> Iterator[str]:
    open_slots = cells[cells["eligible"]].copy()
    refused = cells[~cells["eligible"]]["reason"].value_counts()
    if len(refused):
        yield "  refused slots: " + ", ".join(
            f"{n} {REASONS.get(str(r), (str(r), ''))[0].lower()}" for r, n in refused.items()
        )
    if open_slots.empty:
        yield f"  not sent: {_reason(reason)}"
        return
    campaign, channel = cells["campaign_id"].iloc[0], cells["channel"].iloc[0]
    budget = float(prices.get(f"campaign_max:{campaign}", 0.0)) - float(prices.get(f"campaign_min:{campaign}", 0.0))
    fixed = budget + float(prices.get("opt_outs", 0.0)) * open_slots["p_opt_out"].astype(float)
    room = open_slots["slot"].map(lambda s: float(prices.get(f"capacity:{channel}:{s}", 0.0)))
    open_slots["net"] = open_slots["value"] - fixed - room
    ranked = open_slots.sort_values(["net", "slot"], ascending=[False, True])
    if sent is not None and bool(sent["planned"]):
        yield f"  sent {clock.at(int(sent['slot']))}" + (
            f", drawn at random among {round(1 / sent['pscore'])} slots" if sent["pscore"] < 1 else ""
        )
        others = ranked[ranked["slot"] != sent["slot"]]
        yield f"    {_worth(open_slots[open_slots['slot'] == sent['slot']].iloc[0])}"
        if len(others):
            yield f"  runner-up {clock.at(int(others.iloc[0]['slot']))}: {_worth(others.iloc[0])}"
        return
    best = ranked.iloc[0]
    yield f"  not sent: {_reason(reason)}"
    yield f"    best slot {clock.at(int(best['slot']))}: {_worth(best)}"
    if best["net"] <= 0 < best["value"]:
        yield f"    it needs a value of {amount(best['value'] - best['net'])} there and has {amount(best['value'])}"


def _worth(row: pd.Series[Any]) -> str:
    price = row["value"] - row["net"]
    goals = "".join(f"{name} with p = {p:.3f}, " for name, p in _pairs(row.get("p_goals")))
    outs = f"opts out with p = {row['p_opt_out']:.4f}"
    text = f"opens with p = {row['p_open']:.3f}, {goals}{outs}, worth {amount(row['value'])}"
    return text + (f", {amount(row['net'])} after the prices of shared limits" if price else "")


def _pairs(goals: Any) -> list[tuple[str, float]]:
    """A map column as Arrow gives it: pairs, or nothing."""
    return list(goals) if isinstance(goals, list) else []


def _reason(reason: str | None) -> str:
    name, meaning = REASONS.get(reason or "", (reason or "unknown", ""))
    return f"{name.lower()}. {meaning}".strip()


class _Clock:
    """Slots as the person's wall clock reads them."""

    def __init__(self, day: date, zone: str | None, slot_minutes: int) -> None:
        self._start, self._zone, self._minutes = pd.Timestamp(day, tz="UTC"), zone, slot_minutes

    def at(self, slot: int) -> str:
        start = (self._start + pd.Timedelta(minutes=slot * self._minutes)).to_pydatetime()
        local = local_text(start, self._zone or "")
        return f"at {local[11:16]} local" if local else f"at {start:%H:%M} UTC"


def _last_date(data_root: str) -> date:
    dates = read_table(data_root, "certificate")["plan_date"]
    if dates.empty:
        raise InputNotReady("no night has been planned yet: run `sendopt night --plan-date D` first")
    return cast(date, max(dates))


def _of(data_root: str, name: str, day: date, user: str) -> pd.DataFrame:
    return read_table(data_root, name, day, user=user)


def _zone(data_root: str, user: str) -> str | None:
    rows = read_table(data_root, "users", user=user)
    return None if rows.empty or not rows["timezone"].iloc[0] else str(rows["timezone"].iloc[0])
