"""A bound on every plan from prices alone (model ¶11): weak duality, proved without a solver.

For prices λ >= 0 (for a minimum's row at most its shortfall price) no plan beats
D(λ) = Σ_u best(u, λ) + λ·room - Σ μ·missing. best(u, λ) is what one user could earn alone at those prices. A relaxation
(the gap, caps on everything over the whole horizon, each message once) bounds every user, worked out for many users
at once; only where the plan at hand is worth less does a plain depth-first search decide. A search that meets its
limit leaves the user relaxed and the bound valid.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.audit_rules import Ledger, Send, broken_user_rules, past_sends, planned_send
from sendopt.allocation.problem import Floats, Ints, Problem

NODES_PER_USER = 3000  # feasibility checks; about a tenth of a second at worst
MOST_IDENTITIES = 6  # told apart by the relaxation; with more the same message may count twice
BLOCK = 2048  # users at once
EQUAL = 1e-9  # of what a user could earn

Options = list[list[tuple[float, Send]]]  # per identity: (adjusted value > 0, send), best first


def weak_bound(problem: Problem, book: Ledger, prices: dict[str, float], chosen: Ints) -> tuple[float, int]:
    """(D(λ), users whose search was cut) at `prices` by row name; rows without a price count as 0.

    `chosen` are the cells of a plan that keeps the rules: what it is worth saves the search of most users.
    """
    adjusted = _adjusted(problem, book, prices)
    useful = np.flatnonzero((problem.cells.value > 0) & (adjusted > 0))
    owner = problem.messages.user[problem.cells.message]
    reached = np.bincount(owner[chosen], weights=np.maximum(adjusted[chosen], 0.0), minlength=len(problem.users))
    best = _relaxed(problem, useful, owner[useful], adjusted)
    open_ = np.flatnonzero(best > reached + EQUAL * best)
    cut = 0
    if len(open_):
        past = past_sends(problem)
        for user, options in _options(problem, useful[np.isin(owner[useful], open_)], adjusted).items():
            found, complete = _best_response(
                problem, past.get(user, []), options, float(best[user]), float(reached[user])
            )
            best[user] = found
            cut += not complete
    total = best.tolist()
    for name, row in book.maximums.items():
        total.append(_legal(prices.get(name, 0.0), row.price) * max(0.0, row.limit - row.committed))
    for name, row in book.minimums.items():
        price = _legal(prices.get(f"campaign_min:{name}", 0.0), row.price)
        total.append(-price * max(0.0, row.limit - row.committed))
    return math.fsum(total), cut


def _legal(price: float, most: float) -> float:
    """The nearest price for which weak duality holds; the audit complains about the difference elsewhere."""
    return min(max(0.0, price), most) if math.isfinite(price) else 0.0


def _adjusted(problem: Problem, book: Ledger, prices: dict[str, float]) -> Floats:
    """(C,) values after prices."""
    cells, m = problem.cells, problem.messages
    price = {name: _legal(prices.get(name, 0.0), row.price) for name, row in book.maximums.items()}
    found = cells.value - price.get("opt_outs", 0.0) * cells.p_opt_out - price.get("cost", 0.0) * cells.cost
    for channel in sorted(problem.limits.capacity):
        by_slot = np.array([price.get(f"capacity:{channel}:{s}", 0.0) for s in range(problem.n_slots)])
        mine = np.flatnonzero((m.channel == channel)[cells.message])
        found[mine] -= by_slot[cells.slot[mine]]
    of_message = np.zeros(len(m.user))
    for name in sorted(problem.limits.campaigns):
        paid = price.get(f"campaign_max:{name}", 0.0)
        if name in book.minimums:
            paid -= _legal(prices.get(f"campaign_min:{name}", 0.0), book.minimums[name].price)
        of_message[m.campaign == name] = paid
    return np.asarray(found - of_message[cells.message])


def _identities(problem: Problem, messages: Ints) -> tuple[Ints, Ints]:
    """(user, identity) of each message; those of one exclusive group are one identity, numbered within the user."""
    user = problem.messages.user[messages]
    groups = problem.messages.exclusive_group[messages]
    seen: dict[tuple[int, object], int] = {}
    used: dict[int, int] = defaultdict(int)
    identity = np.empty(len(messages), np.int64)
    for i, (u, g, m) in enumerate(zip(user.tolist(), groups.tolist(), messages.tolist(), strict=True)):
        key = (u, g or m)
        if key not in seen:
            seen[key] = used[u]
            used[u] += 1
        identity[i] = seen[key]
    return user, identity


def _relaxed(problem: Problem, useful: Ints, owner: Ints, adjusted: Floats) -> Floats:
    """(U,) an upper bound on what each user's feasible sends are worth, 0 for users without a useful cell."""
    best = np.zeros(len(problem.users))
    if len(useful) == 0:
        return best
    messages, of_cell = np.unique(problem.cells.message[useful], return_inverse=True)
    user, identity = _identities(problem, messages)
    count = np.zeros(len(problem.users), np.int64)
    np.maximum.at(count, user, identity + 1)
    most = np.minimum(_most_sends(problem), count)
    identity = np.where(count[user] <= MOST_IDENTITIES, identity, 0)
    kinds = np.where(count <= MOST_IDENTITIES, count, 1)
    for k in np.unique(kinds[kinds > 0]).tolist():
        for n in np.unique(most[kinds == k]).tolist():
            members = np.flatnonzero((kinds == k) & (most == n) & (count > 0))
            for start in range(0, len(members), BLOCK):
                block = members[start : start + BLOCK]
                place = np.full(len(problem.users), -1)
                place[block] = np.arange(len(block))
                mine = np.flatnonzero(place[owner] >= 0)
                worth = np.full((problem.n_slots, k, len(block)), -np.inf)
                at = problem.cells.slot[useful[mine]], identity[of_cell[mine]], place[owner[mine]]
                np.maximum.at(worth, at, adjusted[useful[mine]])
                best[block] = _best_of_all(worth, int(n), k > 1 or bool((count[block] == 1).all()), problem)
    return best


def _best_of_all(worth: Floats, most: int, distinct: bool, problem: Problem) -> Floats:
    """(B,) the most of `most` sends at least a gap apart; by slot from the last, by set of identities sent already."""
    slots, kinds, users = worth.shape
    step = -(-problem.limits.min_gap_minutes // problem.slot_minutes)
    sets = 1 << kinds if distinct else 1
    none = np.zeros((most + 1, sets, users))
    later: list[NDArray[np.float64]] = [none] * (slots + max(step, 1) + 1)
    for s in range(slots - 1, -1, -1):
        here = later[s + 1].copy()
        for k in range(kinds):
            # without a gap a slot may hold several sends: they build on what this slot has found already
            then = here.copy() if step == 0 else later[min(s + step, len(later) - 1)]
            sent = 1 << k if distinct else 0
            free = [x for x in range(sets) if not x & sent]
            for n in range(1, most + 1):
                for x in free:
                    np.maximum(here[n, x], worth[s, k] + then[n - 1, x | sent], out=here[n, x])
        later[s] = here
        if s + 1 + step < slots:
            later[s + 1 + step] = none  # no slot before this one looks so far
    return np.asarray(later[0][most, 0])


def _most_sends(problem: Problem, past: Sequence[Send] = ()) -> int:
    """The most sends that a user with this past can be planned: of the caps on all sends that span the whole horizon.

    The past counts where even the last slot's window holds it.
    """
    last_start = (problem.n_slots - 1) * problem.slot_minutes
    left = [
        cap.max - sum(last_start - cap.window_minutes < s.minute <= 0 for s in past)
        for cap in problem.limits.caps.values()
        if cap.scope == "all" and cap.window_minutes is not None and cap.window_minutes > last_start
    ]
    return min(left, default=len(problem.messages.user))


def _options(problem: Problem, cells: Ints, adjusted: Floats) -> dict[int, Options]:
    _, identity = _identities(problem, np.arange(len(problem.messages.user)))
    by_user: dict[int, dict[int, list[tuple[float, Send]]]] = defaultdict(lambda: defaultdict(list))
    for c in cells.tolist():
        m = int(problem.cells.message[c])
        by_user[int(problem.messages.user[m])][int(identity[m])].append((float(adjusted[c]), planned_send(problem, c)))
    return {u: [sorted(mine, reverse=True) for mine in kinds.values()] for u, kinds in by_user.items()}


def _best_response(
    problem: Problem, past: list[Send], options: Options, relaxed: float, reached: float
) -> tuple[float, bool]:
    """(best adjusted value of one user's feasible sends, True if exact); `reached` is known to be feasible.

    Rules only tighten as sends are added: what breaks one alone breaks it in company.
    """
    limits = problem.limits
    alone = [[(a, send) for a, send in mine if not broken_user_rules(limits, [*past, send])] for mine in options]
    options = sorted((mine for mine in alone if mine), key=lambda mine: -mine[0][0])
    tops = [mine[0][0] for mine in options]
    most, best, nodes, equal = _most_sends(problem, past), reached, 0, EQUAL * relaxed

    def search(first: int, value: float, sends: list[Send]) -> None:
        nonlocal best, nodes
        best = max(best, value)
        free = most - len(sends)
        for i in range(first, len(options)):
            rest = math.fsum(tops[i + 1 : i + free])
            if free <= 0 or value + tops[i] + rest <= best + equal or best >= relaxed - equal:
                return
            for adjusted, send in options[i]:
                if value + adjusted + rest <= best + equal or nodes > NODES_PER_USER:
                    break
                nodes += 1
                extended = [*sends, send]
                if len(extended) == 1 or not broken_user_rules(limits, [*past, *extended]):
                    search(i + 1, value + adjusted, extended)

    search(0, 0.0, [])
    return (best, True) if nodes <= NODES_PER_USER else (relaxed, False)
