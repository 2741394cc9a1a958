"""Is personal timing worth it? The verdict on a log of decisions, with everything that it rests on (model ¶17, ¶18).

The claim compares the personal policy with the best policy that treats all alike, in the same resamples of users: a
gain over uniform times alone would also show where people do not differ at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sendopt.measurement.off_policy import ESTIMATORS, Basis, Estimate, Weighted, interval
from sendopt.stats.arrays import Flags, Floats
from sendopt.stats.bootstrap import RESAMPLES, resampled
from sendopt.stats.intervals import NORMAL_95
from sendopt.stats.losses import log_loss
from sendopt.timing import policies as fitted_policies
from sendopt.timing import refusals
from sendopt.timing.decisions import MIN_PAST, MIN_REST, MIN_USERS, Decisions, totals, without_certain
from sendopt.timing.overlap import overlap, repeated_by_person
from sendopt.timing.policies import GLOBAL, MODEL, PERSONAL, RAW, SEGMENT, UNIFORM, Policies
from sendopt.timing.refusals import Refusal

SHOWN, NOT_SHOWN, HARMFUL, REFUSED = "shown", "not_shown", "harmful", "refused"
POWER_Z = 1.959964 + 0.841621  # two-sided 5 %, power 80 %
CURVES = 7
MIN_APART = 5  # successes, and failures, among the sends that tell personal from common times


@dataclass(frozen=True)
class PolicyValue:
    """One policy on the rest of each user's time. `agrees` is the share of decisions where it takes the common slot.

    `by`: estimates by ips, snips and dr. `not_sent`: SNIPS on points where nothing went out; `effect`: sent minus not.
    """

    name: str
    agrees: float | None
    by: dict[str, Estimate]
    minus_uniform: dict[str, Estimate]
    minus_common: dict[str, Estimate]
    not_sent: Estimate | None = None
    effect: Estimate | None = None
    not_sent_minus_common: Estimate | None = None


@dataclass(frozen=True)
class Curve:
    """Success rates of a send by slot: what was seen in the first part and what was fitted; nobody is named."""

    name: str
    fitted: tuple[float, ...]
    observed: tuple[float | None, ...]
    sends: tuple[int, ...]
    chosen: int


@dataclass(frozen=True)
class CommonTime:
    """What the best policy that knows no person brings on the rest of the log, over all its people.

    `slot` is the best one of all; `policy` says whether one slot, or one of each segment, was chosen in the first part.
    `segment_minus_global` is None where there is one segment.
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
    """The verdict and its grounds. `more` is how many times as many people would settle it, where one can say."""

    kind: str
    refusal: str | None
    common: str | None = None
    difference: Estimate | None = None
    more: float | None = None
    detectable: float | None = None  # the true gain that this much data would show with a power of 80 %
    policies: tuple[PolicyValue, ...] = ()
    loss: dict[str, float] = field(default_factory=dict)
    loss_rows: int = 0
    kappa: dict[str, float] = field(default_factory=dict)
    pooled: bool = False
    curves: tuple[Curve, ...] = ()
    users: int = 0
    moved: int = 0  # users whose personal slot is not the common one
    first: int = 0
    rest: int = 0
    certain: int = 0
    mean_weight: float | None = None  # of the uniform policy; 1 where every slot was possible at every decision
    reason: str | None = None  # of a refusal, for machines: a name of `refusals`
    common_time: CommonTime | None = None
    no_overlap: int = 0  # decisions left out: their batch had one slot, or pscores not of the draw
    overlap_share: float | None = None  # of the decisions with pscore below 1
    whole_people: int = 0  # people with too few decisions for a past and a later part
    apart: int | None = None  # sends that tell the personal policy from the common one; None where all are enough
    no_model: str | None = None


def evaluate(logged: Decisions, seed: int = 7, samples: int = RESAMPLES, trees: bool = True) -> Evaluation:
    """The evaluation of a log; a refusal, with its reason, where the log cannot carry one.

    Everything is fitted on the first part of the log and valued on the rest (`Decisions.first_part`). The common times
    are valued over all people of the rest, the personal policy over those with a past of their own. The same log and
    seed give the same numbers. `trees=False` leaves LightGBM out, which no verdict rests on.
    """
    drawn, certain = without_certain(logged)
    why = refusals.of_outcomes(logged) or refusals.of_certain(logged, drawn)
    if why is not None:
        return _refused(Evaluation(REFUSED, None, certain=certain), why)
    batches = overlap(drawn)
    facts = Evaluation(REFUSED, None, certain=certain, overlap_share=float(batches.usable.mean()))
    why = refusals.of_overlap(drawn, batches)
    if why is not None:
        return _refused(facts, why)
    log = drawn.rows(batches.usable)
    facts = replace(facts, no_overlap=len(drawn) - len(log), whole_people=_whole_people(log))
    in_first, supported = log.in_first_part, log.supported
    why = refusals.of_amount(log, in_first, supported, len(logged) - len(log))
    if why is not None:
        return _refused(facts, why)
    return _valued(log, in_first, supported, facts, (seed, samples, trees))


def _valued(
    log: Decisions, in_first: Flags, supported: Flags, facts: Evaluation, how: tuple[int, int, bool]
) -> Evaluation:
    seed, samples, trees = how
    first, rest = log.rows(in_first), log.rows(~in_first)
    learned = fitted_policies.fit(first, rest, supported, int(log.user.max()) + 1, seed, trees)
    own = np.isin(rest.user, np.unique(first.user[first.acted | learned.rates.pooled]))
    why = _no_personal(log, rest, own)
    judged, at = (rest, learned) if why or own.all() else (rest.rows(own), learned.of_rows(own))
    names = [UNIFORM, *(name for name in at.choices if name not in _not_to_be_valued(why))]
    values, mean_weight = _values(judged, at, names, seed, samples)
    of_all = values if judged is rest else _values(rest, learned, _common_names(learned), seed, samples)[0]
    loss, loss_rows = _losses(judged, at, personal=why is None)
    facts = replace(
        facts,
        common=learned.common,
        policies=tuple(values),
        kappa=learned.rates.kappa,
        pooled=learned.rates.pooled,
        users=len(np.unique(judged.user)),
        first=len(first),
        rest=len(judged),
        mean_weight=mean_weight,
        common_time=_common_time(rest, learned, of_all),
        loss=loss,
        loss_rows=loss_rows,
        no_model=learned.no_model,
        curves=_curves(first, judged, at, personal=why is None),
    )
    if why is not None:
        return _refused(facts, why)
    return _verdict(replace(facts, moved=_moved(judged, at)), _apart(judged, at))


def _verdict(facts: Evaluation, apart: tuple[int, int]) -> Evaluation:
    """The kind by the interval of personal minus common; `apart`: see `_apart`."""
    by = {value.name: value for value in facts.policies}
    gain = by[PERSONAL].minus_common["snips"]
    facts = replace(facts, difference=gain)
    if gain.value is None or gain.low is None or gain.high is None:
        return _refused(facts, _not_valued(by[facts.common or GLOBAL].by["snips"], by[PERSONAL].by["snips"]))
    if facts.moved and (apart[1] < MIN_APART or gain.low == gain.high):
        return replace(facts, kind=NOT_SHOWN, apart=apart[0])
    error = (gain.high - gain.low) / (2 * NORMAL_95)
    kind = SHOWN if gain.low > 0 else HARMFUL if gain.high < 0 else NOT_SHOWN
    more = (POWER_Z * error / gain.value) ** 2 if kind == NOT_SHOWN and gain.value > 0 else None
    return replace(facts, kind=kind, more=more, detectable=POWER_Z * error)


def _not_valued(common: Estimate, personal: Estimate) -> Refusal:
    which, estimate = ("common", common) if common.value is None else ("personal", personal)
    if estimate.effective >= 30:
        why = str(estimate.refusal).removeprefix("refused: ")
        return Refusal(refusals.LITTLE_DATA, f"the {which} policy cannot be valued in the later part: {why}")
    return Refusal(
        refusals.NEVER_DRAWN,
        f"the {which} policy's slots were hardly ever drawn in the later part (worth {estimate.effective:.0f} sends, "
        "30 are needed): too little overlap to value it",
    )


def _refused(facts: Evaluation, why: Refusal) -> Evaluation:
    return replace(facts, kind=REFUSED, refusal=why.sentence, reason=why.reason)


def _whole_people(log: Decisions) -> int:
    sizes = np.bincount(log.user)
    return int(((sizes > 0) & (sizes < MIN_PAST)).sum())


def _no_personal(log: Decisions, rest: Decisions, own: Flags) -> Refusal | None:
    """Why no personal policy can be valued: the rest's people have no past, or a past that tells their next slot."""
    sends, people = int((own & rest.acted).sum()), len(np.unique(rest.user[own]))
    if sends < MIN_REST or people < MIN_USERS:
        every, few = len(np.unique(log.user)), _whole_people(log)
        return Refusal(
            refusals.NO_PAST,
            f"{few:,} of {every:,} people have fewer than {MIN_PAST} decisions, so "
            + (f"only {sends:,} later sends of {people:,} people have" if sends else "no later send has")
            + f" a past to learn a person's own time from; at least {MIN_REST} sends of {MIN_USERS} people are needed",
        )
    kept = repeated_by_person(log)
    if kept is None:
        return None
    return Refusal(
        refusals.KEPT_SLOTS,
        f"two sends of one person are in the same slot in {refusals.percent(kept)} of cases, far more often than their "
        "stated probabilities allow: slots were kept for a person and not drawn at each send, so no time "
        "that is learned from the person's past can be valued",
    )


def _not_to_be_valued(why: Refusal | None) -> tuple[str, ...]:
    if why is None:
        return ()
    return (RAW, PERSONAL, MODEL) if why.reason == refusals.KEPT_SLOTS else (RAW, PERSONAL)


def _common_names(learned: Policies) -> list[str]:
    return [UNIFORM, *(name for name in (GLOBAL, SEGMENT) if name in learned.choices)]


def _common_time(rest: Decisions, learned: Policies, values: list[PolicyValue]) -> CommonTime:
    by = {value.name: value for value in values}
    best, other = by[learned.common], by.get(SEGMENT)
    apart = None
    if other is not None:
        apart = other.minus_common["snips"] if learned.common == GLOBAL else _negated(by[GLOBAL].minus_common["snips"])
    return CommonTime(
        policy=learned.common,
        slot=rest.slots[int(learned.choices[GLOBAL][0])],
        value=best.by["snips"],
        uniform=by[UNIFORM].by["snips"],
        minus_uniform=best.minus_uniform["snips"],
        segment_minus_global=apart,
        people=len(np.unique(rest.user)),
        sends=int(rest.acted.sum()),
    )


def _negated(estimate: Estimate) -> Estimate:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)


def _apart(rest: Decisions, learned: Policies) -> tuple[int, int]:
    """Sends in the slot of just one of the personal and the common policy; their rarer outcome's number.

    Fewer than four people never make a claim: more than 2.5 % of the resamples leave all of them out.
    """
    one, other = (learned.choices[name] == rest.slot for name in (PERSONAL, learned.common))
    apart = rest.rows((one != other) & rest.acted)
    successes = int(apart.success.sum())
    return len(apart), min(successes, len(apart) - successes)


def _values(
    rest: Decisions, learned: Policies, names: list[str], seed: int, samples: int
) -> tuple[list[PolicyValue], float]:
    """Every policy by every estimator from one set of resampled sums, so that all differences are paired."""
    arms = {"sent": _seen(rest, learned, names, sent=True)}
    if rest.not_sent_arm:
        arms["not_sent"] = _seen(rest, learned, names, sent=False)
    columns = [w.columns(rest.success) for seen in arms.values() for w in seen.values()]
    sums = resampled(np.concatenate(columns), rest.user, seed, samples).reshape(len(arms), len(names), 5, samples + 1)
    by = {name: sums[0, i] for i, name in enumerate(names)}
    unsent = {name: sums[1, i] for i, name in enumerate(names)} if rest.not_sent_arm else {}
    basis = {(arm, name): w.basis(rest.success, rest.user) for arm, seen in arms.items() for name, w in seen.items()}
    snips = ESTIMATORS["snips"]
    values = []
    for name in names:
        own = basis["sent", name]

        def against(other: str, name: str = name, own: Basis = own) -> dict[str, Estimate]:
            least = own.beside(basis["sent", other])
            return {key: interval(how(by[name]) - how(by[other]), least) for key, how in ESTIMATORS.items()}

        placebo = {}
        if unsent:
            dark = basis["not_sent", name]
            beside = dark.beside(basis["not_sent", learned.common])
            placebo = {
                "not_sent": interval(snips(unsent[name]), dark),
                "effect": interval(snips(by[name]) - snips(unsent[name]), own.beside(dark)),
                "not_sent_minus_common": interval(snips(unsent[name]) - snips(unsent[learned.common]), beside),
            }
        same = None if name == UNIFORM else float((learned.choices[name] == learned.choices[learned.common]).mean())
        estimates = {key: interval(how(by[name]), own) for key, how in ESTIMATORS.items()}
        values.append(PolicyValue(name, same, estimates, against(UNIFORM), against(learned.common), **placebo))
    uniform = by[UNIFORM][:, 0]
    return values, float(uniform[1] / uniform[2])


def _seen(rest: Decisions, learned: Policies, names: list[str], sent: bool) -> dict[str, Weighted]:
    """Each policy through the sent, or the unsent, decisions of the rest."""
    acted = rest.acted if sent else ~rest.sent
    chance = rest.pscore if sent else 1 - rest.pscore
    if_sent = learned.rates.if_sent(rest)
    here = np.take_along_axis(if_sent, rest.slot[:, None], 1)[:, 0]
    residual = rest.success - here if sent else np.zeros(len(rest))
    found = {}
    for name in names:
        probability = learned.probability(name, rest.slot)
        weight = np.where(acted, probability / chance, 0.0)
        if rest.kind == "slot":
            found[name] = Weighted(weight, np.ones(len(rest)), learned.mean(name, if_sent), residual)
        else:
            found[name] = Weighted(weight, probability, here, residual)
    return found


def _losses(rest: Decisions, learned: Policies, personal: bool) -> tuple[dict[str, float], int]:
    """Log loss on the rest, unsent decisions included where they were learned from; `personal`: have people a past?"""
    judged = rest if learned.rates.pooled else rest.rows(rest.acted)
    found = {name: rates.rates(judged) for name, rates in learned.raw.items() if personal or "user" not in name}
    if personal:
        found[PERSONAL] = learned.rates.rates(judged)
    if learned.model is not None:
        found[MODEL] = learned.model.rates_of(judged)
    return {name: float(log_loss(judged.success, p).mean()) for name, p in found.items()}, len(judged)


def _moved(rest: Decisions, learned: Policies) -> int:
    differs = learned.choices[PERSONAL] != learned.choices[learned.common]
    return len(np.unique(rest.user[differs]))


def _curves(first: Decisions, rest: Decisions, learned: Policies, personal: bool) -> tuple[Curve, ...]:
    """The common curve, then those of a few people: spread over how far their own slot stands out, named by letters."""
    people, at = np.unique(rest.user, return_index=True)
    own, common = (learned.rates.if_sent(rest.rows(at), levels) for levels in (None, ("slot",)))
    sent = first.rows(first.acted)
    k = len(first.slots)
    n, x = (totals(sent.slot, w, k) for w in (sent.acted, sent.success))
    best = int(np.where(learned.supported, common[0], -1.0).argmax())
    curves = [_curve("Everyone", common[0], x, n, best)]
    if not personal:
        return tuple(curves)
    stands_out = np.where(learned.supported, own, -1.0).max(axis=1) - own[:, best]
    order = np.argsort(-stands_out, kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, min(CURVES, len(order))).astype(int))]
    for letter, i in zip("ABCDEFGH", picked, strict=False):
        mine = sent.user == people[i]
        n, x = (totals(sent.slot[mine], w[mine], k) for w in (sent.acted, sent.success))
        curves.append(_curve(f"Person {letter}", own[i], x, n, int(learned.choices[PERSONAL][at[i]])))
    return tuple(curves)


def _curve(name: str, fitted: Floats, x: Floats, n: Floats, chosen: int) -> Curve:
    observed = tuple(float(a / b) if b else None for a, b in zip(x, n, strict=True))
    return Curve(name, tuple(float(f) for f in fitted), observed, tuple(int(b) for b in n), chosen)
