"""Is personal timing worth it? The verdict on a log of decisions, with everything that it rests on (model ¶17, ¶18).

The claim compares the personal policy with the best policy that treats all alike, in the same resamples of users: a
gain over uniform times alone would also show where people do not differ at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sendopt.measurement import policies as fitted_policies
from sendopt.measurement.decisions import Decisions, Floats, refusal, totals, without_certain
from sendopt.measurement.off_policy import ESTIMATORS, RESAMPLES, Estimate, Weighted, interval, resampled
from sendopt.measurement.policies import MODEL, PERSONAL, UNIFORM, Policies, log_loss

SHOWN, NOT_SHOWN, HARMFUL, REFUSED = "shown", "not_shown", "harmful", "refused"
POWER_Z = 1.959964 + 0.841621  # two-sided 5 %, power 80 %
CURVES = 7


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


def evaluate(logged: Decisions, seed: int = 7, samples: int = RESAMPLES, trees: bool = True) -> Evaluation:
    """The evaluation of a log; a refusal, with its reason, where the log cannot carry one.

    Everything is fitted on the first 60 % of each user's decisions and valued on the others. The same log and seed
    give the same numbers. `trees=False` leaves LightGBM out, which no verdict rests on.
    """
    log, certain = without_certain(logged)
    why = refusal(log, certain)
    if why is not None:
        return Evaluation(REFUSED, why, certain=certain)
    users = int(log.user.max()) + 1
    first, rest = log.rows(log.in_first_part), log.rows(~log.in_first_part)
    learned = fitted_policies.fit(first, rest, log.supported, users, seed, trees)
    names = [UNIFORM, *learned.choices]
    values, mean_weight = _values(rest, learned, names, seed, samples)
    personal = next(v for v in values if v.name == PERSONAL)
    gain = personal.minus_common["snips"]
    common = next(v for v in values if v.name == learned.common).by["snips"]
    people = np.unique(rest.user)
    facts = {
        "common": learned.common, "difference": gain, "policies": tuple(values), "kappa": learned.rates.kappa,
        "pooled": learned.rates.pooled, "users": len(people), "moved": _moved(rest, learned), "first": len(first),
        "rest": len(rest), "certain": certain, "mean_weight": mean_weight,
    }  # fmt: skip
    facts["loss"], facts["loss_rows"] = _losses(rest, learned)
    facts["curves"] = _curves(first, rest, learned)
    if gain.value is None or gain.low is None or gain.high is None:
        which = "common" if common.value is None else "personal"
        effective = (common if common.value is None else personal.by["snips"]).effective
        return Evaluation(
            REFUSED,
            f"the {which} policy's slots were hardly ever drawn in the later part (worth {effective:.0f} sends, 30 are "
            "needed): too little overlap to value it",
            **facts,  # type: ignore[arg-type]
        )
    error = (gain.high - gain.low) / (2 * 1.959964)
    kind = SHOWN if gain.low > 0 else HARMFUL if gain.high < 0 else NOT_SHOWN
    more = (POWER_Z * error / gain.value) ** 2 if kind == NOT_SHOWN and gain.value > 0 else None
    return Evaluation(kind, None, more=more, detectable=POWER_Z * error, **facts)  # type: ignore[arg-type]


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
    size = {(arm, name): w.effective for arm, seen in arms.items() for name, w in seen.items()}
    snips = ESTIMATORS["snips"]
    values = []
    for name in names:
        own = size["sent", name]

        def against(other: str, name: str = name, own: float = own) -> dict[str, Estimate]:
            least = min(own, size["sent", other])
            return {key: interval(how(by[name]) - how(by[other]), least) for key, how in ESTIMATORS.items()}

        placebo = {}
        if unsent:
            dark = size["not_sent", name]
            beside = min(dark, size["not_sent", learned.common])
            placebo = {
                "not_sent": interval(snips(unsent[name]), dark),
                "effect": interval(snips(by[name]) - snips(unsent[name]), min(own, dark)),
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


def _losses(rest: Decisions, learned: Policies) -> tuple[dict[str, float], int]:
    """Log loss on the rest, unsent decisions included where they were learned from."""
    judged = rest if learned.rates.pooled else rest.rows(rest.acted)
    found = {name: rates.rates(judged) for name, rates in learned.raw.items()}
    found[PERSONAL] = learned.rates.rates(judged)
    if learned.model is not None:
        found[MODEL] = learned.model.rates_of(judged)
    return {name: float(log_loss(judged.success, p).mean()) for name, p in found.items()}, len(judged)


def _moved(rest: Decisions, learned: Policies) -> int:
    differs = learned.choices[PERSONAL] != learned.choices[learned.common]
    return len(np.unique(rest.user[differs]))


def _curves(first: Decisions, rest: Decisions, learned: Policies) -> tuple[Curve, ...]:
    """The common curve, then those of a few people: spread over how far their own slot stands out, named by letters."""
    people, at = np.unique(rest.user, return_index=True)
    own, common = (learned.rates.if_sent(rest.rows(at), levels) for levels in (None, ("slot",)))
    sent = first.rows(first.acted)
    k = len(first.slots)
    n, x = (totals(sent.slot, w, k) for w in (sent.acted, sent.success))
    best = int(np.where(learned.supported, common[0], -1.0).argmax())
    curves = [_curve("Everyone", common[0], x, n, best)]
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
