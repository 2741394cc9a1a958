"""`sendopt.solve`: from frames or files to a plan with its proof, for notebooks and for the command line."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import pandas as pd
import pyarrow as pa

from sendopt import allocation, frames
from sendopt.allocation import Audit, PriceCheck, Problem, Solution, Tier
from sendopt.allocation.control import Control, Progress
from sendopt.allocation.reasons.left_out import by_reason, left_out
from sendopt.allocation.statuses import Method, Termination
from sendopt.allocation.tables import columns, files
from sendopt.allocation.tables import start_prices as starts
from sendopt.allocation.tables.tabular import Frame
from sendopt.allocation.tables.unused import Expectation
from sendopt.config.limits_file import limits_of, load_limits
from sendopt.config.schema import Allocation
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError

__all__ = ["Certificate", "Progress", "Result", "solve"]

EXACT_GAP, EXACT_WORK = 1e-6, 600.0  # where the exact method is asked for: relative, and about seconds a program
LARGEST_GAP = 0.1
METHODS: Mapping[str, int] = {
    Method.EXACT: 10**9,
    Method.PRICES: 0,
    Method.AUTO: Allocation().exact_max_users,
}  # most users of an exact solve
F = TypeVar("F")
Limits = SolveLimits | Mapping[str, Any] | str | os.PathLike[str]
Cancel = Callable[[], bool] | threading.Event


@dataclass(frozen=True)
class Certificate:
    """The proof of a plan's quality: no plan is worth more than `bound`, in the unit of the candidates' values.

    `greedy` is the objective of the plan that takes sends by value, the largest first, as far as the rules allow.
    """

    objective: float  # value - penalty
    value: float
    penalty: float  # of minimums that are missed
    bound: float
    gap: float  # the gain that the bound leaves possible, as a share
    method: Method
    termination: Termination
    cut_users: int  # users whose search was cut and who enter the bound relaxed
    tiers: tuple[Tier, ...]
    greedy: float


@dataclass(frozen=True, eq=False, repr=False)
class Result(Generic[F]):
    """A plan that has passed the audit. Frames are of the kind that the candidates came in.

    `plan` has a row a send: user_id, message_id, slot. `prices` has a row a limit: row, kind, limit, used, price,
    gain_of_10_percent. `warnings` name what of the input matched nothing. `seconds` are elapsed, by phase.
    """

    plan: F
    certificate: Certificate
    prices: F
    shortfall: Mapping[str, int]  # campaign -> sends missing to its minimum, only where > 0
    warnings: tuple[str, ...]
    audit: Audit
    seconds: Mapping[str, float]
    _problem: Problem = field(kw_only=True)
    _solution: Solution = field(kw_only=True)
    _settings: Allocation = field(kw_only=True)
    _made: frames.Made = field(kw_only=True)

    @cached_property
    def reasons(self) -> F:
        """A row a message that is not sent: user_id, message_id, reason, detail (JSON). Computed at first use.

        Reasons are those of docs/reasons.md; `detail` holds the slot looked at, its value and the rule's numbers.
        """
        made: F = self._made(self._left_out)
        return made

    @cached_property
    def _left_out(self) -> pa.Table:
        return left_out(self._problem, self._solution)

    @property
    def solution(self) -> Solution:
        """The plan as cells of the problem, for code of `sendopt.allocation`."""
        return self._solution

    def check_prices(self, most: int) -> tuple[PriceCheck, ...]:
        """Return the gain from a tenth more of the `most` dearest limits; each is solved again."""
        return allocation.check_prices(self._problem, self._solution, self._settings, most)

    def document(self, checks: Sequence[PriceCheck] = (), reasons: bool = False) -> dict[str, Any]:
        """Return the document of `solution.json`; with `reasons` also the number of messages by reason."""
        document = files.as_json(self._solution, self.seconds, checks, self.warnings)
        return {**document, "left_out": by_reason(self._left_out)} if reasons else document

    def write(self, folder: str | os.PathLike[str], checks: Sequence[PriceCheck] = (), reasons: bool = False) -> None:
        """Write plan.parquet, solution.json and, if asked for, reasons.parquet into `folder`: all or none."""
        tables = {"plan": files.plan_of(self._problem, self._solution)}
        if reasons:
            tables["reasons"] = self._left_out
        files.write_solution(Path(folder), tables, self.document(checks, reasons))

    def __repr__(self) -> str:
        c = self.certificate
        sends = len(self._solution.chosen)
        return f"<{sends:,} sends worth {c.objective:.6g}, gap {c.gap:.2g}, {c.method}, {c.termination}>"


@overload
def solve(
    candidates: pd.DataFrame,
    limits: Limits,
    history: object = None,
    *,
    method: str = "auto",
    gap: float | None = None,
    start_prices: Any = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
    allow_unused: bool = False,
    min_history_match: float = 0.0,
) -> Result[pd.DataFrame]: ...
@overload
def solve(
    candidates: frames.ArrowStream | str | os.PathLike[str],
    limits: Limits,
    history: object = None,
    *,
    method: str = "auto",
    gap: float | None = None,
    start_prices: Any = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
    allow_unused: bool = False,
    min_history_match: float = 0.0,
) -> Result[Any]: ...
def solve(
    candidates: object,
    limits: Limits,
    history: object = None,
    *,
    method: str = "auto",
    gap: float | None = None,
    start_prices: Any = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
    allow_unused: bool = False,
    min_history_match: float = 0.0,
) -> Result[Any]:
    """Return the plan of scored candidates under limits, audited, with a proof of how good it is.

    `candidates` and `history` are frames of pandas, polars, Arrow or any library with Arrow's C stream, or paths of
    Parquet, CSV or JSON files; their columns are those of docs/how-to/solve.md. `limits` is a dict laid out as the YAML
    file, a `SolveLimits`, or the path of the file.

    `gap` is the share of the objective (0 to 0.1) at which the search may stop. `start_prices` are those of an earlier
    solve: a result, its `prices`, a mapping of row to price, or a solution.json; they save passes and cost neither plan
    nor proof (up to 3,000 users need none, and they change nothing). `progress` is called with a `Progress` between
    passes. `cancel`, a function or a `threading.Event`, is asked between passes: once it is true the best plan so far
    is returned, audited like any other, with termination `cancelled`; there always is one. `allow_unused` makes
    warnings of limits and columns that match nothing. `min_history_match` is the share of history rows whose user must
    have a candidate.

    Raises ConfigError for limits and arguments, ContractError for data, InfeasibleError for limits that contradict each
    other, InputNotReady for a missing file, AuditError where the audit refuses the plan.

    >>> import pandas as pd
    >>> from sendopt import solve
    >>> candidates = pd.DataFrame({
    ...     "user_id": ["ann", "ann", "bob"], "message_id": ["m1", "m1", "m2"], "campaign_id": "sale",
    ...     "channel": "push", "category": "shop", "slot": [9, 10, 9], "value": [0.5, 0.4, 0.6],
    ... })
    >>> result = solve(candidates, {"capacity": {"push": 1}})
    >>> result.plan.to_dict("records")
    [{'user_id': 'ann', 'message_id': 'm1', 'slot': 10}, {'user_id': 'bob', 'message_id': 'm2', 'slot': 9}]
    >>> result.certificate.objective, result.certificate.termination
    (1.0, 'optimal')
    """
    settings = _settings(method, gap)
    if not 0 <= min_history_match <= 1:
        raise ConfigError(f"min_history_match: got {min_history_match!r}, expected a share from 0 to 1")
    clock = _Clock()
    made = frames.maker_for(candidates)
    bounds, file = _limits(limits)
    given = frames.source_of(candidates, "candidates", (*columns.CANDIDATES, *columns.CANDIDATES_MORE))
    past = None if history is None else frames.source_of(history, "history", (*columns.HISTORY, *columns.HISTORY_MORE))
    first = starts.start_prices(_first_prices(start_prices))
    problem, warnings = files.read_checked(given, bounds, past, Expectation(file, allow_unused, min_history_match))
    clock.lap("read")
    solution = allocation.allocate(problem, settings, Control(first, progress, _asked(cancel), greedy=True))
    warnings = [*warnings, *starts.unmatched(first, [p.row for p in solution.prices])]
    clock.lap("solve")
    audit = allocation.check(problem, solution)
    clock.lap("audit")
    return Result(
        plan=made(files.plan_of(problem, solution)),
        certificate=_certificate(solution),
        prices=made(_prices(solution)),
        shortfall=solution.shortfall,
        warnings=(*solution.warnings, *warnings),
        audit=audit,
        seconds=clock.seconds,
        _problem=problem,
        _solution=solution,
        _settings=settings,
        _made=made,
    )


def _settings(method: str, gap: float | None) -> Allocation:
    if method not in METHODS:
        raise ConfigError(f"--method: got {method!r}, expected exact, prices or auto")
    work = EXACT_WORK if method == Method.EXACT else Allocation().exact_work
    return Allocation(exact_max_users=METHODS[method], exact_work=work, relative_gap=relative_gap(gap, method))


def relative_gap(gap: float | None, method: str) -> float:
    """Return the gap at which a search may stop: `gap`, or that of the method where it is None.

    Raises ConfigError (exit 2) for a gap that is no share from 0 to 0.1.

    >>> relative_gap(None, "exact"), relative_gap(0.02, "auto")
    (1e-06, 0.02)
    """
    if gap is None:
        return EXACT_GAP if method == Method.EXACT else Allocation().relative_gap
    if isinstance(gap, bool) or not isinstance(gap, int | float) or not 0 <= gap <= LARGEST_GAP:
        raise ConfigError(f"--gap: got {gap!r}, expected a share of the objective from 0 to {LARGEST_GAP:g}")
    return float(gap)


def _limits(limits: Limits) -> tuple[SolveLimits, Path | None]:
    """Return (the limits, the file that holds them)."""
    if isinstance(limits, SolveLimits):
        return limits, None
    if isinstance(limits, Mapping):
        return limits_of(limits), None
    if isinstance(limits, str | os.PathLike):
        path = Path(limits)
        return load_limits(path), path
    raise ConfigError(f"limits: got {type(limits).__name__}, expected a dict, SolveLimits or the path of a YAML file")


def _first_prices(given: Any) -> Mapping[str, float] | Path | Frame | None:
    if isinstance(given, Result):
        return {p.row: p.price for p in given.solution.prices}
    if given is None or isinstance(given, Mapping):
        return given
    return frames.source_of(given, "start_prices", starts.COLUMNS)


def _asked(cancel: Cancel | None) -> Callable[[], bool] | None:
    return cancel.is_set if isinstance(cancel, threading.Event) else cancel


def _certificate(s: Solution) -> Certificate:
    assert s.greedy is not None
    return Certificate(
        s.objective, s.value, s.penalty, s.bound, s.gap, s.method, s.termination, s.cut_users, s.tiers, s.greedy
    )


def _prices(solution: Solution) -> pa.Table:
    numbers = ("limit", "used", "price", "gain_of_10_percent")
    texts = {name: pa.array([getattr(p, name) for p in solution.prices], pa.string()) for name in ("row", "kind")}
    return pa.table(
        texts | {name: pa.array([float(getattr(p, name)) for p in solution.prices], pa.float64()) for name in numbers}
    )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        now = time.monotonic()
        self.seconds[phase], self._last = now - self._last, now
