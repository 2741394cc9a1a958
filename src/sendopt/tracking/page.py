"""Timing policies, lift by slot and cost in time on a run's page: metrics, tables, a figure, lines of the card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from sendopt.measurement.slot_policies import CHALLENGER

BLUE, GREY, ORANGE = "#1f5fa8", "#9aa4b0", "#c8641e"
NAMES = {
    "challenger": "this model's best slot",
    "champion": "the champion's best slot",
    "hour": "the hour's popularity",
    "uniform": "times drawn uniformly",
}
SHOWN = ("snips", "dr")


def metrics(evaluation: dict[str, Any]) -> dict[str, float | None]:
    """Return policy values, differences to champion and uniform times, lift by hour, and cost in time.

    MLflow groups charts by the part of a name before the slash; ends of intervals have the group `intervals`.
    """
    values: dict[str, float | None] = {}
    for row in _policies(evaluation):
        estimator = row["estimator"]
        values |= with_interval(f"policy/{row['policy']}_{estimator}", row["value"], row["low"], row["high"])
        if row["policy"] == CHALLENGER:
            for against in ("champion", "uniform"):
                ends = (row[f"minus_{against}{end}"] for end in ("", "_low", "_high"))
                values |= with_interval(f"policy/minus_{against}_{estimator}", *ends)
            values["policy/effective_sends"] = row["effective"]
    values |= {f"cost/{name}": value for name, value in (evaluation.get("cost") or {}).items()}
    difference = (evaluation.get("gate") or {}).get("log_loss")
    if difference:
        values |= with_interval("log_loss/minus_champion", difference["value"], difference["low"], difference["high"])
    values |= {f"lift/hour_{row['local_hour']:02d}": row["lift"] for row in _lift(evaluation)}
    return values


def with_interval(name: str, value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    """Return the metric under its name, and the ends of its interval under the heading `intervals`.

    >>> with_interval("gain_over/slot", 0.02, 0.01, 0.03)
    {'gain_over/slot': 0.02, 'intervals/gain_over_slot_low': 0.01, 'intervals/gain_over_slot_high': 0.03}
    """
    ends = f"intervals/{name.replace('/', '_')}"
    return {name: value, f"{ends}_low": low, f"{ends}_high": high}


def tables(evaluation: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Return columns by file name, as MLflow shows tables; tables without rows are left out."""
    rows = {"policies.json": list(evaluation.get("policies") or []), "slot_lift.json": _lift(evaluation)}
    return {name: {key: [r[key] for r in records] for key in records[0]} for name, records in rows.items() if records}


def figures(evaluation: dict[str, Any]) -> dict[str, Figure]:
    """Return policies.png where policies were valued, else nothing."""
    rows = [r for r in _policies(evaluation) if r["value"] is not None]
    if not rows:
        return {}
    figure = Figure(figsize=(7, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for i, row in enumerate(rows[::-1]):
        colour = BLUE if row["policy"] == CHALLENGER else ORANGE if row["policy"] == "champion" else GREY
        axes.plot([row["low"], row["high"]], [i, i], color=colour, linewidth=2)
        axes.plot(row["value"], i, "o", color=colour)
    words = [f"{NAMES.get(r['policy'], r['policy'])} ({r['estimator'].upper()})" for r in rows[::-1]]
    axes.set_yticks(range(len(rows)), words, fontsize=8)
    axes.set(xlabel="success rate, with 95 % interval over users")
    axes.set_title(f"Success by timing policy, {rows[0]['sends']:,} later sends", loc="left")
    return {"policies.png": figure}


def card_lines(evaluation: dict[str, Any]) -> list[str]:
    """Return Markdown for the model card: value of the policies, lift by slot, cost in time, as far as known."""
    lines: list[str] = []
    rows = list(_policies(evaluation))
    if rows:
        lines += [
            f"Each message in the slot where it is predicted most, on {rows[0]['sends']:,} later sends whose time was "
            "drawn with a known probability:",
            "",
            "| success rate of | estimator | value | 95 % interval | effective sends |",
            "|---|---|---|---|---|",
            *(
                f"| {NAMES.get(r['policy'], r['policy'])} | {r['estimator'].upper()} | {_value(r['value'])} | "
                f"{_interval(r)} | {r['effective']:,.0f} |"
                for r in rows
            ),
            "",
        ]
    elif "policies" in evaluation:
        lines += ["No later send had its time drawn with a known probability, so no policy of timing is valued.", ""]
    lift = sorted((r for r in _lift(evaluation) if r["lift"] is not None), key=lambda r: -r["lift"])
    if len(lift) > 1:
        first, last = lift[0], lift[-1]
        lines += [
            f"Local hours: success is {first['lift']:.2f} times the mean at {first['local_hour']:02d}:00 and "
            f"{last['lift']:.2f} times at {last['local_hour']:02d}:00 (figures/slot_lift.png, slot_lift.json).",
            "",
        ]
    cost = evaluation.get("cost")
    if cost:
        lines += [
            f"Cost in time, on one thread: trained in {cost['train_seconds']:.1f} s, {cost['trees']:.0f} trees; scores "
            f"a row in {cost['score_microseconds_per_row']:.1f} µs.",
            "",
        ]
    return lines


def by_value(losses: dict[str, float | None]) -> list[tuple[str, float | None]]:
    """Return the losses from the lowest to the highest, unknown ones last.

    >>> by_value({"slot": None, "user": 0.4, "model": 0.3})
    [('model', 0.3), ('user', 0.4), ('slot', None)]
    """
    return sorted(losses.items(), key=lambda item: (item[1] is None, item[1] or 0.0))


def _policies(evaluation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (row for row in evaluation.get("policies") or [] if row["estimator"] in SHOWN)


def _lift(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return success by local hour over the mean of all test sends, observed and expected by the model."""
    rows = evaluation.get("slot_lift") or []
    sends = sum(r["n"] for r in rows)
    seen = {key: sum(r["n"] * (r[key] or 0.0) for r in rows) / max(sends, 1) for key in ("observed", "expected")}
    return [
        {
            **row,
            "lift": row["observed"] / seen["observed"] if seen["observed"] else None,
            "expected_lift": row["expected"] / seen["expected"] if seen["expected"] else None,
        }
        for row in rows
    ]


def _value(value: float | None) -> str:
    return "refused" if value is None else f"{value:.4f}"


def _interval(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
