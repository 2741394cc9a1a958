"""Figures of an evaluation for MLflow: calibration, slot lift, importance, baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, GREY, ORANGE = "#1f5fa8", "#9aa4b0", "#c8641e"
MOST_FEATURES = 15
SIZES = {"observed_over_expected.png": (7.0, 9.0)}  # inches; all other figures are 7 × 4.5
WIDEST_RATIO = 2.0


def figures(evaluation: dict[str, Any]) -> dict[str, Figure]:
    """Return the figures by file name, without those whose numbers the evaluation lacks."""
    draw: dict[str, tuple[Callable[[Axes, dict[str, Any]], None], bool]] = {
        "calibration.png": (_calibration, bool(evaluation["calibration"])),
        "observed_over_expected.png": (_ratios, bool(evaluation["calibration_groups"])),
        "slot_lift.png": (_slot_lift, bool(evaluation["slot_lift"])),
        "importance.png": (_importance, bool(evaluation["importance"])),
        "baselines.png": (_baselines, bool(evaluation["gains"])),
    }
    result = {}
    for name, (draw_axes, has_numbers) in draw.items():
        if has_numbers:
            figure = Figure(figsize=SIZES.get(name, (7, 4.5)), layout="constrained")
            axes = figure.add_subplot()
            axes.spines[["top", "right"]].set_visible(False)
            draw_axes(axes, evaluation)
            result[name] = figure
    return result


def _calibration(axes: Axes, evaluation: dict[str, Any]) -> None:
    bins = evaluation["calibration"]
    expected, observed = [b["expected"] for b in bins], [b["observed"] for b in bins]
    top = 1.05 * max(*expected, *observed, 0.01)
    axes.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="expected = observed")
    axes.plot(expected, observed, "o-", color=BLUE, label="tenths of the test sends")
    ratio = evaluation["observed_over_expected"]
    axes.set(xlabel="expected rate", ylabel="observed rate", xlim=(0, top), ylim=(0, top))
    axes.set_title("Calibration on later days" + (f": observed / expected {ratio:.3f}" if ratio else ""))
    axes.legend(frameon=False)


def _ratios(axes: Axes, evaluation: dict[str, Any]) -> None:
    rows = evaluation["calibration_groups"][::-1]
    axes.axvspan(0.95, 1.05, color=BLUE, alpha=0.12, linewidth=0, label="0.95 to 1.05")
    axes.axvline(1, color=GREY, linewidth=0.8)
    for i, row in enumerate(rows):
        colour = BLUE if row["calibrated"] else ORANGE
        axes.plot([row["low"], row["high"]], [i, i], color=colour, linewidth=1.5)
        axes.plot(min(row["ratio"], WIDEST_RATIO), i, "o", color=colour, markersize=4)
    names = [row["name"] if row["by"] in ("overall", "channel", "slot") else f"decile {row['name']}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set(xlabel="observed / expected, with 95 % interval over users", xlim=(0.4, WIDEST_RATIO))
    axes.set_title("Calibration on later days, overall and by slot, decile, channel")
    axes.legend(frameon=False, loc="upper right")


def _slot_lift(axes: Axes, evaluation: dict[str, Any]) -> None:
    hours = evaluation["slot_lift"]
    local_hours = [h["local_hour"] for h in hours]
    axes.plot(local_hours, [h["observed"] for h in hours], "o", color=BLUE, label="observed")
    axes.plot(local_hours, [h["expected"] for h in hours], "-", color=ORANGE, label="expected by the model")
    axes.set(xlabel="local hour", ylabel="success rate", xlim=(-0.5, 23.5), xticks=range(0, 24, 3))
    axes.set_ylim(bottom=0)
    axes.set_title("Success by local hour on the test days")
    axes.legend(frameon=False)


def _importance(axes: Axes, evaluation: dict[str, Any]) -> None:
    rows = [r for r in evaluation["importance"] if r["share"]][:MOST_FEATURES][::-1]
    axes.barh([r["feature"] for r in rows], [r["share"] for r in rows], color=BLUE)
    axes.set(xlabel="share of what moves the log-odds")
    axes.set_title("What the model looks at")


def _baselines(axes: Axes, evaluation: dict[str, Any]) -> None:
    rows = evaluation["gains"][::-1]
    for i, row in enumerate(rows):
        colour = BLUE if row["low"] > 0 else ORANGE if row["high"] < 0 else GREY
        axes.plot([row["low"], row["high"]], [i, i], color=colour, linewidth=2)
        axes.plot(row["gain"], i, "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [r["baseline"].replace("_", " ") for r in rows])
    axes.set(xlabel="log loss saved by the model, with 95 % interval over users")
    axes.set_title("Gain over simple rules on the test days")
