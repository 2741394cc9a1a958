"""What a caller says of a solve while it goes on: where prices start, who hears how far it is, who may end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from sendopt.allocation.coupling import Rows
from sendopt.stats.arrays import Floats


@dataclass(frozen=True)
class Progress:
    """How far a solve is. `bound`, `objective` and `gap` are the best so far of the tier at hand, None until known."""

    phase: str  # prices | plan | pacing | choice | exact | buckets
    passes: int  # over all users; of phase buckets: buckets that are done
    bound: float | None = None
    objective: float | None = None
    gap: float | None = None


class Cancelled(Exception):
    """The caller asked to end; raised between passes, and caught where the best plan so far is known."""


@dataclass(frozen=True)
class Control:
    """How a solve is watched and steered. None of it changes a plan, but for the prices that it starts from.

    `cancel` is asked between passes; once it returns True the solve ends with the best plan so far.
    """

    start_prices: Mapping[str, float] = field(default_factory=dict)  # by row, >= 0; a row left out starts at 0
    progress: Callable[[Progress], None] | None = None
    cancel: Callable[[], bool] | None = None
    greedy: bool = False  # whether the plan by value is made too, for comparison

    def cancelled(self) -> bool:
        """Whether the caller wants the solve to end."""
        return self.cancel is not None and self.cancel()

    def report(self, progress: Progress) -> None:
        """Pass `progress` to the caller's function, if there is one."""
        if self.progress is not None:
            self.progress(progress)

    def start(self, rows: Rows) -> Floats | None:
        """Return the prices (R,) to start from; None where none of `rows` has one."""
        if not any(name in self.start_prices for name in rows.names):
            return None
        return np.array([float(self.start_prices.get(name, 0.0)) for name in rows.names])


UNWATCHED = Control()
