"""The best two sends of one user, a gap apart: what most users need, in one look at each cell (model ¶11)."""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.scratch import LEAST, Prices, Scratch
from sendopt.allocation.prices.user_rules import may_join
from sendopt.compiled import kernel
from sendopt.stats.arrays import Floats


@kernel(inline="always")
def pair(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, float, bool]:
    """(sends, worth, does it keep the rules?): the best two messages, by the best worth of each up to each slot.

    Inlined into its callers: handing an instance over costs more than the answer. Its loops are those of vectors.
    """
    slots = d.rules.n_slots
    gap = int(-(-d.rules.spacing_minutes // d.rules.slot_minutes))
    dense, early, tops, kept = w.dense, w.early, w.tops, w.kept
    top, alone, k = LEAST, -1, 0
    for m in range(d.message_start[u], d.message_start[u + 1]):
        fixed = p.campaign[d.campaign[m]] + p.opt_outs * d.p_opt_out[m] + p.cost * d.cost[m]
        if fixed == np.inf or d.p_opt_out[m] > p.most_opt_out or d.cost[m] > p.most_cost:
            continue
        at, base = k * slots, d.channel[m] * slots
        for s in range(slots):
            dense[at + s] = -np.inf
        most = -np.inf
        for c in range(d.cell_start[m], d.cell_start[m + 1]):
            s = d.slot[c]
            value = d.value[c] - fixed - p.capacity[base + s]
            dense[at + s] = value
            if value > most:
                most = value
        if most > LEAST:
            tops[k] = most
            kept[k] = m
            if most > top:
                top, alone = most, k
            k += 1
    if alone < 0:
        return 0, 0.0, True
    best, one, two = top, alone, -1
    for a in range(k):
        from_a, ready = a * slots, False
        for b in range(k):
            # together they are worth at most their own bests
            if a == b or tops[a] + tops[b] <= best:
                continue
            if not ready:
                so_far, ready = -np.inf, True
                for s in range(slots):
                    value = dense[from_a + s]
                    if value > so_far:
                        so_far = value
                    early[from_a + s] = so_far
            from_b = b * slots + gap
            found = -np.inf
            for s in range(slots - gap):
                value = early[from_a + s] + dense[from_b + s]
                if value > found:
                    found = value
            if found > best:
                best, one, two = found, a, b
    if two < 0:
        w.best[0] = _cell_at(d, kept[one], _slot_of(dense, one, slots, top, 0))
        return 1, best, d.plain[u] or may_join(d, u, w.best[0], kept[one], w.best, w.place, 0)
    late = 0
    while early[one * slots + late] + dense[two * slots + gap + late] != best:
        late += 1
    w.best[0] = _cell_at(d, kept[one], _slot_of(dense, one, slots, early[one * slots + late], 0))
    w.best[1] = _cell_at(d, kept[two], gap + late)
    if d.plain[u]:
        return 2, best, True
    first, second = kept[one], kept[two]
    w.place[0] = first
    return (
        2,
        best,
        may_join(d, u, w.best[0], first, w.best, w.place, 0) and may_join(d, u, w.best[1], second, w.best, w.place, 1),
    )


@kernel()
def _slot_of(dense: Floats, k: int, slots: int, worth: float, first: int) -> int:
    s = first
    while dense[k * slots + s] != worth:
        s += 1
    return s


@kernel()
def _cell_at(d: Instance, m: int, slot: int) -> int:
    c = d.cell_start[m]
    while d.slot[c] != slot:
        c += 1
    return c
