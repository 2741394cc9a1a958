"""The best two sends of one user, a gap apart: what most users need, in one look at each cell (model ¶11)."""

from __future__ import annotations

import numpy as np
from numba import njit

from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.relaxation import LEAST, Prices, Scratch
from sendopt.allocation.prices.user_rules import may_join
from sendopt.allocation.problem import Floats


@njit(cache=True, nogil=True)
def pair(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, float, bool]:
    """(sends, worth, does it keep the rules?): the best two messages, by the best worth of each up to each slot."""
    slots = d.rules.n_slots
    gap = -(-d.rules.gap_minutes // d.rules.slot_minutes)
    start, k = d.message_start[u], d.message_start[u + 1] - d.message_start[u]
    top, alone = 0.0, -1
    for a in range(k):
        m = start + a
        w.early[a, slots - 1] = -np.inf
        fixed = p.campaign[d.campaign[m]] + p.opt_outs * d.p_opt_out[m] + p.cost * d.cost[m]
        if fixed == np.inf or d.p_opt_out[m] > p.most_opt_out or d.cost[m] > p.most_cost:
            continue
        dense, early = w.dense[a], w.early[a]
        for s in range(slots):
            dense[s] = -np.inf
        base = d.channel[m] * slots
        for c in range(d.cell_start[m], d.cell_start[m + 1]):
            if d.alive[c]:
                s = d.slot[c]
                dense[s] = d.value[c] - fixed - p.capacity[base + s]
        so_far = -np.inf
        for s in range(slots):
            so_far = max(so_far, dense[s])
            early[s] = so_far
        if so_far > top:
            top, alone = so_far, a
    if alone < 0 or top <= LEAST:
        return 0, 0.0, True
    best, one, two = top, alone, -1
    for a in range(k):
        if w.early[a, slots - 1] <= 0.0:
            continue
        for b in range(k):
            # together they are worth at most their own bests
            if b == a or w.early[b, slots - 1] <= 0.0 or w.early[a, slots - 1] + w.early[b, slots - 1] <= best:
                continue
            found = _most_together(w.early[a], w.dense[b], gap, slots)
            if found > best:
                best, one, two = found, a, b
    if two < 0:
        w.best[0] = _cell_at(d, start + one, _first_at(w.dense[one], top, slots))
        return 1, best, d.plain[u] or may_join(d, u, w.best[0], start + one, w.best, w.place, 0)
    late = gap
    while w.early[one, late - gap] + w.dense[two, late] != best:
        late += 1
    early_slot = _first_at(w.dense[one], w.early[one, late - gap], slots)
    w.best[0], w.best[1] = _cell_at(d, start + one, early_slot), _cell_at(d, start + two, late)
    w.place[0] = start + one
    if d.plain[u]:
        return 2, best, True
    return (
        2,
        best,
        may_join(d, u, w.best[0], start + one, w.best, w.place, 0)
        and may_join(d, u, w.best[1], start + two, w.best, w.place, 1),
    )


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _most_together(early: Floats, dense: Floats, gap: int, slots: int) -> float:
    most = -np.inf
    for s in range(gap, slots):
        most = max(most, early[s - gap] + dense[s])
    return most


@njit(cache=True, nogil=True)
def _first_at(dense: Floats, worth: float, slots: int) -> int:
    for s in range(slots):
        if dense[s] == worth:
            return s
    return -1


@njit(cache=True, nogil=True)
def _cell_at(d: Instance, m: int, slot: int) -> int:
    c = d.cell_start[m]
    while d.slot[c] != slot:
        c += 1
    return c
