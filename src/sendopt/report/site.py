"""The reports of all nights: a page a night and an index over them, made of what the pages say of themselves."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import date
from html import escape, unescape
from pathlib import Path

from sendopt.lake.files import write_whole
from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.night import page as night_page
from sendopt.report.night import plan_sections

FOLDER = "reports"
INDEX = "index.html"
_PAGE = re.compile(r"\d{4}-\d{2}-\d{2}")
_META = re.compile(r'<meta name="sendopt-night" content="([^"]*)">')
_HEAD_BYTES = 65_536  # the line of a night stands in the page's first bytes


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
    """The night's page, `<out>/reports/DATE.html`; the index beside it is written with it, each atomically."""
    folder = Path(out) / FOLDER
    page = folder / f"{data.plan_date.isoformat()}.html"
    write_whole(page, night_page.render(data, head=_meta(line_of(data))))
    write_index(folder)
    return page


def write_index(folder: Path) -> Path:
    """The index of the pages in `folder`, newest night first; written again where another page came meanwhile."""
    index = folder / INDEX
    while True:
        pages = _pages(folder)
        write_whole(index, render_index({day: _line(path) for day, path in pages.items()}))
        if _pages(folder).keys() == pages.keys():
            return index


def line_of(data: ReportData) -> NightLine:
    """The night in a line, from what its report shows."""
    proof = None if data.certificate.empty else data.certificate.iloc[0]
    warnings = [sentence for kind, sentence in plan_sections.notices(data) if kind == "warn"]
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
    """The index as one HTML document; equal nights give equal text."""
    rows = "".join(_row(day, nights[day]) for day in sorted(nights, reverse=True))
    head = "".join(
        f"<th{' class=n' if numeric else ''}>{name}</th>"
        for name, numeric in (
            ("Night", False),
            ("Sends", True),
            ("Candidates", True),
            ("People", True),
            ("Value", True),
            ("Gap", True),
            ("Warnings", False),
        )
    )
    lead = "The newest night comes first. The gap is what the best possible plan could still add, at most."
    body = (
        f'<header><p class="eyebrow">Send plans</p><h1>{words.plural(len(nights), "night")}</h1>'
        f"{parts.paragraph(lead, 'headline second')}</header>"
        '<section id="nights"><div class="card"><div class="scroll stack" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></div></section>"
    )
    return night_page.document("Send plans, night by night", body)


def _row(day: date, night: NightLine) -> str:
    link = f'<a class="night" href="{day.isoformat()}.html">{day.strftime("%a")} {day.isoformat()}</a>'
    cells = [
        ("Sends", _count(night.sends)),
        ("Candidates", _count(night.candidates)),
        ("People", _count(night.people)),
        ("Value", "–" if night.value is None else f"{night.value:,.1f}"),
        ("Gap", "–" if night.gap is None else words.gap_words(night.gap)),
    ]
    numbers = "".join(f'<td class="n" data-label="{name}">{escape(text)}</td>' for name, text in cells)
    return f'<tr><td data-label="Night">{link}</td>{numbers}<td data-label="Warnings">{_warnings(night)}</td></tr>'


def _warnings(night: NightLine) -> str:
    if night.warnings is None:
        return "not read: this page is not sendopt's"
    if not night.warnings:
        return "none"
    more = f" (+{night.warnings - 1:,} more)" if night.warnings > 1 else ""
    return escape(f"{night.first_warning}{more}")


def _count(number: int | None) -> str:
    return "–" if number is None else words.count(number)


def _meta(night: NightLine) -> str:
    return f'<meta name="sendopt-night" content="{escape(json.dumps(asdict(night), sort_keys=True))}">'


def _pages(folder: Path) -> dict[date, Path]:
    return {date.fromisoformat(p.stem): p for p in sorted(folder.glob("*.html")) if _is_day(p.stem)}


def _is_day(text: str) -> bool:
    try:
        return bool(_PAGE.fullmatch(text)) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _line(page: Path) -> NightLine:
    """What the page says of its night; a line of nothing where it is no page of ours."""
    with page.open("rb") as file:
        meta = _META.search(file.read(_HEAD_BYTES).decode("utf-8", "replace"))
    try:
        night = NightLine(**json.loads(unescape(meta.group(1)))) if meta else NightLine()
        _row(date.min, night)
    except (ValueError, TypeError):
        return NightLine()
    return night
