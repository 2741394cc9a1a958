"""The gate: whether a challenger may become champion, by calibration, log loss, off-policy value and drift (¶17, ¶18).

Every comparison with the champion uses the same later sends and is paired: both models meet the same users in every
resample. Where there is too little evidence to compare, the verdict says so and names the rule that decided instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sendopt.config.schema import Gate
from sendopt.measurement.off_policy import Estimate, interval
from sendopt.measurement.slot_policies import PolicyValues
from sendopt.stats.arrays import Floats, Ints
from sendopt.stats.bootstrap import resampled

STANDARDS = (
    ("global_rate", "one rate for everyone"),
    ("slot", "the hour's popularity"),
    ("share_of_opens", "the same share of every success"),  # a goal's prediction without a model
)


@dataclass(frozen=True)
class Rivals:
    """Mean log losses of challenger and champion on the same later sends, in nats.

    `difference`: challenger minus champion, positive where the challenger is worse.
    """

    champion: str
    challenger_loss: float
    champion_loss: float
    difference: Estimate


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger is promoted, the reasons as sentences, and the comparisons with the champion, if any.

    `policy_decided`: whether the off-policy value was precise enough to count.
    """

    promoted: bool
    reasons: tuple[str, ...]
    champion: str | None = None
    log_loss: Estimate | None = None
    policy_value: Estimate | None = None
    policy_decided: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, JSON-ready."""
        return {**asdict(self), "reasons": list(self.reasons)}


def compare_losses(
    champion: str, challenger_loss: Floats, champion_loss: Floats, user: Ints, seed: int, samples: int
) -> Rivals:
    """Return the mean losses of both models and their paired difference, with its 95 % interval over users.

    Losses of each later send are in nats, shape (N,), N > 0; `user` (N,) numbers the users.
    """
    sums = resampled(np.stack([challenger_loss - champion_loss, np.ones(len(user))]), user, seed, samples)
    difference = replace(interval(sums[0] / sums[1], np.inf), effective=float(len(user)))  # never refused
    return Rivals(champion, float(challenger_loss.mean()), float(champion_loss.mean()), difference)


def judge(
    evaluation: Mapping[str, Any],
    settings: Gate,
    rivals: Rivals | None = None,
    policies: PolicyValues | None = None,
    drift: Sequence[str] = (),
    by_policy: bool = True,
) -> Verdict:
    """Return the verdict on the challenger of `evaluation` (keys kind, observed_over_expected, log_loss).

    `rivals` and `policies` compare it with the champion; without a champion only the simple rules apply. `drift`:
    alerts that forbid any promotion. `by_policy` is False for a model that does not choose times by itself.

    >>> losses = {"model": 0.41, "global_rate": 0.45, "slot": 0.44}
    >>> challenger = {"kind": "lightgbm", "observed_over_expected": 1.01, "log_loss": losses}
    >>> verdict = judge(challenger, Gate())
    >>> verdict.promoted, verdict.reasons[-1]
    (True, 'There is no champion to compare with.')
    >>> judge({**challenger, "log_loss": {**losses, "model": 0.46}}, Gate()).promoted
    False
    """
    if evaluation["kind"] != "lightgbm":
        return Verdict(False, ("A baseline is never promoted; it serves only until a model passes.",))
    ratio, loss = evaluation["observed_over_expected"], evaluation["log_loss"]
    if ratio is None or loss["model"] is None:
        return Verdict(False, ("The test days give no calibration ratio or log loss, so nothing can be promoted.",))
    findings = [_calibrated(float(ratio), settings), *(_no_worse(loss, *rule) for rule in STANDARDS if rule[0] in loss)]
    if rivals is None:
        findings.append((True, "There is no champion to compare with."))
        return Verdict(all(held for held, _ in findings), tuple(sentence for _, sentence in findings))
    findings.append(_loss_holds(rivals, settings))
    gain = None if policies is None else policies.gain(settings.policy_estimator)
    decided = False
    if by_policy:
        decided, policy = _policy_holds(gain, policies, settings)
        findings.append(policy)
    findings += [
        (False, f"Held back while this drifts: {alert} The champion stays (drift.hold_promotion).") for alert in drift
    ]
    return Verdict(
        all(held for held, _ in findings),
        tuple(sentence for _, sentence in findings),
        rivals.champion,
        rivals.difference,
        gain,
        decided,
    )


def _calibrated(ratio: float, settings: Gate) -> tuple[bool, str]:
    low, high = settings.min_calibration_ratio, settings.max_calibration_ratio
    inside = low <= ratio <= high
    where = "within" if inside else "outside"
    return inside, f"Observed over expected on the test days is {ratio:.3f}, {where} {low:g} to {high:g}."


def _no_worse(loss: Mapping[str, float], name: str, words: str) -> tuple[bool, str]:
    no_worse = loss["model"] <= loss[name]
    compared = "no worse" if no_worse else "worse"
    return no_worse, f"Log loss {loss['model']:.5f} is {compared} than that of {words}, {loss[name]:.5f}."


def _loss_holds(rivals: Rivals, settings: Gate) -> tuple[bool, str]:
    difference, allowed = rivals.difference, rivals.champion_loss * settings.max_log_loss_increase
    assert difference.low is not None
    assert difference.high is not None
    held = difference.high <= allowed
    tail = "within" if held else "above"
    return held, (
        f"Log loss minus that of champion {rivals.champion} on the same sends is {difference.value:+.5f} (95 % "
        f"interval {difference.low:+.5f} to {difference.high:+.5f}); its upper end is {tail} the {allowed:.5f} allowed"
        f"{'.' if held else '; the champion stays.'}"
    )


def _policy_holds(
    gain: Estimate | None, policies: PolicyValues | None, settings: Gate
) -> tuple[bool, tuple[bool, str]]:
    """Return (whether the off-policy value decided, (whether the challenger passes, the sentence))."""
    if gain is None or policies is None:
        return False, _no_evidence("no later send had its time drawn with a known probability", settings)
    champion = policies.by["champion"][settings.policy_estimator]
    if gain.value is None or gain.low is None or gain.high is None or champion.value is None:
        why = gain.refusal or champion.refusal or "no overlap"
        return False, _no_evidence(f"{policies.sends:,} sends of drawn times say too little ({why})", settings)
    allowed = champion.value * settings.max_policy_loss
    comparison = (
        f"Sending each message when it is predicted most, the challenger's value minus the champion's is "
        f"{gain.value:+.4f} (95 % interval {gain.low:+.4f} to {gain.high:+.4f}, {settings.policy_estimator.upper()})"
    )
    if gain.low >= -allowed:
        return True, (True, f"{comparison}; its lower end is within the {allowed:.4f} that it may lose.")
    if gain.high < 0 or (gain.high - gain.low) / 2 <= allowed:
        return True, (False, f"{comparison}; it may lose {allowed:.4f} at most; the champion stays.")
    held, consequence = _no_evidence(f"too wide to tell a loss of {allowed:.4f}", settings)
    return False, (held, f"{comparison}. {consequence}")


def _no_evidence(why: str, settings: Gate) -> tuple[bool, str]:
    """Return (whether the challenger passes without off-policy evidence, the sentence)."""
    loss_decides = settings.without_policy_evidence == "log_loss"
    consequence = "the log loss decides alone" if loss_decides else "the champion stays"
    return loss_decides, f"The off-policy gate has no say: {why}; {consequence} (gate.without_policy_evidence)."
