"""The one way to a `Problem` from the columns of candidates and history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.problem import Cells, History, Messages, Problem, empty_history
from sendopt.domain.limits import Limits, SolveLimits
from sendopt.stats.arrays import Ints, Texts

Column = NDArray[Any]

_SHARED_TEXTS = {"campaign": "campaign_id", "channel": "channel", "category": "category"}  # field -> column


@dataclass(frozen=True, kw_only=True)
class MessageColumns:
    """One entry a (user, message), shape (M,)."""

    user: Column  # index of the problem's users
    texts: Mapping[str, Texts]  # message_id, campaign_id, channel, category and, where known, exclusive_group
    tier: Column | None = None  # None: 1 for all


@dataclass(frozen=True, kw_only=True)
class CellColumns:
    """One entry a (message, slot) that may be sent, shape (C,)."""

    message: Column  # index of the messages
    slot: Column
    value: Column
    p_opt_out: Column
    cost: Column
    local_day: Column | None  # None: no rule counts by local days


@dataclass(frozen=True, kw_only=True)
class HistoryColumns:
    """One entry a past or committed send, shape (H,)."""

    user: Column  # index of the problem's users
    texts: Mapping[str, Texts]  # channel, category, campaign_id
    minutes_before: Column
    local_day: Column | None
    p_opt_out: Column
    cost: Column | None = None  # None: 0 for all


def build_problem(
    *,
    limits: Limits,
    slot_minutes: int,
    n_slots: int,
    users: Texts,
    messages: MessageColumns,
    cells: CellColumns,
    history: History | None = None,
) -> Problem:
    """Return the problem of these columns, in the dtypes of `Problem`; of `limits` only what a `Limits` holds.

    A column that has its dtype already is not copied. No value is checked: see `contract.require_sound`.
    """
    n = len(messages.user)
    group = messages.texts.get("exclusive_group")
    return Problem(
        slot_minutes=slot_minutes,
        n_slots=n_slots,
        users=users,
        messages=Messages(
            user=np.asarray(messages.user, np.int64),
            message_id=messages.texts["message_id"],
            exclusive_group=np.full(n, "", object) if group is None else group,
            tier=np.ones(n, np.int64) if messages.tier is None else np.asarray(messages.tier, np.int64),
            **{field: messages.texts[column] for field, column in _SHARED_TEXTS.items()},
        ),
        cells=Cells(
            message=np.asarray(cells.message, np.int64),
            slot=np.asarray(cells.slot, np.int64),
            value=np.require(cells.value, np.float64, "W"),
            p_opt_out=np.asarray(cells.p_opt_out, np.float64),
            cost=np.asarray(cells.cost, np.float64),
            local_day=_cell_days(cells),
        ),
        limits=_plain(limits),
        history=empty_history() if history is None else history,
    )


def build_history(columns: HistoryColumns) -> History:
    """Return the history of these columns, in the dtypes of `History`."""
    n = len(columns.user)
    return History(
        user=np.asarray(columns.user, np.int64),
        minutes_before=np.asarray(columns.minutes_before, np.float64),
        local_day=np.zeros(n, np.int64) if columns.local_day is None else np.asarray(columns.local_day, np.int64),
        p_opt_out=np.asarray(columns.p_opt_out, np.float64),
        cost=np.zeros(n) if columns.cost is None else np.asarray(columns.cost, np.float64),
        **{field: columns.texts[column] for field, column in _SHARED_TEXTS.items()},
    )


def empty_problem(limits: SolveLimits, n_slots: int) -> Problem:
    """Return a problem with limits and no user.

    >>> problem = empty_problem(SolveLimits(capacity={"push": 5}), n_slots=24)
    >>> len(problem.users), len(problem.cells.slot), problem.limits.capacity
    (0, 0, {'push': 5})
    """
    texts, ints, floats = np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.float64)
    names = dict.fromkeys(("message_id", "exclusive_group", *_SHARED_TEXTS.values()), texts)
    return build_problem(
        limits=limits,
        slot_minutes=limits.slot_minutes,
        n_slots=n_slots,
        users=texts,
        messages=MessageColumns(user=ints, texts=names, tier=ints),
        cells=CellColumns(message=ints, slot=ints, value=floats, p_opt_out=floats, cost=floats, local_day=ints),
    )


def _plain(limits: Limits) -> Limits:
    """Return `limits` without what a subclass adds."""
    if type(limits) is Limits:
        return limits
    return Limits(**{name: getattr(limits, name) for name in Limits.model_fields})


def _cell_days(cells: CellColumns) -> Ints:
    """Return the local days (C,), 0 for all where they are not known; these zeros take no room."""
    if cells.local_day is None:
        return np.broadcast_to(np.int64(0), len(cells.message))
    return np.asarray(cells.local_day, np.int64)
