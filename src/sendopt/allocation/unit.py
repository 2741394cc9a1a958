"""The units that the solvers count in, so that a plan depends on no one's unit of value or money (docs/adr/0019)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sendopt.allocation.coupling import Rows
from sendopt.stats.arrays import Floats

SAMPLE = 1 << 16  # numbers that a median is taken of
MOST_HALVINGS = 1000  # a unit and its reciprocal stay normal numbers


class Units(NamedTuple):
    """What one unit of a solver is, in the problem's numbers. Powers of two: to divide by them rounds nothing."""

    value: float
    opt_outs: float
    cost: float

    def of_rows(self, rows: Rows) -> Floats:
        """(R,) the unit in which each row's limit and use are counted."""
        units = np.ones(len(rows.names))
        for row, unit in ((rows.opt_outs, self.opt_outs), (rows.cost, self.cost)):
            if row >= 0:
                units[row] = unit
        return units

    def rows(self, rows: Rows) -> Rows:
        """`rows` counted in these units."""
        of_rows = self.of_rows(rows)
        return replace(
            rows,
            limit=rows.limit / of_rows,
            committed=rows.committed / of_rows,
            shortfall_price=rows.shortfall_price / self.value,
        )


def unit_of(numbers: Floats) -> float:
    """Return a power of two at most the median of the numbers above 0; 1.0 where there are none.

    Few numbers of another size do not move a median. Of many numbers every n-th counts, so `numbers` must be in an
    order of their own (¶14).
    """
    some = numbers[:: max(1, len(numbers) // SAMPLE)]
    above = some[some > 0]
    if len(above) == 0:
        above = numbers[numbers > 0]
    if len(above) == 0:
        return 1.0
    halvings = math.floor(math.log2(float(np.median(above))))
    return math.ldexp(1.0, max(-MOST_HALVINGS, min(MOST_HALVINGS, halvings)))
