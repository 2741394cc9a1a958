"""Why a message is not in the plan: the first thing in its way, at the slot that suits it best."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from sendopt.allocation.coupling import coupling
from sendopt.allocation.problem import Floats, Problem, Texts
from sendopt.allocation.solution import Solution
from sendopt.allocation.user_rows import past_sends, planned_send
from sendopt.domain.rules import first_broken

_REASON_OF_KIND = {
    "capacity": "capacity",
    "campaign_max": "campaign_budget",
    "opt_outs": "opt_out_budget",
    "cost": "cost_budget",
}
_ROUNDING = 1e-9  # of value - price: at the optimum a cell at the margin is worth exactly its price


def unplanned_reasons(problem: Problem, solution: Solution) -> Texts:
    """(M,) one word a message: planned, not_eligible (no cells), negative_value (never worth a send), capacity,
    campaign_budget, opt_out_budget or cost_budget (worth less than the room it needs, the dearest row named),
    user_cap, min_gap or fatigue (the user's own rule at the best slot), displaced (other sends were worth more).
    """
    cells, rows = problem.cells, coupling(problem)
    price_of = {p.row: p.price for p in solution.prices}
    prices = np.array([price_of[name] for name in rows.names], dtype=np.float64)
    adjusted = rows.adjusted(cells.value, prices)
    by_cell = rows.use.T.tocsr()
    best = _best_cells(problem, adjusted)
    sends = past_sends(problem)
    for c in solution.chosen.tolist():
        sends[int(problem.messages.user[cells.message[c]])].append(planned_send(problem, c))
    reasons = np.full(len(problem.messages.user), "not_eligible", dtype=object)
    for message, c in best.items():
        span = slice(by_cell.indptr[c], by_cell.indptr[c + 1])
        paid = {
            rows.kinds[r]: prices[r] * a
            for r, a in zip(by_cell.indices[span], by_cell.data[span], strict=True)
            if rows.kinds[r] != "campaign_min" and prices[r] * a > 0
        }
        if cells.value[c] <= 0:
            reasons[message] = "negative_value"
        elif adjusted[c] <= _ROUNDING and paid:
            reasons[message] = _REASON_OF_KIND[max(paid, key=lambda kind: (paid[kind], kind))]
        else:
            user = int(problem.messages.user[message])
            reasons[message] = first_broken(problem.limits, sends[user], planned_send(problem, c)) or "displaced"
    reasons[cells.message[solution.chosen]] = "planned"
    return reasons


def _best_cells(problem: Problem, adjusted: Floats) -> dict[int, int]:
    """The cell of each message with the most value left after prices, among those of positive value if there are."""
    cells = problem.cells
    of_message: dict[int, list[int]] = defaultdict(list)
    for c, message in enumerate(cells.message.tolist()):
        of_message[message].append(c)
    return {
        message: max(mine, key=lambda c: (cells.value[c] > 0, adjusted[c], -cells.slot[c]))
        for message, mine in of_message.items()
    }
