"""How a caller steers a running solve: first prices, a function that receives progress, and cancellation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from sendopt.allocation.coupling import Rows
from sendopt.stats.arrays import Floats


@dataclass(frozen=True)
class Progress:
    """Progress of a solve. `bound`, `objective` and `gap` are the best of the current tier so far, None until known."""

    phase: str  # prices | plan | pacing | choice | exact | buckets
    passes: int  # passes over all users; in phase buckets: buckets that are done
    bound: float | None = None
    objective: float | None = None
    gap: float | None = None


class Cancelled(Exception):
    """Signal that the caller cancelled: raised between passes, caught where the best plan so far is known."""


@dataclass(frozen=True)
class Control:
    """First prices, progress and cancellation of a solve. Only first prices and cancellation can change the plan.

    `cancel` is called between passes. Once it returns True, the solve ends with the best plan so far.
    """

    start_prices: Mapping[str, float] = field(default_factory=dict)  # by row, >= 0; a row left out starts at 0
    progress: Callable[[Progress], None] | None = None
    cancel: Callable[[], bool] | None = None
    greedy: bool = False  # whether a greedy plan by value is made too, for comparison

    def cancelled(self) -> bool:
        """Return whether the caller wants the solve to end."""
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
