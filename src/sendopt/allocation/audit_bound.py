"""A bound on every plan from prices alone (model ¶11): weak duality, proved without a solver.

For prices λ >= 0 (for a minimum's row at most its shortfall price) no plan beats
D(λ) = Σ_u best(u, λ) + λ·room - Σ μ·missing. best(u, λ) is what one user could earn alone at those prices: a plain
depth-first search over the user's messages, exact unless it meets its node limit, then relaxed and still valid.
"""

from __future__ import annotations

import math
from collections import defaultdict

from sendopt.allocation.audit_rules import Ledger, Send, broken_user_rules, past_sends, planned_send, uses
from sendopt.allocation.problem import Problem
from sendopt.domain.limits import Limits

NODES_PER_USER = 3000  # feasibility checks; about a tenth of a second at worst

Options = list[list[tuple[float, Send]]]  # per message: (adjusted value > 0, send), best first


def weak_bound(problem: Problem, book: Ledger, prices: dict[str, float]) -> tuple[float, int]:
    """(D(λ), users whose search was cut) at `prices` by row name; rows without a price count as 0."""
    most = _most_sends(problem)
    past = past_sends(problem)
    total, cut = [], 0
    for user, options in _options_by_user(problem, book, prices).items():
        best, complete = _best_response(problem.limits, past.get(user, []), options, most)
        total.append(best)
        cut += not complete
    for name, row in book.maximums.items():
        total.append(_legal(prices.get(name, 0.0), row.price) * max(0.0, row.limit - row.committed))
    for name, row in book.minimums.items():
        price = _legal(prices.get(f"campaign_min:{name}", 0.0), row.price)
        total.append(-price * max(0.0, row.limit - row.committed))
    return math.fsum(total), cut


def _legal(price: float, most: float) -> float:
    """The nearest price for which weak duality holds; the audit complains about the difference elsewhere."""
    return min(max(0.0, price), most) if math.isfinite(price) else 0.0


def _options_by_user(problem: Problem, book: Ledger, prices: dict[str, float]) -> dict[int, Options]:
    cells, messages = problem.cells, problem.messages
    price_of = {id(row): _legal(prices.get(name, 0.0), row.price) for name, row in book.maximums.items()}
    for name, row in book.minimums.items():
        price_of[id(row)] = -_legal(prices.get(f"campaign_min:{name}", 0.0), row.price)
    by_message: dict[int, list[tuple[float, Send]]] = defaultdict(list)
    for c in range(len(cells.message)):
        value = float(cells.value[c])
        if value <= 0:
            continue
        m = int(cells.message[c])
        rows = uses(
            book, messages.channel[m], int(cells.slot[c]), messages.campaign[m], cells.p_opt_out[c], cells.cost[c]
        )
        adjusted = value - math.fsum(price_of[id(row)] * use for row, use in rows)
        if adjusted > 0:
            by_message[m].append((adjusted, planned_send(problem, c)))
    by_user: dict[int, Options] = defaultdict(list)
    for m, options in by_message.items():
        by_user[int(messages.user[m])].append(sorted(options, reverse=True))
    return by_user


def _most_sends(problem: Problem) -> int:
    """The most sends that any user can be planned: the tightest cap on all sends that spans the whole horizon."""
    last_start = (problem.n_slots - 1) * problem.slot_minutes
    spans = [
        cap.max
        for cap in problem.limits.caps.values()
        if cap.scope == "all" and cap.window_minutes is not None and cap.window_minutes > last_start
    ]
    return min(spans, default=len(problem.messages.user))


def _best_response(limits: Limits, past: list[Send], options: Options, most: int) -> tuple[float, bool]:
    """(best adjusted value of one user's feasible sends, True if exact). Rules only tighten as sends are added."""
    options = sorted(options, key=lambda message: -message[0][0])
    tops = [message[0][0] for message in options]
    best, nodes = 0.0, 0

    def search(first: int, value: float, sends: list[Send]) -> None:
        nonlocal best, nodes
        best = max(best, value)
        free = most - len(sends)
        for i in range(first, len(options)):
            rest = math.fsum(tops[i + 1 : i + free])
            if free <= 0 or value + tops[i] + rest <= best:
                return
            for adjusted, send in options[i]:
                if value + adjusted + rest <= best:
                    break
                nodes += 1
                if nodes > NODES_PER_USER:
                    return
                extended = [*sends, send]
                if not broken_user_rules(limits, [*past, *extended]):
                    search(i + 1, value + adjusted, extended)

    search(0, 0.0, [])
    if nodes > NODES_PER_USER:
        return math.fsum(tops[:most]), False
    return best, True
