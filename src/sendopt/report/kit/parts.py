"""The parts of a page: sections, cards, tables, tiles and notices, as markup from `templates/parts.html.jinja`.

Every text is escaped. Blocks are markup that another part returned; an empty block shows nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from markupsafe import Markup

from sendopt.report.kit.rendering import NOTHING, macros

_PARTS = macros("kit/templates/parts.html.jinja")


class Tone(StrEnum):
    """How a notice is shown; the value is its CSS class."""

    INFO = "info"
    WARN = "warn"


@dataclass(frozen=True)
class Notice:
    """A sentence that stands out."""

    tone: Tone
    text: str


def paragraph(text: str, css: str = "") -> Markup:
    """Return a paragraph.

    >>> print(paragraph("5 < 7", "note"))
    <p class="note">5 &lt; 7</p>
    """
    return _part("paragraph", text, css)


def missing(text: str) -> Markup:
    """Return a framed sentence that stands where data is missing."""
    return paragraph(text, "missing")


def section(anchor: str, title: str, lead: str, *blocks: Markup) -> Markup:
    """Return a section of the page; `anchor` is its id, and `lead` the sentence under its title."""
    return _part("section", anchor, title, lead, blocks)


def card(title: str, *blocks: Markup, note: str = "") -> Markup:
    """Return a framed block whose title states the finding."""
    return _part("card", title, blocks, note)


def pair(*cards: Markup) -> Markup:
    """Return two cards side by side; one below the other on a narrow screen."""
    return _part("pair", cards)


def tile(value: str, name: str, note: str = "") -> Markup:
    """Return a number in large type with its name."""
    return _part("tile", value, name, note)


def tiles(*tiles_: Markup) -> Markup:
    """Return a row of tiles."""
    return _part("tiles", tiles_)


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return a figure's legend from pairs (CSS class of the swatch, text)."""
    return _part("legend", entries)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Collection[int] = (), stack: bool = False
) -> Markup:
    """Return a table in a box of its own.

    Columns whose index is in `numeric` are right-aligned; with `stack` a phone shows each row as a block.
    """
    return _part("table", head, rows, numeric, stack)


def definitions(rows: Sequence[tuple[str, str]], css: str = "") -> Markup:
    """Return a list of pairs (name, text)."""
    return _part("definitions", rows, css)


def details(summary: str, *blocks: Markup) -> Markup:
    """Return blocks that are hidden until the reader opens them."""
    return _part("details", summary, blocks)


def callouts(notices: Sequence[Notice]) -> Markup:
    """Return the notices as a list; nothing where there is none."""
    return _part("callouts", notices) if notices else NOTHING


def figure(name: str, marks: int, drawings: Sequence[Markup]) -> Markup:
    """Return a figure of `drawings`, one for each screen width, with the number of data marks in each."""
    return _part("figure", name, marks, drawings)


def _part(macro: str, *values: object) -> Markup:
    markup: Markup = getattr(_PARTS, macro)(*values)
    return markup
