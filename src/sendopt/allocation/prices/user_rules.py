"""One user's rules (model ¶9a to ¶9d) for one send more, as kernels of the price engine.

In kernels: d instance, r its rules; u user, m message, c cell, h past send, j cap; n planned sends so far.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.prices.instance import ALL, CATEGORY, CHANNEL, DAY, ROLLING, Instance, Rules
from sendopt.compiled import entry, kernel

POINTS_TOLERANCE = 1e-9  # points of fatigue
_WEEK_OFFSET = 3  # 1970-01-01 was a Thursday


@kernel()
def counts(r: Rules, j: int, channel: int, category: int, campaign: int) -> bool:
    """Return whether cap j counts such a send."""
    scope = r.cap_scope[j]
    if scope == ALL:
        return True
    if scope == CHANNEL:
        return channel == r.cap_code[j]
    if scope == CATEGORY:
        return category == r.cap_code[j]
    return campaign == r.cap_code[j]


@kernel(inline="always")
def opt_out_of(d: Instance, c: int, m: int) -> float:
    """Return the expected opt-outs of cell c of message m."""
    return d.p_opt_out[c if d.opt_out_by_cell else m]


@kernel(inline="always")
def cost_of(d: Instance, c: int, m: int) -> float:
    """Return the cost of cell c of message m."""
    return d.cost[c if d.cost_by_cell else m]


@kernel()
def counts_message(d: Instance, j: int, m: int) -> bool:
    """Return whether cap j counts message m."""
    return counts(d.rules, j, d.channel[m], d.category[m], d.campaign[m])


@kernel()
def counts_past(d: Instance, j: int, h: int) -> bool:
    """Return whether cap j counts past send h."""
    return counts(d.rules, j, d.past_channel[h], d.past_category[h], d.past_campaign[h])


@kernel()
def period(week: bool, day: int) -> int:
    """Return the number of the calendar day, or of its week; `day` counts from 1970-01-01."""
    return (day + _WEEK_OFFSET) // 7 if week else day


@kernel()
def _decay(r: Rules, minutes: float) -> float:
    """Return the share of points left after `minutes`."""
    return 2.0 ** (-minutes / r.half_life)


@kernel()
def may_join(
    d: Instance, u: int, c: int, m: int, cells: NDArray[np.int64], messages: NDArray[np.int64], n: int
) -> bool:
    """Return whether caps and fatigue let cell c of message m join the user's n planned sends, none later."""
    return caps_allow(d, u, c, m, cells, messages, n) and _is_rested(d, u, c, m, cells, messages, n)


@kernel()
def caps_allow(
    d: Instance, u: int, c: int, m: int, cells: NDArray[np.int64], messages: NDArray[np.int64], n: int
) -> bool:
    """Return whether caps let the cell join: their part of `may_join`."""
    r = d.rules
    minute = float(d.slot[c]) * r.slot_minutes
    first, last = d.past_start[u], d.past_start[u + 1]
    for j in range(len(r.cap_max)):
        if not counts_message(d, j, m):
            continue
        count = 1
        if r.cap_period[j] == ROLLING:
            window = r.cap_window[j]
            later = False
            for i in range(n):
                if minute - float(d.slot[cells[i]]) * r.slot_minutes < window and counts_message(d, j, messages[i]):
                    count += 1
            for h in range(first, last):
                if d.past_minute[h] > minute:
                    later = True
                elif minute - d.past_minute[h] < window and counts_past(d, j, h):
                    count += 1
            if count > r.cap_max[j] or (later and crowded(d, u, j, minute, cells, messages, n)):
                return False
        elif full_period(d, u, c, j, cells, messages, n):
            return False
    return True


@kernel()
def full_period(
    d: Instance, u: int, c: int, j: int, cells: NDArray[np.int64], messages: NDArray[np.int64], n: int
) -> bool:
    """Return whether the calendar day or week of cap j holds too many with cell c beside the n planned sends."""
    week = d.rules.cap_period[j] != DAY
    wanted = period(week, d.local_day[c])
    count = 1
    for i in range(n):
        if period(week, d.local_day[cells[i]]) == wanted and counts_message(d, j, messages[i]):
            count += 1
    for h in range(d.past_start[u], d.past_start[u + 1]):
        if period(week, d.past_day[h]) == wanted and counts_past(d, j, h):
            count += 1
    return bool(count > d.rules.cap_max[j])


@kernel()
def _is_rested(
    d: Instance, u: int, c: int, m: int, cells: NDArray[np.int64], messages: NDArray[np.int64], n: int
) -> bool:
    """Return whether fatigue lets the cell join: its part of `may_join`."""
    r = d.rules
    if r.max_points == np.inf:
        return True
    minute = float(d.slot[c]) * r.slot_minutes
    if points_at(d, u, minute, minute, m, cells, messages, n) > r.max_points + POINTS_TOLERANCE:
        return False
    for h in range(d.past_start[u], d.past_start[u + 1]):
        at = d.past_minute[h]
        if at > minute and points_at(d, u, at, minute, m, cells, messages, n) > r.max_points + POINTS_TOLERANCE:
            return False
    return True


@kernel()
def crowded(
    d: Instance, u: int, j: int, minute: float, cells: NDArray[np.int64], messages: NDArray[np.int64], n: int
) -> bool:
    """Return whether a window of cap j that holds `minute` holds too many; it starts at a send, perhaps a later one."""
    r = d.rules
    first, last = d.past_start[u], d.past_start[u + 1]
    for s in range(n + 1 + last - first):
        if s < n:
            start = float(d.slot[cells[s]]) * r.slot_minutes
        elif s == n:
            start = minute
        else:
            start = d.past_minute[first + s - n - 1]
        end = start + r.cap_window[j]
        if start > minute or minute >= end:
            continue
        count = 1
        for i in range(n):
            at = float(d.slot[cells[i]]) * r.slot_minutes
            if start <= at < end and counts_message(d, j, messages[i]):
                count += 1
        for h in range(first, last):
            if start <= d.past_minute[h] < end and counts_past(d, j, h):
                count += 1
        if count > r.cap_max[j]:
            return True
    return False


@kernel()
def points_at(
    d: Instance, u: int, at: float, minute: float, m: int, cells: NDArray[np.int64], messages: NDArray[np.int64], n: int
) -> float:
    """Return fatigue at minute `at` if message m is sent at `minute`; of the n planned sends those up to `at`."""
    r = d.rules
    total = d.fatigue[u] * _decay(r, at) + r.points[d.channel[m]] * _decay(r, at - minute)
    for i in range(n):
        sent = float(d.slot[cells[i]]) * r.slot_minutes
        if sent <= at:
            total += r.points[d.channel[messages[i]]] * _decay(r, at - sent)
    for h in range(d.past_start[u], d.past_start[u + 1]):
        if 0.0 <= d.past_minute[h] <= at:
            total += r.points[d.past_channel[h]] * _decay(r, at - d.past_minute[h])
    return total


@entry()
def strike_out(d: Instance, everyone: bool, none: NDArray[np.int64]) -> None:
    """Set the value of cells that the past, or a limit below one send, forbids alone to -inf; `none` is any array."""
    r = d.rules
    for u in range(len(d.most)):
        first, last = d.past_start[u], d.past_start[u + 1]
        if first == last and not everyone:
            continue
        for m in range(d.message_start[u], d.message_start[u + 1]):
            for c in range(d.cell_start[m], d.cell_start[m + 1]):
                if d.value[c] == -np.inf:
                    continue
                minute = float(d.slot[c]) * r.slot_minutes
                for h in range(first, last):
                    if abs(minute - d.past_minute[h]) < r.gap_minutes:
                        d.value[c] = -np.inf
                if d.value[c] > 0.0 and not may_join(d, u, c, m, none, none, 0):
                    d.value[c] = -np.inf
