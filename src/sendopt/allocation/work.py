"""Limits of HiGHS's work on one program. Work is counted, not timed: a machine's load must not change a plan (¶14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highspy

INTERRUPT = highspy.cb.HighsCallbackType.kCallbackMipInterrupt
ROOT = 60  # checks that a check at the root of the tree counts for: presolve, cuts and most heuristics run there


@dataclass(frozen=True)
class Work:
    """An amount of work in units. A unit is about a second on a core of 2020.

    The constants are measured on programs of 19,000 to 216,000 numbers in their rows (docs/adr/0018).
    """

    units: float

    CELLS = 10_000  # cells that may be sent, a unit
    NUMBERS = 30_000  # numbers in the rows of a program, a unit; in larger programs one search step may take seconds
    ITERATION = 5e-9  # units of a simplex iteration on a relaxation, for each number
    CHECK = 5e-8  # units of a check whether to continue the search of the tree, for each number

    @property
    def most_cells(self) -> float:
        """Largest number of cells of a program."""
        return self.units * self.CELLS

    @property
    def most_numbers(self) -> float:
        """Largest count of numbers in the rows of a program."""
        return self.units * self.NUMBERS

    def iterations(self, numbers: int) -> int:
        """Return the most simplex iterations on a program of this size, at most the largest number that HiGHS takes."""
        return min(2**31 - 1, 1 + int(self.units / (self.ITERATION * max(1, numbers))))

    def checks(self, numbers: int) -> int:
        """Return the most checks of the tree on a program of this size."""
        return 1 + int(self.units / (self.CHECK * max(1, numbers)))


class Meter:
    """A callback of HiGHS that stops a search once `most` checks of the tree are spent.

    HiGHS calls it after each step of work, a node of the tree or a round at its root, and not by time.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def __call__(self, *arguments: Any) -> None:
        """Count a check and stop the search where none is left.

        `arguments` are HiGHS's: kind of callback, message, output of the search, input to it, data of the caller.
        """
        _, _, search, answer, *_ = arguments
        self._left -= 1 if search.mip_node_count > 1 else ROOT
        if self._left < 0:
            answer.user_interrupt = True
