"""Find the rule of a user that one more send would break, for many sends at once (the kernel of `left_out`).

The rules are those of `sendopt.domain.rules.broken_rule`; tests compare the two. In kernels r are the rules, s the
sends of the past and the plan, i is a send of s, j is a cap, q is a send of `new`, the sends in question.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sendopt.allocation.prices.instance import ALL, CATEGORY, CHANNEL, ROLLING, WEEK
from sendopt.allocation.prices.user_rules import POINTS_TOLERANCE, period
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Flags, Floats, Ints

NOTHING, ALREADY_SENT, USER_CAP, MIN_GAP, FATIGUE = range(5)  # the rule that breaks


class Rules(NamedTuple):
    """K caps in the order of the settings, gap and fatigue."""

    scope: Ints  # (K,) ALL ... CAMPAIGN
    code: Ints  # (K,) code of the scope's channel, category or campaign; -1: no send has it
    period: Ints  # (K,) ROLLING, DAY, WEEK
    window: Floats  # (K,) minutes
    most: Ints  # (K,) sends in a window
    gap: float  # minutes; 0: none
    half_life: float  # minutes
    points: Floats  # (channels,) fatigue points of a send
    max_points: float  # inf: no fatigue budget


class Sends(NamedTuple):
    """Sends as columns; those of the past and of the plan are sorted by user and minute."""

    user: Ints
    minute: Floats
    channel: Ints
    category: Ints
    campaign: Ints
    day: Ints
    identity: Ints  # a user gets each identity at most once; -1: a past send
    planned: Flags


class Broken(NamedTuple):
    """The rule that each send in question breaks. All arrays have shape (Q,)."""

    kind: Ints  # NOTHING ... FATIGUE
    which: Ints  # the cap, or the nearest send
    used: Ints  # sends in the fullest window
    planned: Ints  # how many of these are of this plan
    points: Floats  # largest fatigue


@kernel()
def _counts(r: Rules, j: int, s: Sends, i: int) -> bool:
    """Return whether cap j counts send i."""
    scope = r.scope[j]
    if scope == ALL:
        return True
    if scope == CHANNEL:
        return bool(s.channel[i] == r.code[j])
    if scope == CATEGORY:
        return bool(s.category[i] == r.code[j])
    return bool(s.campaign[i] == r.code[j])


@kernel()
def _in_window(r: Rules, j: int, s: Sends, first: int, last: int, start: float) -> tuple[int, int]:
    """Return (sends, planned sends) that cap j counts in its window from minute `start` on."""
    count, planned = 0, 0
    for i in range(first, last):
        if start <= s.minute[i] < start + r.window[j] and _counts(r, j, s, i):
            count += 1
            planned += s.planned[i]
    return count, planned


@kernel()
def _fullest(r: Rules, j: int, s: Sends, first: int, last: int, new: Sends, q: int) -> tuple[int, int]:
    """Return (sends, planned sends) in the fullest window of cap j that would hold the new send.

    Of several such windows, the earliest counts.
    """
    if r.period[j] != ROLLING:
        week = r.period[j] == WEEK
        new_period = period(week, new.day[q])
        count, planned = 0, 0
        for i in range(first, last):
            if period(week, s.day[i]) == new_period and _counts(r, j, s, i):
                count += 1
                planned += s.planned[i]
        return count, planned
    most, of_plan = -1, 0
    minute = new.minute[q]
    for i in range(first, last):  # by minute
        if s.minute[i] <= minute < s.minute[i] + r.window[j] and _counts(r, j, s, i):
            count, planned = _in_window(r, j, s, first, last, s.minute[i])
            if count > most:
                most, of_plan = count, planned
    count, planned = _in_window(r, j, s, first, last, minute)
    return (count, planned) if count > most else (most, of_plan)


@kernel()
def _state(r: Rules, s: Sends, first: int, last: int, new: Sends, q: int, at: float) -> float:
    """Return the fatigue at minute `at` with the new send."""
    total = r.points[new.channel[q]] * 0.5 ** ((at - new.minute[q]) / r.half_life)
    for i in range(first, last):
        if s.minute[i] <= at:
            total += r.points[s.channel[i]] * 0.5 ** ((at - s.minute[i]) / r.half_life)
    return float(total)


@kernel()
def _nearest(s: Sends, first: int, last: int, minute: float) -> int:
    """Return the send nearest to `minute`; of equally near sends the earlier, then that of the lower campaign code."""
    near = first
    for i in range(first + 1, last):
        apart, least = abs(s.minute[i] - minute), abs(s.minute[near] - minute)
        if apart < least or (
            apart == least
            and (s.minute[i] < s.minute[near] or (s.minute[i] == s.minute[near] and s.campaign[i] < s.campaign[near]))
        ):
            near = i
    return near


@entry()
def ask(r: Rules, s: Sends, start: Ints, new: Sends, out: Broken) -> None:
    """Fill `out` for the sends `new`; the sends of user u in `s` are start[u]..start[u + 1] - 1."""
    for q in range(len(new.user)):
        first, last = start[new.user[q]], start[new.user[q] + 1]
        out.kind[q] = NOTHING
        for i in range(first, last):
            if s.planned[i] and s.identity[i] == new.identity[q]:
                out.kind[q] = ALREADY_SENT
        for j in range(len(r.most)):
            if out.kind[q] == NOTHING and _counts(r, j, new, q):
                count, planned = _fullest(r, j, s, first, last, new, q)
                if count >= r.most[j]:
                    out.kind[q], out.which[q], out.used[q], out.planned[q] = USER_CAP, j, count, planned
        if out.kind[q] == NOTHING and r.gap > 0.0 and first < last:
            near = _nearest(s, first, last, new.minute[q])
            if abs(s.minute[near] - new.minute[q]) < r.gap:
                out.kind[q], out.which[q], out.planned[q] = MIN_GAP, near, s.planned[near]
        if out.kind[q] == NOTHING and r.max_points < np.inf:
            points = _state(r, s, first, last, new, q, new.minute[q])
            for i in range(first, last):
                if s.minute[i] > new.minute[q]:
                    points = max(points, _state(r, s, first, last, new, q, s.minute[i]))
            if points > r.max_points + POINTS_TOLERANCE:
                out.kind[q], out.points[q] = FATIGUE, points
