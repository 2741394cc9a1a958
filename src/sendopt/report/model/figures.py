"""Figures about the model: calibration, baselines, the hours' lift, importance and the placebo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sendopt.report.kit import words
from sendopt.report.kit.svg import HALF, Scale, Svg, figure, ticks
from sendopt.report.model.evaluation import Gain, HourRate, PlaceboRate, Rate, Verdict
from sendopt.report.night.plan_figures import Interval, bars, intervals
from sendopt.stats.intervals import wilson

FEATURES_SHOWN = 12
_VERDICT_COLOURS = {Verdict.BETTER: "c2", Verdict.NOT_SHOWN: "quiet", Verdict.WORSE: "c1"}


def gains(rows: Sequence[Gain]) -> Markup:
    """Return the model's gain in log loss over each baseline, with its interval and verdict."""
    items = [
        Interval(
            row.name,
            row.gain,
            row.low,
            row.high,
            f"{row.verdict}: {words.signed(row.gain, 4)}",
            _VERDICT_COLOURS[row.verdict],
        )
        for row in rows
        if row.gain is not None
    ]
    return intervals(
        "gain-over-baselines",
        "Gain in log loss over each baseline with 95 % interval",
        items,
        "log loss saved by the model; right of 0 is better",
        "No gains to show: the evaluation holds none, so nothing says whether the model beats simple rules.",
        zero=True,
    )


def log_loss(losses: Mapping[str, float]) -> Markup:
    """Return the log loss of the model and each baseline, best first."""
    items = [
        Interval(words.BASELINES.get(key, key), value, None, None, f"{value:.4f}", "c0" if key == "model" else "quiet")
        for key, value in sorted(losses.items(), key=lambda pair: pair[1])
    ]
    return intervals(
        "log-loss",
        "Log loss of the model and its baselines",
        items,
        "log loss on the test days; left is better",
        "No log losses to show: the evaluation holds none.",
    )


def calibration(rates: Sequence[Rate]) -> Markup:
    """Return observed against expected rate by bin, with the diagonal and 95 % intervals."""
    spans = [wilson(rate.observed, rate.sends) for rate in rates]
    top = ticks(0, max([0.01, *(rate.expected for rate in rates), *(high for _, high in spans)]))

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
        for rate, (low, high) in zip(rates, spans, strict=True):
            svg.line(x(rate.expected), y(low), x(rate.expected), y(high), "bar c0-line")
            tip = (
                f"expected {words.percent(rate.expected)}, observed {words.percent(rate.observed)}, "
                f"{words.plural(rate.sends, 'send')}"
            )
            svg.dot(x(rate.expected), y(rate.observed), 4.5, "c0", tip)
        return svg

    return figure(
        "calibration",
        "Observed against expected rate by bin of expected rate",
        rates,
        draw,
        HALF,
        "No calibration to show: the evaluation holds no calibration bins.",
    )


def slot_lift(rates: Sequence[HourRate]) -> Markup:
    """Return the observed rate by local hour with 95 % interval, and the rate that the model expected there."""
    spans = [wilson(rate.observed, rate.sends) for rate in rates]
    top = ticks(0, max([0.01, *(rate.expected for rate in rates), *(high for _, high in spans)]))

    def draw(width: int) -> Svg:
        svg = Svg(width, 300)
        x, y = Scale(0, 23, 52, width - 10), Scale(0, top[-1], 256, 22)
        for tick in top:
            svg.line(44, y(tick), width, y(tick), "grid")
            svg.text(40, y(tick) + 4, words.percent(tick, 1 if top[-1] < 0.04 else 0), "label", "end")
        for hour in range(0, 24, 3 if width > 400 else 6):
            svg.text(x(hour), 274, f"{hour:02d}", "label", "middle")
        svg.path([(x(rate.hour), y(rate.expected)) for rate in rates], "expected")
        for rate, (low, high) in zip(rates, spans, strict=True):
            at = x(rate.hour)
            svg.line(at, y(low), at, y(high), "bar c0-line")
            tip = (
                f"{int(rate.hour):02d}:00 local: observed {words.percent(rate.observed)}, expected "
                f"{words.percent(rate.expected)}, {words.plural(rate.sends, 'send')}"
            )
            svg.dot(at, y(rate.observed), 4, "c0", tip)
        svg.text(0, 11, "success rate", "small")
        svg.text(width, 294, "local hour", "small", "end")
        return svg

    return figure(
        "slot-lift",
        "Observed and expected rate by local hour",
        rates,
        draw,
        HALF,
        "No rates by hour to show: the evaluation holds no slot lift.",
    )


def importance(shares: Sequence[tuple[str, float]]) -> Markup:
    """Return the features that move the log-odds most; `shares` are pairs (feature, share), largest first."""
    return bars(
        "feature-importance",
        "Share of what moves the log-odds, by feature",
        [(name, share, words.percent(share)) for name, share in shares[:FEATURES_SHOWN]],
        "No feature importance to show: the model is a baseline, or the evaluation holds none.",
    )


def placebo(rates: Sequence[PlaceboRate]) -> Markup:
    """Return the success rate by slot, sent beside not sent; the line between them is what sending adds."""
    top = ticks(0, max([0.01, *(rate.sent for rate in rates), *(rate.not_sent for rate in rates)]))

    def draw(width: int) -> Svg:
        svg = Svg(width, 300)
        step = (width - 50) / len(rates)
        y = Scale(0, top[-1], 256, 22)
        for tick in top:
            svg.line(44, y(tick), width, y(tick), "grid")
            svg.text(40, y(tick) + 4, words.percent(tick, 0), "label", "end")
        every = max(1, math.ceil(44 * len(rates) / (width - 50)))
        for i, rate in enumerate(rates):
            at = 48 + (i + 0.5) * step
            svg.line(at, y(rate.sent), at, y(rate.not_sent), "axis")
            not_sent = f"not sent {words.percent(rate.not_sent)} of {words.count(rate.not_sent_count)}"
            svg.dot(at, y(rate.not_sent), 5, "hollow", f"{rate.slot}: {not_sent}")
            sent = f"sent {words.percent(rate.sent)} of {words.count(rate.sent_count)}"
            svg.dot(at, y(rate.sent), 5, "c0", f"{rate.slot}: {sent}")
            if i % every == 0:
                svg.text(at, 274, rate.slot[:8], "label", "middle")
        svg.text(0, 11, "success rate", "small")
        svg.text(width, 294, "slot", "small", "end")
        return svg

    return figure(
        "placebo",
        "Success rate by slot, sent beside not sent",
        rates,
        draw,
        HALF,
        "No placebo to show: the log holds no decision points that were not sent.",
    )
