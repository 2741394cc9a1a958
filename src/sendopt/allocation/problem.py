"""A night's allocation as columns (model ¶9): users, messages, cells that may be sent, limits and history."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sendopt.domain.limits import Limits
from sendopt.stats.arrays import Floats, Ints, Texts


@dataclass(frozen=True, kw_only=True)
class Messages:
    """One row a (user, message); `user` indexes `Problem.users`. All arrays have shape (M,)."""

    user: Ints
    message_id: Texts
    campaign: Texts
    channel: Texts
    category: Texts
    exclusive_group: Texts  # at most one message of a user's group is sent; "" is no group
    tier: Ints  # >= 1; tiers are planned in order, none displaces a higher one (a lower number)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """One row a (message, slot) that may be sent; only eligible ones exist. All arrays have shape (C,)."""

    message: Ints  # row of `Messages`
    slot: Ints  # 0 <= slot < n_slots
    value: Floats  # finite; objective units (opens)
    p_opt_out: Floats  # in [0, 1]
    cost: Floats  # money, >= 0
    local_day: Ints  # user's local calendar day of the slot's start, days since 1970-01-01; used by calendar caps


@dataclass(frozen=True, kw_only=True)
class History:
    """Sends already made, or committed inside the horizon: at the plan's start or later. All arrays have shape (H,)."""

    user: Ints
    channel: Texts
    category: Texts
    campaign: Texts
    minutes_before: Floats  # plan start - send time, minutes; <= 0: a committed send inside the horizon
    local_day: Ints
    p_opt_out: Floats  # counted in the opt-out budget only for committed sends
    cost: Floats

    @property
    def committed(self) -> NDArray[np.bool_]:
        """(H,) the sends inside the horizon, which use the limits across users too (¶2); minute 0 is in slot 0."""
        return np.asarray(self.minutes_before <= 0)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The messages that may be sent, with limits and history. `users` has shape (U,).

    Slot i starts i * slot_minutes after plan start.

    >>> import numpy as np
    >>> from sendopt.domain.limits import Limits
    >>> text = lambda *words: np.array(words, object)
    >>> problem = Problem(
    ...     slot_minutes=60,
    ...     n_slots=24,
    ...     users=text("ann"),
    ...     messages=Messages(
    ...         user=np.array([0]), message_id=text("m1"), campaign=text("sale"), channel=text("push"),
    ...         category=text("shop"), exclusive_group=text(""), tier=np.array([1]),
    ...     ),
    ...     cells=Cells(
    ...         message=np.array([0, 0]), slot=np.array([9, 18]), value=np.array([0.2, 0.3]),
    ...         p_opt_out=np.zeros(2), cost=np.zeros(2), local_day=np.zeros(2, np.int64),
    ...     ),
    ...     limits=Limits(capacity={"push": 1}),
    ... )
    >>> len(problem.cells.slot), len(problem.history.user)
    (2, 0)
    """

    slot_minutes: int
    n_slots: int
    users: Texts
    messages: Messages
    cells: Cells
    limits: Limits
    history: History = field(default_factory=lambda: empty_history())


def empty_history() -> History:
    texts, ints, floats = np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.float64)
    return History(
        user=ints,
        channel=texts,
        category=texts,
        campaign=texts,
        minutes_before=floats,
        local_day=ints,
        p_opt_out=floats,
        cost=floats,
    )
