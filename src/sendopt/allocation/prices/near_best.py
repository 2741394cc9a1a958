"""All plans of a user worth nearly as much as the best one: the columns of an integer program (model ¶11).

The search goes depth first in time order. It leaves a branch where further sends cannot raise it to the worth asked
for.

In kernels: d instance, p prices, u user, w working memory; i item, g group, m message, k place in a plan.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.prices.best_response import respond
from sendopt.allocation.prices.fatigue import identities_of, level_in, step_of, tighten
from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.market import NONE, Market
from sendopt.allocation.prices.relaxation import fill_table, find_groups, find_moves, gather
from sendopt.allocation.prices.scratch import LEAST, Prices, Scratch
from sendopt.allocation.prices.user_rules import POINTS_TOLERANCE, may_join
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Floats, Ints

MOST_NODES = 20_000  # sends tried for a user
TURNS = 12  # subgradient steps of rents


def near_best(market: Market, by_row: Floats, slack: float, most: int) -> tuple[Ints, Ints]:
    """Return (users (N,) ascending, plans (N, width)): plans within `slack` of a user's best at prices `by_row` (R,).

    Where a user has more than `most` of them, the slack is halved until there are no more.
    """
    size = market.n_users * most
    owner, plans = np.empty(size, np.int64), np.full((size, market.width), NONE, np.int64)
    market.answers += market.n_users
    prices = market.prices(by_row)
    # a send that costs its user up to `slack` may be part of a plan within it: gathered as if worth so much more
    open_ = prices._replace(campaign=prices.campaign - slack)
    n = _sweep(market.d, prices, open_, slack, most, market.scratch(), owner, plans)
    return owner[:n].copy(), plans[:n].copy()


@entry()
def _sweep(d: Instance, p: Prices, open_: Prices, slack: float, most: int, w: Scratch, owner: Ints, plans: Ints) -> int:
    """Return the number of plans of all users, written to `plans` with their users in `owner`."""
    n = 0
    for u in range(len(d.most)):
        _, worth, _, _ = respond(d, p, u, w)
        within, count = slack, -1
        for _ in range(40):
            count = _list(d, open_, slack, u, w, worth, worth - within - LEAST, n, most, plans)
            if count >= 0:
                break
            within *= 0.5
        for i in range(count):
            owner[n + i] = u
        n += max(count, 0)
    return n


@kernel()
def _list(
    d: Instance,
    open_: Prices,
    slack: float,
    u: int,
    w: Scratch,
    best: float,
    least: float,
    first: int,
    most_plans: int,
    plans: Ints,
) -> int:
    """Return the number of plans worth `least` or more, in `plans` from row `first` on; -1 where over `most_plans`."""
    items, messages = gather(d, open_, u, w)
    for i in range(items):
        w.worth[i] -= slack
    most = min(d.most[u], messages)
    n_plans = 0
    if least <= 0.0:
        _write(plans, first, w.path, 0)
        n_plans = 1
    if most <= 0:
        return n_plans
    groups = find_groups(d, w, items)
    find_moves(d, u, w, 0, 1)
    fill_table(d, u, w, groups, most, 0, 1)
    high = 1
    lab = w.labels
    lab.value[0], lab.points[0], lab.item[0], lab.rent[0] = 0.0, d.fatigue[u], -1, 0.0
    lab.step[0] = step_of(d, d.fatigue[u], 0)
    if d.rules.levels > 1:
        high, _ = tighten(d, u, w, groups, most, best, TURNS)
        for k in range(identities_of(d, u)):
            lab.rent[0] += w.rent[k]
    depth, nodes = 0, 0
    lab.active[0] = 0
    while depth >= 0:
        i = lab.active[depth]
        left = most - depth
        if i >= items or left == 0 or not _reaches(d, w, depth, w.group[min(i, items - 1)], most, high, least):
            depth -= 1
            continue
        lab.active[depth] = i + 1
        g, m = w.group[i], w.message[i]
        value = lab.value[depth] + w.worth[i]
        if value + w.table[w.after[g] * (most + 1) + left - 1] < least:
            continue
        nodes += 1
        if nodes > MOST_NODES:
            return -1
        if _repeats(d, w, depth, m):
            continue
        points = 0.0
        if d.rules.max_points < np.inf:
            before = w.slot[lab.item[depth]] if depth > 0 else 0
            points = lab.points[depth] * d.rules.decay[w.slot[i] - before] + d.rules.points[d.channel[m]]
            if points > d.rules.max_points + POINTS_TOLERANCE:
                continue
        if not may_join(d, u, w.cell[i], m, w.path, w.place, depth):
            continue
        w.path[depth], w.place[depth] = w.cell[i], m
        depth += 1
        lab.value[depth], lab.points[depth], lab.item[depth] = value, points, i
        if d.rules.levels > 1:
            lab.step[depth] = step_of(d, points, w.slot[i])
            lab.rent[depth] = lab.rent[depth - 1] - w.rent[d.identity[m]]
        lab.active[depth] = w.first[w.after[g]] if w.after[g] < groups else items
        if value >= least:
            if n_plans == most_plans:
                return -1
            _write(plans, first + n_plans, w.path, depth)
            n_plans += 1
    return n_plans


@kernel()
def _write(plans: Ints, row: int, cells: NDArray[np.int64], n: int) -> None:
    """Write the first n cells to `row` of `plans`."""
    for k in range(plans.shape[1]):
        plans[row, k] = cells[k] if k < n else NONE


@kernel()
def _repeats(d: Instance, w: Scratch, depth: int, m: int) -> bool:
    """Return whether the plan of `depth` sends has the identity of message m already."""
    for k in range(1, depth + 1):  # noqa: SIM110  numba compiles loops, not generators
        if d.identity[w.message[w.labels.item[k]]] == d.identity[m]:
            return True
    return False


@kernel()
def _reaches(d: Instance, w: Scratch, depth: int, g: int, most: int, high: int, least: float) -> bool:
    """Return whether the plan of `depth` sends can be worth `least` with further ones from group g on."""
    lab, left = w.labels, most - depth
    if lab.value[depth] + w.table[g * (most + 1) + left] < least:
        return False
    if d.rules.levels == 1:
        return True
    level = level_in(d, lab.step[depth], w.slot[w.first[g]])
    rest = w.tired[(g * d.rules.levels + level) * high + (left if high > 1 else 0)] + lab.rent[depth]
    return lab.value[depth] + rest >= least
