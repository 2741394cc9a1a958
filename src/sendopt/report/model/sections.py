"""What the ML engineer reads: does the model beat simple rules, is it calibrated, does timing matter at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.model import figures
from sendopt.report.night import goal_parts

SHUFFLED = "model_shuffled_slots"
PLACEBO_WORDS = "this shows when people walk/are active unless sent minus not sent shows more"
SECTIONS = "Baselines, calibration, the hours' lift, the shuffle check, importance and the placebo"


def model(data: ReportData) -> str:
    title = "Is the model any good?"
    evaluation = data.evaluation
    if not evaluation:
        why = (
            f"The model's evaluation is missing: training wrote none for this night, or it was not found. {SECTIONS} "
            "appear here once a model has been trained and evaluated."
        )
        return parts.section("model", title, "", parts.missing(why), goal_parts.card(data))
    return parts.section(
        "model",
        title,
        _split_words(evaluation),
        parts.pair(_gains(evaluation), _calibration(evaluation)),
        parts.pair(_losses(evaluation), _slot_lift(evaluation)),
        parts.pair(_importance(evaluation), _placebo(evaluation)),
        _gate(evaluation),
        goal_parts.card(data),
    )


def _split_words(evaluation: Mapping[str, Any]) -> str:
    kind = {"lightgbm": "LightGBM trees", "baseline": "a simple baseline"}.get(
        str(evaluation.get("kind")), str(evaluation.get("kind", "of unknown kind"))
    )
    name = f"Model {evaluation.get('model_version') or 'of unknown version'}: {kind}"
    split = evaluation.get("split")
    if not isinstance(split, Mapping):
        return f"{name}. How its sends were split in time is missing from the evaluation."
    sizes = ", ".join(
        f"{words.count(size)} to {use}"
        for key, use in (("train", "learn and calibrate"), ("test", "test"))
        if (size := words.number(split.get(key))) is not None
    )
    period = (
        f"; tested on sends from {split['test_from']} to {split['test_to']}, all later than those it learned from"
        if split.get("test_from")
        else ""
    )
    return f"{name}. Sends used: {sizes or 'not given'}{period}."


def _gains(evaluation: Mapping[str, Any]) -> str:
    rows = figures.records(evaluation.get("gains"))
    said: dict[str, list[str]] = {"better": [], "not shown": [], "worse": []}
    for row in rows:
        if words.number(row.get("gain")) is not None and row.get("baseline") != SHUFFLED:
            name = words.BASELINES.get(str(row.get("baseline")), str(row.get("baseline")))
            low, high = words.number(row.get("low")), words.number(row.get("high"))
            said[figures.verdict(low, high)].append(name.lower())
    total = sum(map(len, said.values()))
    finding = f"Better than {len(said['better'])} of {total} simple rules" if total else "Against simple rules"
    sentences = {
        "better": "Shown to be better than {}.",
        "not shown": "Not shown to be better than {}: the interval holds 0.",
        "worse": "Worse than {}.",
    }
    note = " ".join(sentences[key].format("; ".join(names)) for key, names in said.items() if names)
    intervals = " Intervals: 95 %, resampling people." if total else ""
    return parts.card(finding, figures.gains(rows), note=note + intervals)


def _calibration(evaluation: Mapping[str, Any]) -> str:
    ratio = words.number(evaluation.get("observed_over_expected"))
    success = words.unit(str(evaluation.get("label"))).replace("units of value", "successes")
    title = (
        f"{100 * ratio:.0f} {success} seen for every 100 expected"
        if ratio is not None
        else "Calibration (observed / expected is missing)"
    )
    note = "On the dashed line, what was expected is what happened. Bars: 95 % intervals of the observed rate."
    return parts.card(title, figures.calibration(evaluation.get("calibration")), note=note)


def _losses(evaluation: Mapping[str, Any]) -> str:
    losses = evaluation.get("log_loss")
    losses = losses if isinstance(losses, Mapping) else {}
    title, note = _shuffle_check(losses, figures.records(evaluation.get("gains")))
    return parts.card(title, figures.log_loss(losses), note=note)


def _shuffle_check(losses: Mapping[str, Any], gains: list[Mapping[str, Any]]) -> tuple[str, str]:
    """Title and note: does the model lose anything when its hours are shuffled (¶17)?"""
    real, shuffled = words.number(losses.get("model")), words.number(losses.get(SHUFFLED))
    if real is None or shuffled is None:
        missing = "The shuffle check is missing: the evaluation holds no log loss with shuffled hours."
        return "Do the hours carry information?", missing
    row = next((row for row in gains if row.get("baseline") == SHUFFLED), {})
    low, high = words.number(row.get("low")), words.number(row.get("high"))
    said = figures.verdict(low, high) == "better"
    span = (
        f" (95 % interval {words.signed(low, 4)} to {words.signed(high, 4)})"
        if low is not None and high is not None
        else ""
    )
    note = (
        f"Shuffle check: with hours shuffled the model's log loss is {shuffled:.4f}, with the true hours {real:.4f}, "
        f"a gain of {words.signed(shuffled - real, 4)}{span}. "
    )
    if said:
        return (
            f"Knowing the hour is worth {words.signed(shuffled - real, 4)} log loss",
            note + "The hours carry information.",
        )
    refusal = "No timing gain is shown: do not read the hours as an effect."
    return "No timing gain is shown", note + refusal


def _slot_lift(evaluation: Mapping[str, Any]) -> str:
    legend = parts.legend([("c0 round", "observed, with 95 % interval"), ("swatch-expected", "expected by the model")])
    figure = figures.slot_lift(evaluation.get("slot_lift"))
    return parts.card("Success by local hour on the test days", legend if "<figure" in figure else "", figure)


def _importance(evaluation: Mapping[str, Any]) -> str:
    figure = figures.importance(evaluation.get("importance"))
    note = "Share of what moves the log-odds on the test days. It says what the model uses, not what causes success."
    return parts.card("What the model looks at", figure, note=note if "<figure" in figure else "")


def _placebo(evaluation: Mapping[str, Any]) -> str:
    found = evaluation.get("placebo")
    title = "Placebo: the same slots when nothing was sent"
    if not isinstance(found, Mapping):
        why = (
            "There is no placebo for this log: it holds no decision points at which nothing was sent, so habit (when "
            "people are active anyway) cannot be told from the effect of sending. Read timing results in that light."
        )
        return parts.card(title, parts.missing(why))
    legend = parts.legend([("c0 round", "sent"), ("swatch-hollow", "not sent")])
    note = str(found.get("note") or "")
    if "unless sent minus not sent" not in note:
        note = f"{note} Note that {PLACEBO_WORDS}.".strip()
    return parts.card(title, legend, figures.placebo(found.get("rows")), note=note)


def _gate(evaluation: Mapping[str, Any]) -> str:
    gate = evaluation.get("gate")
    if not isinstance(gate, Mapping):
        return parts.card("Gate", parts.missing("The gate's decision is missing from the evaluation."))
    title = "Gate: promoted to champion" if gate.get("promoted") else "Gate: not promoted"
    reasons = [str(text) for text in gate.get("reasons") or []]
    return parts.card(title, parts.definitions([("Reasons", " ".join(reasons) or "none given")]))
