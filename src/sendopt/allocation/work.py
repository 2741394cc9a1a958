"""How much HiGHS may do on one program: counted, never timed, so that how busy a machine is changes no plan (¶14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highspy

INTERRUPT = highspy.cb.HighsCallbackType.kCallbackMipInterrupt
ROOT = 60  # checks of the tree that one at its root counts for: there lie presolve, cuts and most heuristics


@dataclass(frozen=True)
class Work:
    """What so many units pay for: one is about a second of a core of 2020.

    Measured on programs of 19,000 to 216,000 numbers in their rows (docs/adr/0018).
    """

    units: float

    CELLS = 10_000  # that may be sent
    NUMBERS = 30_000  # in the rows of a program; of larger ones one piece of the search may last for seconds
    ITERATION = 5e-9  # of the simplex method on a relaxation, for each number
    CHECK = 5e-8  # whether to go on searching the tree, for each number

    @property
    def most_cells(self) -> float:
        return self.units * self.CELLS

    @property
    def most_numbers(self) -> float:
        return self.units * self.NUMBERS

    def iterations(self, numbers: int) -> int:
        """Of the simplex method on a program of this size, within what HiGHS counts to."""
        return min(2**31 - 1, 1 + int(self.units / (self.ITERATION * max(1, numbers))))

    def checks(self, numbers: int) -> int:
        """Checks of the tree on a program of this size."""
        return 1 + int(self.units / (self.CHECK * max(1, numbers)))


class Meter:
    """A callback of HiGHS that stops a search once `most` checks of the tree are spent.

    HiGHS asks whether to go on after each piece of work, a node of the tree or a round at its root, never by the clock.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def __call__(self, *question: Any) -> None:
        """`question` is the kind of callback, a message, what HiGHS says, what it is told, and data of the caller."""
        self._left -= 1 if question[2].mip_node_count > 1 else ROOT
        if self._left < 0:
            question[3].user_interrupt = True
