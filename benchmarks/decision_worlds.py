"""Logs of decisions drawn from worlds whose truth is known, for the evaluation of timing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from sendopt.timing.decisions import Decisions


@dataclass(frozen=True)
class DecisionWorld:
    """A log and its truth: `if_sent` (users, slots), the chance of success of a send."""

    log: Decisions
    if_sent: np.ndarray


def world(
    seed: int,
    users: int = 60,
    days: int = 80,
    slots: int = 6,
    kind: str = "slot",
    user_sd: float = 0.7,
    slot_sd: float = 0.4,
    personal_sd: float = 0.0,
    availability_sd: float = 0.0,
    level: float = -0.8,
    free: float = 0.8,
) -> DecisionWorld:
    """A world of user and slot effects on the logit scale, and personal timing of `personal_sd`.

    kind `slot`: one send a day in a slot drawn uniformly among those free that day (each with chance `free`, at least
    two), pscore 1 / their number. kind `send`: every slot of a day is a point, available with a chance that differs by
    person and slot (`availability_sd`), sent with pscore 0.3 to 0.7; a send adds 0.3.
    """
    rng = np.random.default_rng(seed)
    effects = level + rng.normal(0, user_sd, (users, 1)) + rng.normal(0, slot_sd, slots)
    effects = effects + rng.normal(0, personal_sd, (users, slots))
    user = np.repeat(np.arange(users), days)
    if kind == "slot":
        free = rng.random((len(user), slots)) < free
        free[:, 0] |= free.sum(axis=1) < 1
        free[:, 1] |= free.sum(axis=1) < 2
        slot = np.where(free, rng.random(free.shape), -1.0).argmax(axis=1)
        pscore, sent = 1.0 / free.sum(axis=1), np.ones(len(user), bool)
    else:
        there = expit(1.4 + rng.normal(0, availability_sd, (users, slots)))
        user, slot = np.repeat(user, slots), np.tile(np.arange(slots), len(user))
        available = rng.random(len(user)) < there[user, slot]
        user, slot = user[available], slot[available]
        pscore = rng.choice([0.3, 0.5, 0.7], len(user))
        sent = rng.random(len(user)) < pscore
        effects = effects + 0.3
    logit = effects[user, slot] - (0.0 if kind == "slot" else 0.3) * ~sent
    success = (rng.random(len(user)) < expit(logit)).astype(float)
    zero = np.zeros(len(user), np.int64)
    names = tuple(str(s) for s in range(slots))
    log = Decisions(user.astype(np.int64), slot.astype(np.int64), zero, zero, success, sent, pscore, kind, names)
    return DecisionWorld(log, expit(effects))


def campaigns(seed: int, drawn: float = 0.0, people: int = 200, number: int = 60, slots: int = 6) -> Decisions:
    """A log of `number` campaigns to all people, each with a success rate of its own: content effects and no timing.

    A share `drawn` of the campaigns draws a slot for every person, the others go out in one slot; one send in a hundred
    strays to another slot, and every pscore says 1 / slots.
    """
    rng = np.random.default_rng(seed)
    user, campaign = np.repeat(np.arange(people), number), np.tile(np.arange(number), people)
    alone = (campaign < drawn * number) | (rng.random(len(user)) < 0.01)
    slot = np.where(alone, rng.integers(0, slots, len(user)), rng.integers(0, slots, number)[campaign])
    rate = expit(-0.8 + rng.normal(0, 0.7, people)[user] + rng.normal(0, 0.7, number)[campaign])
    zero, success = np.zeros(len(user), np.int64), (rng.random(len(user)) < rate).astype(float)
    pscore, names = np.full(len(user), 1 / slots), tuple(str(s) for s in range(slots))
    return Decisions(user, slot, zero, campaign, success, zero == 0, pscore, "slot", names)


def kept(log: Decisions, seed: int) -> Decisions:
    """A log without timing in which every person keeps one slot for ever, as an A/B test of times by person does."""
    rng = np.random.default_rng(seed)
    slots = len(log.slots)
    own = rng.integers(0, slots, int(log.user.max()) + 1)
    return replace(log, slot=own[log.user], pscore=np.full(len(log), 1 / slots))


def shuffled(log: Decisions, seed: int) -> Decisions:
    """The log with the outcomes of each user's decisions put into a random order: no time effect is left, nor drift.

    Outcomes move with whether something was sent, so that the effect of sending stays.
    """
    rng = np.random.default_rng(seed)
    group = log.user * 2 + log.sent
    target, source = np.lexsort((rng.random(len(log)), group)), np.lexsort((np.arange(len(log)), group))
    success = np.empty(len(log))
    success[target] = log.success[source]
    return replace(log, success=success)
