"""An evaluation in sentences: is personal timing worth it, how sure is that, how much more data would settle it."""

from __future__ import annotations

import math

from sendopt.measurement.off_policy import Estimate
from sendopt.timing.decisions import FIRST_PART, MIN_PAST, DecisionKind
from sendopt.timing.gain import CommonTime, Evaluation, Kind
from sendopt.timing.log import Log
from sendopt.timing.overlap import LEAST_DIVERSITY
from sendopt.timing.policies import GLOBAL, MODEL, PERSONAL, RAW, SEGMENT, UNIFORM
from sendopt.timing.refusals import percent

NAMES = {
    UNIFORM: "Any time alike",
    GLOBAL: "Best slot of all",
    SEGMENT: "Best slot of each segment",
    RAW: "Each person's raw best slot",
    PERSONAL: "Personal times, shrunk",
    MODEL: "LightGBM",
}
NO_PSCORE = (
    "the mapping names no pscore: without the probability with which each time (or send) was drawn, a difference "
    "between times cannot be told from a difference between those who got them; draw times at random and log the "
    "probability"
)
_MANY = 1000.0


def verdict(evaluation: Evaluation) -> str:
    """Return one sentence: worth it or not, how sure, and how much more data would settle it."""
    if evaluation.kind == Kind.REFUSED:
        sentence = f"No claim about personal timing can be made: {evaluation.refusal}."
        known = common(evaluation)
        return f"{sentence} What can be said: {known}" if known else sentence
    gain = evaluation.difference
    assert gain is not None
    assert gain.value is not None
    assert gain.low is not None
    assert gain.high is not None
    against = "the best slot of each segment" if evaluation.common == SEGMENT else "the best common slot"
    amount = (
        "no more and no fewer successes"
        if round(gain.value * 100, 1) == 0
        else (f"{abs(gain.value) * 100:.1f} {'more' if gain.value > 0 else 'fewer'} successes")
    )
    span = f"(95 % interval over {evaluation.users:,} people: {_points(gain.low)} to {_points(gain.high)})"
    brings = f"{amount} per 100 sends than {against} {span}"
    if evaluation.kind == Kind.SHOWN:
        return f"Personal timing is worth it here: it brings {brings}, and no more data is needed to settle that."
    if evaluation.kind == Kind.HARMFUL:
        return f"Personal timing is not worth it here: it brings {brings}, and no more data is needed to settle that."
    if evaluation.moved == 0:
        return (
            "Personal timing is not shown to be worth it: people differ by so little that the personal times are the "
            "common one for everybody; only more sends for each person could show a difference."
        )
    if evaluation.apart is not None:
        return (
            "Personal timing is not shown to be worth it: too few successes or failures are among the "
            f"{evaluation.apart:,} sends in which personal and common times differ to measure a gain or to rule one "
            "out; only more sends for each person could show a difference."
        )
    return f"Personal timing is not shown to be worth it: it measured {brings}; {_settling(evaluation)}."


def common(evaluation: Evaluation) -> str | None:
    """Return the value of the common times against uniform times, in one to three sentences; None where unknown."""
    time = evaluation.common_time
    if time is None:
        return None
    if time.value.value is None or time.uniform.value is None or time.minus_uniform.value is None:
        return f"{_named(time)} cannot be valued ({str(time.value.refusal).removeprefix('refused: ')})."
    shown = "; the interval of the difference holds 0, so none is shown" if _contains_zero(time.minus_uniform) else ""
    sentence = (
        f"{_named(time)} brings {_rate(time.value)} successes per 100 sends over {time.people:,} people, any time "
        f"alike {_rate(time.uniform)}: {spread(time.minus_uniform)} per 100{shown}."
    )
    if time.segment_minus_global is None:
        alike = " Groups of people may differ: name a column of them as `decision.segment` in the mapping."
        return sentence + alike if evaluation.kind == Kind.REFUSED else sentence
    if time.segment_minus_global.value is None:
        return f"{sentence} A slot for each segment cannot be told from one for all."
    if time.segment_minus_global.low == time.segment_minus_global.high:
        return f"{sentence} No segment differs by enough to get a slot of its own."
    return (
        f"{sentence} A slot for each segment, beside one for all, brings {spread(time.segment_minus_global)} per 100."
    )


def _named(time: CommonTime) -> str:
    if time.policy == SEGMENT:
        return "the best slot of each segment"
    return f"the best common slot, {time.slot},"


def _rate(estimate: Estimate) -> str:
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return f"{estimate.value * 100:.1f} ({estimate.low * 100:.1f} to {estimate.high * 100:.1f})"


def _settling(evaluation: Evaluation) -> str:
    gain, detectable = evaluation.difference, evaluation.detectable or 0.0
    assert gain is not None
    assert gain.high is not None
    if evaluation.more is not None and evaluation.more < _MANY:
        times = _rounded(max(evaluation.more, 1.1))
        return (
            f"if the true gain is what was measured, {_times(times)} as many people "
            f"(about {_people(times, evaluation)}) would settle it"
        )
    times = _rounded((detectable / 0.01) ** 2)
    ceiling = f"a true gain of more than {_ceiling(gain.high)} is ruled out"
    if times <= 1:
        return f"{ceiling}, and a gain of 1 per 100 would have shown"
    return f"{ceiling}, and to show a gain of 1 per 100 would take {_times(times)} as many people"


def used_part(evaluation: Evaluation) -> str | None:
    """Return the share of drawn decisions that are used, in words; None where all are."""
    if evaluation.overlap_share is None or not evaluation.no_overlap:
        return None
    return (
        f"Only the {percent(evaluation.overlap_share)} of the drawn decisions whose campaign or day really had several "
        f"slots are used; the other {evaluation.no_overlap:,} cannot tell a better time from a better message."
    )


def placebo(evaluation: Evaluation) -> str | None:
    """Return what the policies show on unsent decisions, in words: habit, no effect of sending. None without any."""
    personal = next((p for p in evaluation.policies if p.name == PERSONAL), None)
    if personal is None or personal.not_sent_minus_common is None or personal.effect is None:
        return None
    habit, effect = personal.not_sent_minus_common, personal.effect
    if any("constant outcome" in (e.refusal or "") for e in (habit, effect, personal.not_sent or habit)):
        return "The outcome never changes where nothing was sent, so habit cannot be seen from it."
    if habit.value is None or effect.value is None:
        return "Too few unsent decisions fall into the personal slots to tell habit from an effect of sending."
    contains = "holds" if _contains_zero(effect) else "does not hold"
    return (
        f"Where nothing was sent, personal slots differ from the common one by {spread(habit)} per 100 decisions. "
        f"At the personal slots, sent minus not sent is {spread(effect)}, which {contains} 0: "
        + (
            "the timing pattern may be when people are active anyway, not an effect of sending."
            if _contains_zero(effect)
            else "sending has an effect there beyond habit."
        )
    )


def assumptions(evaluation: Evaluation, log: Log) -> list[str]:
    """Return the assumptions that the numbers rest on, a sentence or two each."""
    kind = log.decisions.kind if log.decisions else None
    sentences = [
        f"Everything was fitted and tuned on the first {FIRST_PART * 100:.0f} % of each person's decisions; values are "
        "those of the rest." + _whole(evaluation),
        "The logged probabilities are those of the draw. They were checked with how often each slot or send occurred.",
        "A decision's outcome does not depend on the person's other decisions, and later days resemble earlier ones.",
        "Intervals resample people, whose decisions are kept together; the fitted policies are held fixed.",
        f"A success is: {log.outcome}. Slots are from {log.slot_from}.",
    ]
    part = used_part(evaluation)
    if part:
        sentences.append(
            f"{part} At least {percent(LEAST_DIVERSITY)} of the pairs of such a campaign's decisions are in different "
            "slots, and at least a third of what its pscores state."
        )
    if kind == DecisionKind.SLOT:
        sentences.append(
            "Which slots were possible at a decision is not in the log. SNIPS values a policy where its slot was "
            "possible; IPS counts it as a failure elsewhere, so it is low where slots were often blocked."
        )
        if log.unsent_as_failures:
            sentences.append(
                f"{log.unsent_as_failures:,} drawn slots were not sent after all and count as no success: leaving them "
                "out would favour slots that are often full."
            )
    if kind == DecisionKind.SEND:
        sentences.append(
            "Sending was drawn at each point, so every slot is seen both ways; a policy's value is per send at its own "
            "slot, whether or not the other points of the day were sent."
        )
    if evaluation.pooled:
        sentences.append(
            "Unsent decisions helped to learn when people respond, since that predicted later sends better within the "
            "first part. What a person deviates by is then taken to be the same with and without a send."
        )
    return sentences


def _whole(evaluation: Evaluation) -> str:
    if not evaluation.whole_people:
        return ""
    return (
        f" {evaluation.whole_people:,} people have fewer than {MIN_PAST} decisions: they are fitted on or valued "
        "whole, drawn by a keyed hash. They have no past of their own, so the personal policy is valued over the "
        "others only."
    )


def spread(estimate: Estimate) -> str:
    """Return an estimate of a difference as `+4.4 (−2.2 to +11.2)`, per 100."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "not to be valued"
    return f"{_points(estimate.value)} ({_points(estimate.low)} to {_points(estimate.high)})"


def _points(value: float) -> str:
    return f"{value * 100 + 0.0:+.1f}".replace("-", "−")


def _ceiling(high: float) -> str:
    """Return a bound per 100, never rounded to 0: no data rule out every gain."""
    return f"{high * 100:.1f}" if high * 100 >= 0.05 else f"{max(math.ceil(high * 1e4), 1) / 100:.2f}"


def _contains_zero(estimate: Estimate) -> bool:
    return estimate.low is None or estimate.high is None or estimate.low <= 0 <= estimate.high


def _rounded(times: float) -> float:
    """Return the factor rounded to two digits: a forecast of a sample size is no more accurate."""
    if times <= 0:
        return 0.0
    digits = 1 - math.floor(math.log10(times))
    return round(times, digits)


def _times(times: float) -> str:
    return f"{times:,.1f} times" if times < 10 else f"{times:,.0f} times"


def _people(times: float, evaluation: Evaluation) -> str:
    return f"{_rounded(times * evaluation.users):,.0f}"
