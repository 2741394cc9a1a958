"""`sendopt solve`: a plan with its proof, from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sendopt import summary
from sendopt.allocation.tables.unused import Expectation
from sendopt.commands.printing import print_lines
from sendopt.errors import ConfigError
from sendopt.process import output


@dataclass(frozen=True)
class SolveCall:
    """The arguments of `sendopt solve`; None stands for an option's default.

    `check_prices` is for one file: the number of limits that are widened to check their prices. `buckets` and `spark`
    are for a folder: the number of its parts, and the Spark master that solves them.
    """

    candidates: Path
    limits: Path
    out: Path
    history: Path | None = None
    method: str = "auto"
    gap: float | None = None
    start_prices: Path | None = None
    reasons: bool = False
    allow_unused: bool = False
    min_history_match: float = 0.0
    check_prices: int = 0
    buckets: int | None = None
    spark: str | None = None
    as_json: bool = False


def solve(call: SolveCall) -> None:
    """Plan the candidates of a file or a folder, write the plan with its proof, and print a summary.

    Raises ConfigError for an option that does not fit a file or a folder.
    """
    if call.candidates.is_dir():
        if call.check_prices:
            raise ConfigError(f"--check-prices is for one file, and {call.candidates} is a folder")
        _solve_folder(call)
        return
    if call.buckets is not None or call.spark is not None:
        raise ConfigError(f"--buckets and --spark are for a folder of Parquet, and {call.candidates} is none")
    _solve_file(call)


def _solve_file(call: SolveCall) -> None:
    """Solve a file at once, as `sendopt.solve` does."""
    from sendopt import api, live_line
    from sendopt.allocation.tables.out_folder import require_out
    from sendopt.process import ending

    require_out(call.out, [call.candidates, call.history])
    with live_line.shown(not call.as_json) as line:
        result = api.solve(
            call.candidates,
            call.limits,
            call.history,
            method=call.method,
            gap=call.gap,
            start_prices=call.start_prices,
            progress=line.progress,
            cancel=line.cancel,
            allow_unused=call.allow_unused,
            min_history_match=call.min_history_match,
        )
    checks = result.check_prices(call.check_prices)
    result.write(call.out, checks, call.reasons)
    document = result.document(checks, call.reasons)
    if call.as_json:
        output.document(document)
        return
    print_lines(
        [
            *summary.of_solution(result.solution, len(result.solution.chosen), call.out),
            *summary.of_left_out(document.get("left_out", {}), call.out),
            *summary.of_checks(checks),
            *summary.of_warnings(result.warnings),
        ]
    )
    if line.cancelled:
        raise ending.Stopped("stopped by the keyboard; the best plan so far is written, audited and with its proof")


def _solve_folder(call: SolveCall) -> None:
    """Solve a folder by buckets, on this machine or on Spark."""
    from sendopt import api, live_line
    from sendopt.allocation import buckets
    from sendopt.allocation.control import Control
    from sendopt.allocation.tables import start_prices
    from sendopt.config.limits_file import load_limits

    if call.method not in ("prices", "auto"):
        raise ConfigError(f"--method: got {call.method!r} for a folder, which is solved by prices; give prices or auto")
    if call.reasons:
        raise ConfigError(f"--reasons is for one file, and {call.candidates} is a folder, whose users no place holds")
    limits = load_limits(call.limits)
    gap = api.relative_gap(call.gap, "prices")
    expect = Expectation(call.limits, call.allow_unused, call.min_history_match)
    first = start_prices.start_prices(call.start_prices)
    with live_line.shown(not call.as_json, may_cancel=False) as line:
        control = Control(first, line.progress)
        if call.spark is None:
            planned = buckets.solve_folder(
                call.candidates, call.history, limits, call.out, gap, call.buckets, expect=expect, control=control
            )
        else:
            from sendopt.spark.allocation import solve_buckets

            planned = solve_buckets.solve_folder(
                call.spark, call.candidates, call.history, limits, call.out, gap, call.buckets, expect, control
            )
    if call.as_json:
        output.document(buckets.told_of(planned))
        return
    print_lines(
        [
            *summary.of_solution(planned.solution, planned.sends, call.out),
            *summary.of_warnings(planned.warnings),
        ]
    )
