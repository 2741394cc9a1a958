"""The filling pass: sends that still fit, dearest first, never displacing one (model ¶11)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.buckets import Work
from sendopt.allocation.problem import Floats
from sendopt.allocation.user_rows import past_sends, planned_send
from sendopt.domain.keys import keyed_hash
from sendopt.domain.rules import Send, first_broken

_ROUNDING = 1e-9  # of sums of probabilities and money


def fill(work: Work, chosen: NDArray[np.bool_], prices: Floats) -> NDArray[np.bool_]:
    """`chosen` (C,) and every further cell that fits, by value - what it uses at `prices` (R,); ties by keyed hash.

    Minimums draw sends by their price: a missing send is worth its shortfall price until none is missing.
    """
    problem, coupling, chosen = work.problem, work.coupling, chosen.copy()
    left = np.where(coupling.is_minimum, np.inf, work.left(chosen))
    taken = np.zeros(len(problem.messages.user), dtype=bool)
    taken[problem.cells.message[chosen]] = True
    sends = past_sends(problem)
    for c in np.flatnonzero(chosen).tolist():
        sends[work.cell_user[c]].append(planned_send(problem, c))
    by_cell = coupling.use.T.tocsr()
    missing = coupling.is_minimum & (work.left(chosen) > 0)
    for c in _order(work, taken, np.where(missing, coupling.shortfall_price, prices)):
        message, user = int(problem.cells.message[c]), int(work.cell_user[c])
        span = slice(by_cell.indptr[c], by_cell.indptr[c + 1])
        rows, use = by_cell.indices[span], by_cell.data[span]
        if taken[message] or (use > left[rows] + _ROUNDING).any():
            continue
        send: Send = planned_send(problem, c)
        if first_broken(problem.limits, sends[user], send) is None:
            left[rows] -= use
            taken[message] = chosen[c] = True
            sends[user].append(send)
    return chosen


def _order(work: Work, taken: NDArray[np.bool_], prices: Floats) -> list[int]:
    problem = work.problem
    adjusted = np.round(work.coupling.adjusted(problem.cells.value, prices), 12)
    free = np.flatnonzero(work.rows.allowed & ~taken[problem.cells.message]).tolist()

    def tie(c: int) -> str:
        message = problem.cells.message[c]
        user, message_id = problem.users[work.cell_user[c]], problem.messages.message_id[message]
        return keyed_hash("fill", str(user), str(message_id), str(problem.cells.slot[c]))

    return sorted(free, key=lambda c: (-adjusted[c], tie(c)))
