"""The gate's verdict: simple rules, paired log loss, off-policy value and what holds where evidence is thin."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from sendopt.config.schema import Gate
from sendopt.measurement.gate import Rivals, compare_losses, judge
from sendopt.measurement.off_policy import Estimate
from sendopt.measurement.slot_policies import (
    CHALLENGER,
    CHAMPION,
    UNIFORM,
    DrawnSends,
    PolicyValues,
    offered_slots,
    value,
)

GATE = Gate()
USERS, SENDS, SLOTS = 400, 40, 4


def judged(ratio: float | None = 1.0, model: float = 0.5, rate: float = 0.6, slot: float = 0.55) -> dict[str, Any]:
    losses = {"model": model, "global_rate": rate, "slot": slot}
    return {"kind": "lightgbm", "observed_over_expected": ratio, "log_loss": losses}


def rivals(difference: float, half: float = 0.001) -> Rivals:
    estimate = Estimate(difference, difference - half, difference + half, 1000.0)
    return Rivals("p/1", 0.5 + difference, 0.5, estimate)


def policies(gain: float, half: float = 0.001, champion: float = 0.2, refusal: str | None = None) -> PolicyValues:
    known = Estimate(champion, champion - 0.01, champion + 0.01, 500.0)
    apart = Estimate(gain, gain - half, gain + half, 500.0)
    if refusal:
        apart = Estimate(None, None, None, 5.0, refusal)
    by = {name: {"dr": known, "snips": known} for name in (CHALLENGER, CHAMPION)}
    return PolicyValues(900, 90, by, {CHALLENGER: {"dr": apart, "snips": apart}}, {}, {CHALLENGER: 1.0, CHAMPION: 0.5})


class Comparison(NamedTuple):
    """What is known of a challenger and a champion, and the verdict on the challenger."""

    losses: Rivals
    policies: PolicyValues | None
    promoted: bool
    sentence: str  # part of a reason
    gate: Gate = GATE


@pytest.mark.parametrize(
    ("evaluation", "promoted", "sentence"),
    [
        (judged(), True, "There is no champion to compare with."),
        (judged(ratio=0.85), False, "is 0.850, outside 0.9 to 1.1."),
        (judged(ratio=1.2), False, "is 1.200, outside 0.9 to 1.1."),
        (judged(ratio=None), False, "give no calibration ratio or log loss"),
        (judged(model=0.61), False, "Log loss 0.61000 is worse than that of one rate for everyone, 0.60000."),
        (judged(model=0.56), False, "Log loss 0.56000 is worse than that of the hour's popularity, 0.55000."),
        ({**judged(), "kind": "baseline"}, False, "A baseline is never promoted"),
    ],
)
def test_without_a_champion_the_simple_rules_are_the_bar(
    evaluation: dict[str, Any], promoted: bool, sentence: str
) -> None:
    verdict = judge(evaluation, GATE)
    assert verdict.promoted is promoted
    assert any(sentence in reason for reason in verdict.reasons), verdict.reasons
    assert verdict.champion is None


@pytest.mark.parametrize(
    "comparison",
    [
        Comparison(
            losses=rivals(-0.01),
            policies=policies(0.01),
            promoted=True,
            sentence="its upper end is within the 0.00500 allowed.",
        ),
        Comparison(
            losses=rivals(0.003), policies=policies(0.0), promoted=True, sentence="within the 0.0100 that it may lose."
        ),
        Comparison(
            losses=rivals(0.006),
            policies=policies(0.01),
            promoted=False,
            sentence="its upper end is above the 0.00500 allowed; the champion stays.",
        ),
        # better on average, yet the data cannot exclude a loss beyond the tolerance
        Comparison(
            losses=rivals(-0.001, half=0.01),
            policies=policies(0.01),
            promoted=False,
            sentence="above the 0.00500 allowed",
        ),
        Comparison(
            losses=rivals(-0.01),
            policies=policies(-0.03),
            promoted=False,
            sentence="it may lose 0.0100 at most; the champion stays.",
        ),
        Comparison(
            losses=rivals(-0.01), policies=policies(-0.05, half=0.04), promoted=False, sentence="the champion stays."
        ),
        Comparison(
            losses=rivals(-0.01), policies=policies(-0.0095), promoted=False, sentence="it may lose 0.0100 at most"
        ),
        Comparison(
            losses=rivals(-0.01),
            policies=policies(-0.01, half=0.04),
            promoted=True,
            sentence="the log loss decides alone",
        ),
        Comparison(
            losses=rivals(-0.01),
            policies=policies(0, refusal="refused: no overlap"),
            promoted=True,
            sentence="900 sends of drawn times say too little",
        ),
        Comparison(losses=rivals(-0.01), policies=None, promoted=True, sentence="no later send had its time drawn"),
        Comparison(
            losses=rivals(-0.01),
            policies=None,
            gate=Gate(without_policy_evidence="keep"),
            promoted=False,
            sentence="the champion stays (gate.without",
        ),
        Comparison(
            losses=rivals(-0.01),
            policies=policies(-0.01, half=0.04),
            gate=Gate(without_policy_evidence="keep"),
            promoted=False,
            sentence="too wide to tell",
        ),
        Comparison(
            losses=rivals(0.02),
            policies=policies(-0.03),
            gate=Gate(max_log_loss_increase=0.05, max_policy_loss=0.2),
            promoted=True,
            sentence="within the 0.0400",
        ),
    ],
)
def test_beside_a_champion_both_must_hold(comparison: Comparison) -> None:
    verdict = judge(judged(), comparison.gate, comparison.losses, comparison.policies)
    assert verdict.promoted is comparison.promoted, verdict.reasons
    assert any(comparison.sentence in reason for reason in verdict.reasons), verdict.reasons
    assert verdict.champion == "p/1"
    assert all(reason.endswith(".") for reason in verdict.reasons)
    json.dumps(verdict.as_json(), allow_nan=False)


def test_drift_forbids_a_promotion_that_all_else_allows() -> None:
    assert judge(judged(), GATE, rivals(-0.01), policies(0.01)).promoted
    verdict = judge(judged(), GATE, rivals(-0.01), policies(0.01), ["Input sends_7d has moved."])
    assert not verdict.promoted
    assert "Held back while this drifts: Input sends_7d has moved." in verdict.reasons[-1]


def test_losses_are_compared_on_the_same_users() -> None:
    """Users differ far more than the two models do: only a pairing sees that one is better for everybody."""
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(200), 5)
    champion_loss = np.repeat(rng.exponential(1.0, 200), 5)
    rivals = compare_losses("p/1", champion_loss - 0.01, champion_loss, user, seed=1, samples=200)
    assert rivals.difference.low == pytest.approx(-0.01)
    assert rivals.difference.high == pytest.approx(-0.01)
    assert rivals.challenger_loss == pytest.approx(rivals.champion_loss - 0.01)
    json.dumps(judge(judged(), GATE, rivals).as_json(), allow_nan=False)


def drawn(seed: int, truth: np.ndarray) -> DrawnSends:
    """Return sends with a slot drawn uniformly among those offered. `truth`: success rates, (USERS, SLOTS)."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(USERS), SENDS)
    offered = rng.random((len(user), SLOTS)) < 0.8
    offered[~offered.any(axis=1), 0] = True
    slot = np.where(offered, rng.random(offered.shape), -1.0).argmax(axis=1)
    success = (rng.random(len(user)) < truth[user, slot]).astype(float)
    return DrawnSends(user, success, 1 / offered.sum(axis=1), slot, offered)


def worlds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.clip(0.2 + 0.1 * rng.standard_normal((USERS, SLOTS)), 0.02, 0.98)
    return truth, truth + 0.05 * rng.standard_normal(truth.shape), truth + 0.3 * rng.standard_normal(truth.shape)


def test_policies_are_valued_as_the_truth_has_them() -> None:
    """Over 40 logs the intervals of both estimators cover the true values, and their difference."""
    truth, good, poor = worlds()
    inside = dict.fromkeys((CHALLENGER, CHAMPION, UNIFORM, "difference"), 0)
    for seed in range(40):
        sends = drawn(seed, truth)
        p = {CHALLENGER: good[sends.user], CHAMPION: poor[sends.user]}
        values = value(sends, p, seed=seed, samples=200)
        rate = truth[sends.user]
        true = {
            name: np.take_along_axis(rate, np.where(sends.offered, q, -9.0).argmax(axis=1)[:, None], 1).mean()
            for name, q in p.items()
        }
        true[UNIFORM] = ((rate * sends.offered).sum(axis=1) / sends.offered.sum(axis=1)).mean()
        for name, t in true.items():
            e = values.by[name]["snips"]
            inside[name] += e.low <= t <= e.high
            d = values.by[name]["dr"]
            assert abs(d.value - t) < 0.05
        gain = values.gain("dr")
        inside["difference"] += gain.low <= true[CHALLENGER] - true[CHAMPION] <= gain.high
    assert all(count >= 35 for count in inside.values()), inside


def test_snips_equals_a_plain_sum() -> None:
    truth, good, poor = worlds()
    sends = drawn(1, truth)
    values = value(sends, {CHALLENGER: good[sends.user], CHAMPION: poor[sends.user]}, samples=50)
    above = below = 0.0
    for i in range(len(sends.user)):
        best = max(range(SLOTS), key=lambda s, i=i: (sends.offered[i, s], good[sends.user[i], s]))
        if best == sends.drawn[i]:
            above += sends.success[i] / sends.pscore[i]
            below += 1 / sends.pscore[i]
    assert values.by[CHALLENGER]["snips"].value == pytest.approx(above / below)
    rows = {(r["policy"], r["estimator"]): r for r in values.rows()}
    assert rows[CHALLENGER, "snips"]["minus_champion"] == pytest.approx(
        values.by[CHALLENGER]["snips"].value - values.by[CHAMPION]["snips"].value
    )
    assert rows[CHAMPION, "snips"]["minus_champion"] is None
    assert rows[CHALLENGER, "snips"]["same_slot_as_challenger"] == 1.0
    json.dumps(values.rows(), allow_nan=False)


def test_equal_models_differ_by_nothing_and_a_first_model_has_no_gain() -> None:
    truth, good, _ = worlds()
    sends = drawn(1, truth)
    same = value(sends, {CHALLENGER: good[sends.user], CHAMPION: good[sends.user]}, samples=50)
    assert same.gain("dr") == replace(same.gain("dr"), value=0.0, low=0.0, high=0.0)
    assert value(sends, {CHALLENGER: good[sends.user]}, samples=50).gain("dr") is None


def test_a_handful_of_sends_is_refused() -> None:
    truth, good, poor = worlds()
    sends = drawn(1, truth)
    few = DrawnSends(**{name: part[:40] for name, part in vars(sends).items()})
    values = value(few, {CHALLENGER: good[few.user], CHAMPION: poor[few.user]}, samples=50)
    assert values.gain("dr").value is None
    assert "no overlap" in values.gain("dr").refusal


def test_no_later_sends_at_all_are_refused_and_no_error() -> None:
    none = DrawnSends(np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros((0, 3), bool))
    values = value(none, {CHALLENGER: np.zeros((0, 3)), CHAMPION: np.zeros((0, 3))}, samples=50)
    assert values.gain("dr").value is None
    assert set(values.agrees.values()) == {None}


def test_a_constant_outcome_decides_nothing_between_two_models() -> None:
    truth, good, poor = worlds()
    sends = replace(drawn(1, truth), success=np.zeros(USERS * SENDS))
    values = value(sends, {CHALLENGER: good[sends.user], CHAMPION: poor[sends.user]}, samples=50)
    assert values.gain("snips").value is None
    assert "constant outcome" in values.gain("snips").refusal


def test_a_slot_is_offered_only_where_its_channel_used_it() -> None:
    hour = np.tile([8, 9, -1], (60, 1))
    drawn_at = np.repeat([0, 1], 30)
    channel = np.repeat([0, 1, 0], [30, 29, 1])
    offered = offered_slots(hour, drawn_at, channel)
    assert offered[0].tolist() == [True, False, False]  # channel 0 used 9:00 once
    assert offered[59].tolist() == [True, True, False]  # its own drawn slot stays
    assert offered[30].tolist() == [False, True, False]
