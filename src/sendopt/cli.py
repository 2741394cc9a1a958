"""The `sendopt` commands. Each parses, calls one function below and prints; errors end as sentences and exit codes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sendopt import demo as demo_world
from sendopt import ending, output, runtime, settings_check, summary
from sendopt.allocation.unused import Expectation
from sendopt.config.loader import load
from sendopt.config.schema import Ingest, Settings
from sendopt.domain.outside_text import printable
from sendopt.domain.stages import CATALOGUE
from sendopt.errors import ConfigError

app = typer.Typer(
    name="sendopt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
EXACT_GAP = 1e-6  # relative, where the exact method is asked for
Conf = Annotated[Path, typer.Option(help="folder of settings", envvar="SENDOPT_CONF")]
Env = Annotated[str, typer.Option(help="name of env/NAME.yaml in that folder", envvar="SENDOPT_ENV")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output instead of prose")]
PlanDate = Annotated[str, typer.Option(help="the date to plan, YYYY-MM-DD")]
DEMO_DATE = date(2026, 3, 29)  # Europe's clocks change on it
DEMO_DAYS = 60
Now = Annotated[
    str | None, typer.Option(help="the time to take for now, like 2026-03-28T23:10:00Z; default: the real time")
]


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"sendopt {installed('sendopt')}\n")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    """Decides, every night, which notification each person gets and when; proves how good the plan is."""


@app.command()
def night(
    plan_date: PlanDate,
    conf: Conf = Path("conf"),
    env: Env = "local",
    train: Annotated[bool, typer.Option(help="train even where a champion exists")] = False,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Run all stages of one night: raw logs in, an audited send plan and a report out."""

    def work() -> None:
        times = runtime.Times.of(now)
        document = _night(runtime.parse_date(plan_date), load(conf, env), conf, times, train, as_json)
        if as_json:
            output.document(document)

    _exit(work)


@app.command()
def ingest(
    source: Annotated[Path, typer.Option(help="column mapping, conf/sources/NAME.yaml")],
    data: Annotated[Path, typer.Option("--input", help="file or folder of raw logs")],
    conf: Conf = Path("conf"),
    env: Env = "local",
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Read raw logs into the silver tables; bad rows go to quarantine, each with its reason."""
    _exit(lambda: _ingest(source, data, load(conf, env), runtime.Times.of(now), as_json))


@app.command()
def init(
    log: Annotated[Path, typer.Option("--from", help="log of sends: a file (CSV, JSON, Parquet, .gz) or a folder")],
    out: Annotated[Path | None, typer.Option(help="new folder of settings; default: called like the log")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="braze | customerio | firebase | iterable | onesignal | segment | sendgrid; default: seen"),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=COLUMN where a guess is wrong: user_id, sent_at_utc, open …")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="where people live, if the log does not say: Europe/Berlin")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the proposal as JSON instead of prose")] = False,
) -> None:
    """Propose mapping, source and the smallest settings for a log of your own, from what it holds."""
    _exit(lambda: _init(log, out, preset, zone, column or [], as_json))


@app.command()
def check(
    conf: Annotated[Path, typer.Argument(help="folder of settings")] = Path("conf"),
    env: Annotated[str | None, typer.Option(help="check this environment only; default: every env/*.yaml")] = None,
    as_json: Json = False,
) -> None:
    """Check every setting at once, with file, line and remedy, and say what the settings mean for a night."""
    _exit(lambda: _check(conf, env, as_json))


@app.command()
def explain(
    user: Annotated[str, typer.Option(help="user id")],
    message: Annotated[str | None, typer.Option(help="notification id; default: all messages of the user")] = None,
    plan_date: Annotated[str | None, typer.Option(help="default: the last planned date")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on standard output")] = False,
) -> None:
    """Why this person gets what, when: chosen slot, what looked better and lost, the rule that decided, its price."""

    def work() -> None:
        import json

        from sendopt.report.explain import explain as explain_night

        settings = load(conf, env)
        day = runtime.parse_date(plan_date) if plan_date else None
        costs = {name: c.cost_per_send for name, c in settings.channels.items()}
        night = explain_night(settings.paths.data, user, message, day, settings.grid.slot_minutes, costs)
        if as_json:
            sys.stdout.write(json.dumps(night.as_json(), indent=2, ensure_ascii=False) + "\n")
            return
        for line in night.lines():
            _print(line)

    _exit(work)


@app.command()
def report(
    plan_date: Annotated[str | None, typer.Option(help="the night to show, YYYY-MM-DD; default: the last one")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line instead of prose")] = False,
) -> None:
    """Write the report of a planned night, and the index of all nights, from the tables of the lake."""

    def work() -> None:
        import json

        page = runtime.write_report(load(conf, env), runtime.parse_date(plan_date) if plan_date else None)
        index = page.with_name("index.html")
        told = json.dumps({"report": str(page), "index": str(index)})
        sys.stdout.write(f"{told if as_json else f'Report: {page}; all nights: {index}'}\n")

    _exit(work)


@app.command()
def solve(
    candidates: Annotated[
        Path, typer.Argument(help="Parquet, CSV, JSON or a folder of them; one row a (user, message, slot) that may go")
    ],
    limits: Annotated[Path, typer.Option(help="YAML: caps, gap, fatigue, capacity, campaigns, budgets")],
    out: Annotated[Path, typer.Option(help="folder for plan.parquet and solution.json")],
    history: Annotated[Path | None, typer.Option(help="Parquet, CSV or JSON, sends made or committed")] = None,
    method: Annotated[str, typer.Option(help="exact | prices | auto (by size)")] = "auto",
    buckets: Annotated[int | None, typer.Option(help="of a folder: parts solved apart; default: by its rows")] = None,
    spark: Annotated[str | None, typer.Option(help="of a folder: Spark master that solves its buckets")] = None,
    check_prices: Annotated[
        int, typer.Option(min=0, help="solve again with so many of the limits worth most a tenth wider")
    ] = 0,
    allow_unused: Annotated[
        bool, typer.Option("--allow-unused", help="warn of limits and columns that match nothing, as a template's may")
    ] = False,
    min_history_match: Annotated[
        float, typer.Option(min=0, max=1, help="share of history rows whose user must have a candidate, else exit 3")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Plan scored candidates of your own under limits, with a proof of how good the plan is."""

    def work() -> None:
        expect = Expectation(limits, allow_unused, min_history_match)
        if candidates.is_dir() and check_prices == 0:
            _solve_folder(candidates, limits, out, history, method, buckets, spark, as_json, expect)
        else:
            _solve(candidates, limits, out, history, method, check_prices, as_json, buckets or spark, expect)

    _exit(work)


@app.command()
def evaluate(
    decisions: Annotated[Path, typer.Argument(help="file or folder of a raw log: CSV, JSON lines or Parquet")],
    source: Annotated[Path, typer.Option(help="column mapping, conf/sources/NAME.yaml")],
    out: Annotated[Path, typer.Option(help="folder for evaluation.json and evaluation.html")],
    label: Annotated[
        str, typer.Option(help="open | click | goal: what counts, where the log has interactions")
    ] = "open",
    window_hours: Annotated[float, typer.Option(help="hours after a send in which it counts")] = 24.0,
    max_unread_outcomes: Annotated[
        float, typer.Option(help="share of outcomes that may be unreadable or before their send")
    ] = 0.02,
    max_refused_fraction: Annotated[float, typer.Option(help="share of a table's rows that may be refused")] = 0.1,
    max_unmatched_interactions: Annotated[
        float, typer.Option(help="share of interactions that may find no send")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Say whether personal timing is worth it on a log of decisions, how sure that is, and what would settle it."""
    shares = {
        "max_unread_outcomes": max_unread_outcomes,
        "max_refused_fraction": max_refused_fraction,
        "max_unmatched_interactions": max_unmatched_interactions,
    }
    _exit(lambda: _evaluate(decisions, source, out, label, window_hours, shares, as_json))


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=50, help="people in the simulated world")] = 2000,
    nights: Annotated[int, typer.Option(min=1, max=30, help="nights in a row")] = 1,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Simulate a small world, plan its next night, and show what came out."""
    _exit(lambda: _demo(users, nights, conf, env, as_json))


@app.command()
def rollback(
    model: Annotated[str, typer.Option(help="p_open | goal:NAME | uplift: whose champion")] = "p_open",
    to: Annotated[str | None, typer.Option(help="version to go back to; default: the champion before this one")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Make the good model before this one champion again; the next night is scored with it."""

    def work() -> None:
        from sendopt.tracking import registries

        settings = load(conf, env)
        before, after = registries.roll_back(settings.mlflow, model, settings.objective.goals, to)
        if as_json:
            output.document({"from": before, "to": after})
            return
        sys.stdout.write(
            f"Champion was {before}, now is {after}. The next night uses it; nothing is retrained by this.\n"
        )

    _exit(work)


def _night(
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
        page = _report(day, settings)
        progress.remove_task(task)
    if not as_json:
        for line in summary.of_night(settings.paths.data, day, page):
            Console(highlight=False).print(printable(line, keep="\n"), soft_wrap=True)
    return {"plan_date": str(day), "stages": reports, "report": str(page)}


def _report(day: date, settings: Settings) -> Path:
    from sendopt.report.html import put

    page = runtime.write_report(settings, day)
    return put(Path(settings.paths.out) / "report.html", page.read_text("utf-8"))


def _ingest(source: Path, data: Path, settings: Settings, times: runtime.Times, as_json: bool) -> None:
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


def _init(log: Path, out: Path | None, preset: str | None, zone: str | None, columns: list[str], as_json: bool) -> None:
    from sendopt.ingest import proposal

    found = proposal.propose(log, out, runtime.machine_time(), preset, zone, columns)
    proposal.write(found)
    if as_json:
        output.document(vars(found))
        return
    for line in proposal.in_words(found):
        _print(line)


def _solve(
    candidates: Path, limits: Path, out: Path, history: Path | None, method: str, checked: int, as_json: bool,
    of_folders: int | str | None, expect: Expectation,
) -> None:  # fmt: skip
    from sendopt import allocation
    from sendopt.allocation import files
    from sendopt.config.limits_file import load_limits
    from sendopt.config.schema import Allocation

    if candidates.is_dir():
        raise ConfigError(f"--check-prices is for one file, and {candidates} is a folder")
    if of_folders is not None:
        raise ConfigError(f"--buckets and --spark are for a folder of Parquet, and {candidates} is none")
    largest = {"exact": 10**9, "prices": 0, "auto": Allocation().exact_max_users}
    if method not in largest:
        raise ConfigError(f"--method: got {method!r}, expected exact, prices or auto")
    clock = [time.monotonic()]

    def lap() -> float:
        clock.append(time.monotonic())
        return clock[-1] - clock[-2]

    problem, warnings = files.read_checked(candidates, load_limits(limits), history, expect)
    seconds = {"read": lap()}
    gap = EXACT_GAP if method == "exact" else Allocation().relative_gap
    settings = Allocation(exact_max_users=largest[method], relative_gap=gap)
    solution = allocation.allocate(problem, settings)
    seconds["solve"] = lap()
    allocation.check(problem, solution)
    seconds["audit"] = lap()
    checks = allocation.check_prices(problem, solution, settings, checked)
    seconds["check_prices"] = lap()
    files.write_solution(out, problem, solution, seconds, checks, warnings)
    if as_json:
        output.document(files.as_json(solution, seconds, checks, warnings))
        return
    for line in [
        *summary.of_solution(solution, len(solution.chosen), out),
        *summary.of_checks(checks),
        *summary.of_warnings(warnings),
    ]:
        _print(line)


def _solve_folder(
    candidates: Path, limits: Path, out: Path, history: Path | None, method: str, number: int | None,
    master: str | None, as_json: bool, expect: Expectation,
) -> None:  # fmt: skip
    from sendopt.allocation import buckets
    from sendopt.config.limits_file import load_limits
    from sendopt.config.schema import Allocation

    if method not in ("prices", "auto"):
        raise ConfigError(f"--method: got {method!r} for a folder, which is solved by prices; give prices or auto")
    found = load_limits(limits)
    gap = Allocation().relative_gap
    if master is None:
        planned = buckets.solve_folder(candidates, history, found, out, gap, number, expect=expect)
    else:
        from sendopt.spark import solve_buckets

        planned = solve_buckets.solve_folder(master, candidates, history, found, out, gap, number, expect)
    if as_json:
        output.document(buckets.told_of(planned))
        return
    for line in [*summary.of_solution(planned.solution, planned.sends, out), *summary.of_warnings(planned.warnings)]:
        _print(line)


def _evaluate(
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


def _check(conf: Path, env: str | None, as_json: bool) -> None:
    checked = settings_check.check(conf, env, runtime.machine_time().date())
    if as_json:
        output.document(asdict(checked))
        return
    for line in checked.lines():
        _print(line)


def _demo(users: int, nights: int, conf: Path, env: str, as_json: bool) -> None:
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
            planned.append(_night(day, settings, conf, runtime.Times(), train=False, as_json=as_json))
            if n + 1 < nights:
                demo_world.play(raw, settings, day)
    if as_json:
        output.document({"users": users, "nights": planned})
        return
    for line in summary.where_next(settings, conf, env, day):
        Console(highlight=False).print(line, soft_wrap=True)


def _print(line: str) -> None:
    """A line on standard output, with what names and ids from outside may hide in it escaped."""
    sys.stdout.write(printable(line, keep="\n") + "\n")


def _exit(work: Callable[[], None]) -> None:
    code = runtime.guarded(work)
    if code:
        raise typer.Exit(code)


def main() -> None:
    """Entry point of the `sendopt` command."""
    output.steady()
    os.environ.setdefault("TZ", "UTC")
    ending.listen()
    try:
        app()
    except SystemExit as done:
        ending.leave(done.code if isinstance(done.code, int) else 0 if done.code is None else 1)


if __name__ == "__main__":
    main()
