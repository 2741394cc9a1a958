"""`sendopt night`: all stages of a night, its summary and its report."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sendopt import summary
from sendopt.config.schema import Settings
from sendopt.domain.outside_text import printable
from sendopt.domain.stages import CATALOGUE
from sendopt.lake.files import write_whole
from sendopt.night import runtime


def night(
    day: date, settings: Settings, conf: Path, times: runtime.Times, train: bool, as_json: bool
) -> dict[str, Any]:
    """Run the stages of a night, write its report, and return both as a document; print a summary unless `as_json`."""
    console = Console(stderr=True, highlight=False)
    columns, reports = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()), []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        stages = iter(CATALOGUE)
        task = progress.add_task(f"{day}: {next(stages).story}", total=None)
        for stage in runtime.run(day, settings, conf, retrain=train, times=times):
            reports.append(vars(stage))
            console.print(printable(summary.stage_line(stage), keep="\n"), markup=False, soft_wrap=True)
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
    """Write the report of a night and return its copy at `paths.out`/report.html."""
    page = runtime.write_report(settings, day)
    return write_whole(Path(settings.paths.out) / "report.html", page.read_text("utf-8"))
