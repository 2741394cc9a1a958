"""Figures of the timing page: policy values, differences, effects of sending and curves over slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sendopt.report.kit import words
from sendopt.report.kit.svg import FULL, HALF, Scale, Svg, figure, fit, ticks
from sendopt.report.night.plan_figures import Interval, intervals

Row = Mapping[str, Any]
LOSSES = {
    "global_rate": "One rate for everyone",
    "slot": "The slot's popularity",
    "user": "The person's own rate",
    "user_slot": "Person's rate + slot",
    "personal": "Person × slot, shrunk",
    "model": "LightGBM",
}
ESTIMATORS = {"snips": "SNIPS", "dr": "DR", "ips": "IPS"}
_EMPTY = "Nothing to show: the log has too little overlap."


def points(value: float) -> str:
    """Return a difference of rates per 100 sends: `+4.4`."""
    return words.signed(value * 100 + 0.0, 1)


def values(rows: Sequence[Row]) -> Markup:
    """Return each policy's success rate by SNIPS and DR, and where nothing was sent, on one axis of percent."""
    shown = [e for p in rows for e in (p["snips"], p["dr"], p["not_sent"]) if e and e["value"] is not None]
    marks = ticks(min((e["low"] for e in shown), default=0), max((e["high"] for e in shown), default=1), 6)

    def draw(width: int) -> Svg:
        wide = width > 400
        left, row, top = (210.0, 50, 6) if wide else (8.0, 70, 22)
        svg = Svg(width, row * len(rows) + 42)
        x = Scale(marks[0], marks[-1], left, width - (74 if wide else 12))
        for tick in marks[:: 1 if wide else 2]:
            svg.line(x(tick), top - 4, x(tick), row * len(rows) + 4, "grid")
            svg.text(x(tick), row * len(rows) + 20, words.percent(tick, 0), "label", "middle")
        svg.text(width, row * len(rows) + 38, "success rate of a send", "small", "end")
        for i, policy in enumerate(rows):
            y = i * row + top
            strong = "strong" if policy["policy"] == "personal" else "label"
            svg.text(
                left - 16 if wide else 0, y + (22 if wide else -6), policy["name"], strong, "end" if wide else "start"
            )
            svg.text(width, y + (22 if wide else -6), words.percent(policy["snips"]["value"]), "small", "end")
            for j, (name, css, line) in enumerate(
                (("snips", "c0", "c0-line"), ("dr", "c2", "c2-line"), ("not_sent", "hollow", "quiet-line"))
            ):
                estimate = policy[name]
                if not estimate or estimate["value"] is None:
                    continue
                at = y + 7 + 11 * j
                svg.line(x(estimate["low"]), at, x(estimate["high"]), at, f"bar {line}")
                svg.dot(x(estimate["value"]), at, 4.5, css, f"{policy['name']}, {_what(name)}: {_rate(estimate)}")
        return svg

    return figure("policy-values", "Success rate of each policy with 95 % intervals", rows, draw, FULL, _EMPTY)


def estimators(policy: Row) -> Markup:
    """Return the personal policy minus the common one by each estimator, and where nothing was sent."""
    rows = [(ESTIMATORS[key], policy["minus_common"][key], "c0" if key == "snips" else "quiet") for key in ESTIMATORS]
    if policy["not_sent_minus_common"]:
        rows.append(("Where nothing was sent (SNIPS)", policy["not_sent_minus_common"], "quiet"))
    return _intervals("personal-minus-common", "Personal minus common, per 100 sends", rows, "successes per 100 sends")


def against_common(rows: Sequence[Row]) -> Markup:
    """Return each policy minus the common one by SNIPS."""
    differences = [
        (p["name"], p["minus_common"]["snips"], "c0" if p["policy"] == "personal" else "quiet") for p in rows
    ]
    label = "Each policy minus the best common slot, per 100 sends"
    return _intervals("policies-minus-common", label, differences, "successes per 100 sends")


def effects(rows: Sequence[Row]) -> Markup:
    """Return sent minus not sent at each policy's slots."""
    differences = [(p["name"], p["sent_minus_not_sent"], "c0" if p["policy"] == "personal" else "quiet") for p in rows]
    return _intervals(
        "sent-minus-not-sent", "Sent minus not sent at each policy's slots", differences, "successes per 100", FULL
    )


def _intervals(
    name: str, label: str, rows: Sequence[tuple[str, Row, str]], axis: str, widths: tuple[int, int, int] = HALF
) -> Markup:
    items = [
        Interval(
            title,
            e["value"] * 100,
            e["low"] * 100,
            e["high"] * 100,
            f"{points(e['value'])} ({points(e['low'])} to {points(e['high'])})",
            css,
        )
        for title, e, css in rows
        if e["value"] is not None
    ]
    return intervals(name, label, items, axis, _EMPTY, zero=True, widths=widths)


def losses(by_model: Mapping[str, float]) -> Markup:
    """Return the log loss of each success model, best first."""
    items = [
        Interval(LOSSES.get(key, key), value, None, None, f"{value:.4f}", "c0" if key == "personal" else "quiet")
        for key, value in sorted(by_model.items(), key=lambda pair: pair[1])
    ]
    return intervals("timing-log-loss", "Log loss of each success model", items, "nats a decision", _EMPTY)


def curves(panels: Sequence[Row], slots: Sequence[str]) -> Markup:
    """Return a panel a curve: fitted rates by slot, the common curve behind them, and the observed rates."""
    common = panels[0]["fitted"]
    seen = [r for c in panels for r, n in zip(c["observed"], c["sends"], strict=True) if r is not None and n >= 3]
    marks = ticks(0, max([*seen, *(r for c in panels for r in c["fitted"])], default=1.0))
    most = max((n for c in panels[1:] for n in c["sends"]), default=1)

    def draw(width: int) -> Svg:
        columns = 4 if width > 900 else 2 if width > 400 else 1
        gap, height = 30, 196
        panel_width = (width - gap * (columns - 1)) / columns
        svg = Svg(width, height * -(-len(panels) // columns) + 4)
        for i, curve in enumerate(panels):
            left, top = (i % columns) * (panel_width + gap), (i // columns) * height
            _panel(svg, curve, common if i else None, slots, marks, (left, top, panel_width, height), most if i else 0)
        return svg

    return figure(
        "slot-curves", "Fitted success rates by slot, for all and for a few people", panels, draw, FULL, _EMPTY
    )


def _panel(
    svg: Svg,
    curve: Row,
    common: Sequence[float] | None,
    slots: Sequence[str],
    marks: Sequence[float],
    box: tuple[float, float, float, float],
    most: int,
) -> None:
    left, top, panel, height = box
    x = Scale(-0.5, len(slots) - 0.5, left + 38, left + panel)
    y = Scale(marks[0], marks[-1], top + height - 44, top + 28)
    svg.text(left, top + 13, curve["name"], "strong")
    svg.text(left + panel, top + 13, f"picks {fit(slots[curve['chosen']], 90)}", "small", "end")
    for tick in marks:
        svg.line(left + 38, y(tick), left + panel, y(tick), "grid")
        svg.text(left + 32, y(tick) + 4, words.percent(tick, 0), "small", "end")
    every = max(1, -(-len(slots) * 34 // int(panel - 38)))
    for i, slot in enumerate(slots):
        if i % every == 0:
            svg.text(x(i), top + height - 26, fit(slot, 40), "small", "middle")
    if common is not None:
        svg.path([(x(i), y(rate)) for i, rate in enumerate(common)], "expected")
    svg.path([(x(i), y(rate)) for i, rate in enumerate(curve["fitted"])], "curve")
    for i, (rate, sends) in enumerate(zip(curve["observed"], curve["sends"], strict=True)):
        if rate is not None and rate <= marks[-1]:
            size = 2.2 + 3.2 * (min(1.0, sends / most) ** 0.5 if most else 1.0)
            tip = f"{curve['name']}, slot {slots[i]}: {words.percent(rate, 0)} of {words.plural(sends, 'send')} seen"
            svg.dot(x(i), y(rate), size, "hollow", tip)
    chosen = curve["chosen"]
    tip = f"{curve['name']} picks {slots[chosen]}: {words.percent(curve['fitted'][chosen])} fitted"
    svg.dot(x(chosen), y(curve["fitted"][chosen]), 5, "c0", tip)


def _what(name: str) -> str:
    return {"snips": "SNIPS", "dr": "DR"}.get(name, "where nothing was sent")


def _rate(estimate: Row) -> str:
    return f"{words.percent(estimate['value'])} ({words.percent(estimate['low'])} to {words.percent(estimate['high'])})"
