"""Small random allocation problems in which every rule may be on, may bind, and may meet an odd number.

Tiers, exclusive groups, calendar and rolling caps, the gap, fatigue, history and committed sends (at minute 0 and
exactly a gap from a slot too), soft minimums, capacity, opt-out and cost budgets; values and uses that are zero,
negative, equal, tiny or huge. An instance is a function of its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation import Cells, History, Messages, Problem
from sendopt.domain.limits import Limits

CHANNELS, CATEGORIES, CAMPAIGNS = ("push", "sms", "mail"), ("news", "shop"), ("c0", "c1", "c2", "c3")
FIRST_DAY = 20_000  # days since 1970-01-01
_SEED = 13


@dataclass(frozen=True)
class _Dice:
    draw: np.random.Generator

    def chance(self, share: float) -> bool:
        return bool(self.draw.random() < share)

    def whole(self, low: int, high: int) -> int:
        """low <= number <= high"""
        return int(self.draw.integers(low, high + 1))

    def real(self, low: float, high: float, decimals: int = 3) -> float:
        return round(float(self.draw.uniform(low, high)), decimals)

    def one_of(self, *options: Any) -> Any:
        return options[int(self.draw.integers(len(options)))]


@dataclass(frozen=True)
class _Grid:
    slot_minutes: int
    n_slots: int
    gap: int  # minutes; 0 is none

    @property
    def horizon(self) -> int:
        return self.slot_minutes * self.n_slots


def instance(number: int) -> Problem:
    """Instance `number` of an endless list: 2 to 40 users, 1 to 5 messages each, 3 to 14 slots."""
    dice = _Dice(np.random.default_rng([_SEED, number]))
    grid = _grid(dice)
    style = {name: (dice.one_of(*CHANNELS), dice.one_of(*CATEGORIES)) for name in CAMPAIGNS}
    users = dice.one_of(2, 3, 4, 5, 6, 8, 12, 20, 40)
    zone = [dice.one_of(0, 0, -480, 120, 540) for _ in range(users)]  # minutes that a user's clock is ahead
    messages = _messages(dice, users, style)
    cells = _cells(dice, grid, messages, zone)
    history = _history(dice, grid, style, zone)
    limits = _limits(dice, grid, messages, cells)
    return _problem(grid, users, messages, cells, history, limits)


def _grid(dice: _Dice) -> _Grid:
    slot = dice.one_of(15, 30, 60, 60, 120, 240)
    gap = dice.one_of(0, slot, 2 * slot, 3 * slot, 2 * slot + 1, max(1, slot - 1), slot // 2)
    return _Grid(slot, dice.whole(3, 14), gap if dice.chance(0.7) else 0)


def _messages(dice: _Dice, users: int, style: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    tiers, grouped, most = dice.one_of(1, 1, 2, 2, 3), dice.chance(0.4), dice.whole(1, 5 if users <= 8 else 3)
    rows = []
    for user in range(users):
        for k in range(dice.whole(0 if dice.chance(0.1) else 1, most)):
            campaign = dice.one_of(*CAMPAIGNS)
            channel, category = style[campaign]
            rows.append(
                {
                    "user": user,
                    "message_id": f"m{k}",
                    "campaign": campaign,
                    "channel": channel,
                    "category": category,
                    "tier": dice.whole(1, tiers) * dice.one_of(1, 1, 2),
                    "exclusive_group": dice.one_of("g", "h", "", "") if grouped else "",
                }
            )
    return rows


def _cells(dice: _Dice, grid: _Grid, messages: list[dict[str, Any]], zone: list[int]) -> list[dict[str, Any]]:
    style = dice.one_of(*_VALUES)
    of_opt_outs = dice.one_of("none", "by user", "by cell", "odd")
    of_cost = dice.one_of("none", "by channel", "by cell", "odd")
    density = dice.one_of(0.3, 0.6, 1.0)
    rows = []
    for m, message in enumerate(messages):
        slots = [s for s in range(grid.n_slots) if dice.chance(density)] or [dice.whole(0, grid.n_slots - 1)]
        for slot in slots:
            day = FIRST_DAY + (slot * grid.slot_minutes + zone[message["user"]]) // 1440
            rows.append(
                {
                    "message": m,
                    "slot": slot,
                    "value": _value(dice, style),
                    "p_opt_out": _opt_out(dice, of_opt_outs, message["user"]),
                    "cost": _cost(dice, of_cost, message["channel"]),
                    "local_day": day,
                }
            )
    return rows


def _value(dice: _Dice, style: str) -> float:
    match style:
        case "equal":
            return 0.25
        case "whole":
            return float(dice.whole(-1, 3))
        case "tiny":
            return dice.real(0.0, 1.0) * 1e-7
        case "huge":
            return dice.real(-0.2, 1.0) * 1e6
        case "any size":
            return float(10.0 ** dice.draw.uniform(-4, 3))
        case "worthless":
            return float(dice.one_of(0.0, -1.0, dice.real(0.0, 1.0)))
        case "nearly equal":
            return float(dice.one_of(0.5, 0.5, 0.5 + 1e-9, 1.0))
    return dice.real(-0.1, 1.0)


_VALUES = ("plain", "plain", "equal", "whole", "tiny", "huge", "any size", "worthless", "nearly equal")


def _opt_out(dice: _Dice, style: str, user: int) -> float:
    match style:
        case "by user":
            return round(0.01 + 0.003 * (user % 7), 4)
        case "by cell":
            return dice.real(0.0, 0.2)
        case "odd":
            return float(dice.one_of(0.0, 1e-7, 1.0))
    return 0.0


def _cost(dice: _Dice, style: str, channel: str) -> float:
    match style:
        case "by channel":
            return {"push": 0.0, "sms": 1.0, "mail": 0.1}[channel]
        case "by cell":
            return dice.real(0.0, 3.0)
        case "odd":
            return float(dice.one_of(0.0, 1e-6, 1e5))
    return 0.0


def _history(dice: _Dice, grid: _Grid, style: dict[str, tuple[str, str]], zone: list[int]) -> list[dict[str, Any]]:
    most = dice.one_of(0, 1, 2, 4)
    rows = []
    for user, ahead in enumerate(zone):
        for _ in range(dice.whole(0, most)):
            campaign = dice.one_of(*CAMPAIGNS)
            minute = _minute(dice, grid)
            rows.append(
                {
                    "user": user,
                    "campaign": campaign,
                    "channel": style[campaign][0],
                    "category": style[campaign][1],
                    "minutes_before": -minute,
                    "local_day": FIRST_DAY + int((minute + ahead) // 1440),
                    "p_opt_out": dice.real(0.0, 0.1),
                    "cost": dice.real(0.0, 1.0),
                }
            )
    return rows


def _minute(dice: _Dice, grid: _Grid) -> float:
    """When a send of the past or a committed one is made, after the plan's start."""
    slot = float(grid.slot_minutes * dice.whole(0, grid.n_slots - 1))
    minute = dice.one_of(
        0.0,
        slot,
        slot - grid.gap,
        slot + grid.gap,
        slot - grid.gap + 1,
        float(dice.whole(-2 * 1440, -1)),
        float(dice.whole(-6 * grid.slot_minutes, grid.horizon - 1)),
        dice.real(-grid.slot_minutes, grid.horizon - 1, 1),
    )
    return min(minute, grid.horizon - 1.0)


def _limits(dice: _Dice, grid: _Grid, messages: list[dict[str, Any]], cells: list[dict[str, Any]]) -> dict[str, Any]:
    sends = max(1, len(messages))
    found: dict[str, Any] = {"min_gap_minutes": grid.gap, "caps": _caps(dice, grid)}
    if dice.chance(0.4):
        points = {"push": 1.0, "sms": dice.one_of(0.6, 1.0, 2.0), "mail": 0.0}
        found["fatigue"] = {
            "half_life_hours": dice.one_of(6.0, 12.0, 72.0),
            "points_per_send": {name: p for name, p in points.items() if dice.chance(0.8)},
            "max_points": dice.one_of(1.0, 2.0, dice.real(0.5, 4.0, 2)),
        }
    if dice.chance(0.6):
        most = max(1, sends // grid.n_slots)
        by_slot = {s: dice.whole(0, most + 1) for s in range(grid.n_slots) if dice.chance(0.4)}
        found["capacity"] = {
            name: dice.one_of(dice.whole(0, most), dice.whole(1, most + 2), by_slot)
            for name in CHANNELS
            if dice.chance(0.6)
        }
    if dice.chance(0.6):
        found["campaigns"] = {name: _campaign(dice, sends) for name in CAMPAIGNS if dice.chance(0.6)}
    share = dice.one_of(0.0, 0.1, 0.3, 0.6)
    if dice.chance(0.4):
        found["opt_outs"] = {"max_expected": round(share * _total(cells, "p_opt_out", sends), 3)}
    if dice.chance(0.4):
        found["cost"] = {"max_total": round(share * _total(cells, "cost", sends), 3)}
    return found


def _total(cells: list[dict[str, Any]], name: str, sends: int) -> float:
    """What as many sends as there are messages would use on average."""
    return float(np.mean([cell[name] for cell in cells]) * sends) if cells else 0.0


def _caps(dice: _Dice, grid: _Grid) -> dict[str, Any]:
    slot = grid.slot_minutes
    scopes = ("all", "all", "channel:push", "category:news", "campaign:c0", "campaign:c9")
    caps = {}
    for i in range(dice.whole(0, 3)):
        window = dice.one_of(slot, slot + 1, 2 * slot, 3 * slot - 1, grid.horizon, 1440, 7 * 1440)
        kind = {"window_minutes": window} if dice.chance(0.6) else {"calendar": dice.one_of("day", "week")}
        caps[f"cap{i}"] = {"scope": dice.one_of(*scopes), "max": dice.one_of(0, 1, 1, 2, 2, 3), **kind}
    one_each: dict[tuple[Any, ...], dict[str, Any]] = {}  # two of one scope and window would contradict each other
    for cap in caps.values():
        one_each.setdefault((cap["scope"], cap.get("window_minutes"), cap.get("calendar")), cap)
    return {f"cap{i}": cap for i, cap in enumerate(one_each.values())}


def _campaign(dice: _Dice, sends: int) -> dict[str, Any]:
    most = dice.one_of(None, dice.whole(0, 3), dice.whole(1, max(2, sends // 3)))
    least = dice.one_of(0, 0, dice.whole(1, 3), max(1, sends // 4))
    price = dice.one_of(None, 0.0, 0.3, dice.real(0.0, 2.0), 50.0)
    found: dict[str, Any] = {"min_sends": least if most is None else min(least, most)}
    found |= {} if most is None else {"max_sends": most}
    return found | ({} if price is None else {"shortfall_price": price})


def _problem(
    grid: _Grid,
    users: int,
    messages: list[dict[str, Any]],
    cells: list[dict[str, Any]],
    history: list[dict[str, Any]],
    limits: dict[str, Any],
) -> Problem:
    def whole(rows: list[dict[str, Any]], name: str) -> NDArray[np.int64]:
        return np.array([row[name] for row in rows], np.int64)

    def real(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows], np.float64)

    def text(rows: list[dict[str, Any]], name: str) -> NDArray[np.object_]:
        return np.array([row[name] for row in rows], object)

    return Problem(
        slot_minutes=grid.slot_minutes,
        n_slots=grid.n_slots,
        users=np.array([f"u{i:03d}" for i in range(users)], object),
        messages=Messages(
            user=whole(messages, "user"),
            tier=whole(messages, "tier"),
            **{n: text(messages, n) for n in ("message_id", "campaign", "channel", "category", "exclusive_group")},
        ),
        cells=Cells(
            **{name: whole(cells, name) for name in ("message", "slot", "local_day")},
            **{name: real(cells, name) for name in ("value", "p_opt_out", "cost")},
        ),
        limits=Limits.model_validate(limits),
        history=History(
            **{name: whole(history, name) for name in ("user", "local_day")},
            **{name: real(history, name) for name in ("minutes_before", "p_opt_out", "cost")},
            **{name: text(history, name) for name in ("campaign", "channel", "category")},
        ),
    )
