"""The one sentence: worth it or not, how sure, and what would settle it."""

from __future__ import annotations

import pytest

from sendopt.measurement.off_policy import Estimate
from sendopt.timing.gain import Evaluation
from sendopt.timing.policy_values import PolicyValue
from sendopt.timing.verdict import placebo, verdict


def found(kind, value, low, high, **more):
    detectable = 2.80 * (high - low) / 3.92
    facts = {"common": "global_best", "users": 100, "moved": 40, "detectable": detectable, **more}
    return Evaluation(kind, None, difference=Estimate(value, low, high, 300.0), **facts)


@pytest.mark.parametrize(
    ("evaluation", "sentence"),
    [
        (
            found("shown", 0.05, 0.01, 0.09),
            "Personal timing is worth it here: it brings 5.0 more successes per 100 sends "
            "than the best common slot (95 % "
            "interval over 100 people: +1.0 to +9.0), and no more data is needed to settle that.",
        ),
        (
            found("harmful", -0.05, -0.09, -0.01, common="segment_best"),
            "Personal timing is not worth it here: it brings 5.0 fewer successes per 100 "
            "sends than the best slot of each "
            "segment (95 % interval over 100 people: −9.0 to −1.0), and no more data is needed to settle that.",
        ),
        (
            found("not_shown", 0.044, -0.022, 0.112, more=4.87),
            "Personal timing is not shown to be worth it: it measured 4.4 more successes per 100 sends than the best "
            "common slot (95 % interval over 100 people: −2.2 to +11.2); if the true gain is "
            "what was measured, 4.9 times "
            "as many people (about 490) would settle it.",
        ),
        (
            found("not_shown", -0.02, -0.04, 0.004),
            "Personal timing is not shown to be worth it: it measured 2.0 fewer successes per 100 sends than the best "
            "common slot (95 % interval over 100 people: −4.0 to +0.4); a true gain of more "
            "than 0.4 is ruled out, and to "
            "show a gain of 1 per 100 would take 9.9 times as many people.",
        ),
        (
            found("not_shown", -0.0001, -0.002, 0.001),
            "Personal timing is not shown to be worth it: it measured no more and no fewer "
            "successes per 100 sends than "
            "the best common slot (95 % interval over 100 people: −0.2 to +0.1); a true gain of more than 0.1 is ruled "
            "out, and a gain of 1 per 100 would have shown.",
        ),
        (
            found("not_shown", -0.0004, -0.001, 0.00013),
            "Personal timing is not shown to be worth it: it measured no more and no fewer "
            "successes per 100 sends than "
            "the best common slot (95 % interval over 100 people: −0.1 to +0.0); a true gain of more than 0.02 is "
            "ruled out, and a gain of 1 per 100 would have shown.",
        ),
        (
            found("not_shown", -0.02, -0.04, 0.003, apart=17),
            "Personal timing is not shown to be worth it: too few successes or failures are among the 17 sends "
            "in which personal and common times differ to measure a gain or to rule one out; only more sends for each "
            "person could show a difference.",
        ),
        (
            found("not_shown", 0.0, 0.0, 0.0, moved=0),
            "Personal timing is not shown to be worth it: people differ by so little that the personal times are the "
            "common one for everybody; only more sends for each person could show a difference.",
        ),
        (
            Evaluation("refused", "all sends went out in one slot"),
            "No claim about personal timing can be made: all sends went out in one slot.",
        ),
    ],
)
def test_the_sentence(evaluation, sentence):
    assert verdict(evaluation) == sentence


def test_habit_and_effect_are_told_apart():
    def policies(effect):
        none = Estimate(0.0, 0.0, 0.0, 100.0)
        habit = Estimate(0.03, 0.01, 0.05, 100.0)
        return (PolicyValue("personal", 0.5, {}, {}, {}, none, effect, habit),)

    unclear = placebo(found("shown", 0.05, 0.01, 0.09, policies=policies(Estimate(0.02, -0.01, 0.05, 100.0))))
    assert "+3.0 (+1.0 to +5.0) per 100 decisions" in unclear
    assert "+2.0 (−1.0 to +5.0), which holds 0: the timing pattern may be when people are active anyway" in unclear
    clear = placebo(found("shown", 0.05, 0.01, 0.09, policies=policies(Estimate(0.04, 0.01, 0.07, 100.0))))
    assert "which does not hold 0: sending has an effect there beyond habit." in clear
    none = Estimate(None, None, None, 3.0, "refused")
    few = placebo(found("shown", 0.05, 0.01, 0.09, policies=policies(none)))
    assert few.startswith("Too few unsent decisions")
    assert placebo(Evaluation("refused", "x")) is None
