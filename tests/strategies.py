"""Hypothesis strategies for small allocation problems in which every kind of rule may be on and may bind.

A failing problem shrinks to few users, messages, cells, past sends and rules. The sizes given to `problems` are the
greatest that a problem has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from allocation_worlds import Cell, Message, PastSend, problem
from hypothesis import strategies as st

from sendopt.allocation import Problem

CHANNELS, CATEGORIES, CAMPAIGNS = ("push", "sms"), ("news", "shop"), ("a", "b", "c")
FIRST_DAY = 100  # the local day of the plan's start
ZONE_MINUTES = 240  # between the zones of two users that follow each other
Section = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """The plan's slots: their number and the minutes of each."""

    n_slots: int
    slot_minutes: int

    @property
    def minutes(self) -> int:
        return self.n_slots * self.slot_minutes

    def local_day(self, user: int, minutes_after: float) -> int:
        return FIRST_DAY + int(minutes_after + ZONE_MINUTES * user) // 1440


@dataclass(frozen=True)
class Style:
    """The channel and category of a campaign."""

    channel: str
    category: str


def decimals(low: float, high: float, places: int = 3) -> st.SearchStrategy[float]:
    """Return a strategy of numbers from low to high with so many decimal places."""
    unit = 10**places
    return st.integers(round(low * unit), round(high * unit)).map(lambda units: units / unit)


def styles() -> st.SearchStrategy[dict[str, Style]]:
    """Return a strategy of the channel and category of each campaign."""
    style = st.builds(Style, channel=st.sampled_from(CHANNELS), category=st.sampled_from(CATEGORIES))
    return st.fixed_dictionaries(dict.fromkeys(CAMPAIGNS, style))


def caps(slot_minutes: int) -> st.SearchStrategy[dict[str, Section]]:
    """Return a strategy of caps over rolling windows and over calendar days and weeks, each of them on or off."""
    return st.fixed_dictionaries(
        {},
        optional={
            "day": st.integers(0, 3).map(lambda most: {"scope": "all", "window_minutes": 1440, "max": most}),
            "some": st.just({"scope": "channel:push", "window_minutes": 2 * slot_minutes + 30, "max": 1}),
            "kind": st.integers(1, 2).map(lambda most: {"scope": "category:news", "calendar": "day", "max": most}),
            "week": st.just({"scope": "campaign:a", "calendar": "week", "max": 1}),
        },
    )


def fatigue() -> st.SearchStrategy[Section]:
    """Return a strategy of the limit on a user's fatigue points."""
    return st.fixed_dictionaries(
        {
            "half_life_hours": st.sampled_from([6.0, 24.0]),
            "points_per_send": st.just({"push": 1.0, "sms": 0.6}),
            "max_points": decimals(0.9, 2.6, places=2),
        }
    )


def capacity() -> st.SearchStrategy[Section]:
    """Return a strategy of sends a slot: of push in every slot, of SMS in one slot."""
    of_one_slot = st.dictionaries(st.integers(0, 3), st.integers(0, 1), min_size=1, max_size=1)
    return st.fixed_dictionaries({"push": st.integers(0, 2), "sms": of_one_slot})


def campaign_bounds() -> st.SearchStrategy[dict[str, Section]]:
    """Return a strategy of the least and most sends of campaigns a and b; a shortfall of b has a price."""
    return st.fixed_dictionaries(
        {
            "a": st.fixed_dictionaries({"max_sends": st.integers(1, 3), "min_sends": st.integers(0, 1)}),
            "b": st.fixed_dictionaries({"min_sends": st.integers(0, 3), "shortfall_price": decimals(0, 1, places=2)}),
        }
    )


def limits(slot_minutes: int) -> st.SearchStrategy[Section]:
    """Return a strategy of limits: each section is on or off."""
    return st.fixed_dictionaries(
        {"caps": caps(slot_minutes)},
        optional={
            "min_gap_minutes": st.sampled_from([slot_minutes, slot_minutes + 1, 2 * slot_minutes]),
            "fatigue": fatigue(),
            "capacity": capacity(),
            "campaigns": campaign_bounds(),
            "opt_outs": st.fixed_dictionaries({"max_expected": decimals(0.05, 0.5)}),
            "cost": st.fixed_dictionaries({"max_total": st.integers(1, 5).map(float)}),
        },
    )


@st.composite
def messages(draw: st.DrawFn, users: int, per_user: int, style: dict[str, Style]) -> list[Message]:
    """Draw the candidates of each user as rows for `problem`; some exclude each other (group `season`)."""
    rows: list[Message] = []
    for user in range(users):
        for number in range(draw(st.integers(1, per_user))):
            campaign = draw(st.sampled_from(CAMPAIGNS))
            group = draw(st.sampled_from(["", "", "season"]))
            campaign_style = style[campaign]
            rows.append(
                Message(
                    f"u{user}",
                    f"m{user}{number}",
                    campaign,
                    campaign_style.channel,
                    campaign_style.category,
                    exclusive_group=group,
                )
            )
    return rows


@st.composite
def cells(draw: st.DrawFn, offered: list[Message], grid: Grid) -> list[Cell]:
    """Draw the slots of each message with value, opt-out probability and cost, as rows for `problem`."""
    rows: list[Cell] = []
    for number, message in enumerate(offered):
        user = int(message.user[1:])
        for slot in sorted(draw(st.sets(st.integers(0, grid.n_slots - 1), min_size=grid.n_slots // 2))):
            value, p_opt_out = draw(decimals(-0.1, 1.0)), draw(decimals(0.0, 0.2))
            cost = float(draw(st.integers(0, 2)))
            day = grid.local_day(user, slot * grid.slot_minutes)
            rows.append(Cell(number, slot, value, p_opt_out=p_opt_out, cost=cost, local_day=day))
    return rows


@st.composite
def past_sends(draw: st.DrawFn, users: int, style: dict[str, Style], grid: Grid) -> list[PastSend]:
    """Draw up to two sends a user, before the plan's start or committed after it, as rows for `problem`.

    Half of them fall on the start of a slot.
    """
    earliest = grid.minutes - grid.slot_minutes
    any_minute = st.integers(1 - grid.minutes, 4 * grid.slot_minutes - 1)
    slot_start = st.integers(-earliest // grid.slot_minutes, 3).map(lambda slots: slots * grid.slot_minutes)
    rows: list[PastSend] = []
    for user in range(users):
        for _ in range(draw(st.integers(0, 2))):
            campaign, before = draw(st.sampled_from(CAMPAIGNS)), float(draw(st.one_of(slot_start, any_minute)))
            campaign_style = style[campaign]
            day = grid.local_day(user, -before)
            rows.append(
                PastSend(
                    f"u{user}",
                    before,
                    campaign_style.channel,
                    campaign_style.category,
                    campaign,
                    day,
                    p_opt_out=0.05,
                    cost=1.0,
                )
            )
    return rows


@st.composite
def problems(draw: st.DrawFn, *, users: int = 3, per_user: int = 2, n_slots: int = 4) -> Problem:
    """Draw a problem of at most so many users and messages a user, and exactly so many slots."""
    grid = Grid(n_slots=n_slots, slot_minutes=draw(st.sampled_from([60, 120, 480])))
    style, n_users = draw(styles()), draw(st.integers(1, users))
    offered = draw(messages(n_users, per_user, style))
    return problem(
        offered,
        draw(cells(offered, grid)),
        draw(limits(grid.slot_minutes)),
        draw(past_sends(n_users, style, grid)),
        n_slots=grid.n_slots,
        slot_minutes=grid.slot_minutes,
    )


def plans(p: Problem) -> st.SearchStrategy[np.ndarray]:
    """Return a strategy of cells in ascending order: plans that keep the rules and plans that break them."""
    n_cells = len(p.cells.slot)
    picked = st.sets(st.integers(0, n_cells - 1)) if n_cells else st.just(set())
    return picked.map(lambda chosen: np.array(sorted(chosen), np.int64))
