"""The rules of one user, checked one send at a time (model ¶9a to ¶9d): for uniform draws, filling and explanations.

The audit counts every window of a finished plan. These functions look only at windows that hold the new send. That is
enough because the sends so far keep the rules, or break them without a planned send.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import NamedTuple

from sendopt.domain.limits import Cap, Fatigue, Limits

Reason = str  # code of `sendopt.domain.reasons`: already_sent | user_cap | min_gap | fatigue

_POINTS_TOLERANCE = 1e-9  # rounding of sums of decayed points


class Send(NamedTuple):
    """A send to one user: made, committed inside the horizon, or planned now."""

    minute: float  # after plan start; negative: before it
    channel: str
    category: str
    campaign: str
    local_day: int  # user's calendar day, days since 1970-01-01
    planned: bool
    message_id: str = ""  # of planned sends; "" is never compared


class Broken(NamedTuple):
    """The rule that a send would break: a reason code, and the cap's name in the settings ("" for the other rules)."""

    reason: Reason
    cap: str = ""


def first_broken(limits: Limits, sends: Sequence[Send], new_send: Send) -> Reason | None:
    """Return the reason why `new_send` may not join `sends` (history, committed and planned), or None if it may."""
    broken = broken_rule(limits, sends, new_send)
    return None if broken is None else broken.reason


def broken_rule(limits: Limits, sends: Sequence[Send], new_send: Send) -> Broken | None:
    """Return the first rule that `new_send` would break among `sends` (history, committed and planned), or None.

    `sends` may come in any order and must keep the rules without `new_send`. Rules are checked in the order
    already_sent, user_cap (caps in the order of the settings), min_gap, fatigue. Windows are half open (¶9).

    >>> limits = Limits(caps={"day": Cap(window_minutes=1440, max=1)})
    >>> morning = Send(540, "push", "news", "digest", 20_000, planned=True)
    >>> broken_rule(limits, [morning], morning._replace(minute=1200))
    Broken(reason='user_cap', cap='day')
    >>> broken_rule(limits, [morning], morning._replace(minute=540 + 1440)) is None
    True
    """
    if new_send.message_id and any(s.planned and s.message_id == new_send.message_id for s in sends):
        return Broken("already_sent")
    for name, cap in limits.caps.items():
        if _cap_broken(cap, sends, new_send):
            return Broken("user_cap", name)
    if limits.min_gap_minutes and _window_full([s.minute for s in sends], new_send.minute, limits.min_gap_minutes, 1):
        return Broken("min_gap")
    if limits.fatigue is not None and _tired(limits.fatigue, sends, new_send):
        return Broken("fatigue")
    return None


def detail(limits: Limits, sends: Sequence[Send], new_send: Send, broken: Broken) -> dict[str, object]:
    """Return the facts of the broken rule, ready for JSON; times are minutes after plan start.

    user_cap: rule (`cap:NAME`), scope, window_minutes or calendar, used (sends in the fullest window that would hold
    the new one), limit, planned (how many of them this plan sends).
    min_gap: rule, minutes (the gap), to_campaign, to_minute and planned of the nearest send.
    fatigue: rule, points (with the new send, at the worst moment), limit. already_sent: nothing.
    """
    if broken.reason == "user_cap":
        cap = limits.caps[broken.cap]
        inside = _fullest_window(cap, [s for s in sends if counts(cap.scope, s)], new_send)
        planned = sum(s.planned for s in inside)
        window = {"window_minutes": cap.window_minutes} if cap.window_minutes else {"calendar": cap.calendar}
        named = {"rule": f"cap:{broken.cap}", "scope": cap.scope, **window}
        return {**named, "used": len(inside), "limit": cap.max, "planned": planned}
    if broken.reason == "min_gap":
        near = min(sends, key=lambda s: (abs(s.minute - new_send.minute), s.minute, s.campaign))
        to = {"to_campaign": near.campaign, "to_minute": near.minute, "planned": near.planned}
        return {"rule": "min_gap", "minutes": limits.min_gap_minutes, **to}
    if broken.reason == "fatigue" and limits.fatigue is not None:
        points = _most_points(limits.fatigue, sends, new_send)
        return {"rule": "fatigue", "points": points, "limit": limits.fatigue.max_points}
    return {}


def counts(scope: str, send: Send) -> bool:
    """Return whether a cap of this scope counts the send."""
    kind, _, name = scope.partition(":")
    if kind == "all":
        return True
    if kind == "channel":
        return send.channel == name
    if kind == "category":
        return send.category == name
    return send.campaign == name


def _cap_broken(cap: Cap, sends: Sequence[Send], new_send: Send) -> bool:
    if not counts(cap.scope, new_send):
        return False
    if cap.window_minutes is not None:
        minutes = [s.minute for s in sends if counts(cap.scope, s)]
        return _window_full(minutes, new_send.minute, cap.window_minutes, cap.max)
    period = _period(cap, new_send)
    return sum(counts(cap.scope, s) and _period(cap, s) == period for s in sends) >= cap.max


def _period(cap: Cap, send: Send) -> int:
    # 1970-01-01 was a Thursday: three days later the ISO week's number goes up by one
    return send.local_day if cap.calendar == "day" else (send.local_day + 3) // 7


def _window_full(minutes: list[float], new: float, window: int, most: int) -> bool:
    """Return whether a half-open window of `window` minutes around `new` would hold more than `most` sends.

    In order of time, `most` + 1 consecutive sends with less than a window between first and last are too many.
    """
    near = sorted(m for m in minutes if m < new + window and new < m + window)
    at = bisect_right(near, new)
    insort(near, new)
    return any(near[i + most] < near[i] + window for i in range(max(0, at - most), min(at, len(near) - 1 - most) + 1))


def _fullest_window(cap: Cap, counted: Sequence[Send], new_send: Send) -> list[Send]:
    """Return the counted sends in the fullest window or period that would hold the new send."""
    if cap.window_minutes is None:
        return [s for s in counted if _period(cap, s) == _period(cap, new_send)]
    starts = {s.minute for s in (*counted, new_send) if s.minute <= new_send.minute < s.minute + cap.window_minutes}
    windows = [[s for s in counted if at <= s.minute < at + cap.window_minutes] for at in sorted(starts)]
    return max(windows, key=len)


def _tired(fatigue: Fatigue, sends: Sequence[Send], new_send: Send) -> bool:
    """Return whether the points exceed the limit after the new send, or after any later send."""
    later = {s.minute for s in sends if s.minute > new_send.minute}
    all_sends = [*sends, new_send]
    return any(
        _state(fatigue, all_sends, minute) > fatigue.max_points + _POINTS_TOLERANCE
        for minute in (new_send.minute, *later)
    )


def _most_points(fatigue: Fatigue, sends: Sequence[Send], new_send: Send) -> float:
    all_sends = [*sends, new_send]
    return max(_state(fatigue, all_sends, s.minute) for s in all_sends if s.minute >= new_send.minute)


def _state(fatigue: Fatigue, sends: Sequence[Send], minute: float) -> float:
    """Return the fatigue points at a minute, a send of that minute included."""
    half_life = fatigue.half_life_hours * 60.0
    points = fatigue.points_per_send
    return sum(
        points.get(s.channel, 0.0) * math.pow(0.5, (minute - s.minute) / half_life) for s in sends if s.minute <= minute
    )
