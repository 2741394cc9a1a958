"""The greedy plan: sends by value, the largest first, each taken where it breaks no rule (model ¶9).

Most teams would write this plan; beside one by prices it shows what planning together adds. It keeps every rule and
every maximum. It ignores minimums, and pays for missed ones like any plan. Tiers come in order.

In kernels: d instance; u user, m message, c cell, h past send, j cap; n sends of the user so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sendopt.allocation.prices.instance import ROLLING, Compiled, Instance
from sendopt.allocation.prices.market import NONE, Market
from sendopt.allocation.prices.repair import Room, room_after
from sendopt.allocation.prices.user_rules import (
    POINTS_TOLERANCE,
    cost_of,
    counts_message,
    crowded,
    full_period,
    opt_out_of,
    points_at,
)
from sendopt.allocation.problem import Problem
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Flags, Floats, Ints

BANDS = (0.4, 0.7, 0.85, 0.95)  # quantiles of value between the bands; they affect speed only
SAMPLE = 20_000  # values that the quantiles are taken of


class Taken(NamedTuple):
    """The plan so far, and the room it leaves."""

    plan: Ints  # (U, width) cells
    sent: Ints  # (U, width) their messages
    sends: Ints  # (U,)
    is_sent: Flags  # (M,)
    room: Room


def greedy_cells(problem: Problem, compiled: Compiled) -> Ints:
    """Return the rows of `problem.cells` of the greedy plan, ascending; `compiled` are the problem's arrays.

    Equal values go by the hash order of users and messages, so that the order of input plays no part.
    """
    market = Market(compiled)
    plan = greedy_plan(market, problem.messages.tier[problem.cells.message[compiled.cell]])
    return np.sort(compiled.cell[plan[plan != NONE]])


def greedy_plan(market: Market, tier: Ints) -> Ints:
    """Return (U, width) the cells of the greedy plan; `tier` (C,) is that of each cell.

    Cells come by bands of value, so that most of them are never sorted: they have no room left when their band comes.
    """
    d = market.d
    taken = Taken(
        plan=market.empty_plan(),
        sent=np.full((market.n_users, market.width), NONE, np.int64),
        sends=np.zeros(market.n_users, np.int64),
        is_sent=np.zeros(len(d.channel), np.bool_),
        room=room_after(market, np.zeros(len(market.rows.names))),
    )
    cells, messages, users = (np.empty(len(d.slot), np.int64) for _ in range(3))
    is_single = len(tier) > 0 and tier.min() == tier.max()
    for number in tier[:1] if is_single else np.unique(tier):
        of_tier = np.empty(0, np.bool_) if is_single else np.asarray(tier == number)
        for low, high in _edges(d.value):
            n = collect(d, low, high, of_tier, taken, cells, messages, users)
            order = np.argsort(-d.value[cells[:n]], kind="stable")
            take(d, cells[order], messages[order], users[order], taken)
    return taken.plan


def _edges(value: Floats) -> list[tuple[float, float]]:
    """Return (above, up to) of each band of value, the highest first; each value above 0 is in one of them."""
    sample = value[:: max(1, len(value) // SAMPLE)]
    sample = sample[sample > 0]
    inner = np.unique(np.quantile(sample, BANDS)) if len(sample) else np.empty(0)
    edges = [0.0, *inner.tolist(), np.inf]
    return list(zip(edges[-2::-1], edges[:0:-1], strict=True))


@entry()
def collect(
    d: Instance, low: float, high: float, of_tier: Flags, taken: Taken, cells: Ints, messages: Ints, users: Ints
) -> int:
    """Return the number of cells worth more than `low` and at most `high` that may have room.

    They, their messages and users are written to the last three arguments. `of_tier` (C,) says which cells count;
    where it is empty all do.
    """
    n, slots = 0, d.rules.n_slots
    room = taken.room
    opt_outs, cost = room.budgets[0], room.budgets[1]
    for u in range(len(d.most)):
        if taken.sends[u] >= min(d.most[u], taken.plan.shape[1]):
            continue
        for m in range(d.message_start[u], d.message_start[u + 1]):
            if taken.is_sent[m] or room.campaign[d.campaign[m]] < 1.0:
                continue
            first = d.channel[m] * slots
            for c in range(d.cell_start[m], d.cell_start[m + 1]):
                if low < d.value[c] <= high and room.capacity[first + d.slot[c]] >= 1.0:
                    if len(of_tier) and not of_tier[c]:
                        continue
                    if opt_outs < opt_out_of(d, c, m) or cost < cost_of(d, c, m):
                        continue
                    cells[n], messages[n], users[n] = c, m, u
                    n += 1
    return n


@entry()
def take(d: Instance, cells: Ints, messages: Ints, users: Ints, taken: Taken) -> None:
    """Take each of the cells, in this order, that fits into the room and breaks no rule of its user."""
    room = taken.room
    for x in range(len(cells)):
        c, m, u = cells[x], messages[x], users[x]
        n = taken.sends[u]
        if n >= min(d.most[u], taken.plan.shape[1]) or taken.is_sent[m]:
            continue
        at, k = d.channel[m] * d.rules.n_slots + d.slot[c], d.campaign[m]
        if room.capacity[at] < 1.0 or room.campaign[k] < 1.0:
            continue
        opt_out, cost = opt_out_of(d, c, m), cost_of(d, c, m)
        if room.budgets[0] < opt_out or room.budgets[1] < cost:
            continue
        plan, sent = taken.plan[u], taken.sent[u]
        if not _stands_apart(d, c, m, plan, sent, n):
            continue
        if (n > 0 or d.past_start[u] < d.past_start[u + 1]) and not _keeps_rules(d, u, c, m, plan, sent, n):
            continue
        plan[n], sent[n] = c, m
        taken.sends[u] = n + 1
        taken.is_sent[m] = True
        room.capacity[at] -= 1.0
        room.campaign[k] -= 1.0
        room.budgets[0] -= opt_out
        room.budgets[1] -= cost


@kernel()
def _stands_apart(d: Instance, c: int, m: int, cells: Ints, messages: Ints, n: int) -> bool:
    """Return whether cell c is of another message (and group) than the n sends, and a gap away from them."""
    for i in range(n):
        if d.identity[messages[i]] == d.identity[m]:
            return False
        if abs(int(d.slot[cells[i]]) - int(d.slot[c])) * d.rules.slot_minutes < d.rules.gap_minutes:
            return False
    return True


@kernel()
def _keeps_rules(d: Instance, u: int, c: int, m: int, cells: Ints, messages: Ints, n: int) -> bool:
    """Return whether caps and fatigue allow cell c beside the n sends, which may be before it and after it."""
    r = d.rules
    minute = float(d.slot[c]) * r.slot_minutes
    for j in range(len(r.cap_max)):
        if counts_message(d, j, m):
            if r.cap_period[j] == ROLLING:
                if crowded(d, u, j, minute, cells, messages, n):
                    return False
            elif full_period(d, u, c, j, cells, messages, n):
                return False
    if r.max_points == np.inf:
        return True
    if points_at(d, u, minute, minute, m, cells, messages, n) > r.max_points + POINTS_TOLERANCE:
        return False
    for i in range(n):
        at = float(d.slot[cells[i]]) * r.slot_minutes
        if at > minute and points_at(d, u, at, minute, m, cells, messages, n) > r.max_points + POINTS_TOLERANCE:
            return False
    for h in range(d.past_start[u], d.past_start[u + 1]):
        at = d.past_minute[h]
        if at > minute and points_at(d, u, at, minute, m, cells, messages, n) > r.max_points + POINTS_TOLERANCE:
            return False
    return True
