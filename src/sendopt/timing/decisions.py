"""Logged decisions about when to send: what evaluation needs of a log, and its split into two parts.

A decision's `kind` says what its `pscore` is the probability of: `slot` (the row's slot was drawn among others; the row
was then sent) or `send` (the row is a point of time at which sending itself was drawn, as in a micro-randomised trial).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sendopt.domain.keys import unit_interval
from sendopt.stats.arrays import Flags, Floats, Ints

FIRST_PART = 0.6  # share of each user's decisions that everything is fitted on
MIN_SUPPORT = 20  # sends in the first part that a slot needs before a policy may choose it
MIN_USERS = 10
MIN_REST = 100  # sends to evaluate on
MIN_PAST = 3  # decisions of a person before they can be split in time: of fewer, the first 60 % rounded up are all


@dataclass(frozen=True)
class Decisions:
    """Arrays of shape (N,), ordered by user and time.

    user, slot, segment, campaign: codes from 0; success in {0, 1}; sent: False only where nothing went out; pscore in
    (0, 1]; day: the number of the decision's day, None where it is not known. `slots` and `segments` name the codes.
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
    day: Ints | None = None

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, which: Flags | Ints) -> Decisions:
        """The decisions where `which` (N,) is True, or those at its places."""
        names = ("user", "slot", "segment", "campaign", "success", "sent", "pscore")
        day = None if self.day is None else self.day[which]
        return replace(self, day=day, **{name: getattr(self, name)[which] for name in names})

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
        """The decisions that everything is fitted on, shape (N,); see `first_part`."""
        return self.first_part("fit")

    def first_part(self, salt: str) -> Flags:
        """The first 60 % of each person's decisions, rounded up; shape (N,).

        A person with fewer than three decisions has no later one then, so such people go whole into either part: 60 %
        of them into the first, by a keyed hash of `salt` and the person's code.
        """
        if not len(self):
            return np.zeros(0, bool)
        places = np.arange(len(self))
        start = np.r_[True, self.user[1:] != self.user[:-1]]
        rank = places - np.maximum.accumulate(np.where(start, places, 0))
        sizes = np.bincount(self.user)
        count = sizes[self.user]
        whole = np.flatnonzero((sizes > 0) & (sizes < MIN_PAST))
        drawn = np.zeros(len(sizes), bool)
        drawn[whole] = [unit_interval("split", salt, str(user)) < FIRST_PART for user in whole]
        return np.asarray(np.where(count < MIN_PAST, drawn[self.user], rank < FIRST_PART * count), dtype=np.bool_)

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
