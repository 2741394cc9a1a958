"""What each user could earn alone at given prices, and the bound D(prices) that follows (model ¶11).

Tighter than the linear relaxation wherever fatigue binds, since the relaxation may send halves: on an invented night
of 2,000 users the certified gap fell from 2.1 to 0.5 %.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from sendopt.allocation.buckets import Work
from sendopt.allocation.problem import Floats, Problem
from sendopt.allocation.user_rows import past_sends, planned_send
from sendopt.domain.limits import Limits
from sendopt.domain.rules import Send, first_broken

CHECKS_PER_USER = 3000  # a tenth of a second at worst; a user cut short enters the bound relaxed

_Options = list[list[tuple[float, Send]]]  # per message: (value left after prices > 0, send), best first


def bound_by_prices(work: Work, prices: Floats) -> float:
    """D(prices): no plan has a larger objective, for prices (R,) >= 0 and <= the shortfall price of a minimum."""
    problem, rows = work.problem, work.coupling
    adjusted = rows.adjusted(problem.cells.value, prices)
    options: dict[int, dict[int, list[tuple[float, Send]]]] = defaultdict(lambda: defaultdict(list))
    for c in np.flatnonzero(work.rows.allowed & (adjusted > 0)).tolist():
        mine = options[int(work.cell_user[c])][int(problem.cells.message[c])]
        mine.append((float(adjusted[c]), planned_send(problem, c)))
    past, most = past_sends(problem), _most_sends(problem)
    best = [
        _best_response(problem.limits, past[user], [sorted(m, reverse=True) for m in messages.values()], most)
        for user, messages in options.items()
    ]
    rents = np.where(rows.is_minimum, -prices, prices) * rows.room
    return math.fsum((*best, *rents.tolist()))


def _most_sends(problem: Problem) -> int:
    """A number of sends that no user's plan exceeds: of the caps on all sends whose window spans the horizon."""
    span = (problem.n_slots - 1) * problem.slot_minutes
    caps = problem.limits.caps.values()
    return min(
        (cap.max for cap in caps if cap.scope == "all" and (cap.window_minutes or 0) > span),
        default=len(problem.messages.user),
    )


def _best_response(limits: Limits, past: list[Send], options: _Options, most: int) -> float:
    """The most that feasible sends of these options are worth; never less, more only where the search is cut."""
    options = sorted(options, key=lambda message: -message[0][0])
    top = np.cumsum([0.0, *(message[0][0] for message in options)]).tolist()
    best, checks = 0.0, 0

    def reach(first: int, free: int) -> float:
        """The most that `free` sends of the options from `first` on could be worth."""
        return float(top[max(first, min(first + free, len(options)))] - top[first])

    def search(first: int, free: int, value: float, sends: list[Send]) -> None:
        nonlocal best, checks
        best = max(best, value)
        for i in range(first, len(options)):
            if free == 0 or value + reach(i, free) <= best or checks >= CHECKS_PER_USER:
                return
            for worth, send in options[i]:
                if value + worth + reach(i + 1, free - 1) <= best or checks >= CHECKS_PER_USER:
                    break
                checks += 1
                if first_broken(limits, sends, send) is None:
                    search(i + 1, free - 1, value + worth, [*sends, send])

    search(0, most, 0.0, past)
    return best if checks < CHECKS_PER_USER else reach(0, most)
