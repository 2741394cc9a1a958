"""What the commands do: each asks the modules below for a result and prints it, as a document or in words."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sendopt import demo as demo_world
from sendopt import output, runtime, settings_check, summary
from sendopt.allocation.unused import Expectation
from sendopt.config.loader import load
from sendopt.config.schema import Ingest, Settings
from sendopt.domain.outside_text import printable
from sendopt.domain.stages import CATALOGUE
from sendopt.errors import ConfigError

DEMO_DATE = date(2026, 3, 29)  # Europe's clocks change on it
DEMO_DAYS = 60


def night(
    day: date, settings: Settings, conf: Path, times: runtime.Times, train: bool, as_json: bool
) -> dict[str, Any]:
    """The night as a document; prints its summary unless `as_json`."""
    console = Console(stderr=True, highlight=False)
    columns, reports = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()), []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        stages = iter(CATALOGUE)
        task = progress.add_task(f"{day}: {next(stages).story}", total=None)
        for done in runtime.run(day, settings, conf, retrain=train, times=times):
            reports.append(vars(done))
            console.print(printable(summary.stage_line(done), keep="\n"), markup=False, soft_wrap=True)
            if following := next(stages, None):
                progress.update(task, description=f"{day}: {following.story}")
        progress.update(task, description="writing the report")
        page = report_of(day, settings)
        progress.remove_task(task)
    if not as_json:
        for line in summary.of_night(settings.paths.data, day, page):
            Console(highlight=False).print(printable(line, keep="\n"), soft_wrap=True)
    return {"plan_date": str(day), "stages": reports, "report": str(page)}


def report_of(day: date, settings: Settings) -> Path:
    from sendopt.report.html import put

    page = runtime.write_report(settings, day)
    return put(Path(settings.paths.out) / "report.html", page.read_text("utf-8"))


def ingest(source: Path, data: Path, settings: Settings, times: runtime.Times, as_json: bool) -> None:
    from sendopt.ingest import load_mapping
    from sendopt.spark.ingest import ingest as read

    mapping = load_mapping(source)
    with runtime.lake_of(settings) as lake:
        result = read(lake, mapping, data, settings, times.clock(settings, None).received_utc)
    if as_json:
        output.document(
            {
                "rows_in": result.rows_in,
                "rows_out": result.rows_out,
                "dropped": result.dropped,
                "tables": result.facts["tables"],
            }
        )
        return
    for line in summary.of_ingest(result.rows_in, result.rows_out, result.facts["tables"]):
        _print(line)


def init(log: Path, out: Path | None, preset: str | None, zone: str | None, columns: list[str], as_json: bool) -> None:
    from sendopt.ingest import proposal

    proposed = proposal.propose(log, out, runtime.machine_time(), preset, zone, columns)
    proposal.write(proposed)
    if as_json:
        output.document(vars(proposed))
        return
    for line in proposal.in_words(proposed):
        _print(line)


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
    from sendopt import api, ending, live_line
    from sendopt.allocation.out_folder import require_out

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
    for text in [
        *summary.of_solution(result.solution, len(result.solution.chosen), call.out),
        *summary.of_left_out(document.get("left_out", {}), call.out),
        *summary.of_checks(checks),
        *summary.of_warnings(result.warnings),
    ]:
        _print(text)
    if line.cancelled:
        raise ending.Stopped("stopped by the keyboard; the best plan so far is written, audited and with its proof")


def solve_folder(call: SolveCall, number: int | None, master: str | None) -> None:
    """A folder: solved by buckets, on this machine or on Spark."""
    from sendopt import api, live_line
    from sendopt.allocation import buckets, start_prices
    from sendopt.allocation.control import Control
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
            from sendopt.spark import solve_buckets

            planned = solve_buckets.solve_folder(
                master, call.candidates, call.history, limits, call.out, gap, number, expect, control
            )
    if call.as_json:
        output.document(buckets.told_of(planned))
        return
    for text in [
        *summary.of_solution(planned.solution, planned.sends, call.out),
        *summary.of_warnings(planned.warnings),
    ]:
        _print(text)


def evaluate(
    decisions: Path, source: Path, out: Path, label: str, window_hours: float, shares: dict[str, float], as_json: bool
) -> None:
    from sendopt import evaluation

    if label not in ("open", "click", "goal"):
        raise ConfigError(f"--label: got {label!r}, expected open, click or goal")
    if not 0 < window_hours <= 24 * 90:
        raise ConfigError(f"--window-hours: got {window_hours:g}, expected more than 0 and at most {24 * 90}")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"--{name.replace('_', '-')}: got {share:g}, expected a share from 0 to 1")
    result = evaluation.evaluate_log(decisions, source, label, window_hours, Ingest(**shares))
    evaluation.write(result, out)
    if as_json:
        output.document(result)
        return
    for line in evaluation.in_words(result, out):
        _print(line)


def check(conf: Path, env: str | None, as_json: bool) -> None:
    checked = settings_check.check(conf, env, runtime.machine_time().date())
    if as_json:
        output.document(asdict(checked))
        return
    for line in checked.lines():
        _print(line)


def demo(users: int, nights: int, conf: Path, env: str, as_json: bool) -> None:
    settings = demo_world.at_its_own_time(load(conf, env))
    source = settings.sources.get("demo")
    if source is None:
        raise ConfigError(f"{conf}/env/{env}.yaml: sources.demo is missing; the demo writes its raw logs there")
    raw = Path(source.input)
    with runtime.writing(settings):  # from the first raw log to the last night, or two demos would mix
        Console(stderr=True).print(f"simulating {users} people over {DEMO_DAYS} days")
        demo_world.prepare(raw, settings, users, DEMO_DATE, DEMO_DAYS)
        planned = []
        for n in range(nights):
            day = DEMO_DATE + timedelta(days=n)
            planned.append(night(day, settings, conf, runtime.Times(), train=False, as_json=as_json))
            if n + 1 < nights:
                demo_world.play(raw, settings, day)
    if as_json:
        output.document({"users": users, "nights": planned})
        return
    for line in summary.where_next(settings, conf, env, day):
        Console(highlight=False).print(line, soft_wrap=True)


def explain(user: str, message: str | None, day: date | None, settings: Settings, as_json: bool) -> None:
    from sendopt.report.explain import explain as explain_night

    costs = {name: c.cost_per_send for name, c in settings.channels.items()}
    found = explain_night(settings.paths.data, user, message, day, settings.grid.slot_minutes, costs)
    if as_json:
        output.document(found.as_json())
        return
    for line in found.lines():
        _print(line)


def _print(line: str) -> None:
    """A line on standard output, with what names and ids from outside may hide in it escaped."""
    sys.stdout.write(printable(line, keep="\n") + "\n")
