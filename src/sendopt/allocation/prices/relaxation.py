"""The relaxation of one user's best response: the gap and caps over the whole horizon (model ¶11).

Dynamic programming over the user's cells in time order. Identity of messages and caps of a narrower scope enter its
state only once its answer breaks them (decremental state space, Righini and Salani 2008).

In kernels: d instance, p prices, u user, w working memory; m message, c cell, s slot, j cap, h past send; i item (a
cell worth more than its prices), g group of items, a and b places in a path.
"""

from __future__ import annotations

import numpy as np

from sendopt.allocation.prices.instance import ALL, Instance
from sendopt.allocation.prices.scratch import LEAST, MAX_STATES, MAX_TRACKED, Prices, Scratch
from sendopt.allocation.prices.user_rules import counts_message, counts_past
from sendopt.compiled import kernel


@kernel()
def gather(d: Instance, p: Prices, u: int, w: Scratch) -> tuple[int, int]:
    """Return (items, messages among them): the user's cells worth more than their prices, by slot, then message."""
    slots = d.rules.n_slots
    n = 0
    messages = 0
    for m in range(d.message_start[u], d.message_start[u + 1]):
        fixed = p.campaign[d.campaign[m]]
        if not d.opt_out_by_cell:
            if d.p_opt_out[m] > p.most_opt_out:
                continue
            fixed += p.opt_outs * d.p_opt_out[m]
        if not d.cost_by_cell:
            if d.cost[m] > p.most_cost:
                continue
            fixed += p.cost * d.cost[m]
        if fixed == np.inf:
            continue
        base = d.channel[m] * slots
        before = n
        for c in range(d.cell_start[m], d.cell_start[m + 1]):
            worth = d.value[c] - fixed - p.capacity[base + d.slot[c]]
            if d.opt_out_by_cell:
                worth -= p.opt_outs * d.p_opt_out[c] if d.p_opt_out[c] <= p.most_opt_out else np.inf
            if d.cost_by_cell:
                worth -= p.cost * d.cost[c] if d.cost[c] <= p.most_cost else np.inf
            if worth > LEAST:
                w.cell[n] = c
                w.message[n] = m
                w.slot[n] = d.slot[c]
                w.worth[n] = worth
                n += 1
        messages += n > before
    if messages > 1:
        _sort_by_slot(w, n, slots)
    return n, messages


@kernel()
def _sort_by_slot(w: Scratch, n: int, slots: int) -> None:
    """Sort n items by slot, by counting; the table's memory holds the copies."""
    low, high = slots, 0
    for i in range(n):
        low = min(low, w.slot[i])
        high = max(high, w.slot[i])
    for s in range(low, high + 2):
        w.by_slot[s] = 0
    for i in range(n):
        w.by_slot[w.slot[i] + 1] += 1
    w.by_slot[low] = 0
    for s in range(low, high + 1):
        w.by_slot[s + 1] += w.by_slot[s]
    for i in range(n):
        w.place[i] = w.by_slot[w.slot[i]]
        w.by_slot[w.slot[i]] += 1
        w.spare[i] = w.cell[i]
        w.table[i] = w.worth[i]
    for i in range(n):
        w.cell[w.place[i]] = w.spare[i]
        w.worth[w.place[i]] = w.table[i]
    for i in range(n):
        w.spare[i] = w.message[i]
    for i in range(n):
        w.message[w.place[i]] = w.spare[i]
    for i in range(n):
        w.spare[i] = w.slot[i]
    for i in range(n):
        w.slot[w.place[i]] = w.spare[i]


@kernel()
def find_groups(d: Instance, w: Scratch, n: int) -> int:
    """Return the number of groups; at most one item of a group is sent."""
    step = int(-(-d.rules.spacing_minutes // d.rules.slot_minutes))
    groups = 0
    for i in range(n):
        if i == 0 or step == 0 or w.slot[i] != w.slot[i - 1]:
            w.first[groups] = i
            groups += 1
        w.group[i] = groups - 1
    w.first[groups] = n
    j = groups
    for g in range(groups - 1, -1, -1):
        if step == 0:
            w.after[g] = g + 1
            continue
        while j > 0 and w.slot[w.first[j - 1]] >= w.slot[w.first[g]] + step:
            j -= 1
        w.after[g] = j
    return groups


@kernel()
def find_moves(d: Instance, u: int, w: Scratch, tracked: int, states: int) -> None:
    """Fill w.moves: the state after each message in each state."""
    start = d.message_start[u]
    for m in range(start, d.message_start[u + 1]):
        at = (m - start) * states
        for state in range(states):
            w.moves[at + state] = state
        for i in range(tracked):
            key = w.tracked[i]
            if d.identity[m] != key if key >= 0 else not counts_message(d, -1 - key, m):
                continue
            for state in range(states):
                if (state // w.stride[i]) % w.radix[i] + 1 >= w.radix[i]:
                    w.moves[at + state] = -1
                elif w.moves[at + state] >= 0:
                    w.moves[at + state] += w.stride[i]


@kernel()
def fill_table(d: Instance, u: int, w: Scratch, groups: int, most: int, tracked: int, states: int) -> None:
    """Fill table[(g * states + state) * (most + 1) + left]: the most worth of groups g, g + 1, ... by `left` sends."""
    high = most + 1
    width = high * states
    for x in range(width):
        w.table[groups * width + x] = 0.0
    start = d.message_start[u]
    for g in range(groups - 1, -1, -1):
        row, skip, then = g * width, (g + 1) * width, w.after[g] * width
        if tracked == 0:
            worth = 0.0
            for i in range(w.first[g], w.first[g + 1]):
                worth = max(worth, w.worth[i])
            w.table[row] = 0.0
            for left in range(1, high):
                w.table[row + left] = max(w.table[skip + left], worth + w.table[then + left - 1])
            continue
        for x in range(width):
            w.table[row + x] = w.table[skip + x]
        for i in range(w.first[g], w.first[g + 1]):
            moves, worth = (w.message[i] - start) * states, w.worth[i]
            for state in range(states):
                to = w.moves[moves + state]
                if to < 0:
                    continue
                source, target = row + state * high, then + to * high
                for left in range(1, high):
                    w.table[source + left] = max(w.table[source + left], worth + w.table[target + left - 1])


@kernel()
def trace(d: Instance, u: int, w: Scratch, groups: int, most: int, states: int) -> int:
    """Return the length of the relaxation's answer; its items are in w.path in time order."""
    high = most + 1
    width = high * states
    start = d.message_start[u]
    length, g, left, state = 0, 0, most, 0
    while g < groups and left > 0:
        worth = w.table[g * width + state * high + left]
        if worth <= 0.0:
            break
        if worth > w.table[(g + 1) * width + state * high + left]:
            for i in range(w.first[g], w.first[g + 1]):
                to = w.moves[(w.message[i] - start) * states + state]
                if to >= 0 and w.worth[i] + w.table[w.after[g] * width + to * high + left - 1] == worth:
                    w.path[length] = i
                    length += 1
                    state = to
                    break
            left -= 1
            g = w.after[g]
        else:
            g += 1
    return length


@kernel()
def _room_of(d: Instance, u: int, j: int) -> int:
    """Return how many sends the past leaves of cap j in every window that a planned send may lie in."""
    r = d.rules
    last = float((r.n_slots - 1) * r.slot_minutes)
    room = r.cap_max[j]
    for h in range(d.past_start[u], d.past_start[u + 1]):
        if last - r.cap_window[j] < d.past_minute[h] <= 0.0 and counts_past(d, j, h):
            room -= 1
    return max(room, 0)


@kernel()
def track_broken(
    d: Instance, u: int, w: Scratch, length: int, tracked: int, states: int, high: int
) -> tuple[int, int, bool]:
    """Return (tracked, states, whether the path breaks identity or a wide cap); the broken are tracked if they fit.

    The table has `high` entries a state.
    """
    broken = False
    for a in range(length):
        for b in range(a):
            key = d.identity[w.message[w.path[a]]]
            if d.identity[w.message[w.path[b]]] == key:
                broken = True
                tracked, states = _track(w, key, 2, tracked, states, high)
    for j in range(len(d.rules.cap_max)):
        if d.rules.cap_wide[j] and d.rules.cap_scope[j] != ALL:
            count = 0
            for a in range(length):
                count += counts_message(d, j, w.message[w.path[a]])
            room = _room_of(d, u, j)
            if count > room:
                broken = True
                tracked, states = _track(w, -1 - j, room + 1, tracked, states, high)
    return tracked, states, broken


@kernel()
def _track(w: Scratch, key: int, radix: int, tracked: int, states: int, high: int) -> tuple[int, int]:
    """Return (tracked, states) with `key` tracked too, where it fits; a key counts from 0 to radix - 1."""
    for i in range(tracked):
        if w.tracked[i] == key:
            return tracked, states
    if tracked == MAX_TRACKED or states * radix * high > MAX_STATES:
        return tracked, states
    w.tracked[tracked], w.stride[tracked], w.radix[tracked] = key, states, radix
    return tracked + 1, states * radix
