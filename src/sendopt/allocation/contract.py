"""Check a problem before it is solved, and bring it into canonical order, so that input order never matters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.allocation.problem import Cells, History, Messages, Problem
from sendopt.domain.limits import Limits
from sendopt.errors import ContractError, InfeasibleError
from sendopt.stats.arrays import Flags, Ints


def require_sound(problem: Problem) -> None:
    """Raise ContractError (exit 3) naming array, count and rows, or InfeasibleError (exit 4) naming limits."""
    require_feasible(problem.limits)
    if problem.slot_minutes < 1 or problem.n_slots < 1:
        raise ContractError(
            f"allocation: slot_minutes {problem.slot_minutes} and n_slots {problem.n_slots} must be at least 1; "
            "check the grid"
        )
    cells, messages, history = problem.cells, problem.messages, problem.history
    for name, group in (("messages", messages), ("cells", cells), ("history", history)):
        lengths = {f.name: len(getattr(group, f.name)) for f in fields(group)}
        if len(set(lengths.values())) > 1:
            raise ContractError(f"allocation: {name} has arrays of different lengths {lengths}; one row each is needed")
    users, rows = len(problem.users), len(messages.user)
    horizon = problem.n_slots * problem.slot_minutes
    _refuse("users", "not unique", _repeats(problem.users))
    _refuse("messages.user", f"outside 0..{users - 1}", _outside(messages.user, users))
    _refuse("history.user", f"outside 0..{users - 1}", _outside(history.user, users))
    _refuse("cells.message", f"outside 0..{rows - 1}", _outside(cells.message, rows))
    _refuse("cells.slot", f"outside 0..{problem.n_slots - 1}", _outside(cells.slot, problem.n_slots))
    _refuse("cells.value", "not finite", ~np.isfinite(cells.value))
    _refuse("history.minutes_before", "not finite", ~np.isfinite(history.minutes_before))
    _refuse("history.minutes_before", f"after the horizon of {horizon} minutes", history.minutes_before <= -horizon)
    for name, group in (("cells", cells), ("history", history)):
        _refuse(f"{name}.p_opt_out", "outside [0, 1]", ~((group.p_opt_out >= 0) & (group.p_opt_out <= 1)))
        _refuse(f"{name}.cost", "not a finite number >= 0", ~(np.isfinite(group.cost) & (group.cost >= 0)))
    _refuse("messages", "repeated (user, message_id)", _repeats(messages.user, messages.message_id))
    _refuse("cells", "repeated (message, slot)", _repeats(cells.message, cells.slot))


def canonical(problem: Problem) -> tuple[Problem, Ints]:
    """Return (the problem in an order that the input's does not change, row of the input's cells for each cell)."""
    users = np.argsort(np.array([str(u) for u in problem.users], dtype=str), kind="stable")
    user_rank = _inverse(users)
    m = problem.messages
    message_order = _sorted_rows(zip(user_rank[m.user], map(str, m.message_id), strict=True))
    message_rank = _inverse(message_order)
    moved = Messages(
        user=user_rank[m.user][message_order],
        **{f.name: getattr(m, f.name)[message_order] for f in fields(m) if f.name != "user"},
    )
    c = problem.cells
    cell_order = np.lexsort((c.slot, message_rank[c.message])).astype(np.int64)
    columns = {f.name: getattr(c, f.name)[cell_order] for f in fields(c)}
    columns["message"] = message_rank[columns["message"]]
    h = problem.history
    numbers = zip(h.minutes_before.tolist(), h.local_day.tolist(), h.p_opt_out.tolist(), h.cost.tolist(), strict=True)
    texts = zip(map(str, h.channel), map(str, h.category), map(str, h.campaign), strict=True)
    past_order = _sorted_rows(zip(user_rank[h.user].tolist(), numbers, texts, strict=True))
    past = {f.name: getattr(h, f.name)[past_order] for f in fields(h)}
    past["user"] = user_rank[past["user"]]
    return (
        replace(problem, users=problem.users[users], messages=moved, cells=Cells(**columns), history=History(**past)),
        cell_order,
    )


def require_feasible(limits: Limits) -> None:
    """Raise InfeasibleError (exit 4) naming limits that contradict each other whatever is sent."""
    contradictory = [
        f"campaigns.{name}: min_sends {c.min_sends} > max_sends {c.max_sends}"
        for name, c in sorted(limits.campaigns.items())
        if c.max_sends is not None and c.min_sends > c.max_sends
    ]
    first_name: dict[tuple[str, int | None, str | None], str] = {}
    for name, cap in sorted(limits.caps.items()):
        first = first_name.setdefault((cap.scope, cap.window_minutes, cap.calendar), name)
        if limits.caps[first].max != cap.max:
            both = f"caps.{first}: max {limits.caps[first].max} and caps.{name}: max {cap.max}"
            contradictory.append(f"{both} for the same scope and window")
    if contradictory:
        raise InfeasibleError(
            f"limits contradict each other: {'; '.join(contradictory)}; say each limit once, no minimum above its "
            "maximum",
            limits=contradictory,
        )


def _refuse(where: str, what: str, bad: Flags) -> None:
    """Raise ContractError where `bad` is True in some row, naming array, fault and first rows."""
    if bad.any():
        rows = np.flatnonzero(bad)
        raise ContractError(
            f"allocation: {where} is {what} in {len(rows)} of {len(bad)} rows (rows {rows[:3].tolist()}); "
            "repair the candidates or the history before allocating"
        )


def _outside(index: Ints, size: int) -> Flags:
    """Return True for numbers that are not row numbers of an array of this size."""
    return (index < 0) | (index >= size)


def _repeats(*keys: NDArray[Any]) -> Flags:
    """Return True in all rows but the first of each combination."""
    codes = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        code, names = pd.factorize(key)
        codes = pd.factorize(codes * np.int64(len(names) + 1) + code)[0].astype(np.int64)
    return np.asarray(pd.Series(codes).duplicated())


def _sorted_rows(keys: Iterable[object]) -> Ints:
    """Return the order that sorts `keys`; equal keys keep theirs."""
    listed = list(keys)
    return np.array(sorted(range(len(listed)), key=listed.__getitem__), dtype=np.int64)  # type: ignore[arg-type]


def _inverse(order: Ints) -> Ints:
    """Return the position of each row in `order`."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order), dtype=np.int64)
    return rank
