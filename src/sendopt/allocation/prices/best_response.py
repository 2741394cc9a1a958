"""One user's best response to prices, exactly and in integers (model ¶11).

An answer of the relaxation that keeps all rules is optimal; otherwise labels decide. Where labels run out, the most
that open ones may still reach is a bound.

In kernels: d instance, p prices, u user, w working memory; n items, i item, a place in the path.
"""

from __future__ import annotations

from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.labels import search
from sendopt.allocation.prices.pair import pair
from sendopt.allocation.prices.relaxation import fill_table, find_groups, find_moves, gather, trace, track_broken
from sendopt.allocation.prices.scratch import FAST, TRACKED, Prices, Scratch
from sendopt.allocation.prices.user_rules import may_join
from sendopt.compiled import entry, kernel

WIDEST = 200_000  # items times states of a table, with fatigue: its relaxation tells messages apart by rents


@entry(inline="always")
def respond(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, float, float, int]:
    """Return (sends, worth after prices, bound on it, path); cells are in w.best.

    The path is FAST where the first relaxed answer keeps all rules, TRACKED where a wider one does, SEARCHED where
    labels decide, CUT where labels run out.
    """
    n, worth, stands, first = 0, 0.0, False, FAST
    if d.most[u] == 2 and d.pairable[u]:
        n, worth, stands = pair(d, p, u, w)
        first = TRACKED
    return (n, worth, worth, FAST) if stands else _respond_generally(d, p, u, w, first)


@kernel()
def _respond_generally(d: Instance, p: Prices, u: int, w: Scratch, path: int) -> tuple[int, float, float, int]:
    """Return what `respond` returns, for any number of sends; `path` is the least that it may name."""
    n, messages = gather(d, p, u, w)
    most = min(d.most[u], messages)
    if most <= 0:
        return 0, 0.0, 0.0, path
    if most == 1:
        top = 0
        for i in range(1, n):
            if w.worth[i] > w.worth[top]:
                top = i
        w.best[0] = w.cell[top]
        return 1, w.worth[top], w.worth[top], path
    groups = find_groups(d, w, n)
    tracked, states = 0, 1
    while True:
        find_moves(d, u, w, tracked, states)
        fill_table(d, u, w, groups, most, tracked, states)
        length = trace(d, u, w, groups, most, states)
        known = tracked
        tracked, wider, broken = track_broken(d, u, w, length, tracked, states, most + 1)
        if broken and tracked > known and (d.rules.levels == 1 or n * wider * (most + 1) <= WIDEST):
            states, path = wider, TRACKED
            continue
        if not broken and _path_keeps_rules(d, u, w, length):
            return length, w.table[most], w.table[most], path
        return search(d, u, w, groups, most, states)


@kernel()
def _path_keeps_rules(d: Instance, u: int, w: Scratch, length: int) -> bool:
    """Return whether the path keeps all rules; its cells are then in w.best, its messages in w.place."""
    for a in range(length):
        i = w.path[a]
        if not may_join(d, u, w.cell[i], w.message[i], w.best, w.place, a):
            return False
        w.best[a] = w.cell[i]
        w.place[a] = w.message[i]
    return True
