"""The verdict on a log of decisions: is personal timing worth it? With all numbers that it rests on (model ¶17, ¶18).

The claim compares the personal policy with the best policy that treats all alike, in the same resamples of users. A
gain over uniform times would show even where people do not differ at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from sendopt.measurement.off_policy import Estimate
from sendopt.stats.arrays import Flags, Floats
from sendopt.stats.bootstrap import RESAMPLES
from sendopt.stats.intervals import DETECTABLE, NORMAL_95
from sendopt.stats.losses import log_loss
from sendopt.timing import policies as fitted_policies
from sendopt.timing import refusals
from sendopt.timing.decisions import MIN_PAST, MIN_REST, MIN_USERS, Decisions, totals, without_certain
from sendopt.timing.overlap import overlap, repeated_by_person
from sendopt.timing.policies import GLOBAL, MODEL, PERSONAL, RAW, SEGMENT, UNIFORM, Policies
from sendopt.timing.policy_values import PolicyValue, policy_values
from sendopt.timing.refusals import Reason, Refusal

CURVES = 7  # people whose curves are shown
MIN_APART = 5  # successes, and failures, needed among the sends in which personal and common times differ


class Kind(StrEnum):
    """The verdicts, from no claim to the best one."""

    REFUSED = "refused"
    HARMFUL = "harmful"
    NOT_SHOWN = "not_shown"
    SHOWN = "shown"


@dataclass(frozen=True)
class Curve:
    """Success rates of a send by slot, observed and fitted in the first part; `name` names nobody."""

    name: str
    fitted: tuple[float, ...]
    observed: tuple[float | None, ...]
    sends: tuple[int, ...]
    chosen: int


@dataclass(frozen=True)
class CommonTime:
    """The value of the best policy that knows no person, on the rest of the log and over all its people.

    `slot` is the best one of all. `policy` says whether one slot, or one for each segment, was chosen in the first
    part. `segment_minus_global` is None where there is one segment.
    """

    policy: str
    slot: str
    value: Estimate
    uniform: Estimate
    minus_uniform: Estimate
    segment_minus_global: Estimate | None
    people: int
    sends: int


@dataclass(frozen=True)
class Evaluation:
    """The verdict and its grounds. `more`: how many times as many people would settle it, None where unknown."""

    kind: Kind
    refusal: str | None
    common: str | None = None
    difference: Estimate | None = None
    more: float | None = None
    detectable: float | None = None  # the true gain that this much data would show with a power of 80 %
    policies: tuple[PolicyValue, ...] = ()
    loss: Mapping[str, float] = field(default_factory=dict)
    loss_rows: int = 0
    kappa: Mapping[str, float] = field(default_factory=dict)
    pooled: bool = False
    curves: tuple[Curve, ...] = ()
    users: int = 0
    moved: int = 0  # users whose personal slot is not the common one
    first: int = 0
    rest: int = 0
    certain: int = 0
    mean_weight: float | None = None  # of the uniform policy; 1 where every slot was possible at every decision
    reason: Reason | None = None  # of a refusal, for machines
    common_time: CommonTime | None = None
    no_overlap: int = 0  # decisions left out: their batch had one slot, or pscores not of the draw
    overlap_share: float | None = None  # of the decisions with pscore below 1
    whole_people: int = 0  # people with too few decisions for a past and a later part
    apart: int | None = None  # sends in which personal and common times differ, where they are too few
    no_model: str | None = None  # why there is no LightGBM model, where one was asked for


def evaluate(logged: Decisions, seed: int = 7, samples: int = RESAMPLES, trees: bool = True) -> Evaluation:
    """Return the evaluation of a log; its kind is `refused`, with a reason, where the log supports no claim.

    Everything is fitted on the first part of the log and valued on the rest (`Decisions.first_part`). The common times
    are valued over all people of the rest, the personal policy over those with decisions in the first part. The same
    log and seed give the same numbers. `trees=False` leaves LightGBM out; no verdict rests on it.

    >>> from sendopt.timing.decisions import DecisionKind
    >>> n = 400
    >>> user, codes = np.repeat(np.arange(40), 10), np.zeros(n, np.int64)
    >>> log = Decisions(
    ...     user=user, slot=np.arange(n) % 2, segment=codes, campaign=codes, success=np.ones(n), sent=np.ones(n, bool),
    ...     pscore=np.full(n, 0.5), kind=DecisionKind.SLOT, slots=("morning", "evening"),
    ... )
    >>> evaluation = evaluate(log)
    >>> print(evaluation.kind, evaluation.reason)
    refused constant_outcome
    """
    drawn, certain = without_certain(logged)
    why = refusals.of_outcomes(logged) or refusals.of_certain(logged, drawn)
    if why is not None:
        return _refused(Evaluation(Kind.REFUSED, None, certain=certain), why)
    batches = overlap(drawn)
    facts = Evaluation(Kind.REFUSED, None, certain=certain, overlap_share=float(batches.usable.mean()))
    why = refusals.of_overlap(drawn, batches)
    if why is not None:
        return _refused(facts, why)
    log = drawn.rows(batches.usable)
    facts = replace(facts, no_overlap=len(drawn) - len(log), whole_people=_whole_people(log))
    in_first, supported = log.in_first_part, log.supported
    why = refusals.of_amount(log, in_first, supported, len(logged) - len(log))
    if why is not None:
        return _refused(facts, why)
    policies = fitted_policies.fit(
        log.rows(in_first), log.rows(~in_first), supported, int(log.user.max()) + 1, seed, trees
    )
    return _valued(log, in_first, policies, facts, (seed, samples))


def _valued(
    log: Decisions, in_first: Flags, policies: Policies, facts: Evaluation, resampling: tuple[int, int]
) -> Evaluation:
    """Add the values of the policies to `facts` and return the verdict; `resampling`: (seed, samples)."""
    first, rest = log.rows(in_first), log.rows(~in_first)
    has_past = np.isin(rest.user, np.unique(first.user[first.acted | policies.rates.pooled]))
    why = _no_personal(log, rest, has_past)
    judged, judged_policies = (
        (rest, policies) if why or has_past.all() else (rest.rows(has_past), policies.of_rows(has_past))
    )
    names = [UNIFORM, *(name for name in judged_policies.choices if name not in _not_to_be_valued(why))]
    values, mean_weight = policy_values(judged, judged_policies, names, *resampling)
    of_all = values if judged is rest else policy_values(rest, policies, _common_names(policies), *resampling)[0]
    loss, loss_rows = _losses(judged, judged_policies, personal=why is None)
    facts = replace(
        facts,
        common=policies.common,
        policies=tuple(values),
        kappa=policies.rates.kappa,
        pooled=policies.rates.pooled,
        users=len(np.unique(judged.user)),
        first=len(first),
        rest=len(judged),
        mean_weight=mean_weight,
        common_time=_common_time(rest, policies, of_all),
        loss=loss,
        loss_rows=loss_rows,
        no_model=policies.no_model,
        curves=_curves(first, judged, judged_policies, personal=why is None),
    )
    if why is not None:
        return _refused(facts, why)
    return _verdict(replace(facts, moved=_moved(judged, judged_policies)), *_apart(judged, judged_policies))


def _verdict(facts: Evaluation, apart: int, rarer: int) -> Evaluation:
    """Decide the kind by the interval of personal minus common; `apart` and `rarer` are those of `_apart`."""
    by = {value.name: value for value in facts.policies}
    gain = by[PERSONAL].minus_common["snips"]
    facts = replace(facts, difference=gain)
    if gain.value is None or gain.low is None or gain.high is None:
        return _refused(facts, _not_valued(by[facts.common or GLOBAL].by["snips"], by[PERSONAL].by["snips"]))
    if facts.moved and (rarer < MIN_APART or gain.low == gain.high):
        return replace(facts, kind=Kind.NOT_SHOWN, apart=apart)
    error = (gain.high - gain.low) / (2 * NORMAL_95)
    kind = Kind.SHOWN if gain.low > 0 else Kind.HARMFUL if gain.high < 0 else Kind.NOT_SHOWN
    more = (DETECTABLE * error / gain.value) ** 2 if kind == Kind.NOT_SHOWN and gain.value > 0 else None
    return replace(facts, kind=kind, more=more, detectable=DETECTABLE * error)


def _not_valued(common: Estimate, personal: Estimate) -> Refusal:
    which, estimate = ("common", common) if common.value is None else ("personal", personal)
    if estimate.effective >= 30:
        why = str(estimate.refusal).removeprefix("refused: ")
        return Refusal(Reason.LITTLE_DATA, f"the {which} policy cannot be valued in the later part: {why}")
    return Refusal(
        Reason.NEVER_DRAWN,
        f"the {which} policy's slots were hardly ever drawn in the later part (worth {estimate.effective:.0f} sends, "
        "30 are needed): too little overlap to value it",
    )


def _refused(facts: Evaluation, why: Refusal) -> Evaluation:
    return replace(facts, kind=Kind.REFUSED, refusal=why.sentence, reason=why.reason)


def _whole_people(log: Decisions) -> int:
    sizes = np.bincount(log.user)
    return int(((sizes > 0) & (sizes < MIN_PAST)).sum())


def _no_personal(log: Decisions, rest: Decisions, has_past: Flags) -> Refusal | None:
    """Refuse to value a personal policy where too few people have a past, or where a past predicts the next slot."""
    sends, people = int((has_past & rest.acted).sum()), len(np.unique(rest.user[has_past]))
    if sends < MIN_REST or people < MIN_USERS:
        every, few = len(np.unique(log.user)), _whole_people(log)
        return Refusal(
            Reason.NO_PAST,
            f"{few:,} of {every:,} people have fewer than {MIN_PAST} decisions, so "
            + (f"only {sends:,} later sends of {people:,} people have" if sends else "no later send has")
            + f" a past to learn a person's own time from; at least {MIN_REST} sends of {MIN_USERS} people are needed",
        )
    kept = repeated_by_person(log)
    if kept is None:
        return None
    return Refusal(
        Reason.KEPT_SLOTS,
        f"two sends of one person are in the same slot in {refusals.percent(kept)} of cases, far more often than their "
        "stated probabilities allow: slots were kept for a person and not drawn at each send, so no time "
        "that is learned from the person's past can be valued",
    )


def _not_to_be_valued(why: Refusal | None) -> tuple[str, ...]:
    """Return the policies that learn from a person's past, where `why` forbids to value them."""
    if why is None:
        return ()
    return (RAW, PERSONAL, MODEL) if why.reason == Reason.KEPT_SLOTS else (RAW, PERSONAL)


def _common_names(policies: Policies) -> list[str]:
    return [UNIFORM, *(name for name in (GLOBAL, SEGMENT) if name in policies.choices)]


def _common_time(rest: Decisions, policies: Policies, values: list[PolicyValue]) -> CommonTime:
    by = {value.name: value for value in values}
    best = by[policies.common]
    segment_minus_global = None
    if SEGMENT in by and policies.common == GLOBAL:
        segment_minus_global = by[SEGMENT].minus_common["snips"]
    elif SEGMENT in by:
        segment_minus_global = _negated(by[GLOBAL].minus_common["snips"])
    return CommonTime(
        policy=policies.common,
        slot=rest.slots[int(policies.choices[GLOBAL][0])],
        value=best.by["snips"],
        uniform=by[UNIFORM].by["snips"],
        minus_uniform=best.minus_uniform["snips"],
        segment_minus_global=segment_minus_global,
        people=len(np.unique(rest.user)),
        sends=int(rest.acted.sum()),
    )


def _negated(estimate: Estimate) -> Estimate:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)


def _apart(rest: Decisions, policies: Policies) -> tuple[int, int]:
    """Return (sends in the slot of only one of the personal and the common policy, how many have the rarer outcome).

    Such sends of fewer than four people support no claim: more than 2.5 % of the resamples contain none of them.
    """
    personal, common = (policies.choices[name] == rest.slot for name in (PERSONAL, policies.common))
    apart = rest.rows((personal != common) & rest.acted)
    successes = int(apart.success.sum())
    return len(apart), min(successes, len(apart) - successes)


def _losses(rest: Decisions, policies: Policies, personal: bool) -> tuple[dict[str, float], int]:
    """Return (mean log loss of each model on the rest, number of decisions).

    Unsent decisions are included where they were learned from. `personal`: whether the people have a past.
    """
    judged = rest if policies.rates.pooled else rest.rows(rest.acted)
    rates = {name: fitted.rates(judged) for name, fitted in policies.raw.items() if personal or "user" not in name}
    if personal:
        rates[PERSONAL] = policies.rates.rates(judged)
    if policies.model is not None:
        rates[MODEL] = policies.model.rates_of(judged)
    return {name: float(log_loss(judged.success, p).mean()) for name, p in rates.items()}, len(judged)


def _moved(rest: Decisions, policies: Policies) -> int:
    """Return the number of users whose personal slot is not the common one."""
    differs = policies.choices[PERSONAL] != policies.choices[policies.common]
    return len(np.unique(rest.user[differs]))


def _curves(first: Decisions, rest: Decisions, policies: Policies, personal: bool) -> tuple[Curve, ...]:
    """Return the common curve, then those of a few people, named by letters.

    The people are spread evenly over how far their best slot stands out.
    """
    people, row = np.unique(rest.user, return_index=True)
    personal_rates, common = (policies.rates.if_sent(rest.rows(row), levels) for levels in (None, ("slot",)))
    sent = first.rows(first.acted)
    k = len(first.slots)
    n, x = (totals(sent.slot, w, k) for w in (sent.acted, sent.success))
    best = int(np.where(policies.supported, common[0], -1.0).argmax())
    curves = [_curve("Everyone", common[0], x, n, best)]
    if not personal:
        return tuple(curves)
    stands_out = np.where(policies.supported, personal_rates, -1.0).max(axis=1) - personal_rates[:, best]
    order = np.argsort(-stands_out, kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, min(CURVES, len(order))).astype(int))]
    for letter, i in zip("ABCDEFGH", picked, strict=False):
        sends = sent.rows(sent.user == people[i])
        n, x = (totals(sends.slot, w, k) for w in (sends.acted, sends.success))
        curves.append(_curve(f"Person {letter}", personal_rates[i], x, n, int(policies.choices[PERSONAL][row[i]])))
    return tuple(curves)


def _curve(name: str, fitted: Floats, successes: Floats, sends: Floats, chosen: int) -> Curve:
    observed = tuple(float(x / n) if n else None for x, n in zip(successes, sends, strict=True))
    return Curve(name, tuple(float(rate) for rate in fitted), observed, tuple(int(n) for n in sends), chosen)
