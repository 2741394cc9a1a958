"""The rules of ¶9 as the audit counts them: windows per user, rows across users. Plain loops, on purpose."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sendopt.allocation.problem import Problem
from sendopt.domain.limits import Cap, Fatigue, Limits

POINTS_TOLERANCE = 1e-6  # points; above a solver's feasibility tolerance


class Send(NamedTuple):
    """One send of one user, planned now or made or committed before."""

    minute: float  # after plan start; negative: before it
    channel: str
    category: str
    campaign: str
    local_day: int
    planned: bool


def planned_send(problem: Problem, cell: int) -> Send:
    cells, messages = problem.cells, problem.messages
    m = cells.message[cell]
    minute = float(cells.slot[cell] * problem.slot_minutes)
    return Send(
        minute, messages.channel[m], messages.category[m], messages.campaign[m], int(cells.local_day[cell]), True
    )


def past_sends(problem: Problem) -> dict[int, list[Send]]:
    """History and committed sends by user index."""
    h = problem.history
    sends: dict[int, list[Send]] = defaultdict(list)
    for i in range(len(h.user)):
        sends[int(h.user[i])].append(
            Send(-float(h.minutes_before[i]), h.channel[i], h.category[i], h.campaign[i], int(h.local_day[i]), False)
        )
    return sends


def broken_user_rules(limits: Limits, sends: Sequence[Send]) -> list[str]:
    """Names of the rules that one user's sends break; a window counts only if it holds a planned send."""
    broken = [f"caps.{name}" for name, cap in limits.caps.items() if _cap_broken(cap, sends)]
    if limits.min_gap_minutes and _crowded(sends, limits.min_gap_minutes, 1):
        broken.append("min_gap_minutes")
    if limits.fatigue is not None and _too_tired(limits.fatigue, sends):
        broken.append("fatigue")
    return broken


def _cap_broken(cap: Cap, sends: Sequence[Send]) -> bool:
    counted = [s for s in sends if in_scope(cap.scope, s)]
    if cap.window_minutes is not None:
        return _crowded(counted, cap.window_minutes, cap.max)
    periods: dict[int, list[Send]] = defaultdict(list)
    for s in counted:
        periods[s.local_day if cap.calendar == "day" else iso_week(s.local_day)].append(s)
    return any(len(group) > cap.max and any(s.planned for s in group) for group in periods.values())


def _crowded(sends: Sequence[Send], window: int, most: int) -> bool:
    """Does a half-open window that holds a planned send hold more than `most`? Windows that start at a send suffice."""
    planned = [s.minute for s in sends if s.planned]
    if not planned:
        return False
    first, last = min(planned) - window, max(planned) + window
    near = [s.minute for s in sends if first < s.minute < last]  # no other shares a window with a planned one
    starts = {minute for minute in near if any(minute <= p < minute + window for p in planned)}
    return any(sum(start <= minute < start + window for minute in near) > most for start in starts)


def _too_tired(fatigue: Fatigue, sends: Sequence[Send]) -> bool:
    """Is the state over the limit after a planned send, or after a committed send that follows one (¶9d)?"""
    planned = [s.minute for s in sends if s.planned]
    if not planned:
        return False
    moments = {s.minute for s in sends if s.planned or s.minute >= max(0.0, min(planned))}
    return any(fatigue_state(fatigue, sends, t) > fatigue.max_points + POINTS_TOLERANCE for t in moments)


def fatigue_state(fatigue: Fatigue, sends: Sequence[Send], minute: float) -> float:
    half_life = fatigue.half_life_hours * 60
    return math.fsum(
        fatigue.points_per_send.get(s.channel, 0.0) * 2.0 ** ((s.minute - minute) / half_life)
        for s in sends
        if s.minute <= minute
    )


def in_scope(scope: str, send: Send) -> bool:
    kind, _, name = scope.partition(":")
    return kind == "all" or name == {"channel": send.channel, "category": send.category}.get(kind, send.campaign)


def iso_week(local_day: int) -> int:
    """A number for the ISO week (Monday to Sunday) of a day counted from Thursday 1970-01-01."""
    return (local_day + 3) // 7


@dataclass
class Row:
    """A limit across users and what uses it. `price` is the most that its shadow price may be."""

    limit: float
    price: float = math.inf
    committed: float = 0.0
    planned: float = 0.0

    @property
    def used(self) -> float:
        return self.committed + self.planned


@dataclass
class Ledger:
    """Rows by name as in `Price.row`, minimums by campaign."""

    maximums: dict[str, Row] = field(default_factory=dict)
    minimums: dict[str, Row] = field(default_factory=dict)


def ledger(problem: Problem, rows: Sequence[int]) -> Ledger:
    """Every row of ¶9e to ¶9h with its use by committed sends and by the planned cells `rows`."""
    book = _empty_ledger(problem)
    h, cells, messages = problem.history, problem.cells, problem.messages
    for i in range(len(h.user)):
        if h.minutes_before[i] <= 0:
            slot = int(-h.minutes_before[i] // problem.slot_minutes)
            for row, use in uses(book, h.channel[i], slot, h.campaign[i], h.p_opt_out[i], h.cost[i]):
                row.committed += use
    for c in rows:
        m = cells.message[c]
        for row, use in uses(
            book, messages.channel[m], int(cells.slot[c]), messages.campaign[m], cells.p_opt_out[c], cells.cost[c]
        ):
            row.planned += use
    return book


def uses(
    book: Ledger, channel: str, slot: int, campaign: str, p_opt_out: float, cost: float
) -> list[tuple[Row, float]]:
    """The rows that one send uses, and how much of each."""
    found = [
        (book.maximums.get(f"capacity:{channel}:{slot}"), 1.0),
        (book.maximums.get(f"campaign_max:{campaign}"), 1.0),
        (book.minimums.get(campaign), 1.0),
        (book.maximums.get("opt_outs"), float(p_opt_out)),
        (book.maximums.get("cost"), float(cost)),
    ]
    return [(row, use) for row, use in found if row is not None]


def _empty_ledger(problem: Problem) -> Ledger:
    limits, book = problem.limits, Ledger()
    for channel, capacity in limits.capacity.items():
        for slot in range(problem.n_slots):
            most = capacity.get(slot) if isinstance(capacity, dict) else capacity
            if most is not None:
                book.maximums[f"capacity:{channel}:{slot}"] = Row(most)
    for name, campaign in limits.campaigns.items():
        if campaign.max_sends is not None:
            book.maximums[f"campaign_max:{name}"] = Row(campaign.max_sends)
        if campaign.min_sends > 0:
            price = campaign.shortfall_price
            book.minimums[name] = Row(campaign.min_sends, _largest_value(problem, name) if price is None else price)
    if limits.opt_outs is not None:
        book.maximums["opt_outs"] = Row(limits.opt_outs.max_expected)
    if limits.cost is not None:
        book.maximums["cost"] = Row(limits.cost.max_total)
    return book


def _largest_value(problem: Problem, campaign: str) -> float:
    """The default shortfall price: the largest value among the campaign's candidate cells, at least 0 (¶9f)."""
    cells, names = problem.cells, problem.messages.campaign
    values = (float(v) for m, v in zip(cells.message, cells.value, strict=True) if names[m] == campaign)
    return max(0.0, max(values, default=0.0))
