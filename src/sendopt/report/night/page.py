"""The page of a night: one self-contained document, for a growth team first and for an ML engineer after."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from sendopt.lake.files import write_whole
from sendopt.report.data import ReportData
from sendopt.report.kit import parts
from sendopt.report.kit.document import document
from sendopt.report.kit.rendering import NOTHING, fill
from sendopt.report.model.sections import model
from sendopt.report.night import plan_figures, plan_sections
from sendopt.report.night.anchors import LINK_TEXTS
from sendopt.report.night.measured_section import measured
from sendopt.report.night.sections import certificate, lineage, quarantine


def render(data: ReportData, head: Markup = NOTHING) -> str:
    """Return the report as one HTML document that asks nothing of the network and runs no script.

    `head` is markup for the document's head. Equal data gives equal text. The page names no user; campaign names and
    every other text are escaped.
    """
    channels = plan_figures.channel_order(data.plan, data.prices)
    sections = (
        plan_sections.timing(data, channels),
        plan_sections.campaigns(data, channels),
        plan_sections.capacity(data, channels),
        plan_sections.prices(data),
        plan_sections.suppressed(data),
        plan_sections.arms(data),
        measured(data),
        model(data),
        certificate(data),
        quarantine(data),
        lineage(data),
    )
    body = fill(
        "night/templates/page.html.jinja",
        day=data.plan_date.strftime("%A, %-d %B %Y"),
        headline=plan_sections.headline(data),
        notices=parts.callouts(plan_sections.notices(data)),
        tiles=plan_sections.tiles(data),
        links=LINK_TEXTS.items(),
        sections=sections,
    )
    return document(f"Send plan for {data.plan_date.isoformat()}", body, head)


def write(data: ReportData, path: str | Path) -> Path:
    """Return `path` after writing the report there, atomically: a reader finds the old file or the new one."""
    return write_whole(Path(path), render(data))
