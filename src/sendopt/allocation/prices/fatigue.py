"""A relaxation of one user's best response that knows fatigue in levels (model ¶11).

Dynamic programming over the user's cells in time order, with the level of fatigue as its state. It prices the rule that
a message is sent once, instead of keeping it: each identity has a rent >= 0 that its sends pay and that all plans get
back once (Lagrangian relaxation). Rents come from Polyak's subgradient steps; they are kept for the user's next answer.

In kernels: d instance, u user, w working memory; i item, g group of items, k identity or channel, m message.
"""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.scratch import LEAST, Scratch
from sendopt.compiled import kernel

NO_STEP = -(1 << 30)  # the step of no fatigue


@kernel()
def step_of(d: Instance, points: float, slot: int) -> int:
    """Return the step of `points` just after a send in `slot`."""
    if d.rules.levels == 1 or points <= 0.0:
        return NO_STEP
    at = np.log2(points) + slot * d.rules.slot_minutes / d.rules.half_life
    return int(np.floor((at - d.rules.first_level) / d.rules.level_width))


@kernel(inline="always")
def level_in(d: Instance, step: int, slot: int) -> int:
    """Return the level of `step` in `slot`."""
    level = step - d.rules.level_base[slot] + 1
    return min(max(level, 0), d.rules.levels - 1)


@kernel()
def identities_of(d: Instance, u: int) -> int:
    """Return the number of the user's identities."""
    count = 0
    for m in range(d.message_start[u], d.message_start[u + 1]):
        count = max(count, d.identity[m] + 1)
    return count


@kernel()
def tighten(d: Instance, u: int, w: Scratch, groups: int, most: int, known: float, turns: int) -> tuple[int, float]:
    """Return (high, bound), with `w.tired` filled at the best rents of `turns` subgradient steps.

    `known` is the worth of a plan, or 0. `high` is how many numbers of sends left the table tells apart: 1 where the
    number does not bind.
    """
    start, count = d.message_start[u], identities_of(d, u)
    high = most + 1 if most < count else 1
    best, share, filled = np.inf, 1.0, False
    for k in range(count):
        w.rent[k] = d.rent[start + k]
    for _ in range(turns):
        total = _fill(d, u, w, groups, high)
        filled = total < best
        if filled:
            best = total
            for k in range(count):
                d.rent[start + k] = w.rent[k]
        else:
            share *= 0.5
        length = _count(d, u, w, groups, high, count)
        norm = 0.0
        for k in range(count):
            slope = float(w.times[k] - 1)
            if slope > 0.0 or w.rent[k] > 0.0:
                norm += slope * slope
        if length == 0 or norm == 0.0 or total <= known + LEAST or share < 0.1:
            break
        move = share * (total - max(known, 0.9 * total)) / norm
        for k in range(count):
            w.rent[k] = max(0.0, w.rent[k] + move * (w.times[k] - 1))
    if not filled:
        for k in range(count):
            w.rent[k] = d.rent[start + k]
        _fill(d, u, w, groups, high)
    return high, best


@kernel()
def _fill(d: Instance, u: int, w: Scratch, groups: int, high: int) -> float:
    """Return a bound on what the user can earn: the sum of rents, and the most that groups earn after them.

    tired[(g * levels + level) * high + left] is the most that groups g, g + 1, ... earn after rents.
    pick[g * channels + channel] is the group's item worth most after rents, -1 where there is none.
    """
    levels, channels, base = d.rules.levels, len(d.rules.points), d.rules.level_base
    width = high * levels
    for x in range(width):
        w.tired[groups * width + x] = 0.0
    for g in range(groups - 1, -1, -1):
        slot, then = w.slot[w.first[g]], w.after[g]
        row, later = g * width, then * width
        skipped = base[w.slot[w.first[g + 1]]] - base[slot] if g + 1 < groups else 0
        shift = base[w.slot[w.first[then]]] - base[slot] if then < groups else 0
        for level in range(levels):
            skip = (g + 1) * width + max(level - skipped, 0) * high
            for left in range(high):
                w.tired[row + level * high + left] = w.tired[skip + left]
        _pick_items(d, w, g)
        for k in range(channels):
            if w.pick[g * channels + k] < 0:
                continue
            worth, moves = w.net[g * channels + k], (slot * channels + k) * levels
            for level in range(levels):
                to = d.rules.next_level[moves + level]
                if to < 0:
                    break  # higher levels are forbidden too
                source, target = row + level * high, later + max(to - shift, 0) * high
                if high == 1:
                    w.tired[source] = max(w.tired[source], worth + w.tired[target])
                for left in range(1, high):
                    w.tired[source + left] = max(w.tired[source + left], worth + w.tired[target + left - 1])
    total = 0.0
    for k in range(identities_of(d, u)):
        total += w.rent[k]
    if groups == 0:
        return total
    return total + w.tired[_first_level(d, u, w) * high + high - 1]


@kernel()
def _pick_items(d: Instance, w: Scratch, g: int) -> None:
    """Fill w.pick and w.net of group g: the item of each channel worth most after its rent."""
    channels = len(d.rules.points)
    for k in range(channels):
        w.pick[g * channels + k] = -1
    for i in range(w.first[g], w.first[g + 1]):
        worth = w.worth[i] - w.rent[d.identity[w.message[i]]]
        at = g * channels + d.channel[w.message[i]]
        if worth > 0.0 and (w.pick[at] < 0 or worth > w.net[at]):
            w.pick[at], w.net[at] = i, worth


@kernel()
def _first_level(d: Instance, u: int, w: Scratch) -> int:
    """Return the user's level of fatigue in the slot of the first group."""
    return level_in(d, step_of(d, d.fatigue[u], 0), w.slot[w.first[0]])


@kernel()
def _count(d: Instance, u: int, w: Scratch, groups: int, high: int, count: int) -> int:
    """Return the number of sends of the relaxation's answer; those of each identity are in w.times."""
    levels, channels, base = d.rules.levels, len(d.rules.points), d.rules.level_base
    width = high * levels
    for k in range(count):
        w.times[k] = 0
    if groups == 0:
        return 0
    length, g, left, level = 0, 0, high - 1, _first_level(d, u, w)
    while g < groups:
        value = w.tired[g * width + level * high + left]
        if value <= 0.0:
            break
        slot = w.slot[w.first[g]]
        skipped = base[w.slot[w.first[g + 1]]] - base[slot] if g + 1 < groups else 0
        if value == w.tired[(g + 1) * width + max(level - skipped, 0) * high + left]:
            g, level = g + 1, max(level - skipped, 0)
            continue
        then = w.after[g]
        shift = base[w.slot[w.first[then]]] - base[slot] if then < groups else 0
        sent = False
        for k in range(channels):
            i = w.pick[g * channels + k]
            if i < 0:
                continue
            to = d.rules.next_level[(slot * channels + k) * levels + level]
            if to < 0:
                continue
            rest = max(left - 1, 0)
            if w.net[g * channels + k] + w.tired[then * width + max(to - shift, 0) * high + rest] == value:
                w.times[d.identity[w.message[i]]] += 1
                length, g, level, left = length + 1, then, max(to - shift, 0), rest
                sent = True
                break
        if not sent:
            break
    return length
