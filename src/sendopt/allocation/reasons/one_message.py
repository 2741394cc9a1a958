"""The reason why a message is not in the plan, or not in a slot of more value, with the numbers of the rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sendopt.allocation.coupling import Coupling, coupling, rows_of, up_to
from sendopt.allocation.exact.user_rows import past_sends, planned_send
from sendopt.allocation.problem import Problem
from sendopt.allocation.solution import Solution
from sendopt.allocation.statuses import RowKind
from sendopt.domain.limits import Limits
from sendopt.domain.rules import broken_rule, detail
from sendopt.stats.arrays import Floats, Ints, Texts

_REASON_OF_KIND = {
    RowKind.CAPACITY: "capacity",
    RowKind.CAMPAIGN_MAX: "campaign_budget",
    RowKind.OPT_OUTS: "opt_out_budget",
    RowKind.COST: "cost_budget",
}
_EQUAL = 1e-9  # relative to a cell's value: at the optimum a cell at the margin is worth exactly its price


@dataclass(frozen=True)
class Why:
    """A reason code of `sendopt.domain.reasons` and its numbers, ready for JSON.

    `detail` holds the slot looked at and its value. For a user's rule it adds the keys of `rules.detail`, for a limit
    across users rule (its row), used, limit, price (of one unit) and needs (the sum of prices that the slot costs).
    """

    reason: str
    detail: Mapping[str, object]


def unplanned_reasons(problem: Problem, solution: Solution) -> Texts:
    """Return a code for each message (M,): planned, or the reason of `why_unplanned`."""
    reasons = np.full(len(problem.messages.user), "planned", dtype=object)
    for message, why in why_unplanned(problem, solution, np.ones(len(reasons), np.bool_)).items():
        reasons[message] = why.reason
    return reasons


def why_unplanned(
    problem: Problem, solution: Solution, wanted: NDArray[np.bool_], configured: Limits | None = None
) -> dict[int, Why]:
    """Return {message: reason} for those of `wanted` (M,) that are not sent, judged at their best slot.

    The code is not_eligible (no cells), negative_value (never worth a send), capacity, campaign_budget, opt_out_budget
    or cost_budget (the prices of its rows exceed its value, and the dearest row is named, or a row is full), user_cap,
    min_gap or fatigue (a rule of the user), or displaced. `configured` are the whole limits where the problem has only
    a part of them.
    """
    view = _View(problem, solution, configured)
    message = problem.cells.message
    unsent = wanted.copy()
    unsent[message[solution.chosen]] = False
    cells = view.best(np.flatnonzero(unsent[message]), view.adjusted)
    why = {m: Why("not_eligible", {}) for m in np.flatnonzero(unsent).tolist()}
    return why | {int(message[c]): view.why(c) for c in cells.tolist()}


def why_lost(problem: Problem, solution: Solution, configured: Limits | None = None) -> dict[int, Why]:
    """Return {sent cell: reason} for messages that are sent in a slot of less value than their best."""
    view = _View(problem, solution, configured)
    message, value = problem.cells.message, problem.cells.value
    sent_as = np.full(len(problem.messages.user), -1, np.int64)
    sent_as[message[solution.chosen]] = solution.chosen
    sent = np.flatnonzero(sent_as[message] >= 0)
    better = sent[value[sent] > value[sent_as[message[sent]]] * (1 + _EQUAL)]
    lost = {}
    for c in view.best(better, value).tolist():
        chosen = int(sent_as[message[c]])
        lost[chosen] = view.why(c, instead_of=chosen)
    return lost


class _View:
    """A solved problem that gives reasons for single cells."""

    def __init__(self, problem: Problem, solution: Solution, configured: Limits | None) -> None:
        self._problem = problem
        self._rows: Coupling = coupling(problem)
        price_of = {p.row: p.price for p in solution.prices}
        self._prices = np.array([price_of[name] for name in self._rows.names], dtype=np.float64)
        self.adjusted: Floats = self._rows.adjusted(problem.cells.value, self._prices)
        self._by_cell: csr_matrix = self._rows.use.T.tocsr()
        self._used = self._rows.used(problem, solution.chosen)
        self._limit, self._elsewhere = self._rows.limit, np.zeros(len(self._rows.names))
        if configured is not None:
            limit_of = dict(zip(*_named_limits(problem, configured), strict=True))
            limits = zip(self._rows.names, self._rows.limit, strict=True)
            self._limit = np.array([limit_of.get(name, limit) for name, limit in limits])
            self._elsewhere = self._limit - self._rows.limit  # the part of each limit that other problems have
        self._most = up_to(self._rows.limit)
        self._sends = past_sends(problem)
        for c in solution.chosen.tolist():
            self._sends[self._user(c)].append(planned_send(problem, c))

    def best(self, cells: Ints, score: Floats) -> Ints:
        """Return the cell of largest `score` (C,) of each message, of positive value where it has one."""
        message, slot, value = (getattr(self._problem.cells, n)[cells] for n in ("message", "slot", "value"))
        order = np.lexsort((slot, -score[cells], value <= 0, message))
        first = np.ones(len(order), np.bool_)
        first[1:] = message[order][1:] != message[order][:-1]
        return np.asarray(cells[order][first], np.int64)

    def why(self, cell: int, instead_of: int | None = None) -> Why:
        """Return why the message is not sent in this cell; `instead_of` is the cell in which it is sent."""
        cells = self._problem.cells
        about: dict[str, object] = {"slot": int(cells.slot[cell]), "value": float(cells.value[cell])}
        if cells.value[cell] <= 0:
            return Why("negative_value", about)
        dearest = max(self._paid(cell, instead_of), default=None)
        least = float(_EQUAL * cells.value[cell]) + (0.0 if instead_of is None else float(self.adjusted[instead_of]))
        if dearest is not None and self.adjusted[cell] <= least:
            return self._limit_of(cell, dearest[1], about)
        sends = self._sends[self._user(cell)]
        if instead_of is not None:
            moved = planned_send(self._problem, instead_of)
            sends = [s for s in sends if s != moved]
        new = planned_send(self._problem, cell)
        broken = broken_rule(self._problem.limits, sends, new)
        if broken is not None:
            return Why(broken.reason, {**about, **detail(self._problem.limits, sends, new, broken)})
        full = [r for r, use in self._uses(cell) if self._used[r] + use > self._most[r]]
        return self._limit_of(cell, full[0], about) if full else Why("displaced", about)

    def _user(self, cell: int) -> int:
        """Return the user of a cell's message."""
        return int(self._problem.messages.user[self._problem.cells.message[cell]])

    def _uses(self, cell: int) -> Iterator[tuple[int, float]]:
        """Yield (row, use) of each maximum that a cell uses."""
        span = slice(self._by_cell.indptr[cell], self._by_cell.indptr[cell + 1])
        for r, use in zip(self._by_cell.indices[span].tolist(), self._by_cell.data[span].tolist(), strict=True):
            if self._rows.kinds[r] != RowKind.CAMPAIGN_MIN:
                yield r, use

    def _paid(self, cell: int, instead_of: int | None) -> list[tuple[float, int]]:
        """Return (price paid, row) for the rows that cost a cell more than they cost `instead_of`."""
        spared = {} if instead_of is None else dict(self._uses(instead_of))
        paid = [(float(self._prices[r]) * (use - spared.get(r, 0.0)), r) for r, use in self._uses(cell)]
        return [(price, r) for price, r in paid if price > 0]

    def _limit_of(self, cell: int, row: int, about: dict[str, object]) -> Why:
        """Return the limit of `row` as the reason, with its numbers."""
        used, limit = float(self._used[row] + self._elsewhere[row]), float(self._limit[row])
        needs = float(self._problem.cells.value[cell] - self.adjusted[cell])
        numbers = {"rule": self._rows.names[row], "used": used, "limit": limit, "price": float(self._prices[row])}
        return Why(_REASON_OF_KIND[self._rows.kinds[row]], {**about, **numbers, "needs": needs})


def _named_limits(problem: Problem, configured: Limits) -> tuple[tuple[str, ...], list[float]]:
    """Return (names of the rows of `configured`, their limits)."""
    rows = rows_of(replace(problem, limits=configured))
    return rows.names, rows.limit.tolist()
