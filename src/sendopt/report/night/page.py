"""One self-contained page: the night for a growth team first, for an ML engineer after."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sendopt.lake.files import write_whole
from sendopt.report.data import ReportData
from sendopt.report.kit import parts
from sendopt.report.kit.escaping import escape
from sendopt.report.model.sections import model
from sendopt.report.night import plan_figures, plan_sections
from sendopt.report.night.measured_section import measured
from sendopt.report.night.sections import certificate, lineage, quarantine

LINKS = (
    ("when", "When"),
    ("campaigns", "What"),
    ("capacity", "Capacity"),
    ("prices", "Prices"),
    ("suppressed", "Not sent"),
    ("arms", "Arms"),
    ("measured", "Measured"),
    ("model", "Model"),
    ("certificate", "Certificate"),
    ("quarantine", "Refused"),
    ("lineage", "Lineage"),
)


def render(data: ReportData, head: str = "") -> str:
    """Return the report as one HTML document that asks nothing of the network and runs no script.

    `head` is markup to put into the document's head. Equal data gives equal text. No user id is in it; campaign names
    and every other text are escaped.
    """
    channels = plan_figures.channel_order(data.plan, data.prices)
    body = "".join(
        (
            _header(data),
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
    )
    return document(f"Send plan for {data.plan_date.isoformat()}", body, head)


def document(title: str, body: str, head: str = "") -> str:
    """Return a self-contained HTML document around `body`, with the report's style and no script."""
    css = files("sendopt.report").joinpath("style.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{head}<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>\n{css}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def write(data: ReportData, path: str | Path) -> Path:
    """Return `path` after writing the report there, atomically: a reader finds the old file or the new one."""
    return write_whole(Path(path), render(data))


def _header(data: ReportData) -> str:
    first, *rest = plan_sections.headline(data)
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name in LINKS)
    return (
        f'<header><p class="eyebrow">Send plan</p><h1>{data.plan_date.strftime("%A, %-d %B %Y")}</h1>'
        f"{parts.paragraph(first, 'headline')}{''.join(parts.paragraph(text, 'headline second') for text in rest)}"
        f"{parts.callouts(plan_sections.notices(data))}{plan_sections.tiles(data)}"
        f'<nav aria-label="Sections">{links}</nav></header>'
    )
