"""The best two sends of one user, a gap apart: enough for most users, in one look at each cell (model ¶11).

In kernels: d instance, p prices, u user, w working memory; m message, c cell, s slot; k number of messages kept, a and
b messages among them.
"""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.scratch import LEAST, Prices, Scratch
from sendopt.allocation.prices.user_rules import may_join
from sendopt.compiled import kernel
from sendopt.stats.arrays import Floats


@kernel(inline="always")
def pair(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, float, bool]:
    """Return (sends, worth, whether they keep the rules): the best two messages, by the worth of each up to a slot.

    Inlined into its callers: to pass an instance costs more than the answer. The loops over slots are vectorised.
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
    best, early_k, late_k = top, alone, -1
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
            of_both = -np.inf
            for s in range(slots - gap):
                value = early[from_a + s] + dense[from_b + s]
                if value > of_both:
                    of_both = value
            if of_both > best:
                best, early_k, late_k = of_both, a, b
    if late_k < 0:
        w.best[0] = _cell_at(d, kept[early_k], _slot_of(dense, early_k, slots, top, 0))
        return 1, best, d.plain[u] or may_join(d, u, w.best[0], kept[early_k], w.best, w.place, 0)
    late = 0
    while early[early_k * slots + late] + dense[late_k * slots + gap + late] != best:
        late += 1
    w.best[0] = _cell_at(d, kept[early_k], _slot_of(dense, early_k, slots, early[early_k * slots + late], 0))
    w.best[1] = _cell_at(d, kept[late_k], gap + late)
    if d.plain[u]:
        return 2, best, True
    first, second = kept[early_k], kept[late_k]
    w.place[0] = first
    return (
        2,
        best,
        may_join(d, u, w.best[0], first, w.best, w.place, 0) and may_join(d, u, w.best[1], second, w.best, w.place, 1),
    )


@kernel()
def _slot_of(dense: Floats, k: int, slots: int, worth: float, first: int) -> int:
    """Return the first slot, from `first` on, in which message k has this worth."""
    s = first
    while dense[k * slots + s] != worth:
        s += 1
    return s


@kernel()
def _cell_at(d: Instance, m: int, slot: int) -> int:
    """Return the cell of message m in `slot`."""
    c = d.cell_start[m]
    while d.slot[c] != slot:
        c += 1
    return c
