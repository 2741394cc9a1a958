"""Figures about the model: calibration, baselines, the hours' lift, importance and the placebo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sendopt.report.kit import words
from sendopt.report.kit.svg import HALF, Scale, Svg, figure, ticks
from sendopt.report.night.plan_figures import Interval, bars, intervals
from sendopt.stats.intervals import wilson

Row = Mapping[str, Any]


def records(rows: Any) -> list[Row]:
    """Return the mappings among `rows`; none if `rows` is no list, as in an incomplete evaluation."""
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def clean(rows: Any, *fields: str) -> list[dict[str, float]]:
    """Return the rows whose `fields` are all finite numbers, as floats; others cannot be drawn."""
    kept = []
    for row in records(rows):
        values = {name: words.number(row.get(name)) for name in fields}
        if all(value is not None for value in values.values()):
            kept.append({name: value for name, value in values.items() if value is not None})
    return kept


def verdict(low: float | None, high: float | None) -> str:
    """Return what an interval of a gain shows: better, worse, or not shown when it holds 0 or is unknown."""
    if low is not None and low > 0:
        return "better"
    if high is not None and high < 0:
        return "worse"
    return "not shown"


def gains(rows: Sequence[Row]) -> str:
    """Gain of the model in log loss over each baseline, with its interval and verdict."""
    colours = {"better": "c2", "worse": "c1", "not shown": "quiet"}
    items = []
    for row in rows:
        gain, low, high = (words.number(row.get(key)) for key in ("gain", "low", "high"))
        if gain is None:
            continue
        said = verdict(low, high)
        name = words.BASELINES.get(str(row.get("baseline")), str(row.get("baseline")))
        items.append(Interval(name, gain, low, high, f"{said}: {words.signed(gain, 4)}", colours[said]))
    return intervals(
        "gain-over-baselines",
        "Gain in log loss over each baseline with 95 % interval",
        items,
        "log loss saved by the model; right of 0 is better",
        "No gains to show: the evaluation holds none, so nothing says whether the model beats simple rules.",
        zero=True,
    )


def log_loss(losses: Mapping[str, Any]) -> str:
    """Log loss of the model and each baseline, best first."""
    found = [(key, value) for key, raw in losses.items() if (value := words.number(raw)) is not None]
    items = [
        Interval(words.BASELINES.get(key, key), value, None, None, f"{value:.4f}", "c0" if key == "model" else "quiet")
        for key, value in sorted(found, key=lambda pair: pair[1])
    ]
    return intervals(
        "log-loss",
        "Log loss of the model and its baselines",
        items,
        "log loss on the test days; left is better",
        "No log losses to show: the evaluation holds none.",
    )


def calibration(rows: Any) -> str:
    """Observed against expected rate by bin, with the diagonal and 95 % intervals."""
    points = clean(rows, "expected", "observed", "n")
    spans = [wilson(p["observed"], p["n"]) for p in points]
    top = ticks(0, max([0.01, *(p["expected"] for p in points), *(high for _, high in spans)]))

    def draw(width: int) -> Svg:
        side = min(width - 52, 310)
        svg = Svg(width, side + 64)
        x, y = Scale(0, top[-1], 46, 46 + side), Scale(0, top[-1], side + 20, 20)
        for tick in top:
            svg.line(46, y(tick), 46 + side, y(tick), "grid")
            svg.line(x(tick), 20, x(tick), side + 20, "grid")
            shown = words.percent(tick, 1 if top[-1] < 0.04 else 0)
            svg.text(40, y(tick) + 4, shown, "label", "end")
            svg.text(x(tick), side + 37, shown, "label", "middle")
        svg.line(x(0), y(0), x(top[-1]), y(top[-1]), "limit dashed")
        svg.text(0, 11, "observed rate", "small")
        svg.text(46 + side, side + 56, "expected rate", "small", "end")
        for point, (low, high) in zip(points, spans, strict=True):
            svg.line(x(point["expected"]), y(low), x(point["expected"]), y(high), "bar c0-line")
            tip = (
                f"expected {words.percent(point['expected'])}, observed {words.percent(point['observed'])}, "
                f"{words.plural(point['n'], 'send')}"
            )
            svg.dot(x(point["expected"]), y(point["observed"]), 4.5, "c0", tip)
        return svg

    return figure(
        "calibration",
        "Observed against expected rate by bin of expected rate",
        points,
        draw,
        HALF,
        "No calibration to show: the evaluation holds no calibration bins.",
    )


def slot_lift(rows: Any) -> str:
    """Observed rate by local hour with 95 % interval, and what the model expected there."""
    points = sorted(clean(rows, "local_hour", "observed", "expected", "n"), key=lambda p: p["local_hour"])
    points = [p for p in points if p["n"] > 0]
    spans = [wilson(p["observed"], p["n"]) for p in points]
    return _hour_lines(
        "slot-lift",
        "Observed and expected rate by local hour",
        points,
        "observed",
        "expected",
        spans,
        "No rates by hour to show: the evaluation holds no slot lift.",
    )


def _hour_lines(
    name: str,
    label: str,
    points: list[dict[str, float]],
    dots: str,
    line: str,
    spans: list[tuple[float, float]],
    empty: str,
) -> str:
    top = ticks(0, max([0.01, *(p[line] for p in points), *(high for _, high in spans)]))

    def draw(width: int) -> Svg:
        svg = Svg(width, 300)
        x, y = Scale(0, 23, 52, width - 10), Scale(0, top[-1], 256, 22)
        for tick in top:
            svg.line(44, y(tick), width, y(tick), "grid")
            svg.text(40, y(tick) + 4, words.percent(tick, 1 if top[-1] < 0.04 else 0), "label", "end")
        for hour in range(0, 24, 3 if width > 400 else 6):
            svg.text(x(hour), 274, f"{hour:02d}", "label", "middle")
        svg.path([(x(p["local_hour"]), y(p[line])) for p in points], "expected")
        for point, (low, high) in zip(points, spans, strict=True):
            at = x(point["local_hour"])
            svg.line(at, y(low), at, y(high), "bar c0-line")
            tip = (
                f"{int(point['local_hour']):02d}:00 local: {dots} {words.percent(point[dots])}, {line} "
                f"{words.percent(point[line])}, {words.plural(point['n'], 'send')}"
            )
            svg.dot(at, y(point[dots]), 4, "c0", tip)
        svg.text(0, 11, "success rate", "small")
        svg.text(width, 294, "local hour", "small", "end")
        return svg

    return figure(name, label, points, draw, HALF, empty)


def importance(rows: Any, most: int = 12) -> str:
    """The features that move the log-odds most, by their share of it."""
    pairs = [(str(row.get("feature")), words.number(row.get("share"))) for row in records(rows)]
    found = sorted(((name, share) for name, share in pairs if share is not None and share > 0), key=lambda p: -p[1])
    shares = [(name, share, words.percent(share)) for name, share in found[:most]]
    return bars(
        "feature-importance",
        "Share of what moves the log-odds, by feature",
        shares,
        "No feature importance to show: the model is a baseline, or the evaluation holds none.",
    )


def placebo(rows: Any) -> str:
    """Success by slot, sent beside not sent, joined by a line: its length is what sending adds."""
    points = []
    for row in records(rows):
        sent, not_sent = words.number(row.get("sent")), words.number(row.get("not_sent"))
        if sent is not None and not_sent is not None:
            counts = [words.number(row.get("n_sent")) or 0.0, words.number(row.get("n_not_sent")) or 0.0]
            points.append((str(row.get("slot")), sent, not_sent, counts))
    rates = [rate for _, sent, not_sent, _ in points for rate in (sent, not_sent)]
    top = ticks(0, max([0.01, *rates]))

    def draw(width: int) -> Svg:
        svg = Svg(width, 300)
        step = (width - 50) / len(points)
        y = Scale(0, top[-1], 256, 22)
        for tick in top:
            svg.line(44, y(tick), width, y(tick), "grid")
            svg.text(40, y(tick) + 4, words.percent(tick, 0), "label", "end")
        every = max(1, math.ceil(44 * len(points) / (width - 50)))
        for i, (slot, sent, not_sent, counts) in enumerate(points):
            at = 48 + (i + 0.5) * step
            svg.line(at, y(sent), at, y(not_sent), "axis")
            svg.dot(
                at, y(not_sent), 5, "hollow", f"{slot}: not sent {words.percent(not_sent)} of {words.count(counts[1])}"
            )
            svg.dot(at, y(sent), 5, "c0", f"{slot}: sent {words.percent(sent)} of {words.count(counts[0])}")
            if i % every == 0:
                svg.text(at, 274, slot[:8], "label", "middle")
        svg.text(0, 11, "success rate", "small")
        svg.text(width, 294, "slot", "small", "end")
        return svg

    return figure(
        "placebo",
        "Success rate by slot, sent beside not sent",
        points,
        draw,
        HALF,
        "No placebo to show: the log holds no decision points that were not sent.",
    )
