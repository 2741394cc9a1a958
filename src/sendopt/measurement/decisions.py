"""Logged decisions about when to send: what evaluation needs of a log, its split in time, and when it must be refused.

A decision's `kind` says what its `pscore` is the probability of: `slot` (the row's slot was drawn among others; the row
was then sent) or `send` (the row is a point of time at which sending itself was drawn, as in a micro-randomised trial).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
FIRST_PART = 0.6  # share of each user's decisions that everything is fitted on
MIN_SUPPORT = 20  # sends in the first part that a slot needs before a policy may choose it
MIN_USERS = 10
MIN_REST = 100  # sends to evaluate on
_SIGMAS = 5.0
_SAME_TIME = 20  # sends of a campaign before "all in one slot" says anything


@dataclass(frozen=True)
class Decisions:
    """Arrays of shape (N,), ordered by user and time.

    user, slot, segment, campaign: codes from 0; success in {0, 1}; sent: False only where nothing went out; pscore in
    (0, 1]. `slots` and `segments` name the codes.
    """

    user: Ints
    slot: Ints
    segment: Ints
    campaign: Ints
    success: Floats
    sent: Flags
    pscore: Floats
    kind: str
    slots: tuple[str, ...]
    segments: tuple[str, ...] = ("all",)

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, which: Flags | Ints) -> Decisions:
        """The decisions where `which` (N,) is True, or those at its places."""
        names = ("user", "slot", "segment", "campaign", "success", "sent", "pscore")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def distinct(self) -> tuple[Decisions, Ints]:
        """One decision of each (user, segment), and the place of every decision's own among them, shape (N,)."""
        key = self.user * len(self.segments) + self.segment
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        return self.rows(first), place.astype(np.int64)

    @property
    def not_sent_arm(self) -> bool:
        """Whether sending itself was drawn, so that unsent decisions show what happens anyway."""
        return self.kind == "send" and not bool(self.sent.all())

    @property
    def acted(self) -> Flags:
        """Rows whose outcome is that of the logged action of a timing policy: all drawn slots, or the sent points."""
        return np.ones(len(self), bool) if self.kind == "slot" else self.sent

    @property
    def in_first_part(self) -> Flags:
        """The first 60 % of each user's decisions, rounded up."""
        start = np.r_[True, self.user[1:] != self.user[:-1]] if len(self) else np.zeros(0, bool)
        rank = np.arange(len(self)) - np.maximum.accumulate(np.where(start, np.arange(len(self)), 0))
        count = np.bincount(self.user)[self.user] if len(self) else rank
        return np.asarray(rank < FIRST_PART * count, dtype=np.bool_)

    @property
    def supported(self) -> Flags:
        """(K,): slots with enough sends in the first part for a policy to choose them."""
        known = np.bincount(self.slot[self.in_first_part & self.acted], minlength=len(self.slots))
        return np.asarray(known >= MIN_SUPPORT, dtype=np.bool_)


def totals(group: Ints, value: Floats | Flags, groups: int) -> Floats:
    """Sum of `value` (N,) in each group, shape (groups,)."""
    return np.bincount(group, value, groups).astype(np.float64)


def without_certain(log: Decisions) -> tuple[Decisions, int]:
    """The decisions that were drawn at all, and how many were not: with pscore 1 no other action was possible."""
    certain = log.pscore >= 1.0
    return log.rows(~certain), int(certain.sum())


def refusal(log: Decisions, certain: int) -> str | None:
    """Why no claim about timing can be made from this log, as a sentence; None where one can.

    `log` without the decisions of pscore 1, of which there were `certain`.
    """
    if len(log) == 0 and certain:
        return (
            f"all {certain:,} decisions have probability 1: no other time was possible, so the log cannot say what "
            "another time would have brought; draw the times of some sends at random first"
        )
    if len(log) == 0:
        return "no decision is left after the faulty rows; the list of what was dropped says why"
    used = np.unique(log.slot[log.acted])
    if len(used) < 2:
        return "all sends went out in one slot: there is no overlap between times, so no other time can be judged"
    one_time = _one_time_a_campaign(log)
    if one_time:
        return one_time
    stated = _contradicted(log)
    if stated:
        return stated
    first, supported = log.in_first_part, log.supported
    rest = int((~first & log.acted).sum())
    users = len(np.unique(log.user[~first]))
    if supported.sum() < 2:
        return (
            f"fewer than two slots have {MIN_SUPPORT} sends in the first {FIRST_PART * 100:.0f} % of each person's "
            "time: too little data for any policy to choose between times; log longer, or use wider slots"
        )
    if rest < MIN_REST or users < MIN_USERS:
        return (
            f"{rest:,} sends of {users:,} people are left to evaluate on: too little data, at least {MIN_REST} sends "
            f"of {MIN_USERS} people are needed"
        )
    return None


def _one_time_a_campaign(log: Decisions) -> str | None:
    if log.kind != "slot":
        return None
    sends = np.bincount(log.campaign)
    pairs = np.unique(np.stack([log.campaign, log.slot]), axis=1)[0]
    times = np.bincount(pairs, minlength=len(sends))
    judged = sends >= _SAME_TIME
    if judged.sum() >= 2 and (times[judged] == 1).all():
        return (
            f"each of {int(judged.sum()):,} campaigns went out in one slot only: a better time cannot be told from a "
            "better message, and there is no overlap between times within a campaign"
        )
    return None


def _contradicted(log: Decisions) -> str | None:
    """The stated probabilities against what was drawn: off by more than five standard deviations is no chance."""
    p = log.pscore
    if log.kind == "send":
        expected, found, spread = p.sum(), log.sent.sum(), np.sqrt((p * (1 - p)).sum())
        if abs(found - expected) > _SIGMAS * spread + 1:
            return (
                f"the probabilities in the log expect {expected:,.0f} of {len(p):,} decisions to be sent, but "
                f"{found:,} were: they are not those of the draw, so nothing can be weighted by them"
            )
        return None
    for slot, name in enumerate(log.slots):
        inverse = 1.0 / p[log.slot == slot]
        spread = np.sqrt((inverse * (inverse - 1)).sum())
        if inverse.sum() > len(p) + _SIGMAS * spread + 1:
            return (
                f"slot {name} was used {len(inverse):,} times among {len(p):,} decisions, more often than its stated "
                "probability allows: it is not that of the draw, so nothing can be weighted by it"
            )
    return None
