"""One user's best response where the relaxed answer breaks a rule: plans under way as labels, in time order (¶11).

Label setting with dominance and bounds on further sends (Irnich and Desaulniers 2005). A label is dropped where another
may send whatever it may send and is worth no less, or where it cannot end above the best plan known.

In kernels: d instance, u user, w working memory, lab its labels; i item, g group, m message, j cap; a and b labels, k
place in a label's plan, x and y places among the active labels.
"""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.fatigue import identities_of, level_in, step_of, tighten
from sendopt.allocation.prices.instance import ALL, ROLLING, Instance
from sendopt.allocation.prices.scratch import CUT, LEAST, MAX_LABELS, MOST_NARROW, SEARCHED, Scratch
from sendopt.allocation.prices.user_rules import POINTS_TOLERANCE, caps_allow, counts_message, may_join
from sendopt.compiled import kernel

_BITS = 62  # of an integer that holds identities
BEAM = 8  # labels open at a time in the first pass
FIRST_TURNS, TURNS = 2, 10  # subgradient steps of rents, before and after the first pass


@kernel()
def search(d: Instance, u: int, w: Scratch, groups: int, most: int, states: int) -> tuple[int, float, float, int]:
    """Return (sends, worth, bound on it, SEARCHED; or CUT where labels ran out); cells are in w.best.

    w.table is that of the relaxation, w.tired that of `fatigue`; a bound is the lesser of the two. A first pass keeps
    few labels: a good plan early saves the second pass most of its labels.
    """
    caps, high, relaxed, narrow = _binding_caps(d, u, w), 1, np.inf, w.limit[0]
    if d.rules.levels > 1:
        high, relaxed = tighten(d, u, w, groups, most, 0.0, FIRST_TURNS)
    length, best, _ = _pass(d, u, w, groups, most, states, high, caps, BEAM, BEAM, 0, 0.0)
    if d.rules.levels > 1 and relaxed > best + LEAST:
        high, relaxed = tighten(d, u, w, groups, most, best, TURNS)
    wide = MAX_LABELS if narrow == MOST_NARROW else narrow
    length, best, bound = _pass(d, u, w, groups, most, states, high, caps, wide, narrow, length, best)
    bound = max(best, min(bound, relaxed))
    return length, best, bound, CUT if bound > best + LEAST else SEARCHED


@kernel()
def _pass(
    d: Instance,
    u: int,
    w: Scratch,
    groups: int,
    most: int,
    states: int,
    deep: int,
    caps: int,
    wide: int,
    narrow: int,
    length: int,
    best: float,
) -> tuple[int, float, float]:
    """Return (sends, worth, bound on it). At most `wide` labels are open, and `narrow` once MAX_LABELS were made.

    The most that dropped labels might have reached enters the bound.
    """
    lab = w.labels
    past = d.past_start[u + 1] > d.past_start[u]
    high, start, lost = most + 1, d.message_start[u], -np.inf
    lab.value[0], lab.points[0], lab.identities[0], lab.item[0] = 0.0, d.fatigue[u], 0, -1
    lab.sends[0], lab.next[0], lab.state[0], lab.step[0] = 0, 0, 0, step_of(d, d.fatigue[u], 0)
    lab.rent[0] = 0.0
    if d.rules.levels > 1:
        for k in range(identities_of(d, u)):
            lab.rent[0] += w.rent[k]
    free, fresh, made, active = 0, 1, 1, 1  # places given back, the first that was never used
    lab.active[0] = 0
    for g in range(groups):
        kept = 0
        for x in range(active):
            a = lab.active[x]
            reach = lab.value[a] + _bound(d, w, a, max(g, lab.next[a]), groups, most, states, deep)
            if reach > best + LEAST:
                lab.active[kept] = a
                lab.reach[kept] = reach
                kept += 1
            else:
                lab.free[free] = a
                free += 1
        width = wide if made <= MAX_LABELS else narrow
        if kept > width:
            lost = max(lost, _narrow(w, kept, width, free))
            free += kept - width
            kept = width
        active = kept
        base = w.after[g] * states * high
        for x in range(kept):
            a = lab.active[x]
            if lab.next[a] > g:
                continue
            value, state, left = lab.value[a], lab.state[a], most - lab.sends[a] - 1
            for i in range(w.first[g], w.first[g + 1]):
                to = w.moves[(w.message[i] - start) * states + state]
                if to < 0 or value + w.worth[i] + w.table[base + to * high + left] <= best + LEAST:
                    continue
                if free == 0 and fresh == MAX_LABELS:
                    lost = max(lost, lab.reach[x])
                    break
                new = lab.free[free - 1] if free > 0 else fresh
                if not _extend(d, u, w, a, i, to, new, past, caps):
                    continue
                lab.next[new] = w.after[g]
                reach = lab.value[new] + _bound(d, w, new, lab.next[new], groups, most, states, deep)
                open_ = reach > best + LEAST
                if lab.value[new] > best:
                    best, length = lab.value[new], _keep(w, new)
                if not open_ or left == 0:
                    continue
                dominated = False
                for y in range(active):
                    if _dominates(d, w, lab.active[y], new, caps):
                        dominated = True
                        break
                if not dominated:
                    lab.active[active] = new
                    active += 1
                    made += 1
                    if free > 0:
                        free -= 1
                    else:
                        fresh += 1
    return length, best, max(best, lost)


@kernel()
def _narrow(w: Scratch, n: int, width: int, free: int) -> float:
    """Keep the `width` labels of the first n active ones that reach most; return the most that a dropped one reaches.

    Dropped labels are in w.labels.free from place `free` on.
    """
    lab = w.labels
    low, high = lab.reach[0], lab.reach[0]
    for x in range(n):
        low, high = min(low, lab.reach[x]), max(high, lab.reach[x])
    low -= 1.0
    for _ in range(40):  # at most `width` reach above high
        middle = 0.5 * (low + high)
        above = 0
        for x in range(n):
            above += lab.reach[x] > middle
        if above > width:
            low = middle
        else:
            high = middle
    above = 0
    for x in range(n):
        above += lab.reach[x] > high
    level, kept, lost = width - above, 0, -np.inf  # of those that reach no more, the first so many
    for x in range(n):
        stays = lab.reach[x] > high
        if not stays and lab.reach[x] > low and level > 0:
            stays = True
            level -= 1
        if stays:
            lab.active[kept], lab.reach[kept] = lab.active[x], lab.reach[x]
            kept += 1
        else:
            lost = max(lost, lab.reach[x])
            lab.free[free] = lab.active[x]
            free += 1
    return lost


@kernel(inline="always")
def _bound(d: Instance, w: Scratch, a: int, g: int, groups: int, most: int, states: int, deep: int) -> float:
    """Return the most that label a can still gain from group g on."""
    lab = w.labels
    high = most + 1
    left = most - lab.sends[a]
    gain = w.table[(g * states + lab.state[a]) * high + left]
    if d.rules.levels > 1 and g < groups:
        level = level_in(d, lab.step[a], w.slot[w.first[g]])
        rest = w.tired[(g * d.rules.levels + level) * deep + (left if deep > 1 else 0)]
        gain = min(gain, rest + lab.rent[a])
    return gain


@kernel()
def _binding_caps(d: Instance, u: int, w: Scratch) -> int:
    """Return the number of caps that can bind; they are in w.labels.caps."""
    r = d.rules
    past = d.past_start[u + 1] > d.past_start[u]
    messages = d.message_start[u + 1] - d.message_start[u]
    caps = 0
    for j in range(len(r.cap_max)):
        counted = 0
        for m in range(d.message_start[u], d.message_start[u + 1]):
            counted += counts_message(d, j, m)
        if not past:
            if r.cap_period[j] == ROLLING and r.spacing_minutes > 0:
                counted = min(counted, int((r.cap_window[j] - 1) // r.spacing_minutes) + 1)
            if counted <= r.cap_max[j] or (r.cap_wide[j] and r.cap_scope[j] == ALL):
                continue
        if counted > 0 and messages > 0:
            w.labels.caps[caps] = j
            caps += 1
    return caps


@kernel(inline="always")
def _extend(d: Instance, u: int, w: Scratch, a: int, i: int, state: int, to: int, past: bool, caps: int) -> bool:
    """Return whether item i, which leads to `state`, may follow label a; if so, label `to` is that plan."""
    lab, r = w.labels, d.rules
    m = w.message[i]
    bit = 1 << (d.identity[m] % _BITS)
    if lab.identities[a] & bit and _has_identity(d, w, a, d.identity[m]):
        return False
    points = 0.0
    if r.max_points < np.inf:
        before = w.slot[lab.item[a]] if lab.item[a] >= 0 else 0
        points = lab.points[a] * r.decay[w.slot[i] - before] + r.points[d.channel[m]]
        if points > r.max_points + POINTS_TOLERANCE:
            return False
    if past or caps > 0:
        n = lab.sends[a]
        for k in range(n):
            w.path[k], w.place[k] = w.cell[lab.items[a, k]], w.message[lab.items[a, k]]
        if past and not may_join(d, u, w.cell[i], m, w.path, w.place, n):
            return False
        if not past and not caps_allow(d, u, w.cell[i], m, w.path, w.place, n):
            return False
    lab.value[to] = lab.value[a] + w.worth[i]
    lab.points[to] = points
    if d.rules.levels > 1:
        lab.step[to] = step_of(d, points, w.slot[i])
        lab.rent[to] = lab.rent[a] - w.rent[d.identity[m]]
    lab.state[to] = state
    lab.identities[to] = lab.identities[a] | bit
    for k in range(lab.sends[a]):
        lab.items[to, k] = lab.items[a, k]
    lab.items[to, lab.sends[a]] = i
    lab.item[to] = i
    lab.sends[to] = lab.sends[a] + 1
    return True


@kernel()
def _has_identity(d: Instance, w: Scratch, a: int, identity: int) -> bool:
    """Return whether label a sends this identity."""
    lab = w.labels
    for k in range(lab.sends[a]):  # noqa: SIM110  numba compiles loops, not generators
        if d.identity[w.message[lab.items[a, k]]] == identity:
            return True
    return False


@kernel(inline="always")
def _dominates(d: Instance, w: Scratch, a: int, b: int, caps: int) -> bool:
    """Return whether label a is worth no less than label b, and may send whatever label b may."""
    lab = w.labels
    if lab.value[a] < lab.value[b] or lab.sends[a] > lab.sends[b] or lab.next[a] > lab.next[b]:
        return False
    if lab.identities[a] & ~lab.identities[b]:
        return False
    if d.rules.max_points < np.inf:
        before = w.slot[lab.item[a]] if lab.item[a] >= 0 else 0
        if lab.points[a] * d.rules.decay[w.slot[lab.item[b]] - before] > lab.points[b]:
            return False
    for k in range(lab.sends[a]):
        if not _has_identity(d, w, b, d.identity[w.message[lab.items[a, k]]]):
            return False
    for k in range(caps):  # noqa: SIM110  numba compiles loops, not generators
        if not _counts_no_more(d, w, a, b, lab.caps[k]):
            return False
    return True


@kernel()
def _counts_no_more(d: Instance, w: Scratch, a: int, b: int, j: int) -> bool:
    """Return whether each send of a that cap j counts, latest first, is matched by one of b that is no earlier."""
    lab = w.labels
    m, n = lab.sends[a] - 1, lab.sends[b] - 1
    while True:
        while m >= 0 and not counts_message(d, j, w.message[lab.items[a, m]]):
            m -= 1
        while n >= 0 and not counts_message(d, j, w.message[lab.items[b, n]]):
            n -= 1
        if m < 0:
            return True
        if n < 0 or w.slot[lab.items[a, m]] > w.slot[lab.items[b, n]]:
            return False
        m, n = m - 1, n - 1


@kernel()
def _keep(w: Scratch, a: int) -> int:
    """Write the cells of label a to w.best; return their number."""
    lab = w.labels
    n = lab.sends[a]
    for k in range(n):
        w.best[k] = w.cell[lab.items[a, k]]
    return n
