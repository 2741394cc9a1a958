"""Refusals: why a log supports no claim about timing. Each has a reason for machines and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import poisson

from sendopt.stats.arrays import Flags, Floats
from sendopt.timing.decisions import FIRST_PART, MIN_REST, MIN_SUPPORT, MIN_USERS, DecisionKind, Decisions, totals
from sendopt.timing.overlap import LEAST_SHARE, SIGMAS, Overlap, more_than_stated, repeated_in_batches

MIN_OUTCOMES = 10  # successes, and failures, that each part of the log needs
_SURE = 1e-6  # probability below which an event is not put down to chance


class Reason(StrEnum):
    """The reasons of refusals, in the order in which they are checked."""

    NO_PSCORE = "no_pscore"
    NO_DECISIONS = "no_decisions"
    CONSTANT = "constant_outcome"
    CONTRADICTED = "contradicted_pscore"
    EVERYTHING_SENT = "everything_sent"
    CERTAIN = "certain"
    ONE_SLOT = "one_slot"
    NO_OVERLAP = "no_overlap"
    LITTLE_DATA = "too_little_data"
    FEW_OUTCOMES = "few_outcomes"
    NO_PAST = "no_past_of_their_own"
    KEPT_SLOTS = "slots_kept_by_person"
    NEVER_DRAWN = "slots_hardly_drawn_later"


@dataclass(frozen=True)
class Refusal:
    """Why a log supports no claim, as a reason for machines and a sentence for people."""

    reason: Reason
    sentence: str


def percent(share: float) -> str:
    """Return a share as `12 %`; `0 %` and `100 %` stand for exactly 0 and 1 only.

    >>> percent(0.12), percent(0.9999), percent(1.0)
    ('12 %', '99.9 %', '100 %')
    """
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    return f"{min(max(share * 100, 0.1), 99.9):.{0 if 0.095 <= share <= 0.99 else 1}f} %"


def of_outcomes(logged: Decisions) -> Refusal | None:
    """Refuse a log without decisions, or one whose outcome never changes; `logged`: the decisions as read."""
    if not len(logged):
        return Refusal(
            Reason.NO_DECISIONS, "no decision is left after the faulty rows; the list of what was dropped says why"
        )
    outcome = logged.success[logged.acted]
    if len(outcome) and outcome.min() == outcome.max():
        every = "successes" if outcome[0] else "failures"
        return Refusal(
            Reason.CONSTANT,
            f"all {len(outcome):,} outcomes of sends that were read are {every}: an outcome that never changes says "
            "nothing about times; check the outcome in the mapping: its column or the kind of interaction, which value "
            "is a success, and whether interactions were matched to their sends",
        )
    return None


def of_certain(logged: Decisions, drawn: Decisions) -> Refusal | None:
    """Refuse a log in which nothing was drawn; `drawn`: the decisions of `logged` with pscore below 1."""
    certain = len(logged) - len(drawn)
    if logged.kind == DecisionKind.SEND:
        missing = int((~logged.sent & (logged.pscore >= 1.0)).sum())
        if missing > 1 + 0.01 * certain:
            return Refusal(
                Reason.CONTRADICTED,
                f"{missing:,} of {certain:,} decisions of probability 1 were not sent: the probabilities are not those "
                "of the draw, so nothing can be weighted by them",
            )
    if len(drawn):
        return None
    slots = len(np.unique(logged.slot))
    if logged.kind == DecisionKind.SEND and slots > 1:
        return Refusal(
            Reason.EVERYTHING_SENT,
            f"all {certain:,} decisions were sent, in {slots} slots, with probability 1: what happens without a send "
            "is not in the log, so what a send at some time brings cannot be told from what people do at that time "
            "anyway; leave some decisions, drawn at random, without a send and log the probability",
        )
    return Refusal(
        Reason.CERTAIN,
        f"all {certain:,} decisions have probability 1: no other time was possible, so the log cannot say what "
        "another time would have brought; draw the times of some sends at random first",
    )


def of_overlap(drawn: Decisions, seen: Overlap) -> Refusal | None:
    """Refuse a log whose sends hardly ever had several slots, or whose pscores contradict the observed slots."""
    if len(np.unique(drawn.slot[drawn.acted])) < 2:
        return Refusal(
            Reason.ONE_SLOT,
            "all sends went out in one slot: there is no overlap between times, so no other time can be judged",
        )
    share = float(seen.several.mean())
    if share < LEAST_SHARE:
        return Refusal(Reason.NO_OVERLAP, _little_overlap(drawn, seen, share))
    sentence = _contradicted(drawn.rows(seen.several))
    if sentence:
        return Refusal(Reason.CONTRADICTED, sentence)
    share = float(seen.usable.mean())
    if share < LEAST_SHARE:
        return Refusal(
            Reason.CONTRADICTED,
            f"in batches (by {seen.by}) that hold {percent(1 - share)} of the decisions, slots are more frequent than "
            "their stated probabilities allow: they are not those of the draw, so nothing can be weighted by them",
        )
    kept = repeated_in_batches(drawn.rows(seen.usable))
    if kept is None:
        return None
    return Refusal(
        Reason.CONTRADICTED,
        f"two decisions of one batch (by {seen.by}) are in the same slot in {percent(kept)} of cases, far more often "
        "than their stated probabilities allow: slots were not drawn for each decision, so nothing can be weighted by "
        "the probabilities",
    )


def of_amount(usable: Decisions, first: Flags, supported: Flags, left_out: int) -> Refusal | None:
    """Refuse too little data.

    `first` (N,): whether a decision is in the first part. `supported` (K,): slots with enough sends. `left_out`: number
    of decisions without a usable draw.
    """
    rest = int((~first & usable.acted).sum())
    users = len(np.unique(usable.user[~first]))
    after = f" (after {left_out:,} decisions without another possible time)" if left_out else ""
    if supported.sum() < 2:
        return Refusal(
            Reason.LITTLE_DATA,
            f"fewer than two slots have {MIN_SUPPORT} sends in the first {FIRST_PART * 100:.0f} % of each person's "
            f"time{after}: too little data for any policy to choose between times; log longer, or use wider slots",
        )
    if rest < MIN_REST or users < MIN_USERS:
        return Refusal(
            Reason.LITTLE_DATA,
            f"{rest:,} sends of {users:,} people are left to evaluate on{after}: too little data, at least {MIN_REST} "
            f"sends of {MIN_USERS} people are needed",
        )
    for part, name in ((first, "first"), (~first, "later")):
        outcome = usable.success[part & usable.acted]
        successes = int(outcome.sum())
        rarer, what = min((successes, "successes"), (len(outcome) - successes, "failures"))
        if rarer < MIN_OUTCOMES:
            return Refusal(
                Reason.FEW_OUTCOMES,
                f"only {rarer:,} of {len(outcome):,} sends in the {name} part of the log are {what}, at least "
                f"{MIN_OUTCOMES} are needed: too few to compare times; log longer, or check the outcome in the mapping",
            )
    return None


def _little_overlap(drawn: Decisions, seen: Overlap, share: float) -> str:
    apart = "a better time cannot be told from a better message, and there is no overlap between times within"
    if seen.batches > 1 and seen.one_slot == seen.batches and share == 0:
        if seen.by == "day":
            return f"each of {seen.batches:,} days went out in one slot only: {apart} a day"
        return f"each of {seen.batches:,} campaigns went out in one slot only: {apart} a campaign"
    within = "day" if seen.by == "day" else "log" if seen.by == "log" else "campaign"
    return (
        f"only {int(seen.several.sum()):,} of {len(drawn):,} decisions ({percent(share)}) belong to a {within} that "
        f"really had several slots, at least {percent(LEAST_SHARE)} must: nearly all others went out in one slot, so "
        f"{apart} a {within}"
    )


def _contradicted(log: Decisions) -> str | None:
    """Return a sentence where the observed draws are over five standard deviations off their stated probabilities."""
    return _sends_contradicted(log) if log.kind == DecisionKind.SEND else _slots_contradicted(log)


def _sends_contradicted(log: Decisions) -> str | None:
    p = log.pscore
    bins = np.minimum((p * 10).astype(np.int64), 9)
    groups = [
        (np.zeros(len(p), np.int64), [""]),
        (log.slot, [f" in slot {s}" for s in log.slots]),
        (bins, [f" with probabilities of {b / 10:.1f} to {(b + 1) / 10:.1f}" for b in range(10)]),
    ]
    for group, names in groups:
        expected, sent, variance = (totals(group, w, len(names)) for w in (p, log.sent, p * (1 - p)))
        off = np.abs(sent - expected) > SIGMAS * np.sqrt(variance) + 1
        if off.any():
            at = int(off.argmax())
            return (
                f"the probabilities in the log expect {expected[at]:,.0f} of {int((group == at).sum()):,} decisions"
                f"{names[at]} to be sent, but {int(sent[at]):,} were: they are not those of the draw, so nothing can "
                "be weighted by them"
            )
    if _too_many_small(p[log.sent], len(p)):
        return _small(p[log.sent], len(p), "sends")
    return None


def _slots_contradicted(log: Decisions) -> str | None:
    k = len(log.slots)
    often = more_than_stated(log.pscore, log.slot, k, np.full(k, len(log), np.int64))
    if often.any():
        at = int(often.argmax())
        return (
            f"slot {log.slots[at]} was used {int((log.slot == at).sum()):,} times among {len(log):,} decisions, more "
            "often than its stated probability allows: it is not that of the draw, so nothing can be weighted by it"
        )
    chances = len(log) * len(np.unique(log.slot))
    return _small(log.pscore, chances, "slots") if _too_many_small(log.pscore, chances) else None


def _too_many_small(pscore: Floats, chances: int) -> bool:
    """Return whether actions of small probability were taken too often.

    In expectation at most p * `chances` actions have a pscore of p or less.
    """
    ordered = np.sort(pscore)
    taken = np.arange(1, len(ordered) + 1)
    by_chance = np.asarray(poisson.sf(taken - 1, ordered * chances))
    return bool((by_chance < _SURE).any())


def _small(pscore: Floats, chances: int, what: str) -> str:
    return (
        f"{what} with stated probabilities down to {float(pscore.min()):.2g} were taken more often than {chances:,} "
        "chances allow: they are not those of the draw, so nothing can be weighted by them"
    )
