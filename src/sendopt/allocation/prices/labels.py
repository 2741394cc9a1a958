"""One user's best response where the relaxed answer breaks a rule: plans under way as labels, in time order (¶11).

Label setting with dominance and bounds on what may still come (Irnich and Desaulniers 2005): a label is dropped where
another may send whatever it may send and is worth no less, or where it cannot end above the best plan known.
"""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.instance import ALL, ROLLING, Instance
from sendopt.allocation.prices.relaxation import level_of
from sendopt.allocation.prices.scratch import CUT, LEAST, MAX_LABELS, SEARCHED, Scratch
from sendopt.allocation.prices.user_rules import POINTS_TOLERANCE, caps_allow, counts_message, may_join
from sendopt.compiled import kernel

_BITS = 62
BEAM = 8  # labels of the first pass


@kernel()
def search(d: Instance, u: int, w: Scratch, groups: int, most: int, states: int) -> tuple[int, float, float, int]:
    """(sends, worth, bound on it, SEARCHED; or CUT where labels ran out); cells in w.best.

    w.table and w.tired are those of the relaxation; a bound is the lesser of the two. A first pass keeps few labels: a
    good plan early spares the second most of its labels.
    """
    caps = _binding_caps(d, u, w)
    length, best, _, _ = _pass(d, u, w, groups, most, states, caps, BEAM, 0, 0.0)
    return _pass(d, u, w, groups, most, states, caps, MAX_LABELS, length, best)


@kernel()
def _pass(
    d: Instance, u: int, w: Scratch, groups: int, most: int, states: int, caps: int, width: int, length: int,
    best: float,
) -> tuple[int, float, float, int]:  # fmt: skip
    lab = w.labels
    past = d.past_start[u + 1] > d.past_start[u]
    high, start = most + 1, d.message_start[u]
    lab.value[0], lab.points[0], lab.identities[0], lab.item[0], lab.parent[0] = 0.0, d.fatigue[u], 0, -1, -1
    lab.sends[0], lab.next[0], lab.state[0], lab.level[0] = 0, 0, 0, level_of(d, d.fatigue[u], 0)
    made, active = 1, 1
    lab.active[0] = 0
    for g in range(groups):
        kept = 0
        for x in range(active):
            a = lab.active[x]
            reach = lab.value[a] + _bound(d, w, a, max(g, lab.next[a]), most, states)
            if reach > best + LEAST:
                lab.active[kept] = a
                lab.reach[kept] = reach
                kept += 1
        while kept > width:
            kept = _drop_least(w, kept)
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
                if made == MAX_LABELS:
                    return length, best, _open_bound(d, w, g, active, most, states, best), CUT
                if not _extend(d, u, w, a, i, to, made, past, caps):
                    continue
                lab.next[made] = w.after[g]
                open_ = lab.value[made] + _bound(d, w, made, lab.next[made], most, states) > best + LEAST
                if lab.value[made] > best:
                    best, length = lab.value[made], _keep(w, made)
                if not open_ or left == 0:
                    continue
                dominated = False
                for y in range(active):
                    if _dominates(d, w, lab.active[y], made, caps):
                        dominated = True
                        break
                if not dominated:
                    lab.active[active] = made
                    active += 1
                    made += 1
    return length, best, best, SEARCHED


@kernel()
def _drop_least(w: Scratch, n: int) -> int:
    """Takes the label that may reach least out of the first n active ones."""
    lab = w.labels
    least = 0
    for x in range(1, n):
        if lab.reach[x] <= lab.reach[least]:
            least = x
    for x in range(least, n - 1):
        lab.active[x], lab.reach[x] = lab.active[x + 1], lab.reach[x + 1]
    return n - 1


@kernel(inline="always")
def _bound(d: Instance, w: Scratch, a: int, g: int, most: int, states: int) -> float:
    """The most that label a can still gain from group g on."""
    lab = w.labels
    high = most + 1
    left = most - lab.sends[a]
    found = w.table[(g * states + lab.state[a]) * high + left]
    if d.rules.levels > 1:
        found = min(found, w.tired[(g * d.rules.levels + lab.level[a]) * high + left])
    return found


@kernel()
def _open_bound(d: Instance, w: Scratch, g: int, active: int, most: int, states: int, best: float) -> float:
    """What no plan is above, where labels up to those that send in group g are known."""
    lab = w.labels
    found = best
    for x in range(active):
        a = lab.active[x]
        found = max(found, lab.value[a] + _bound(d, w, a, max(g, lab.next[a]), most, states))
    return found


@kernel()
def _binding_caps(d: Instance, u: int, w: Scratch) -> int:
    """Number of the caps that can bind, in w.labels.caps."""
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
    """May label a be followed by item i, which leads to `state`? Then label `to` is that plan."""
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
        n, b = 0, a
        while lab.item[b] >= 0:
            w.path[n], w.place[n] = w.cell[lab.item[b]], w.message[lab.item[b]]
            n += 1
            b = lab.parent[b]
        if past and not may_join(d, u, w.cell[i], m, w.path, w.place, n):
            return False
        if not past and not caps_allow(d, u, w.cell[i], m, w.path, w.place, n):
            return False
    lab.value[to] = lab.value[a] + w.worth[i]
    lab.points[to] = points
    lab.level[to] = level_of(d, points, w.slot[i])
    lab.state[to] = state
    lab.identities[to] = lab.identities[a] | bit
    lab.item[to], lab.parent[to] = i, a
    lab.sends[to] = lab.sends[a] + 1
    return True


@kernel()
def _has_identity(d: Instance, w: Scratch, a: int, identity: int) -> bool:
    lab = w.labels
    while lab.item[a] >= 0:
        if d.identity[w.message[lab.item[a]]] == identity:
            return True
        a = lab.parent[a]
    return False


@kernel(inline="always")
def _dominates(d: Instance, w: Scratch, a: int, b: int, caps: int) -> bool:
    """May label a send whatever label b may, and is it worth no less? Neither's first open group is before a's."""
    lab = w.labels
    if lab.value[a] < lab.value[b] or lab.sends[a] > lab.sends[b] or lab.next[a] > lab.next[b]:
        return False
    if lab.identities[a] & ~lab.identities[b]:
        return False
    if d.rules.max_points < np.inf:
        before = w.slot[lab.item[a]] if lab.item[a] >= 0 else 0
        if lab.points[a] * d.rules.decay[w.slot[lab.item[b]] - before] > lab.points[b]:
            return False
    x = a
    while lab.item[x] >= 0:
        if not _has_identity(d, w, b, d.identity[w.message[lab.item[x]]]):
            return False
        x = lab.parent[x]
    for k in range(caps):  # noqa: SIM110  numba compiles loops, not generators
        if not _counts_no_more(d, w, a, b, lab.caps[k]):
            return False
    return True


@kernel()
def _counts_no_more(d: Instance, w: Scratch, a: int, b: int, j: int) -> bool:
    """Of the sends that cap j counts, latest first: is each of a's matched by one of b's, no earlier?"""
    lab = w.labels
    while True:
        while lab.item[a] >= 0 and not counts_message(d, j, w.message[lab.item[a]]):
            a = lab.parent[a]
        while lab.item[b] >= 0 and not counts_message(d, j, w.message[lab.item[b]]):
            b = lab.parent[b]
        if lab.item[a] < 0:
            return True
        if lab.item[b] < 0 or w.slot[lab.item[a]] > w.slot[lab.item[b]]:
            return False
        a, b = lab.parent[a], lab.parent[b]


@kernel()
def _keep(w: Scratch, a: int) -> int:
    """Label a's cells to w.best; their number."""
    lab = w.labels
    n = lab.sends[a]
    for k in range(n - 1, -1, -1):
        w.best[k] = w.cell[lab.item[a]]
        a = lab.parent[a]
    return n
