"""The small drawing kit of the report: SVG marks that are counted, text that is escaped, axes with round ticks.

Colours come from CSS classes (`c0` to `c5`, `ink`, `grid`, …), so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field

from sendopt.report.kit.escaping import escape

CHARACTER = 6.9  # width of a character at the 12 px of labels, pixels; generous, since system fonts differ
THINNEST = 1.2  # pixels of the smallest bar
FULL = (1056, 640, 322)  # drawing widths for a figure that spans the page: desktop, tablet, phone; CSS shows one
HALF = (494, 494, 322)
VIEWS = ("wide", "mid", "narrow")


@dataclass
class Svg:
    """A drawing of `width` × `height` pixels. Data marks are counted, so that an empty figure can be noticed."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)
    marks: int = 0

    def rect(self, x: float, y: float, w: float, h: float, css: str, tip: str = "", radius: float = 0) -> None:
        """Draw a data mark; a bar of no length is not drawn and not counted, a tiny one stays visible."""
        if w <= 0 or h <= 0:
            return
        w, y, h = max(w, THINNEST), y - max(0.0, THINNEST - h), max(h, THINNEST)
        self._mark(f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" rx="{_n(radius)}"', css, tip)

    def dot(self, x: float, y: float, r: float, css: str, tip: str = "") -> None:
        """Draw a data mark."""
        self._mark(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}"', css, tip)

    def area(self, x: float, y: float, w: float, h: float, css: str) -> None:
        """Draw a background; not a data mark."""
        if w > 0 and h > 0:
            self.parts.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" class="{css}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.parts.append(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{css}"/>')

    def path(self, points: Sequence[tuple[float, float]], css: str) -> None:
        if len(points) > 1:
            steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self.parts.append(f'<path d="M{steps}" class="{css}"/>')

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        self.parts.append(f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>')

    def _mark(self, start: str, css: str, tip: str) -> None:
        self.marks += 1
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(f'{start} class="mark {css}">{inner}</{start[1:].split(" ", 1)[0]}>')

    def markup(self, css: str, label: str) -> str:
        return (
            f'<svg class="{css}" role="img" aria-label="{escape(label)}" '
            f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" width="{_n(self.width)}" height="{_n(self.height)}">'
            f"{''.join(self.parts)}</svg>"
        )


def figure(
    name: str, label: str, rows: Sized, draw: Callable[[int], Svg], widths: tuple[int, int, int], empty: str
) -> str:
    """Return a `<figure>` with one drawing of `rows` per screen width; the sentence `empty` if it has no mark."""
    if not len(rows):
        return f'<p class="missing">{escape(empty)}</p>'
    by_width: dict[int, list[str]] = {}
    for view, width in zip(VIEWS, widths, strict=True):
        by_width.setdefault(width, []).append(view)
    drawings = {width: draw(width) for width in by_width}
    marks = {drawing.marks for drawing in drawings.values()}
    if 0 in marks:
        return f'<p class="missing">{escape(empty)}</p>'
    inner = "".join(drawings[width].markup(" ".join(views), label) for width, views in by_width.items())
    return f'<figure data-figure="{escape(name)}" data-marks="{min(marks)}">{inner}</figure>'


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end] pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers that cover [low, high]: the first <= low, the last >= high."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def fit(words: str, pixels: float) -> str:
    """Shorten a label to about `pixels` with an ellipsis; the whole name stays in the mark's tooltip."""
    room = max(4, int(pixels / CHARACTER))
    return words if len(words) <= room else words[: room - 1].rstrip() + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".") or "0"
