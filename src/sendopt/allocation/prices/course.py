"""The course of one solve by prices: the best so far, progress reports to the caller, and cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sendopt.allocation.control import UNWATCHED, Cancelled, Control, Progress
from sendopt.stats.arrays import Floats, Ints

if TYPE_CHECKING:
    from sendopt.allocation.prices.market import Response


class Course:
    """What a solve has reached. Sweeps over users report to it; it raises `Cancelled` where the caller cancels."""

    def __init__(self, users: int, control: Control = UNWATCHED, unit: float = 1.0) -> None:
        self.control, self.users, self.unit = control, users, unit  # reports give values times `unit`
        self.phase = "prices"
        self.cut_short = False
        self.plan: Ints | None = None  # (U, width) the best so far
        self.objective = float("-inf")
        self.best: Response | None = None  # of all users
        self._sampled: Response | None = None
        self._answers = 0

    def ask(self) -> None:
        """Raise Cancelled, once, where the caller cancels: the pass that closes the solve may then run."""
        if not self.cut_short and self.control.cancelled():
            self.cut_short = True
            raise Cancelled

    def enter(self, phase: str) -> None:
        """Report that the part `phase` of the solve begins."""
        self.phase = phase
        self._report()

    def answered(self, users: int, response: Response | None) -> None:
        """Note that `users` users have answered, with their `response` where those are the first in hash order."""
        passes = self._answers // max(1, self.users)
        self._answers += users
        if response is not None and users == self.users:
            if self.best is None or response.bound < self.best.bound:
                self.best = response
        elif response is not None and (self._sampled is None or response.bound < self._sampled.bound):
            self._sampled = response
        if self._answers // max(1, self.users) > passes:
            self._report()

    def planned(self, plan: Ints, objective: float) -> None:
        """Note a plan that keeps all limits."""
        if objective > self.objective:
            self.plan, self.objective = plan, objective
            self._report()

    def prices(self, start: Floats) -> Floats:
        """Return (R,) the best prices so far; `start` where no user has answered."""
        best = self.best or self._sampled
        return start if best is None else best.prices

    def _report(self) -> None:
        """Tell the caller phase, passes, bound, objective and gap."""
        if self.control.progress is None:
            return
        bound = None if self.best is None else self.best.bound * self.unit
        objective = None if self.plan is None else self.objective * self.unit
        gap = None
        if bound is not None and objective is not None:
            gap = max(0.0, bound - objective) / (abs(objective) or abs(bound) or 1.0)
        passes = self._answers // max(1, self.users)
        self.control.report(Progress(self.phase, passes, bound, objective, gap))
