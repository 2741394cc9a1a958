"""`sendopt solve`: a plan with its proof from files."""

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
    """What `sendopt solve` is asked for."""

    candidates: Path
    limits: Path
    out: Path
    history: Path | None
    method: str
    gap: float | None
    start_prices: Path | None
    reasons: bool
    allow_unused: bool
    min_history_match: float
    as_json: bool


def solve(call: SolveCall, checked: int) -> None:
    """One file: `sendopt.solve`, then its result on disk and in words."""
    from sendopt import api, live_line
    from sendopt.allocation.tables.out_folder import require_out
    from sendopt.process import ending

    if call.candidates.is_dir():
        raise ConfigError(f"--check-prices is for one file, and {call.candidates} is a folder")
    require_out(call.out, [call.candidates, call.history])
    with live_line.shown(not call.as_json) as line:
        result = api.solve(
            call.candidates, call.limits, call.history, method=call.method, gap=call.gap,
            start_prices=call.start_prices, progress=line.progress, cancel=line.cancel,
            allow_unused=call.allow_unused, min_history_match=call.min_history_match,
        )  # fmt: skip
    checks = result.check_prices(checked)
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


def solve_folder(call: SolveCall, number: int | None, master: str | None) -> None:
    """A folder: solved by buckets, on this machine or on Spark."""
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
        if master is None:
            planned = buckets.solve_folder(
                call.candidates, call.history, limits, call.out, gap, number, expect=expect, control=control
            )
        else:
            from sendopt.spark.allocation import solve_buckets

            planned = solve_buckets.solve_folder(
                master, call.candidates, call.history, limits, call.out, gap, number, expect, control
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
