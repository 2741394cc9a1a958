"""The reports of all nights: a page a night, and an index made from what each page says of itself."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import date
from html import unescape
from pathlib import Path

from markupsafe import Markup

from sendopt.lake.files import write_whole
from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.kit.document import document
from sendopt.report.kit.rendering import fill
from sendopt.report.night import page as night_page
from sendopt.report.night import plan_sections

FOLDER = "reports"
INDEX = "index.html"
_PAGE = re.compile(r"\d{4}-\d{2}-\d{2}")
_META = re.compile(r'<meta name="sendopt-night" content="([^"]*)">')
_META_BYTES = 65_536  # the meta element of a night is in the page's first bytes
_HEAD = ("Night", "Sends", "Candidates", "People", "Value", "Gap", "Warnings")


@dataclass(frozen=True)
class NightLine:
    """What the index shows of a night; None where its page does not say it."""

    sends: int | None = None
    candidates: int | None = None
    people: int | None = None
    value: float | None = None
    gap: float | None = None
    warnings: int | None = None
    first_warning: str | None = None
    model_version: str | None = None


def write(data: ReportData, out: str | Path) -> Path:
    """Write the night's page and the index beside it, each atomically; return the page, `<out>/reports/DATE.html`."""
    folder = Path(out) / FOLDER
    page = folder / f"{data.plan_date.isoformat()}.html"
    write_whole(page, night_page.render(data, head=_meta(line_of(data))))
    write_index(folder)
    return page


def write_index(folder: Path) -> Path:
    """Write the index of the pages in `folder` and return its path.

    The index is written again where another process added a page in the meantime.
    """
    index = folder / INDEX
    while True:
        pages = _pages(folder)
        write_whole(index, render_index({day: _line(path) for day, path in pages.items()}))
        if _pages(folder).keys() == pages.keys():
            return index


def line_of(data: ReportData) -> NightLine:
    """Return the night's line of the index, from what its report shows."""
    proof = None if data.certificate.empty else data.certificate.iloc[0]
    warnings = [notice.text for notice in plan_sections.notices(data) if notice.tone == parts.Tone.WARN]
    return NightLine(
        sends=len(data.plan),
        candidates=data.candidates,
        people=int(data.plan["user_id"].nunique()),
        value=None if proof is None else float(proof["value"]),
        gap=None if proof is None else max(0.0, float(proof["gap"])),
        warnings=len(warnings),
        first_warning=warnings[0] if warnings else None,
        model_version=data.versions.get("model_version"),
    )


def render_index(nights: dict[date, NightLine]) -> str:
    """Return the index as one HTML document, newest night first; equal nights give equal text."""
    rows = [_row(day, nights[day]) for day in sorted(nights, reverse=True)]
    body = fill(
        "templates/nights.html.jinja",
        title=words.plural(len(nights), "night"),
        lead="The newest night comes first. The gap is what the best possible plan could still add, at most.",
        table=parts.table(_HEAD, rows, numeric=range(1, 6), stack=True),
    )
    return document("Send plans, night by night", body)


def _row(day: date, night: NightLine) -> tuple[str, ...]:
    return (
        fill("templates/night_link.html.jinja", day=day.isoformat(), weekday=day.strftime("%a")),
        _count(night.sends),
        _count(night.candidates),
        _count(night.people),
        "–" if night.value is None else f"{night.value:,.1f}",
        "–" if night.gap is None else words.gap_words(night.gap),
        _warnings(night),
    )


def _warnings(night: NightLine) -> str:
    if night.warnings is None:
        return "not read: this page is not sendopt's"
    if not night.warnings:
        return "none"
    more = f" (+{night.warnings - 1:,} more)" if night.warnings > 1 else ""
    return f"{night.first_warning}{more}"


def _count(value: int | None) -> str:
    return "–" if value is None else words.count(value)


def _meta(night: NightLine) -> Markup:
    return fill("templates/night_meta.html.jinja", line=json.dumps(asdict(night), sort_keys=True))


def _pages(folder: Path) -> dict[date, Path]:
    return {date.fromisoformat(p.stem): p for p in sorted(folder.glob("*.html")) if _is_day(p.stem)}


def _is_day(text: str) -> bool:
    try:
        return bool(_PAGE.fullmatch(text)) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _line(page: Path) -> NightLine:
    """Return what the page says of its night; an empty line where sendopt did not write the page."""
    with page.open("rb") as file:
        meta = _META.search(file.read(_META_BYTES).decode("utf-8", "replace"))
    try:
        night = NightLine(**json.loads(unescape(meta.group(1)))) if meta else NightLine()
        _row(date.min, night)  # raises where a value has another type
    except (ValueError, TypeError):
        return NightLine()
    return night
