"""What the ML engineer reads: does the model beat simple rules, is it calibrated, does timing matter at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.kit.rendering import NOTHING
from sendopt.report.model import figures
from sendopt.report.model.evaluation import SHUFFLED, Gain, Gate, ModelEvaluation, Placebo, Split, Verdict
from sendopt.report.night import goal_parts
from sendopt.report.night.anchors import Anchor

PLACEBO_WORDS = "this shows when people walk/are active unless sent minus not sent shows more"
SECTIONS = "Baselines, calibration, the hours' lift, the shuffle check, importance and the placebo"


_KINDS = {"lightgbm": "LightGBM trees", "baseline": "a simple baseline"}
_VERDICT_SENTENCES = {
    Verdict.BETTER: "Shown to be better than {}.",
    Verdict.NOT_SHOWN: "Not shown to be better than {}: the interval holds 0.",
    Verdict.WORSE: "Worse than {}.",
}


def model(data: ReportData) -> Markup:
    """Return the section about the model and its goals."""
    title = "Is the model any good?"
    evaluation = data.model
    if evaluation is None:
        why = (
            f"The model's evaluation is missing: training wrote none for this night, or it was not found. {SECTIONS} "
            "appear here once a model has been trained and evaluated."
        )
        return parts.section(Anchor.MODEL, title, "", parts.missing(why), goal_parts.card(data))
    return parts.section(
        Anchor.MODEL,
        title,
        _model_and_split(evaluation),
        parts.pair(_gains(evaluation.gains), _calibration(evaluation)),
        parts.pair(_losses(evaluation), _slot_lift(evaluation)),
        parts.pair(_importance(evaluation), _placebo(evaluation.placebo)),
        _gate(evaluation.gate),
        goal_parts.card(data),
    )


def _model_and_split(evaluation: ModelEvaluation) -> str:
    kind = _KINDS.get(evaluation.kind, evaluation.kind)
    name = f"Model {evaluation.model_version or 'of unknown version'}: {kind}"
    if evaluation.split is None:
        return f"{name}. How its sends were split in time is missing from the evaluation."
    return f"{name}. {_split(evaluation.split)}"


def _split(split: Split) -> str:
    sizes = ", ".join(
        f"{words.count(size)} to {use}"
        for size, use in ((split.train, "learn and calibrate"), (split.test, "test"))
        if size is not None
    )
    period = (
        f"; tested on sends from {split.test_from} to {split.test_to}, all later than those it learned from"
        if split.test_from
        else ""
    )
    return f"Sends used: {sizes or 'not given'}{period}."


def _gains(gains: Sequence[Gain]) -> Markup:
    names: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for row in gains:
        if row.gain is not None and row.baseline != SHUFFLED:
            names[row.verdict].append(row.name.lower())
    total = sum(map(len, names.values()))
    finding = f"Better than {len(names[Verdict.BETTER])} of {total} simple rules" if total else "Against simple rules"
    note = " ".join(_VERDICT_SENTENCES[verdict].format("; ".join(of)) for verdict, of in names.items() if of)
    intervals = " Intervals: 95 %, resampling people." if total else ""
    return parts.card(finding, figures.gains(gains), note=note + intervals)


def _calibration(evaluation: ModelEvaluation) -> Markup:
    success = words.unit(evaluation.label).replace("units of value", "successes")
    title = (
        f"{100 * evaluation.ratio:.0f} {success} seen for every 100 expected"
        if evaluation.ratio is not None
        else "Calibration (observed / expected is missing)"
    )
    note = "On the dashed line, what was expected is what happened. Bars: 95 % intervals of the observed rate."
    return parts.card(title, figures.calibration(evaluation.calibration), note=note)


def _losses(evaluation: ModelEvaluation) -> Markup:
    title, note = _shuffle_check(evaluation.losses, evaluation.gains)
    return parts.card(title, figures.log_loss(evaluation.losses), note=note)


def _shuffle_check(losses: Mapping[str, float], gains: Sequence[Gain]) -> tuple[str, str]:
    """Return title and note about whether the model loses anything when its hours are shuffled (¶17)."""
    real, shuffled = losses.get("model"), losses.get(SHUFFLED)
    if real is None or shuffled is None:
        missing = "The shuffle check is missing: the evaluation holds no log loss with shuffled hours."
        return "Do the hours carry information?", missing
    gain = next((row for row in gains if row.baseline == SHUFFLED), Gain(SHUFFLED, None, None, None))
    span = (
        f" (95 % interval {words.signed(gain.low, 4)} to {words.signed(gain.high, 4)})"
        if gain.low is not None and gain.high is not None
        else ""
    )
    note = (
        f"Shuffle check: with hours shuffled the model's log loss is {shuffled:.4f}, with the true hours {real:.4f}, "
        f"a gain of {words.signed(shuffled - real, 4)}{span}. "
    )
    if gain.verdict == Verdict.BETTER:
        return (
            f"Knowing the hour is worth {words.signed(shuffled - real, 4)} log loss",
            note + "The hours carry information.",
        )
    refusal = "No timing gain is shown: do not read the hours as an effect."
    return "No timing gain is shown", note + refusal


def _slot_lift(evaluation: ModelEvaluation) -> Markup:
    legend = parts.legend([("c0 round", "observed, with 95 % interval"), ("swatch-expected", "expected by the model")])
    figure = figures.slot_lift(evaluation.hours)
    return parts.card("Success by local hour on the test days", legend if evaluation.hours else NOTHING, figure)


def _importance(evaluation: ModelEvaluation) -> Markup:
    note = "Share of what moves the log-odds on the test days. It says what the model uses, not what causes success."
    figure = figures.importance(evaluation.importance)
    return parts.card("What the model looks at", figure, note=note if evaluation.importance else "")


def _placebo(placebo: Placebo | None) -> Markup:
    title = "Placebo: the same slots when nothing was sent"
    if placebo is None:
        why = (
            "There is no placebo for this log: it holds no decision points at which nothing was sent, so habit (when "
            "people are active anyway) cannot be told from the effect of sending. Read timing results in that light."
        )
        return parts.card(title, parts.missing(why))
    legend = parts.legend([("c0 round", "sent"), ("swatch-hollow", "not sent")])
    note = placebo.note
    if "unless sent minus not sent" not in note:
        note = f"{note} Note that {PLACEBO_WORDS}.".strip()
    return parts.card(title, legend, figures.placebo(placebo.rates), note=note)


def _gate(gate: Gate | None) -> Markup:
    if gate is None:
        return parts.card("Gate", parts.missing("The gate's decision is missing from the evaluation."))
    title = "Gate: promoted to champion" if gate.promoted else "Gate: not promoted"
    return parts.card(title, parts.definitions([("Reasons", " ".join(gate.reasons) or "none given")]))
