"""The `sendopt` commands. Each parses, calls one function below and prints; errors end as sentences and exit codes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sendopt import demo as demo_world
from sendopt import runtime, summary
from sendopt.config import forecast
from sendopt.config.loader import load
from sendopt.config.schema import Settings
from sendopt.errors import ConfigError

app = typer.Typer(
    name="sendopt",
    help="Decides, every night, which notification each person gets and when; proves how good the plan is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
EXACT_GAP = 1e-6  # relative, where the exact method is asked for
Conf = Annotated[Path, typer.Option(help="folder of settings", envvar="SENDOPT_CONF")]
Env = Annotated[str, typer.Option(help="name of env/NAME.yaml in that folder", envvar="SENDOPT_ENV")]
PlanDate = Annotated[str, typer.Option(help="the date to plan, YYYY-MM-DD")]
DEMO_DATE = date(2026, 3, 29)  # Europe's clocks change on it
DEMO_DAYS = 60
STORIES = {
    "ingest": "reading raw logs",
    "build_features": "building features as of the decision",
    "train_propensity": "learning who opens when",
    "score_slots": "scoring every person × slot",
    "build_candidates": "applying every rule of eligibility",
    "allocate": "planning under all limits, with a proof",
    "publish_schedule": "publishing the audited plan",
    "measure": "measuring the last mature night",
}


@app.command()
def night(
    plan_date: PlanDate,
    conf: Conf = Path("conf"),
    env: Env = "local",
    train: Annotated[bool, typer.Option(help="train even where a champion exists")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line a stage instead of prose")] = False,
) -> None:
    """Run all stages of one night: raw logs in, an audited send plan and a report out."""
    _exit(lambda: _night(runtime.parse_date(plan_date), conf, env, train, as_json))


@app.command()
def ingest(
    source: Annotated[Path, typer.Option(help="column mapping, conf/sources/NAME.yaml")],
    data: Annotated[Path, typer.Option("--input", help="file or folder of raw logs")],
    conf: Conf = Path("conf"),
    env: Env = "local",
) -> None:
    """Read raw logs into the silver tables; bad rows go to quarantine, each with its reason."""
    _exit(lambda: _ingest(source, data, load(conf, env)))


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
) -> None:
    """Check every setting at once, with file, line and remedy, and say what the settings mean for a night."""
    _exit(lambda: _check(conf, env))


@app.command()
def explain(
    user: Annotated[str, typer.Option(help="user id")],
    message: Annotated[str | None, typer.Option(help="notification id; default: all messages of the user")] = None,
    plan_date: Annotated[str | None, typer.Option(help="default: the last planned date")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
) -> None:
    """Why this person gets what, when: chosen slot, runner-up, the rule that decided and its price."""

    def work() -> None:
        from sendopt.report.explain import explain_user

        settings = load(conf, env)
        day = runtime.parse_date(plan_date) if plan_date else None
        for line in explain_user(settings.paths.data, user, message, day, settings.grid.slot_minutes):
            Console(highlight=False).print(line, markup=False, soft_wrap=True)

    _exit(work)


@app.command()
def solve(
    candidates: Annotated[
        Path, typer.Argument(help="Parquet, CSV or a folder of Parquet; one row a (user, message, slot) that may go")
    ],
    limits: Annotated[Path, typer.Option(help="YAML: caps, gap, fatigue, capacity, campaigns, budgets")],
    out: Annotated[Path, typer.Option(help="folder for plan.parquet and solution.json")],
    history: Annotated[Path | None, typer.Option(help="Parquet or CSV, sends made or committed")] = None,
    method: Annotated[str, typer.Option(help="exact | prices | auto (by size)")] = "auto",
    buckets: Annotated[int | None, typer.Option(help="of a folder: parts solved apart; default: by its rows")] = None,
    spark: Annotated[str | None, typer.Option(help="of a folder: Spark master that solves its buckets")] = None,
    check_prices: Annotated[
        int, typer.Option(min=0, help="solve again with so many of the limits worth most a tenth wider")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="solution.json on standard output instead of prose")] = False,
) -> None:
    """Plan scored candidates of your own under limits, with a proof of how good the plan is."""
    if candidates.is_dir() and check_prices == 0:
        _exit(lambda: _solve_folder(candidates, limits, out, history, method, buckets, spark, as_json))
    else:
        _exit(lambda: _solve(candidates, limits, out, history, method, check_prices, as_json, buckets or spark))


@app.command()
def evaluate(
    decisions: Annotated[Path, typer.Argument(help="file or folder of a raw log: CSV, JSON lines or Parquet")],
    source: Annotated[Path, typer.Option(help="column mapping, conf/sources/NAME.yaml")],
    out: Annotated[Path, typer.Option(help="folder for evaluation.json and evaluation.html")],
    label: Annotated[
        str, typer.Option(help="open | click | goal: what counts, where the log has interactions")
    ] = "open",
    window_hours: Annotated[float, typer.Option(help="hours after a send in which it counts")] = 24.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="evaluation.json on standard output instead of prose")
    ] = False,
) -> None:
    """Say whether personal timing is worth it on a log of decisions, how sure that is, and what would settle it."""
    _exit(lambda: _evaluate(decisions, source, out, label, window_hours, as_json))


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=50, help="people in the simulated world")] = 2000,
    nights: Annotated[int, typer.Option(min=1, max=30, help="nights in a row")] = 1,
    conf: Conf = Path("conf"),
    env: Env = "local",
) -> None:
    """Simulate a small world, plan its next night, and show what came out."""
    _exit(lambda: _demo(users, nights, conf, env))


@app.command()
def rollback(
    model: Annotated[str, typer.Option(help="p_open | goal:NAME | uplift: whose champion")] = "p_open",
    to: Annotated[str | None, typer.Option(help="version to go back to; default: the champion before this one")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line instead of prose")] = False,
) -> None:
    """Make the good model before this one champion again; the next night is scored with it."""

    def work() -> None:
        import json

        from sendopt.tracking import registries

        settings = load(conf, env)
        before, after = registries.roll_back(settings.mlflow, model, settings.objective.goals, to)
        said = f"Champion was {before}, now is {after}. The next night uses it; nothing is retrained by this."
        sys.stdout.write((json.dumps({"from": before, "to": after}) if as_json else said) + "\n")

    _exit(work)


def _night(day: date, conf: Path, env: str, train: bool, as_json: bool) -> None:
    settings = load(conf, env)
    console = Console(stderr=True, highlight=False)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        stages = iter(STORIES.items())
        task = progress.add_task(f"{day}: {next(stages)[1]}", total=None)
        for done in runtime.run(day, settings, conf, retrain=train):
            if as_json:
                runtime.print_line(done)
            console.print(summary.stage_line(done), markup=False, soft_wrap=True)
            if following := next(stages, None):
                progress.update(task, description=f"{day}: {following[1]}")
        progress.update(task, description="writing the report")
        report = _report(day, settings)
        progress.remove_task(task)
    if not as_json:
        for line in summary.of_night(settings.paths.data, day, report):
            Console(highlight=False).print(line, soft_wrap=True)


def _report(day: date, settings: Settings) -> Path:
    from sendopt import report
    from sendopt.report.data import load as load_report
    from sendopt.tracking import registries
    from sendopt.tracking.mlflow import champion_evaluation

    path = Path(settings.paths.out) / "report.html"
    of_goals = registries.goal_evaluations(settings.mlflow, settings.objective.goals)
    report.write(load_report(settings.paths.data, day, champion_evaluation(settings.mlflow), of_goals), path)
    return path


def _ingest(source: Path, data: Path, settings: Settings) -> None:
    from sendopt.ingest import load_mapping
    from sendopt.spark.ingest import ingest as read

    mapping = load_mapping(source)
    with runtime.lake_of(settings) as lake:
        result = read(lake, mapping, data, settings, datetime.now(UTC))
    for line in summary.of_ingest(result.rows_in, result.rows_out, result.facts["tables"]):
        sys.stdout.write(line + "\n")


def _init(log: Path, out: Path | None, preset: str | None, zone: str | None, columns: list[str], as_json: bool) -> None:
    import json

    from sendopt.ingest import proposal

    proposed = proposal.propose(log, out, datetime.now(UTC), preset, zone, columns)
    proposal.write(proposed)
    if as_json:
        sys.stdout.write(json.dumps(vars(proposed), indent=2, ensure_ascii=False) + "\n")
        return
    for line in proposal.in_words(proposed):
        sys.stdout.write(line + "\n")


def _solve(
    candidates: Path, limits: Path, out: Path, history: Path | None, method: str, checked: int, as_json: bool,
    of_folders: int | str | None,
) -> None:  # fmt: skip
    import json

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

    problem = files.read_problem(candidates, load_limits(limits), history)
    seconds = {"read": lap()}
    gap = EXACT_GAP if method == "exact" else Allocation().relative_gap
    settings = Allocation(exact_max_users=largest[method], relative_gap=gap)
    solution = allocation.allocate(problem, settings)
    seconds["solve"] = lap()
    allocation.check(problem, solution)
    seconds["audit"] = lap()
    checks = allocation.check_prices(problem, solution, settings, checked)
    seconds["check_prices"] = lap()
    files.write_solution(out, problem, solution, seconds, checks)
    if as_json:
        sys.stdout.write(json.dumps(files.as_json(solution, seconds, checks), indent=2) + "\n")
        return
    for line in [*summary.of_solution(solution, len(solution.chosen), out), *summary.of_checks(checks)]:
        sys.stdout.write(line + "\n")


def _solve_folder(
    candidates: Path, limits: Path, out: Path, history: Path | None, method: str, number: int | None,
    master: str | None, as_json: bool,
) -> None:  # fmt: skip
    import json

    from sendopt.allocation import buckets
    from sendopt.config.limits_file import load_limits
    from sendopt.config.schema import Allocation

    if method not in ("prices", "auto"):
        raise ConfigError(f"--method: got {method!r} for a folder, which is solved by prices; give prices or auto")
    found = load_limits(limits)
    gap = Allocation().relative_gap
    if master is None:
        planned = buckets.solve_folder(candidates, history, found, out, gap, number)
    else:
        from sendopt.spark import solve_buckets

        planned = solve_buckets.solve_folder(master, candidates, history, found, out, gap, number)
    if as_json:
        sys.stdout.write(json.dumps(buckets.told_of(planned), indent=2) + "\n")
        return
    for line in summary.of_solution(planned.solution, planned.sends, out):
        sys.stdout.write(line + "\n")


def _evaluate(decisions: Path, source: Path, out: Path, label: str, window_hours: float, as_json: bool) -> None:
    import json

    from sendopt import evaluation

    if label not in ("open", "click", "goal"):
        raise ConfigError(f"--label: got {label!r}, expected open, click or goal")
    if not 0 < window_hours <= 24 * 90:
        raise ConfigError(f"--window-hours: got {window_hours:g}, expected more than 0 and at most {24 * 90}")
    result = evaluation.evaluate_log(decisions, source, label, window_hours)
    evaluation.write(result, out)
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        return
    for line in evaluation.in_words(result, out):
        sys.stdout.write(line + "\n")


def _check(conf: Path, env: str | None) -> None:
    names = [env] if env else sorted(p.stem for p in (conf / "env").glob("*.yaml"))
    if not names:
        raise ConfigError(f"{conf}/env holds no *.yaml: write at least {conf}/env/local.yaml")
    problems: list[str] = []
    settings: Settings | None = None
    for name in names:
        try:
            settings = load(conf, name)
        except ConfigError as error:
            problems += [p for p in error.problems if p not in problems] or [error.message]
    if problems or settings is None:
        raise ConfigError(f"{len(problems)} problem{'s' * (len(problems) != 1)} in {conf}:", tuple(problems))
    sys.stdout.write(f"{conf} is valid for {', '.join(names)}\n")
    for line in forecast.warnings(settings):
        sys.stdout.write(f"warning: {line}\n")
    for line in forecast.forecast(settings):
        sys.stdout.write(f"  {line}\n")


def _demo(users: int, nights: int, conf: Path, env: str) -> None:
    settings = load(conf, env)
    source = settings.sources.get("demo")
    if source is None:
        raise ConfigError(f"{conf}/env/{env}.yaml: sources.demo is missing; the demo writes its raw logs there")
    raw = Path(source.input)
    Console(stderr=True).print(f"simulating {users} people over {DEMO_DAYS} days")
    demo_world.prepare(raw, settings, users, DEMO_DATE, DEMO_DAYS)
    for n in range(nights):
        day = DEMO_DATE + timedelta(days=n)
        _night(day, conf, env, train=False, as_json=False)
        if n + 1 < nights:
            demo_world.play(raw, settings, day)
    for line in summary.where_next(settings, conf, env, day):
        Console(highlight=False).print(line, soft_wrap=True)


def _exit(work: Callable[[], None]) -> None:
    code = runtime.guarded(work)
    if code:
        raise typer.Exit(code)


def main() -> None:
    """Entry point of the `sendopt` command."""
    os.environ.setdefault("TZ", "UTC")
    try:
        app()
    except SystemExit as done:
        runtime.leave(done.code if isinstance(done.code, int) else 0 if done.code is None else 1)


if __name__ == "__main__":
    main()
