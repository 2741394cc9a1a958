"""A builder of SVG drawings: marks that are counted, text that is escaped, axes with round ticks.

Colours come from CSS classes (`c0` to `c5`, `ink`, `grid`, …), so that one drawing serves light and dark pages. A
drawing is no template: each of its elements is a row of computed numbers, which a call says more shortly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field

from markupsafe import Markup

from sendopt.report.kit import parts
from sendopt.report.kit.escaping import escape
from sendopt.report.kit.rendering import NOTHING

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
    elements: list[Markup] = field(default_factory=list)
    marks: int = 0

    def rect(self, x: float, y: float, w: float, h: float, css: str, tip: str = "", radius: float = 0) -> None:
        """Draw a data mark; a bar of no length is not drawn and not counted, a tiny one stays visible."""
        if w <= 0 or h <= 0:
            return
        w, y, h = max(w, THINNEST), y - max(0.0, THINNEST - h), max(h, THINNEST)
        self._mark("rect", css, tip, x=x, y=y, width=w, height=h, rx=radius)

    def dot(self, x: float, y: float, r: float, css: str, tip: str = "") -> None:
        """Draw a data mark."""
        self._mark("circle", css, tip, cx=x, cy=y, r=r)

    def area(self, x: float, y: float, w: float, h: float, css: str) -> None:
        """Draw a background; not a data mark."""
        if w > 0 and h > 0:
            self.elements.append(_element("rect", css, x=x, y=y, width=w, height=h))

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """Draw a line; not a data mark."""
        self.elements.append(_element("line", css, x1=x1, y1=y1, x2=x2, y2=y2))

    def path(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """Draw a line through two points (x, y) or more; not a data mark."""
        if len(points) > 1:
            steps = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
            self.elements.append(_element("path", css, d=f"M{steps}"))

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> None:
        """Draw text; `anchor` says which end of it stands at `x`: start, middle or end."""
        self.elements.append(_element("text", css, escape(words), x=x, y=y, text_anchor=anchor))

    def markup(self, css: str, label: str) -> Markup:
        """Return the drawing as an `<svg>` element; `label` is what a screen reader says of it."""
        view = f"0 0 {_number(self.width)} {_number(self.height)}"
        inner = NOTHING.join(self.elements)
        return _element(
            "svg", css, inner, role="img", aria_label=label, viewBox=view, width=self.width, height=self.height
        )

    def _mark(self, tag: str, css: str, tip: str, **numbers: float) -> None:
        self.marks += 1
        title = _element("title", "", escape(tip)) if tip else NOTHING
        self.elements.append(_element(tag, f"mark {css}", title, **numbers))


def figure(
    name: str, label: str, rows: Sized, draw: Callable[[int], Svg], widths: tuple[int, int, int], empty: str
) -> Markup:
    """Return a `<figure>` with one drawing of `rows` per screen width; the sentence `empty` if it has no mark."""
    if not len(rows):
        return parts.missing(empty)
    by_width: dict[int, list[str]] = {}
    for view, width in zip(VIEWS, widths, strict=True):
        by_width.setdefault(width, []).append(view)
    drawings = {width: draw(width) for width in by_width}
    marks = {drawing.marks for drawing in drawings.values()}
    if 0 in marks:
        return parts.missing(empty)
    shown = [drawings[width].markup(" ".join(views), label) for width, views in by_width.items()]
    return parts.figure(name, min(marks), shown)


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


def _element(tag: str, css: str, inner: Markup = NOTHING, **attributes: float | str) -> Markup:
    """Return an element around `inner`; `_` in a name of `attributes` stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    if css:
        named["class"] = css
    texts = {name: value if isinstance(value, str) else _number(value) for name, value in named.items()}
    written = "".join(f' {name}="{escape(text)}"' for name, text in texts.items())
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


def _number(value: float) -> str:
    """Return a length with at most one decimal."""
    return f"{value:.1f}".rstrip("0").rstrip(".") or "0"
