"""The rules of ¶9a to ¶9d as the audit counts them. Plain loops, on purpose."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
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
