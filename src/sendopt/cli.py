"""The `sendopt` command line: options and help only; `sendopt.commands` does the work. Errors end as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from sendopt.config.loader import load
from sendopt.night import runtime
from sendopt.process import ending, output

app = typer.Typer(
    name="sendopt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Conf = Annotated[Path, typer.Option(help="folder of settings", envvar="SENDOPT_CONF")]
Env = Annotated[str, typer.Option(help="name of env/NAME.yaml in that folder", envvar="SENDOPT_ENV")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output instead of prose")]
PlanDate = Annotated[str, typer.Option(help="the date to plan, YYYY-MM-DD")]
Now = Annotated[
    str | None, typer.Option(help="the time to use as now, like 2026-03-28T23:10:00Z; default: the real time")
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
        document = _command("night").night(runtime.parse_date(plan_date), load(conf, env), conf, times, train, as_json)
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
    _exit(lambda: _command("ingest").ingest(source, data, load(conf, env), runtime.Times.of(now), as_json))


@app.command()
def init(
    log: Annotated[Path, typer.Option("--from", help="log of sends: a file (CSV, JSON, Parquet, .gz) or a folder")],
    out: Annotated[Path | None, typer.Option(help="new folder of settings; default: the log's name")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="braze | customerio | firebase | iterable | onesignal | segment | sendgrid; default: from the log"
        ),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=COLUMN where a guess is wrong: user_id, sent_at_utc, open …")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="where people live, if the log does not say: Europe/Berlin")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the proposal as JSON instead of prose")] = False,
) -> None:
    """Propose a mapping, a source and minimal settings for your own log, from its content."""
    _exit(lambda: _command("init").init(log, out, preset, zone, column or [], as_json))


@app.command()
def check(
    conf: Annotated[Path, typer.Argument(help="folder of settings")] = Path("conf"),
    env: Annotated[str | None, typer.Option(help="check this environment only; default: every env/*.yaml")] = None,
    as_json: Json = False,
) -> None:
    """Check every setting at once, with file, line and remedy, and say what the settings mean for a night."""
    _exit(lambda: _command("check").check(conf, env, as_json))


@app.command()
def explain(
    user: Annotated[str, typer.Option(help="user id")],
    message: Annotated[str | None, typer.Option(help="notification id; default: all messages of the user")] = None,
    plan_date: Annotated[str | None, typer.Option(help="default: the last planned date")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Explain what a person gets and when: the slot, the slot that looked better and lost, the rule and its price."""

    def work() -> None:
        day = runtime.parse_date(plan_date) if plan_date else None
        _command("explain").explain(user, message, day, load(conf, env), as_json)

    _exit(work)


@app.command()
def report(
    plan_date: Annotated[str | None, typer.Option(help="the night to show, YYYY-MM-DD; default: the last one")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Write the report of a planned night, and the index of all nights, from the tables of the lake."""

    def work() -> None:
        settings = load(conf, env)
        _command("report").report(runtime.parse_date(plan_date) if plan_date else None, settings, as_json)

    _exit(work)


# Options of `solve`
History = Annotated[
    Path | None, typer.Option(help="sends made, or committed (minutes_before <= 0); Parquet, CSV or JSON")
]
Buckets = Annotated[
    int | None, typer.Option(help="for a folder: number of parts solved separately; default: by its rows")
]
Gap = Annotated[float | None, typer.Option(help="share of the objective, 0 to 0.1, at which the search may stop")]
StartPrices = Annotated[Path | None, typer.Option(help="solution.json of an earlier solve: its prices save passes")]
Reasons = Annotated[
    bool, typer.Option("--reasons", help="write reasons.parquet: why each message that is not sent is not")
]
CheckPrices = Annotated[
    int, typer.Option(min=0, help="number of limits, dearest first, to check by solving again with each a tenth wider")
]
AllowUnused = Annotated[
    bool, typer.Option("--allow-unused", help="only warn about limits and columns that match nothing")
]
MinHistoryMatch = Annotated[
    float, typer.Option(min=0, max=1, help="share of history rows whose user must have a candidate, else exit 3")
]


@app.command()
def solve(
    candidates: Annotated[
        Path, typer.Argument(help="Parquet, CSV, JSON or a folder of them; one row for each (user, message, slot)")
    ],
    limits: Annotated[Path, typer.Option(help="YAML: caps, gap, fatigue, capacity, campaigns, budgets")],
    out: Annotated[Path, typer.Option(help="folder for plan.parquet and solution.json")],
    history: History = None,
    method: Annotated[str, typer.Option(help="exact | prices | auto (by size)")] = "auto",
    buckets: Buckets = None,
    spark: Annotated[str | None, typer.Option(help="for a folder: the Spark master that solves its buckets")] = None,
    gap: Gap = None,
    start_prices: StartPrices = None,
    reasons: Reasons = False,
    check_prices: CheckPrices = 0,
    allow_unused: AllowUnused = False,
    min_history_match: MinHistoryMatch = 0.0,
    as_json: Json = False,
) -> None:
    """Plan your own scored candidates under limits, with a proof of how good the plan is."""

    def work() -> None:
        command = _command("solve")
        call = command.SolveCall(
            candidates=candidates,
            limits=limits,
            out=out,
            history=history,
            method=method,
            gap=gap,
            start_prices=start_prices,
            reasons=reasons,
            allow_unused=allow_unused,
            min_history_match=min_history_match,
            check_prices=check_prices,
            buckets=buckets,
            spark=spark,
            as_json=as_json,
        )
        command.solve(call)

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
    _exit(lambda: _command("evaluate").evaluate(decisions, source, out, label, window_hours, shares, as_json))


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=50, help="people in the simulated world")] = 2000,
    nights: Annotated[int, typer.Option(min=1, max=30, help="nights in a row")] = 1,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Simulate a small world, plan its next night, and show what came out."""
    _exit(lambda: _command("demo").demo(users, nights, conf, env, as_json))


@app.command()
def rollback(
    model: Annotated[str, typer.Option(help="p_open | goal:NAME | uplift: whose champion")] = "p_open",
    to: Annotated[str | None, typer.Option(help="version to go back to; default: the champion before this one")] = None,
    conf: Conf = Path("conf"),
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Make the good model before this one champion again; the next night is scored with it."""

    _exit(lambda: _command("rollback").rollback(model, to, load(conf, env), as_json))


def _command(name: str) -> ModuleType:
    """Return a command's module, loaded only when the command runs: help and errors of the command line stay fast."""
    return import_module(f"sendopt.commands.{name}")


def _exit(work: Callable[[], None]) -> None:
    """Run the work of a command; an error ends the process with its sentence and its exit code."""
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
