"""One user's rules as linear rows (model ¶9a to ¶9d): windows, not pairs, and only rows that can bind.

History shrinks a row's limit. Where history alone is over it, the cells concerned are forbidden instead, so that no
user is ever infeasible by the past.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.problem import Problem
from sendopt.domain.limits import Fatigue
from sendopt.domain.rules import Send, counts


class Row(NamedTuple):
    """Σ coefficients · x[cells] <= limit; without coefficients all are 1."""

    cells: tuple[int, ...]
    limit: float
    coefficients: tuple[float, ...] | None = None


class UserRows(NamedTuple):
    """Rows by user index, and the cells that no plan may use: worth nothing, or shut out by history."""

    rows: list[list[Row]]
    allowed: NDArray[np.bool_]  # (C,)


_Cell = tuple[int, int, Send]  # cell, message, the send it would be


def user_rows(problem: Problem, affordable: NDArray[np.bool_] | None = None) -> UserRows:
    """Every user's rows over the cells of positive value (a value <= 0 is never sent, not even for a minimum: ¶6).

    Of these only the `affordable` (C,) where given.
    """
    allowed = np.asarray(problem.cells.value > 0)
    if affordable is not None:
        allowed &= affordable
    by_user: list[list[_Cell]] = [[] for _ in problem.users]
    for c in np.flatnonzero(allowed).tolist():
        message = int(problem.cells.message[c])
        by_user[int(problem.messages.user[message])].append((c, message, planned_send(problem, c)))
    past = past_sends(problem)
    rows: list[list[Row]] = []
    for user, cells in enumerate(by_user):
        of_user, forbidden = _rows_of(problem, cells, past[user])
        rows.append(of_user)
        allowed[list(forbidden)] = False
    return UserRows(rows, allowed)


def planned_send(problem: Problem, cell: int) -> Send:
    cells, messages = problem.cells, problem.messages
    m = int(cells.message[cell])
    return Send(
        minute=float(cells.slot[cell] * problem.slot_minutes),
        channel=messages.channel[m],
        category=messages.category[m],
        campaign=messages.campaign[m],
        local_day=int(cells.local_day[cell]),
        planned=True,
        message_id=str(messages.exclusive_group[m] or messages.message_id[m]),  # what is sent at most once
    )


def past_sends(problem: Problem) -> list[list[Send]]:
    """History and committed sends of each user."""
    h = problem.history
    sends: list[list[Send]] = [[] for _ in problem.users]
    columns = (h.user, h.minutes_before, h.channel, h.category, h.campaign, h.local_day)
    for user, before, channel, category, campaign, day in zip(*columns, strict=True):
        sends[int(user)].append(Send(-float(before), channel, category, campaign, int(day), False))
    return sends


def _rows_of(problem: Problem, cells: list[_Cell], past: list[Send]) -> tuple[list[Row], set[int]]:
    """One user's rows after the forbidden cells are gone, and those cells."""
    limits = problem.limits
    counted: list[tuple[frozenset[int], int]] = []
    for cap in limits.caps.values():
        inside = [cell for cell in cells if counts(cap.scope, cell[2])]
        before = [s for s in past if counts(cap.scope, s)]
        if cap.window_minutes is not None:
            counted += _rolling(inside, before, cap.window_minutes, cap.max)
        else:
            days = 1 if cap.calendar == "day" else 7
            counted += _calendar(inside, before, days, cap.max)
    if limits.min_gap_minutes:
        counted += _rolling(cells, past, limits.min_gap_minutes, 1)
    tiring = [] if limits.fatigue is None else list(_fatigue(limits.fatigue, cells, past))
    forbidden = {c for group, room in counted if room <= 0 for c in group}
    forbidden |= {c for row in tiring for c in _too_many_points(row, 0)}
    message_of = {c: message for c, message, _ in cells if c not in forbidden}
    by_message: dict[int, list[int]] = defaultdict(list)
    for c, message in message_of.items():
        by_message[message].append(c)
    groups = [(frozenset(group), 1) for group in by_message.values()]
    groups += [(frozenset(group), 1) for group in _exclusive(problem, message_of).values()]
    groups += [(group - forbidden, room) for group, room in counted if room > 0]
    most = min((room for group, room in groups if len(group) == len(message_of)), default=len(by_message))
    groups += [(_too_many_points(row, k) - forbidden, k) for row in tiring for k in range(1, most)]
    rows = [Row(tuple(sorted(group)), room) for group, room in _binding(groups, message_of)]
    for row in tiring:
        pairs = [(c, a) for c, a in zip(row.cells, row.coefficients or (), strict=True) if c in message_of and a > 0]
        if row.limit >= 0 and _most_points(pairs, message_of, most) > row.limit:
            rows.append(Row(tuple(c for c, _ in pairs), row.limit, tuple(a for _, a in pairs)))
    return rows, forbidden


def _exclusive(problem: Problem, message_of: dict[int, int]) -> dict[str, list[int]]:
    """Cells of each exclusive group: at most one of them is sent (¶9a)."""
    groups: dict[str, list[int]] = defaultdict(list)
    for c, message in message_of.items():
        if group := problem.messages.exclusive_group[message]:
            groups[str(group)].append(c)
    return groups


def _too_many_points(row: Row, k: int) -> frozenset[int]:
    """Cells of a fatigue row of which any k + 1 together are over its limit: at most k of them can be sent.

    With k = 0 the cells to forbid. These whole-number rows cut off what the relaxation would send in halves: without
    them its bound was 5 % too high on a world with binding fatigue, measured.
    """
    if row.limit < 0:
        return frozenset(row.cells)
    pairs = zip(row.cells, row.coefficients or (), strict=True)
    return frozenset(c for c, a in pairs if a * (k + 1) > row.limit + 1e-6)


def _most_points(pairs: list[tuple[int, float]], message_of: dict[int, int], most: int) -> float:
    """The largest sum that `most` sends of different messages could reach."""
    largest: dict[int, float] = {}
    for c, a in pairs:
        largest[message_of[c]] = max(a, largest.get(message_of[c], 0.0))
    return math.fsum(sorted(largest.values(), reverse=True)[:most])


def _rolling(cells: list[_Cell], past: list[Send], window: int, most: int) -> Iterable[tuple[frozenset[int], int]]:
    """(cells, room) of each half-open window that starts at a send or a candidate and holds a candidate."""
    times = [(send.minute, c) for c, _, send in cells]
    before = [s.minute for s in past]
    for start in sorted({minute for minute, _ in times} | set(before)):
        end = start + window
        group = frozenset(c for minute, c in times if start <= minute < end)
        if group:
            yield group, most - sum(start <= minute < end for minute in before)


def _calendar(cells: list[_Cell], past: list[Send], days: int, most: int) -> Iterable[tuple[frozenset[int], int]]:
    def period(send: Send) -> int:
        # 1970-01-01 was a Thursday: ISO weeks start three days after a multiple of seven
        return send.local_day if days == 1 else (send.local_day + 3) // 7

    for key in sorted({period(send) for _, _, send in cells}):
        group = frozenset(c for c, _, send in cells if period(send) == key)
        yield group, most - sum(period(s) == key for s in past)


def _fatigue(fatigue: Fatigue, cells: list[_Cell], past: list[Send]) -> Iterable[Row]:
    """State <= max_points at each candidate slot and each committed send; a negative limit forbids the row's cells.

    Between sends the state only decays, so a row at a slot that stays empty asks nothing new. Where the past alone
    is over the limit, no send may be planned at that very slot, nor anywhere before a committed send.
    """
    half_life = fatigue.half_life_hours * 60.0

    def points(send: Send, at: float) -> float:
        return fatigue.points_per_send.get(send.channel, 0.0) * math.pow(0.5, (at - send.minute) / half_life)

    committed = {s.minute for s in past if s.minute >= 0}
    for at in sorted({send.minute for _, _, send in cells} | committed):
        room = fatigue.max_points - sum(points(s, at) for s in past if s.minute <= at)
        if abs(room) < 1e-9:
            room = 0.0
        earlier = [(c, send) for c, _, send in cells if send.minute <= at]
        if room < 0 and at not in committed:
            earlier = [(c, send) for c, send in earlier if send.minute == at]
        if earlier:
            yield Row(tuple(c for c, _ in earlier), room, tuple(points(send, at) for _, send in earlier))


def _binding(
    groups: Sequence[tuple[frozenset[int], int]], message_of: dict[int, int]
) -> list[tuple[frozenset[int], int]]:
    """Groups that can bind: more messages than room (or one message's cells), and inside no other tighter group."""
    kept: list[tuple[frozenset[int], int]] = []
    for group, room in sorted(groups, key=lambda g: (g[1], -len(g[0]), min(g[0], default=0))):
        messages = {message_of[c] for c in group}
        can_bind = len(group) > 1 and (len(messages) > room or room == 1)
        if can_bind and not any(group <= other for other, _ in kept):
            kept.append((group, room))
    return kept
