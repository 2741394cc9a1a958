"""Logged decisions about when to send, as arrays, and their split into two parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from sendopt.domain.keys import unit_interval
from sendopt.stats.arrays import Flags, Floats, Ints

FIRST_PART = 0.6  # share of each user's decisions that all models are fitted on
MIN_SUPPORT = 20  # sends in the first part that a slot needs before a policy may choose it
MIN_USERS = 10  # people to evaluate on
MIN_REST = 100  # sends to evaluate on
MIN_PAST = 3  # decisions that a person needs to be split in time: the first 60 % of fewer, rounded up, are all


class DecisionKind(StrEnum):
    """What was drawn with probability `pscore`.

    `slot`: the slot of a send, among others. `send`: whether to send at a point of time, as in a micro-randomised
    trial.
    """

    SLOT = "slot"
    SEND = "send"


@dataclass(frozen=True)
class Decisions:
    """Logged decisions: arrays of shape (N,), ordered by user and time.

    user, slot, segment, campaign: codes from 0. success: 0 or 1. sent: False only where nothing went out. pscore: in
    (0, 1]. day: the number of the decision's day, None where unknown. `slots` and `segments` name the codes.
    """

    user: Ints
    slot: Ints
    segment: Ints
    campaign: Ints
    success: Floats
    sent: Flags
    pscore: Floats
    kind: DecisionKind
    slots: tuple[str, ...]
    segments: tuple[str, ...] = ("all",)
    day: Ints | None = None

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, which: Flags | Ints) -> Decisions:
        """Return the decisions where `which` (N,) is True, or those at the positions `which`."""
        names = ("user", "slot", "segment", "campaign", "success", "sent", "pscore")
        day = None if self.day is None else self.day[which]
        return replace(self, day=day, **{name: getattr(self, name)[which] for name in names})

    def distinct(self) -> tuple[Decisions, Ints]:
        """Return (one decision of each pair of user and segment, the position of each decision's pair, shape (N,))."""
        key = self.user * len(self.segments) + self.segment
        _, first, pair = np.unique(key, return_index=True, return_inverse=True)
        return self.rows(first), pair.astype(np.int64)

    @property
    def not_sent_arm(self) -> bool:
        """Whether sending was drawn and some decisions were not sent: these show what happens without a send."""
        return self.kind == DecisionKind.SEND and not bool(self.sent.all())

    @property
    def acted(self) -> Flags:
        """Rows whose outcome is that of a send, shape (N,): all drawn slots, or the sent points of time."""
        return np.ones(len(self), bool) if self.kind == DecisionKind.SLOT else self.sent

    @property
    def in_first_part(self) -> Flags:
        """Whether a decision is in the part that all models are fitted on, shape (N,); see `first_part`."""
        return self.first_part("fit")

    def first_part(self, salt: str) -> Flags:
        """Return whether a decision is among the first 60 % of its user, rounded up; shape (N,).

        A user with fewer than three decisions cannot be split in time. Such users go into one part with all their
        decisions: 60 % of them into the first part, by a keyed hash of `salt` and the user's code.
        """
        if not len(self):
            return np.zeros(0, bool)
        position = np.arange(len(self))
        start = np.r_[True, self.user[1:] != self.user[:-1]]
        rank = position - np.maximum.accumulate(np.where(start, position, 0))
        sizes = np.bincount(self.user)
        count = sizes[self.user]
        whole = np.flatnonzero((sizes > 0) & (sizes < MIN_PAST))
        drawn = np.zeros(len(sizes), bool)
        drawn[whole] = [unit_interval("split", salt, str(user)) < FIRST_PART for user in whole]
        return np.asarray(np.where(count < MIN_PAST, drawn[self.user], rank < FIRST_PART * count), dtype=np.bool_)

    @property
    def supported(self) -> Flags:
        """Slots with enough sends in the first part for a policy to choose them, shape (K,)."""
        sends = np.bincount(self.slot[self.in_first_part & self.acted], minlength=len(self.slots))
        return np.asarray(sends >= MIN_SUPPORT, dtype=np.bool_)


def totals(group: Ints, value: Floats | Flags, groups: int) -> Floats:
    """Return the sum of `value` (N,) in each group, shape (groups,).

    >>> totals(np.array([0, 1, 0]), np.array([1.0, 2.0, 3.0]), 3).tolist()
    [4.0, 2.0, 0.0]
    """
    return np.bincount(group, value, groups).astype(np.float64)


def without_certain(log: Decisions) -> tuple[Decisions, int]:
    """Return (the decisions that were drawn, the number of others): at pscore 1 no other action was possible."""
    certain = log.pscore >= 1.0
    return log.rows(~certain), int(certain.sum())
