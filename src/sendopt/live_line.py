"""One line on a terminal that says how far a solve is; Ctrl-C there asks for the best plan so far."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from sendopt.allocation.control import Progress
from sendopt.process.ending import Finish

PHASES = {
    "prices": "looking for prices",
    "plan": "making a plan of them",
    "pacing": "pacing",
    "choice": "choosing among the best plans",
    "exact": "solving exactly",
    "buckets": "planning buckets",
}


@dataclass(frozen=True)
class Line:
    """What a solve needs to be shown and ended; both None where nobody watches."""

    progress: Callable[[Progress], None] | None = None
    cancel: threading.Event | None = None

    @property
    def cancelled(self) -> bool:
        return self.cancel is not None and self.cancel.is_set()


@contextmanager
def shown(wanted: bool, may_cancel: bool = True) -> Iterator[Line]:
    """The line, until the block ends; nothing where standard error is no terminal, and there Ctrl-C ends the process.

    From the first progress on Ctrl-C asks the solve to end with its best plan; a second one stops the process.
    """
    console = Console(stderr=True, highlight=False)
    if not (wanted and console.is_terminal):
        yield Line()
        return
    finish = Finish()
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def progress(at: Progress) -> None:
            if may_cancel:
                finish.listen()
            text = in_words(at)
            if finish.asked.is_set():
                text = f"ending with the best plan so far (Ctrl-C again: stop at once); {text}"
            bar.update(task, description=text)

        try:
            yield Line(progress, finish.asked if may_cancel else None)
        finally:
            finish.end()


def in_words(at: Progress) -> str:
    """The line: phase, passes over all users, bound, objective and gap as far as they are known."""
    passes = f"{at.passes:,} buckets done" if at.phase == "buckets" else f"{at.passes:,} passes"
    parts = [PHASES.get(at.phase, at.phase), passes]
    if at.bound is not None:
        parts.append(f"bound {at.bound:,.4f}")
    if at.objective is not None:
        parts.append(f"plan {at.objective:,.4f}")
    if at.gap is not None:
        parts.append(f"gap {100 * at.gap:.3g} %")
    return ", ".join(parts)
