"""The rules of ¶9b to ¶9d as the audit counts them for one user's sends: plain loops on purpose, compiled.

A kind of send is a channel, a category and a campaign: the rules treat all sends of a kind alike. In kernels u is a
user, i and j are sends, n is their number, k is a cap. `tests/plain_audit.py` has the same rules in plain Python.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from sendopt.allocation.problem import Problem
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Flags, Floats, Ints

POINTS_TOLERANCE = 1e-6  # points; above a solver's feasibility tolerance
Kind = tuple[str, str, str]  # channel, category, campaign
EVERY_SEND = -1  # given instead of a cap's number: all sends count


class Rules(NamedTuple):
    """The limits of one user, with K caps and G kinds of send."""

    slot_minutes: int
    n_slots: int
    counts: Flags  # (G, K) whether the cap counts a send of this kind
    most: Ints  # (K,) sends in a window
    window: Floats  # (K,) minutes of a rolling window; 0: the cap counts by calendar
    days: Ints  # (K,) 1: a local day, 7: an ISO week, 0: a rolling window
    gap: float  # minutes between two sends; 0: none
    points: Floats  # (G,) fatigue points of a send
    half_life: float  # minutes
    max_points: float  # inf: no fatigue budget
    alone: Flags  # (G,) whether a send of this kind may be the only send of a user


class Past(NamedTuple):
    """The sends of history and committed sends that can still count, H sends ordered by user."""

    start: Ints  # (U + 1,) first send of a user
    minute: Floats  # (H,) after plan start; negative: before it
    kind: Ints  # (H,)
    day: Ints  # (H,) local day
    points: Floats  # (U,) fatigue at plan start from all earlier sends


class Sends(NamedTuple):
    """Sends of one user, those of the past first."""

    minute: Floats
    kind: Ints
    day: Ints
    planned: Flags


class Users(NamedTuple):
    """A problem's rules, past sends and kinds of messages as the kernels read them."""

    rules: Rules
    past: Past
    kind: Ints  # (M,) of each message


def users_of(problem: Problem) -> Users:
    """Return the problem's rules, past sends and kinds of messages as the kernels read them."""
    kind, past_kind, kinds = _kinds(problem)
    rules = _rules(problem, kinds)
    return Users(rules, _past(problem, rules, past_kind), kind)


def memory_for(past: Past, planned: int) -> Sends:
    """Return arrays that hold the past sends of any user and `planned` sends more."""
    n = int(np.diff(past.start).max(initial=0)) + planned + 1
    return Sends(np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_))


def broken_rules(problem: Problem, cells: Ints) -> dict[str, int]:
    """Return {rule: users for whom the planned `cells` break it}; rules that hold for all users are absent.

    A window counts only if it holds a planned send.
    """
    users = users_of(problem)
    owner = problem.messages.user[problem.cells.message[cells]]
    cells = cells[np.argsort(owner, kind="stable")]
    sends = np.bincount(owner, minlength=len(problem.users))
    broken = np.zeros(len(users.rules.most) + 2, np.int64)
    _count_broken(
        users.rules,
        users.past,
        np.concatenate([[0], np.cumsum(sends)]),
        problem.cells.slot[cells].astype(np.int64),
        users.kind[problem.cells.message[cells]],
        problem.cells.local_day[cells].astype(np.int64),
        memory_for(users.past, int(sends.max(initial=0))),
        broken,
    )
    names = [*(f"caps.{name}" for name in problem.limits.caps), "min_gap_minutes", "fatigue"]
    return {name: n for name, n in zip(names, broken.tolist(), strict=True) if n}


@entry()
def _count_broken(
    rules: Rules, past: Past, start: Ints, slot: Ints, kind: Ints, day: Ints, sends: Sends, broken: Ints
) -> None:
    """Add to `broken` (K + 2,) the number of users who break each rule.

    The planned sends of user u are `start[u]` to `start[u + 1]` - 1.
    """
    for u in range(len(start) - 1):
        if start[u] == start[u + 1]:
            continue
        n = put_past(past, u, sends)
        for i in range(start[u], start[u + 1]):
            put_planned(sends, n, float(slot[i] * rules.slot_minutes), kind[i], day[i])
            n += 1
        for rule in range(len(broken)):
            broken[rule] += breaks(rules, rule, sends, n, past.points[u])


@kernel()
def put_past(past: Past, u: int, sends: Sends) -> int:
    """Write the past sends of u to the start of `sends` and return their number."""
    first = past.start[u]
    n = past.start[u + 1] - first
    for i in range(n):
        sends.minute[i] = past.minute[first + i]
        sends.kind[i] = past.kind[first + i]
        sends.day[i] = past.day[first + i]
        sends.planned[i] = False
    return n


@kernel()
def put_planned(sends: Sends, i: int, minute: float, kind: int, day: int) -> None:
    """Write a planned send to place i of `sends`."""
    sends.minute[i] = minute
    sends.kind[i] = kind
    sends.day[i] = day
    sends.planned[i] = True


@kernel()
def breaks_any(rules: Rules, sends: Sends, n: int, points: float) -> bool:
    """Return whether the n sends break a rule; `points` is the fatigue at plan start."""
    broken = False
    for rule in range(len(rules.most) + 2):
        broken = broken or breaks(rules, rule, sends, n, points)
    return broken


@kernel()
def breaks(rules: Rules, rule: int, sends: Sends, n: int, points: float) -> bool:
    """Return whether the n sends break the rule of this number: caps first, then the gap, then fatigue.

    `points` is the fatigue at plan start.
    """
    caps = len(rules.most)
    if rule == caps:
        return rules.gap > 0 and crowded(rules, EVERY_SEND, sends, n, rules.gap, 1)
    if rule > caps:
        return tired(rules, sends, n, points)
    if rules.days[rule] > 0:
        return crowded_by_calendar(rules, rule, sends, n)
    return crowded(rules, rule, sends, n, rules.window[rule], rules.most[rule])


@kernel()
def counted(rules: Rules, k: int, kind: int) -> bool:
    """Return whether cap k counts a send of this kind."""
    return k == EVERY_SEND or rules.counts[kind, k]


@kernel()
def crowded(rules: Rules, k: int, sends: Sends, n: int, window: float, most: int) -> bool:
    """Return whether a half-open window that holds a planned send holds more than `most` sends.

    Windows that start at a send suffice.
    """
    for i in range(n):
        if not counted(rules, k, sends.kind[i]):
            continue
        start = sends.minute[i]
        held = 0
        holds_planned = False
        for j in range(n):
            if start <= sends.minute[j] < start + window and counted(rules, k, sends.kind[j]):
                held += 1
                holds_planned = holds_planned or sends.planned[j]
        if held > most and holds_planned:
            return True
    return False


@kernel()
def crowded_by_calendar(rules: Rules, k: int, sends: Sends, n: int) -> bool:
    """Return whether a local day or ISO week that holds a planned send holds more sends than cap k allows."""
    for i in range(n):
        if not sends.planned[i] or not counted(rules, k, sends.kind[i]):
            continue
        held = 0
        for j in range(n):
            same = period(rules.days[k], sends.day[j]) == period(rules.days[k], sends.day[i])
            if same and counted(rules, k, sends.kind[j]):
                held += 1
        if held > rules.most[k]:
            return True
    return False


@kernel()
def period(days: int, day: int) -> int:
    """Return `day` for periods of one day, else the number of its ISO week (Monday to Sunday).

    Day 0 is Thursday 1970-01-01.
    """
    return day if days == 1 else (day + 3) // 7


@kernel()
def tired(rules: Rules, sends: Sends, n: int, points: float) -> bool:
    """Return whether fatigue is over its limit after a planned send, or after a committed send that follows (¶9d)."""
    if rules.max_points == math.inf:
        return False
    first = math.inf
    for i in range(n):
        if sends.planned[i]:
            first = min(first, sends.minute[i])
    for i in range(n):
        now = sends.minute[i]
        if now < first:
            continue
        state = points * 2.0 ** (-now / rules.half_life)
        for j in range(n):
            if 0 <= sends.minute[j] <= now:
                state += rules.points[sends.kind[j]] * 2.0 ** ((sends.minute[j] - now) / rules.half_life)
        if state > rules.max_points + POINTS_TOLERANCE:
            return True
    return False


def _kinds(problem: Problem) -> tuple[Ints, Ints, list[Kind]]:
    """Return (kind (M,) of each message, kind (H,) of each past send, the kinds)."""
    code = np.zeros(len(problem.messages.user) + len(problem.history.user), np.int64)
    names = []
    for column in ("channel", "category", "campaign"):
        both = np.concatenate([getattr(problem.messages, column), getattr(problem.history, column)])
        of_row, texts = pd.factorize(both, use_na_sentinel=False)
        code = code * max(1, len(texts)) + of_row
        names.append(texts)
    kind, codes = pd.factorize(code)
    kinds: list[Kind] = []
    for number in codes.tolist():
        pair, campaign = divmod(number, len(names[2]))
        channel, category = divmod(pair, len(names[1]))
        kinds.append((names[0][channel], names[1][category], names[2][campaign]))
    kind = kind.astype(np.int64)
    messages = len(problem.messages.user)
    return kind[:messages], kind[messages:], kinds


def _rules(problem: Problem, kinds: list[Kind]) -> Rules:
    limits = problem.limits
    caps, fatigue = list(limits.caps.values()), limits.fatigue
    counts = np.array([[in_scope(cap.scope, *kind) for cap in caps] for kind in kinds], np.bool_)
    counts = counts.reshape(len(kinds), len(caps))
    by_channel = {} if fatigue is None else fatigue.points_per_send
    points = np.array([by_channel.get(str(channel), 0.0) for channel, _, _ in kinds], np.float64)
    most = np.array([cap.max for cap in caps], np.int64)
    max_points = math.inf if fatigue is None else fatigue.max_points
    return Rules(
        slot_minutes=problem.slot_minutes,
        n_slots=problem.n_slots,
        counts=counts,
        most=most,
        window=np.array([cap.window_minutes or 0 for cap in caps], np.float64),
        days=np.array([{"day": 1, "week": 7}.get(cap.calendar or "", 0) for cap in caps], np.int64),
        gap=float(limits.min_gap_minutes),
        points=points,
        half_life=60.0 if fatigue is None else 60.0 * fatigue.half_life_hours,
        max_points=max_points,
        alone=~(counts & (most < 1)).any(axis=1) & (points <= max_points),
    )


def in_scope(scope: str, channel: str, category: str, campaign: str) -> bool:
    """Return whether a cap of this scope counts such a send.

    >>> in_scope("channel:push", "push", "news", "spring")
    True
    """
    kind, _, name = scope.partition(":")
    return kind == "all" or name == {"channel": channel, "category": category}.get(kind, campaign)


def _past(problem: Problem, rules: Rules, kind: Ints) -> Past:
    """Return the past sends that share a window, day or week with the plan, and the fatigue from all of them."""
    h = problem.history
    minute = 0.0 - h.minutes_before
    longest = max([rules.gap, *rules.window.tolist()])
    matters = (minute >= 0) | (minute > -longest) | _shares_a_week(problem, rules)
    before = minute < 0
    left = rules.points[kind[before]] * 2.0 ** (minute[before] / rules.half_life)
    owner = h.user[matters]
    order = np.flatnonzero(matters)[np.argsort(owner, kind="stable")]
    return Past(
        start=np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(problem.users)))]),
        minute=minute[order],
        kind=kind[order],
        day=h.local_day[order].astype(np.int64),
        points=np.asarray(np.bincount(h.user[before], weights=left, minlength=len(problem.users)), np.float64),
    )


def _shares_a_week(problem: Problem, rules: Rules) -> Flags:
    """Return flags (H,): True where a calendar cap may count the past send together with a cell."""
    days = problem.cells.local_day
    if not rules.days.any() or len(days) == 0:
        return np.zeros(len(problem.history.user), np.bool_)
    week, first, last = ((d + 3) // 7 for d in (problem.history.local_day, days.min(), days.max()))
    return np.asarray((week >= first) & (week <= last))
