"""One user's best response to prices, exactly and in integers (model ¶11).

An answer of the relaxation that keeps all rules is optimal; otherwise branch and bound on the same table decides.
Where that is cut, the relaxed value is still a bound.
"""

from __future__ import annotations

from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.pair import pair
from sendopt.allocation.prices.relaxation import (
    LEAST,
    MAX_STATES,
    Prices,
    Scratch,
    fill_table,
    find_groups,
    find_moves,
    first_state,
    gather,
    move,
    trace,
    track_broken,
)
from sendopt.allocation.prices.user_rules import may_join
from sendopt.compiled import entry, kernel

MAX_NODES = 4000  # of branch and bound, per user and pass


@entry(inline="always")
def respond(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, float, float, int]:
    """(sends, worth after prices, bound on it, 0 relaxed answer stood, 1 searched, 2 search cut); cells in w.best."""
    n, worth, stands = 0, 0.0, False
    if d.most[u] == 2 and d.pairable[u]:
        n, worth, stands = pair(d, p, u, w)
    return (n, worth, worth, 0) if stands else _respond_generally(d, p, u, w)


@kernel()
def _respond_generally(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, float, float, int]:
    n, messages = gather(d, p, u, w)
    most = min(d.most[u], messages)
    if most <= 0:
        return 0, 0.0, 0.0, 0
    if most == 1:
        top = 0
        for i in range(1, n):
            if w.worth[i] > w.worth[top]:
                top = i
        w.best[0] = w.cell[top]
        return 1, w.worth[top], w.worth[top], 0
    groups = find_groups(d, w, n)
    tracked, states, levels = 0, 1, 1
    while True:
        find_moves(d, u, w, tracked, states)
        fill_table(d, u, w, groups, most, tracked, states, levels)
        length = trace(d, u, w, groups, most, states, levels)
        known = tracked
        tracked, wider, broken = track_broken(d, u, w, length, tracked, states, (most + 1) * levels)
        if broken and tracked > known:
            states = wider
            continue
        if not broken and _path_keeps_rules(d, u, w, length):
            worth = w.table[first_state(d, u, states, levels) * (most + 1) + most]
            return length, worth, worth, 0
        if levels > 1 or d.rules.levels * states * (most + 1) > MAX_STATES:
            return _search(d, u, w, n, groups, most, states, levels)
        levels = d.rules.levels
        if levels == 1:
            return _search(d, u, w, n, groups, most, states, levels)


@kernel()
def _path_keeps_rules(d: Instance, u: int, w: Scratch, length: int) -> bool:
    """Also leaves the path's cells in w.best and its messages in w.place."""
    for a in range(length):
        i = w.path[a]
        if not may_join(d, u, w.cell[i], w.message[i], w.best, w.place, a):
            return False
        w.best[a] = w.cell[i]
        w.place[a] = w.message[i]
    return True


@kernel()
def _repeats(d: Instance, w: Scratch, depth: int, m: int) -> bool:
    for a in range(depth):  # noqa: SIM110  numba compiles loops, not generators
        if d.identity[w.place[a]] == d.identity[m]:
            return True
    return False


@kernel()
def _dive(d: Instance, u: int, w: Scratch, groups: int, most: int, states: int, levels: int) -> tuple[int, float]:
    """A plan that keeps the rules, along the relaxation's choices; cells in w.best."""
    high = most + 1
    width = high * states * levels
    found, g, left, state, value = 0, 0, most, first_state(d, u, states, levels), 0.0
    while g < groups and left > 0:
        top = w.table[(g + 1) * width + state * high + left]
        pick = -1
        for i in range(w.first[g], w.first[g + 1]):
            to = move(d, u, w, states, levels, state, i)
            if to < 0:
                continue
            reach = w.worth[i] + w.table[w.after[g] * width + to * high + left - 1]
            if (
                reach >= top
                and not _repeats(d, w, found, w.message[i])
                and may_join(d, u, w.cell[i], w.message[i], w.best, w.place, found)
            ):
                top, pick = reach, i
        if pick < 0:
            g += 1
            continue
        w.best[found], w.place[found] = w.cell[pick], w.message[pick]
        value += w.worth[pick]
        state = move(d, u, w, states, levels, state, pick)
        found, left, g = found + 1, left - 1, w.after[g]
    return found, value


@kernel()
def _search(
    d: Instance, u: int, w: Scratch, n: int, groups: int, most: int, states: int, levels: int
) -> tuple[int, float, float, int]:
    high = most + 1
    width = high * states * levels
    length, best = _dive(d, u, w, groups, most, states, levels)
    # w.path holds the cells under way, w.place their messages; w.best the best so far
    depth, nodes = 0, 0
    w.group[n] = groups
    w.stack_next[0], w.stack_state[0], w.stack_value[0] = 0, first_state(d, u, states, levels), 0.0
    relaxed = w.table[w.stack_state[0] * high + most]
    while depth >= 0:
        i, left, state, value = w.stack_next[depth], most - depth, w.stack_state[depth], w.stack_value[depth]
        if left == 0 or value + w.table[w.group[i] * width + state * high + left] <= best + LEAST:
            depth -= 1
            continue
        w.stack_next[depth] = i + 1
        m, then = w.message[i], w.after[w.group[i]]
        to = move(d, u, w, states, levels, state, i)
        if to < 0 or value + w.worth[i] + w.table[then * width + to * high + left - 1] <= best + LEAST:
            continue
        if _repeats(d, w, depth, m):
            continue
        nodes += 1
        if nodes > MAX_NODES:
            return length, best, relaxed, 2
        if not may_join(d, u, w.cell[i], m, w.path, w.place, depth):
            continue
        w.path[depth], w.place[depth] = w.cell[i], m
        depth += 1
        w.stack_next[depth], w.stack_state[depth] = w.first[then], to
        w.stack_value[depth] = value + w.worth[i]
        if w.stack_value[depth] > best:
            best, length = w.stack_value[depth], depth
            for a in range(depth):
                w.best[a] = w.path[a]
    return length, best, best, 1
