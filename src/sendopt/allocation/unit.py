"""The solvers' units of value and budgets: a plan must not depend on the units of its input (docs/adr/0019)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sendopt.allocation.coupling import Rows
from sendopt.stats.arrays import Floats

SAMPLE = 1 << 16  # about how many numbers a median is taken from
MOST_HALVINGS = 1000  # keeps a unit and its reciprocal normal floating-point numbers


class Units(NamedTuple):
    """A solver's units in the problem's numbers. They are powers of two, so that division by them is exact."""

    value: float
    opt_outs: float
    cost: float

    def of_rows(self, rows: Rows) -> Floats:
        """Return the unit (R,) in which each row's limit and use are counted."""
        units = np.ones(len(rows.names))
        for row, unit in ((rows.opt_outs, self.opt_outs), (rows.cost, self.cost)):
            if row >= 0:
                units[row] = unit
        return units

    def rows(self, rows: Rows) -> Rows:
        """Return `rows` counted in these units."""
        of_rows = self.of_rows(rows)
        return replace(
            rows,
            limit=rows.limit / of_rows,
            committed=rows.committed / of_rows,
            shortfall_price=rows.shortfall_price / self.value,
        )


def unit_of(numbers: Floats) -> float:
    """Return a power of two at most the median of the numbers above 0; 1.0 where there are none.

    A few numbers of another size do not move the median. Of many numbers only every n-th counts, so `numbers` must be
    in an order that does not depend on the order of the input (¶14).

    >>> unit_of(np.array([0.0, 5.0, 6.0, 1e9]))
    4.0
    """
    sample = numbers[:: max(1, len(numbers) // SAMPLE)]
    positive = sample[sample > 0]
    if len(positive) == 0:
        positive = numbers[numbers > 0]
    if len(positive) == 0:
        return 1.0
    halvings = math.floor(math.log2(float(np.median(positive))))
    return math.ldexp(1.0, max(-MOST_HALVINGS, min(MOST_HALVINGS, halvings)))
