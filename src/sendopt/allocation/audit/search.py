"""An upper bound on the worth of each user's sends, proved by a relaxation and a plain search; compiled.

The relaxation keeps three rules: the gap, the number of sends that the caps leave, and each identity at most once. Its
table holds the largest worth that can follow from each option on. A depth-first search in time order checks all rules
and leaves a branch where the table shows that it holds nothing better.

In kernels u is a user, i and j are options in time order, o is an option of the problem, m a message, n the number of
sends that may still follow, k an identity, c a cap, a an allowed option, b a bit, x a set of identities or a place in
a row of the table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sendopt.allocation.audit.user_rules import Sends, Users, breaks_any, memory_for, put_past, put_planned
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Flags, Floats, Ints

CHECKS_PER_USER = 20_000  # checks of the rules in one search; a few milliseconds
MOST_TRACKED = 6  # identities that the relaxation sends at most once; it may send any further identity twice
TABLE = 1 << 20  # most numbers in the relaxation's table: a millisecond for one user
EQUAL = 1e-9  # relative gain that a search ignores


class Options(NamedTuple):
    """The cells whose value and worth after prices are above 0, ordered by user. M messages, U users."""

    start: Ints  # (U + 1,) first option of a user
    message: Ints
    slot: Ints
    day: Ints  # local day
    worth: Floats  # value after prices, > 0
    identity: Ints  # (M,) number within the user; messages of one exclusive group share it
    identities: Ints  # (U,) number of identities of a user


class Work(NamedTuple):
    """Working memory of the kernels, for one user at a time."""

    sends: Sends
    option: Ints  # kept options in time order, as options of the problem
    slot: Ints
    identity: Ints
    kind: Ints
    day: Ints
    worth: Floats
    after: Ints  # the first option that the gap allows after this one
    allowed: Ints  # options of the problem that may be sent alone
    by_slot: Ints  # first place of each slot's options in time order
    top: Floats  # largest worth of an identity
    marked: Flags  # by identity
    bit: Ints  # by identity: its bit in a set of tracked identities; -1: not tracked
    table: Floats  # (options + 1, sends + 1, sets) the largest worth that may still follow
    at: Ints  # by depth: the next option to try
    picked: Ints  # by depth: the option that is sent
    value: Floats  # by depth: worth of the sends so far
    sent: Ints  # by depth: the set of tracked identities that are sent


def best_responses(
    users: Users, options: Options, reached: Floats, most_checks: int = CHECKS_PER_USER
) -> tuple[Floats, int]:
    """Return (upper bound (U,) on the worth of each user's sends, users whose search was cut).

    A search is cut after `most_checks` checks of the rules; the bound is then the relaxation's. `reached` (U,) is the
    worth of a user's sends in the plan: no search is needed where the relaxation allows no more.
    """
    best = np.zeros(len(reached))
    cut = _best_responses(users, options, reached, most_checks, best, _work(users, options))
    return best, cut


def _work(users: Users, options: Options) -> Work:
    """Return working memory that is large enough for every user."""
    cells = int(np.diff(options.start).max(initial=0)) + 1
    identities = int(options.identities.max(initial=0)) + 1

    def ints(n: int) -> Ints:
        return np.zeros(n, np.int64)

    return Work(
        sends=memory_for(users.past, identities),
        option=ints(cells),
        slot=ints(cells),
        identity=ints(cells),
        kind=ints(cells),
        day=ints(cells),
        worth=np.zeros(cells),
        after=ints(cells),
        allowed=ints(cells),
        by_slot=ints(users.rules.n_slots + 2),
        top=np.zeros(identities),
        marked=np.zeros(identities, np.bool_),
        bit=ints(identities),
        table=np.zeros(max(TABLE, (cells + 1) * (identities + 1))),
        at=ints(identities + 1),
        picked=ints(identities + 1),
        value=np.zeros(identities + 1),
        sent=ints(identities + 1),
    )


@entry()
def _best_responses(users: Users, options: Options, reached: Floats, most_checks: int, best: Floats, work: Work) -> int:
    """Write the bound of each user to `best` (U,) and return the number of users whose search was cut."""
    cut = 0
    for u in range(len(best)):
        if options.start[u] < options.start[u + 1]:
            best[u], complete = best_response(users, options, u, reached[u], most_checks, work)
            cut += not complete
    return cut


@kernel()
def best_response(
    users: Users, options: Options, u: int, reached: float, most_checks: int, work: Work
) -> tuple[float, bool]:
    """Return (an upper bound on the worth of u's sends, False where the search was cut)."""
    points = users.past.points[u]
    first, last = options.start[u], options.start[u + 1]
    identities = options.identities[u]
    for k in range(identities):
        work.top[k] = 0.0
    for o in range(first, last):
        k = options.identity[options.message[o]]
        work.top[k] = max(work.top[k], options.worth[o])
    most = identities
    simple = largest_sum(work, identities, most)
    enough = reached + EQUAL * simple
    if simple <= enough:
        return simple, True
    past = put_past(users.past, u, work.sends)
    most = min(most, sends_left(users, options, u, past, work))
    simple = largest_sum(work, identities, most)
    if simple <= enough:
        return simple, True
    kept = keep_allowed(users, options, u, past, work)
    simple = largest_sum(work, identities, most)
    if simple <= enough:
        return simple, True
    sets = track(work, identities, kept, most)
    relaxed = min(simple, fill_table(work, kept, most, sets))
    if relaxed <= enough:
        return relaxed, True
    return search(users, past, points, kept, most, sets, reached, relaxed, most_checks, work)


@kernel()
def largest_sum(work: Work, identities: int, most: int) -> float:
    """Return the sum of the `most` largest worths of identities."""
    total = 0.0
    for k in range(identities):
        work.marked[k] = False
    for _ in range(min(most, identities)):
        largest = -1
        for k in range(identities):
            if not work.marked[k] and (largest < 0 or work.top[k] > work.top[largest]):
                largest = k
        work.marked[largest] = True
        total += work.top[largest]
    return total


@kernel()
def sends_left(users: Users, options: Options, u: int, past: int, work: Work) -> int:
    """Return the most sends that the caps leave to u, from caps that count all options in one window.

    Such a cap's window is longer than the horizon.
    """
    rules, sends = users.rules, work.sends
    horizon = (rules.n_slots - 1) * rules.slot_minutes
    most = options.start[u + 1] - options.start[u]
    for c in range(len(rules.most)):
        if rules.window[c] <= horizon:
            continue
        counts_all = True
        for o in range(options.start[u], options.start[u + 1]):
            if not rules.counts[users.kind[options.message[o]], c]:
                counts_all = False
                break
        if counts_all:
            held = 0
            for i in range(past):
                near = horizon - rules.window[c] < sends.minute[i] < rules.window[c]
                held += near and rules.counts[sends.kind[i], c]
            most = min(most, max(0, rules.most[c] - held))
    return most


@kernel()
def keep_allowed(users: Users, options: Options, u: int, past: int, work: Work) -> int:
    """Copy the options that may be sent alone to `work`, in time order, and return their number.

    The largest worth of each identity and the first option after the gap are set from these options.
    """
    rules, points = users.rules, users.past.points[u]
    unburdened = past == 0 and points == 0.0
    for slot in range(rules.n_slots + 1):
        work.by_slot[slot] = 0
    for k in range(options.identities[u]):
        work.top[k] = 0.0
    kept = 0
    for o in range(options.start[u], options.start[u + 1]):
        m = options.message[o]
        put_planned(work.sends, past, float(options.slot[o] * rules.slot_minutes), users.kind[m], options.day[o])
        free = unburdened and rules.alone[users.kind[m]]
        if free or not breaks_any(rules, work.sends, past + 1, points):
            work.allowed[kept] = o
            kept += 1
            work.by_slot[options.slot[o] + 1] += 1
            k = options.identity[m]
            work.top[k] = max(work.top[k], options.worth[o])
    for slot in range(rules.n_slots):
        work.by_slot[slot + 1] += work.by_slot[slot]
    for a in range(kept):
        o = work.allowed[a]
        m = options.message[o]
        i = work.by_slot[options.slot[o]]
        work.by_slot[options.slot[o]] += 1
        work.slot[i] = options.slot[o]
        work.identity[i] = options.identity[m]
        work.kind[i] = users.kind[m]
        work.day[i] = options.day[o]
        work.worth[i] = options.worth[o]
    j = 0
    for i in range(kept):
        while j < kept and (j <= i or (work.slot[j] - work.slot[i]) * rules.slot_minutes < rules.gap):
            j += 1
        work.after[i] = j
    return kept


@kernel()
def track(work: Work, identities: int, kept: int, most: int) -> int:
    """Give a bit to the identities of largest worth, as many as the table has room for; return the number of sets."""
    bits = 0
    for k in range(identities):
        work.bit[k] = -1
        bits += work.top[k] > 0
    bits = min(MOST_TRACKED, bits)
    while ((kept + 1) * (most + 1)) << bits > len(work.table):
        bits -= 1
    for b in range(bits):
        largest = -1
        for k in range(identities):
            if work.bit[k] < 0 and (largest < 0 or work.top[k] > work.top[largest]):
                largest = k
        work.bit[largest] = b
    return 1 << bits


@kernel()
def fill_table(work: Work, kept: int, most: int, sets: int) -> float:
    """Fill the table from the last option to the first; return the largest worth of all options in the relaxation."""
    row = (most + 1) * sets
    for x in range(row):
        work.table[kept * row + x] = 0.0
    for i in range(kept - 1, -1, -1):
        bit = work.bit[work.identity[i]]
        sent = 0 if bit < 0 else 1 << bit
        for x in range(row):
            work.table[i * row + x] = work.table[(i + 1) * row + x]
        for n in range(1, most + 1):
            for x in range(sets):
                if x & sent == 0:
                    then = work.worth[i] + work.table[work.after[i] * row + (n - 1) * sets + (x | sent)]
                    work.table[i * row + n * sets + x] = max(work.table[i * row + n * sets + x], then)
    return work.table[most * sets]


@kernel()
def search(
    users: Users,
    past: int,
    points: float,
    kept: int,
    most: int,
    sets: int,
    reached: float,
    relaxed: float,
    most_checks: int,
    work: Work,
) -> tuple[float, bool]:
    """Return (worth of the best plan that keeps all rules, True), or (`relaxed`, False) where the search is cut."""
    rules, row = users.rules, (most + 1) * sets
    negligible = EQUAL * relaxed
    best, checks, depth = reached, 0, 0
    for i in range(kept):
        work.marked[work.identity[i]] = False  # nothing is sent
    work.at[0] = work.sent[0] = 0
    work.value[0] = 0.0
    while depth >= 0:
        i, n = work.at[depth], most - depth
        left = work.table[i * row + n * sets + work.sent[depth]]
        if n == 0 or i == kept or work.value[depth] + left <= best + negligible:
            depth -= 1
            if depth >= 0:
                work.marked[work.identity[work.picked[depth]]] = False
            continue
        work.at[depth] += 1
        k, bit = work.identity[i], work.bit[work.identity[i]]
        sent = work.sent[depth] if bit < 0 else work.sent[depth] | (1 << bit)
        value = work.value[depth] + work.worth[i]
        if work.marked[k] or value + work.table[work.after[i] * row + (n - 1) * sets + sent] <= best + negligible:
            continue
        put_planned(work.sends, past + depth, float(work.slot[i] * rules.slot_minutes), work.kind[i], work.day[i])
        if depth > 0:  # `keep_allowed` checked each option alone
            checks += 1
            if checks > most_checks:
                return relaxed, False
            if breaks_any(rules, work.sends, past + depth + 1, points):
                continue
        best = max(best, value)
        work.picked[depth] = i
        work.marked[k] = True
        depth += 1
        work.at[depth], work.value[depth], work.sent[depth] = work.after[i], value, sent
    return best, True
