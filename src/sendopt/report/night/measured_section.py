"""The section about earlier plans: outcomes by arm and channel, and the measured lift."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.night import goal_parts, plan_figures
from sendopt.report.night.anchors import Anchor
from sendopt.report.night.plan_sections import arm_place
from sendopt.stats.intervals import wilson

METRICS = {
    "treatment_minus_uniform_time": "Success rate, optimised minus random time",
    "off_policy_best_slot": "Success rate had each person's best slot been drawn (SNIPS)",
    "off_policy_uniform": "Success rate of random times (SNIPS)",
}


def measured(data: ReportData) -> Markup:
    """Return the section about the latest plan whose outcomes are measured."""
    title = "What came of earlier plans"
    if data.measured_date is None:
        why = (
            "No measured outcomes yet: the outcome windows of no plan up to this date are over, or the stage measure "
            "has not run. They appear here from the first mature night."
        )
        return parts.section(Anchor.MEASURED, title, "", parts.missing(why), goal_parts.measured(data))
    night = data.measured_date.strftime("%A, %-d %B %Y")
    return parts.section(
        Anchor.MEASURED,
        title,
        f"The last plan whose outcome windows are over is that of {night}.",
        parts.pair(_outcomes(data.outcomes), _lift(data.lift)),
        goal_parts.measured(data),
    )


def _outcomes(outcomes: pd.DataFrame) -> Markup:
    if outcomes.empty:
        return parts.card("Outcomes", parts.missing("No outcomes for that night: nothing was planned or sent."))
    ordered = outcomes.sort_values(["arm", "channel"], key=lambda column: column.map(arm_place))
    items = []
    for _, row in ordered[ordered["sent"] > 0].iterrows():
        rate, sent = float(row["successes"]) / float(row["sent"]), float(row["sent"])
        low, high = wilson(rate, sent)
        arm = words.ARMS.get(str(row["arm"]), (str(row["arm"]), ""))[0]
        note = f"{words.percent(rate)} of {words.count(sent)}"
        expected = words.number(row["expected_successes"])
        expected = None if expected is None else expected / sent
        items.append(plan_figures.Interval(f"{arm} · {row['channel']}", rate, low, high, note, "c0", expected))
    figure = plan_figures.intervals(
        "measured-outcomes",
        "Observed success rate by arm and channel with 95 % interval, and the expected one",
        items,
        "success rate",
        "No outcome rates to show: nothing was sent that night.",
        rate=True,
    )
    totals = outcomes[["planned", "sent", "successes", "opt_outs"]].sum()
    expected_successes = float(outcomes["expected_successes"].sum())
    finding = f"{words.count(totals['successes'])} successes where {words.expected(expected_successes)} were expected"
    note = (
        f"{words.count(totals['sent'])} of {words.plural(totals['planned'], 'planned send')} went out; "
        f"{words.plural(totals['opt_outs'], 'opt-out')} against "
        f"{words.amount(float(outcomes['expected_opt_outs'].sum()))} expected."
    )
    legend = parts.legend([("c0 round", "observed, with 95 % interval"), ("swatch-tick", "expected when planned")])
    return parts.card(finding, legend, figure, note=note)


def _lift(lift: pd.DataFrame) -> Markup:
    if lift.empty:
        return parts.card(
            "Measured lift", parts.missing("No lift for that night: the stage measure wrote no estimate.")
        )
    head = ("Measure", "Estimate", "95 % interval", "Sends")
    rows, notes = [], []
    for _, row in lift.sort_values("metric").iterrows():
        name = METRICS.get(str(row["metric"]), str(row["metric"]).replace("_", " "))
        low, high = words.number(row["low"]), words.number(row["high"])
        span = "–" if low is None or high is None else f"{_estimate(low)} to {_estimate(high)}"
        rows.append([name, _estimate(row["estimate"]), span, words.count(row["sends"])])
        if isinstance(row["note"], str) and row["note"]:
            notes.append(f"{name}: {row['note']}.".replace("..", "."))
    return parts.card(
        "Measured lift and off-policy value",
        parts.table(head, rows, numeric=(1, 2, 3), stack=True),
        *(parts.paragraph(note, "note") for note in notes),
    )


def _estimate(value: object) -> str:
    estimate = words.number(value)
    return "refused" if estimate is None else f"{estimate:.4f}".replace("-", "−")
