"""The rows across users (model ¶9e to ¶9h): what limits them, what uses them, what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from sendopt.allocation.problem import Floats, Problem, Texts


@dataclass(frozen=True)
class Coupling:
    """R rows over C cells. A minimum's row is a wish: each send missing to it costs `shortfall_price`."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    limit: Floats  # (R,) as configured
    committed: Floats  # (R,) use by committed sends
    use: csr_matrix  # (R, C) use by each cell, >= 0
    shortfall_price: Floats  # (R,) pi for a minimum's row, 0 elsewhere

    @property
    def is_minimum(self) -> NDArray[np.bool_]:
        return np.array([kind == "campaign_min" for kind in self.kinds], dtype=bool)

    @property
    def counts_sends(self) -> NDArray[np.bool_]:
        """Rows whose limit and use are whole numbers of sends."""
        return np.array([kind not in ("opt_outs", "cost") for kind in self.kinds], dtype=bool)

    @property
    def room(self) -> Floats:
        """(R,) what committed sends leave of each maximum, or what they leave missing of each minimum; >= 0."""
        return np.maximum(0.0, self.limit - self.committed)

    def adjusted(self, values: Floats, prices: Floats) -> Floats:
        """(C,) value of each cell after paying the prices of what it uses; minimums pay it."""
        signed = np.where(self.is_minimum, -prices, prices)
        return np.asarray(values - self.use.T @ signed, dtype=np.float64)


class _Row(NamedTuple):
    name: str
    kind: str
    limit: float
    use: csr_matrix  # (1, C)
    committed: float
    price: float


def coupling(problem: Problem) -> Coupling:
    """The rows of `problem.limits` in a fixed order: capacity by channel and slot, campaigns by name, budgets."""
    limits, cells, m, h = problem.limits, problem.cells, problem.messages, problem.history
    channel, campaign = m.channel[cells.message], m.campaign[cells.message]
    past_slot = np.floor_divide(-h.minutes_before, problem.slot_minutes)
    committed = h.minutes_before < 0
    rows: list[_Row] = []

    def add(name: str, kind: str, limit: float, use: Floats, past_use: Floats, price: float = 0.0) -> None:
        rows.append(_Row(name, kind, limit, csr_matrix(use), math.fsum(past_use[committed].tolist()), price))

    for name, capacity in sorted(limits.capacity.items()):
        on_channel, past_channel = _equal(channel, name), _equal(h.channel, name)
        for slot in range(problem.n_slots):
            most = capacity.get(slot) if isinstance(capacity, dict) else capacity
            if most is not None:
                row = f"capacity:{name}:{slot}"
                add(row, "capacity", most, on_channel * (cells.slot == slot), past_channel * (past_slot == slot))
    for name, bounds in sorted(limits.campaigns.items()):
        use, past_use = _equal(campaign, name), _equal(h.campaign, name)
        if bounds.max_sends is not None:
            add(f"campaign_max:{name}", "campaign_max", bounds.max_sends, use, past_use)
        if bounds.min_sends > 0:
            largest = float(np.max(cells.value[use > 0], initial=0.0))
            price = largest if bounds.shortfall_price is None else bounds.shortfall_price
            add(f"campaign_min:{name}", "campaign_min", bounds.min_sends, use, past_use, price)
    if limits.opt_outs is not None:
        add("opt_outs", "opt_outs", limits.opt_outs.max_expected, cells.p_opt_out, h.p_opt_out)
    if limits.cost is not None:
        add("cost", "cost", limits.cost.max_total, cells.cost, h.cost)
    return _assemble(rows, len(cells.message))


def _assemble(rows: list[_Row], n_cells: int) -> Coupling:
    return Coupling(
        names=tuple(row.name for row in rows),
        kinds=tuple(row.kind for row in rows),
        limit=np.array([row.limit for row in rows], dtype=np.float64),
        committed=np.array([row.committed for row in rows], dtype=np.float64),
        use=csr_matrix(vstack([row.use for row in rows])) if rows else csr_matrix((0, n_cells)),
        shortfall_price=np.array([row.price for row in rows], dtype=np.float64),
    )


def _equal(names: Texts, name: str) -> Floats:
    return np.asarray(names == name, dtype=np.float64).reshape(len(names))
