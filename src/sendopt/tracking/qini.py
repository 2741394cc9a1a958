"""The incremental value on the page of a run: Qini with its interval and curve, and links to the learner's runs (¶6).

All functions read `sending` of an evaluation (`spark.propensity.uplift.rankings`), and return nothing without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from sendopt.tracking.page import with_interval

BLUE, GREY, ORANGE = "#1f5fa8", "#9aa4b0", "#c8641e"
NAMES = {"p_open": "by p(success | sent)", "incremental": "by what sending adds"}
COLOURS = {"p_open": ORANGE, "incremental": BLUE}
BAR = "\\|"  # a vertical bar within a cell of a Markdown table


def metrics(evaluation: dict[str, Any]) -> dict[str, float | None]:
    """Return the coefficient of each ranking and the effect of sending everyone, with their 95 % intervals."""
    values: dict[str, float | None] = {}
    for row in _rankings(evaluation):
        values |= with_interval(f"qini/{row['ranking']}", row["coefficient"], row["low"], row["high"])
    for row in _rankings(evaluation)[:1]:
        values |= with_interval("qini/effect", row["effect"], row["effect_low"], row["effect_high"])
    return values


def tables(evaluation: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Return the columns of qini.json: a row per ranking, without its curve."""
    rows = _rankings(evaluation)
    return {"qini.json": {key: [r[key] for r in rows] for key in rows[0] if key != "curve"}} if rows else {}


def figures(evaluation: dict[str, Any]) -> dict[str, Figure]:
    """Return qini.png: the gain by the share of decision points sent, for each ranking and for a random order."""
    rows = _rankings(evaluation)
    if not rows:
        return {}
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for row in rows:
        share, gain = zip(*row["curve"], strict=True)
        colour = COLOURS.get(row["ranking"], GREY)
        legend = f"{NAMES.get(row['ranking'], row['ranking'])}: Qini {row['coefficient']:+.4f} [{_range(row)}]"
        axes.plot(share, gain, color=colour, label=legend)
        axes.plot([0, 1], [0, gain[-1]], color=colour, linestyle="--", linewidth=1)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot([], [], color=GREY, linestyle="--", linewidth=1, label="the same share, drawn at random")
    axes.set(
        xlabel="share of the decision points that is sent, in this order",
        ylabel="successes added per decision point",
        xlim=(0, 1),
    )
    axes.set_title(f"What sending adds, {evaluation['sending']['points']:,} later decision points", loc="left")
    figure.legend(frameon=False, fontsize=8, loc="outside lower left")
    return {"qini.png": figure}


def card_lines(evaluation: dict[str, Any], links: Mapping[str, str]) -> list[str]:
    """Return Markdown lines for the model card; `links` gives, by arm, the address of the learner's run."""
    rows = _rankings(evaluation)
    if not rows:
        return []
    sending = evaluation["sending"]
    effect = rows[0]
    lines = [
        f"On {sending['points']:,} decision points from {sending['since']} on, some left unsent at random, sending all "
        f"of them adds {effect['effect']:+.4f} successes each (95 % interval "
        f"{effect['effect_low']:+.4f} to {effect['effect_high']:+.4f}).",
        "",
        "| order in which they are sent | Qini | 95 % interval | |",
        "|---|---|---|---|",
        *(
            f"| {NAMES.get(r['ranking'], r['ranking']).replace('|', BAR)} | {r['coefficient']:+.4f} | {_range(r)} | "
            f"{'better than chance' if r['low'] > 0 else 'worse than chance' if r['high'] < 0 else 'not shown'} |"
            for r in rows
        ),
        "",
        "Qini is the area between an order's curve and that of a random order (figures/qini.png), in successes per "
        "decision point; each order is judged on days later than any that it learned from.",
        "",
    ]
    gate = sending.get("gate")
    if gate:
        name = f" ({sending['learner'].upper()}-learner)" if sending.get("learner") else ""
        may = "values the night" if gate["promoted"] else "does not value the night: a constant share does"
        lines += [f"The learner of what sending adds{name} {may}.", *(f"- {r}" for r in gate["reasons"]), ""]
    if links:
        run_links = ", ".join(f"[{arm.replace('_', ' ')}]({link})" for arm, link in links.items())
        lines += [f"Its runs: {run_links}.", ""]
    return lines


def _range(row: dict[str, Any]) -> str:
    return f"{row['low']:+.4f} to {row['high']:+.4f}"


def _rankings(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    return list((evaluation.get("sending") or {}).get("rankings", []))
