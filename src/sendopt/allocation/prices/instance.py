"""A problem as the flat arrays of the price engine: users in keyed-hash order, cells by message and slot."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.allocation.coupling import Rows, rows_of
from sendopt.allocation.prices.arrange import agreed, arranged, taken
from sendopt.allocation.prices.params import DEFAULT_PARAMS, SolveParams
from sendopt.allocation.problem import Problem
from sendopt.allocation.unit import Units, unit_of
from sendopt.domain.limits import Fatigue, Limits
from sendopt.stats.arrays import Flags, Floats, Ints, Texts

ALL, CHANNEL, CATEGORY, CAMPAIGN = range(4)  # what a cap counts
ROLLING, DAY, WEEK = range(3)  # the period over which it counts
_HASH_KEY = "sendopt-users-v1"  # 16 bytes
_UNLIMITED = 1 << 30  # sends
_ROUNDING = 1e-6  # of steps of fatigue, and minutes of spacing: a relaxation must allow what the rules allow


class Rules(NamedTuple):
    """The rules of each user, the same for all (model ¶9b to ¶9d)."""

    slot_minutes: int
    n_slots: int
    gap_minutes: int
    spacing_minutes: float  # least distance of two planned sends, by the gap or other rules
    cap_scope: NDArray[np.int64]  # (K,) ALL ... CAMPAIGN
    cap_code: NDArray[
        np.int64
    ]  # (K,) code of the channel, category or campaign counted; -1: no send of the problem has it
    cap_period: NDArray[np.int64]  # (K,) ROLLING, DAY, WEEK
    cap_window: NDArray[np.int64]  # (K,) minutes of a rolling window
    cap_max: NDArray[np.int64]  # (K,)
    cap_wide: NDArray[np.bool_]  # (K,) a rolling window that spans the whole horizon
    half_life: float  # minutes
    points: Floats  # (channels,) fatigue points of a send
    max_points: float  # inf: no fatigue budget
    decay: Floats  # (n_slots,) share of points left after so many slots
    levels: int  # of fatigue that a relaxation tells apart at a time; 1: none
    first_level: float  # log2 of the points that step 0 begins with, at plan start
    level_width: float
    level_base: NDArray[np.int32]  # (n_slots,) the step that is level 1 in a slot; level 0 is all below
    next_level: NDArray[np.int16]  # (slots * channels * levels) level after a send; -1 where the budget forbids it


class Instance(NamedTuple):
    """U users, M messages, C cells, H sends of the past. Users and messages stand in keyed-hash order (¶14).

    Values, opt-outs and costs are counted in the units of `Compiled`.
    """

    rules: Rules
    message_start: Ints  # (U + 1,) messages of a user
    cell_start: Ints  # (M + 1,) cells of a message, by slot
    slot: NDArray[np.int16]  # (C,)
    value: Floats  # (C,) -inf where worth nothing, or forbidden by the past alone
    channel: NDArray[np.int16]  # (M,)
    campaign: NDArray[np.int32]  # (M,)
    category: NDArray[np.int32]  # (M,)
    identity: NDArray[np.int32]  # (M,) number within the user; messages of one exclusive group share it
    p_opt_out: Floats  # (M,), or (C,) where `opt_out_by_cell`
    cost: Floats  # (M,), or (C,) where `cost_by_cell`
    opt_out_by_cell: bool
    cost_by_cell: bool
    local_day: NDArray[np.int32]  # (C,), or empty where no calendar cap counts days
    past_start: Ints  # (U + 1,)
    past_minute: Floats  # (H,) after plan start; negative: before it
    past_channel: NDArray[np.int16]
    past_campaign: NDArray[np.int32]
    past_category: NDArray[np.int32]
    past_day: NDArray[np.int32]
    fatigue: Floats  # (U,) points at plan start, of the sends that are history and not committed
    rent: Floats  # (M,) of each identity of a user, what sending it once may cost in a relaxation; kept between answers
    most: NDArray[np.int32]  # (U,) sends that a user's caps on everything allow
    plain: NDArray[np.bool_]  # (U,) gap, identity and `most` are all that can bind
    pairable: NDArray[np.bool_]  # (U,) each message stands alone, and what it uses does not depend on the slot


class Compiled(NamedTuple):
    """An instance, and the problem's rows of its users and cells."""

    instance: Instance
    rows: Rows  # as configured, in the problem's own numbers
    units: Units  # of the instance
    channels: list[str]  # by code
    campaigns: list[str]  # by code
    user: Ints  # (U,) row of Problem.users
    cell: Ints  # (C,) row of Problem.cells


class _Past(NamedTuple):
    """Sends of the past by user, as `Instance` holds them, and what follows from them for each user."""

    past_start: Ints  # (U + 1,)
    past_minute: Floats  # (H,)
    past_channel: NDArray[np.int16]
    past_campaign: NDArray[np.int32]
    past_category: NDArray[np.int32]
    past_day: NDArray[np.int32]
    fatigue: Floats  # (U,)
    most: NDArray[np.int32]  # (U,)


class _FatigueLevels(NamedTuple):
    """Fatigue in levels, as `Rules` holds it."""

    levels: int
    first_level: float
    level_width: float
    level_base: NDArray[np.int32]
    next_level: NDArray[np.int16]


class _ByMessage(NamedTuple):
    """A quantity of sends: (M,) where the cells of each message agree, else (C,)."""

    amount: Floats
    by_cell: bool


class _Order(NamedTuple):
    """The order of users, messages and cells in an instance."""

    users: Ints  # (U,) rows of Problem.users
    messages: Ints  # (M,) rows of Problem.messages
    message_start: Ints  # (U + 1,)
    cells: Ints  # (C,) rows of Problem.cells
    cell_start: Ints  # (M + 1,)
    of_user: Ints  # (M,) user of each message


class _Amounts(NamedTuple):
    """Value, opt-outs and cost of sends, counted in `units`."""

    value: Floats  # (C,)
    opt_out: _ByMessage
    cost: _ByMessage
    units: Units


def compile_problem(problem: Problem, params: SolveParams = DEFAULT_PARAMS) -> Compiled:
    """Return the arrays of `problem`, which must be sound (`contract.require_sound`)."""
    m, c = problem.messages, problem.cells
    order = _order(problem)
    code = {
        name: _Codes(getattr(m, name), getattr(problem.history, name)) for name in ("channel", "campaign", "category")
    }
    rules = _rules(problem, code, params)
    past = _past(problem, _inverse(order.users), code, rules)
    identity = _identities(order.of_user, m.exclusive_group[order.messages])
    value, opt_out, cost, units = _amounts(problem, order)
    single = np.diff(order.message_start) == _distinct(identity, order.of_user, len(order.users))
    calendar = any(cap.calendar for cap in problem.limits.caps.values())
    instance = Instance(
        rules=rules,
        message_start=order.message_start,
        cell_start=order.cell_start,
        slot=taken(c.slot, order.cells, np.int16),
        value=value,
        channel=code["channel"].of_messages[order.messages].astype(np.int16),
        campaign=code["campaign"].of_messages[order.messages].astype(np.int32),
        category=code["category"].of_messages[order.messages].astype(np.int32),
        identity=identity,
        p_opt_out=opt_out.amount,
        cost=cost.amount,
        opt_out_by_cell=opt_out.by_cell,
        cost_by_cell=cost.by_cell,
        local_day=taken(c.local_day, order.cells, np.int32) if calendar else np.empty(0, np.int32),
        **past._asdict(),
        rent=np.zeros(len(order.messages) if rules.levels > 1 else 0),
        plain=_plain(rules, past),
        pairable=single & (not opt_out.by_cell) & (not cost.by_cell) & (rules.spacing_minutes > 0),
    )
    names = code["channel"].names, code["campaign"].names
    return Compiled(instance, rows_of(problem), units, *names, order.users, order.cells)


def _order(problem: Problem) -> _Order:
    """Return users in hash order, their messages by hash, and cells of each message by slot."""
    m, c = problem.messages, problem.cells
    users = hash_order(problem.users)
    messages, message_start = arranged(m.user, users, text_hash(m.message_id))
    cells, cell_start = arranged(c.message, messages, c.slot)
    of_user = np.repeat(np.arange(len(users)), np.diff(message_start))
    return _Order(users, messages, message_start, cells, cell_start, of_user)


def _amounts(problem: Problem, order: _Order) -> _Amounts:
    """Return the amounts of sends in the solver's units; the value is -inf where it is not above 0."""
    c = problem.cells
    opt_out = _by_message(c.p_opt_out, order)
    cost = _by_message(c.cost, order)
    value = taken(np.where(c.value > 0, c.value, -np.inf), order.cells, np.float64)
    units = Units(unit_of(value), unit_of(opt_out.amount), unit_of(cost.amount))
    value /= units.value
    opt_out.amount[:] /= units.opt_outs
    cost.amount[:] /= units.cost
    return _Amounts(value, opt_out, cost, units)


def hash_order(names: Texts) -> Ints:
    """Return the positions of `names` in the order of their keyed hash; equal hashes by the text itself."""
    hashes = text_hash(names)
    order = np.argsort(hashes, kind="stable")
    if len(hashes) and (np.diff(hashes[order].view(np.int64)) == 0).any():
        order = np.array(sorted(range(len(names)), key=lambda i: (int(hashes[i]), str(names[i]))), np.int64)
    return order


def text_hash(names: Texts) -> NDArray[np.uint64]:
    """Return 64 bits of each text, the same on every machine."""
    texts = names if len(names) and isinstance(names[0], str) else np.array([str(n) for n in names], object)
    return np.asarray(pd.util.hash_array(texts, hash_key=_HASH_KEY, categorize=False))


class _Codes:
    """The names of messages and of the past as small integers, numbered by name."""

    def __init__(self, of_messages: Texts, of_past: Texts) -> None:
        codes, names = pd.factorize(np.concatenate([of_messages, of_past]))
        order = np.argsort(np.array([str(n) for n in names], dtype=str), kind="stable")
        codes = _inverse(order)[codes] if len(names) else codes
        self.names = [str(names[i]) for i in order]
        self.of_messages, self.of_past = codes[: len(of_messages)], codes[len(of_messages) :]

    def of(self, name: str) -> int:
        """Return the code of `name`; -1 where neither messages nor the past have it."""
        return self.names.index(name) if name in self.names else -1


def _rules(problem: Problem, code: dict[str, _Codes], params: SolveParams) -> Rules:
    """Return the rules of each user as arrays; caps in the order of their names."""
    limits = problem.limits
    caps = [limits.caps[name] for name in sorted(limits.caps)]
    kinds = {"all": ALL, "channel": CHANNEL, "category": CATEGORY, "campaign": CAMPAIGN}
    scopes = [cap.scope.partition(":")[::2] for cap in caps]
    last_start = (problem.n_slots - 1) * problem.slot_minutes
    fatigue = limits.fatigue
    by_channel = fatigue.points_per_send if fatigue else {}
    half_life = fatigue.half_life_hours * 60.0 if fatigue else 1.0
    points = np.array([by_channel.get(name, 0.0) for name in code["channel"].names], float)
    levels = _levels(fatigue, points, problem.n_slots, problem.slot_minutes, params)
    return Rules(
        slot_minutes=problem.slot_minutes,
        n_slots=problem.n_slots,
        gap_minutes=limits.min_gap_minutes,
        spacing_minutes=_spacing(limits, points[np.unique(code["channel"].of_messages)]),
        cap_scope=np.array([kinds[kind] for kind, _ in scopes], np.int64),
        cap_code=np.array([-1 if kind == "all" else code[kind].of(name) for kind, name in scopes], np.int64),
        cap_period=np.array([{None: ROLLING, "day": DAY, "week": WEEK}[cap.calendar] for cap in caps], np.int64),
        cap_window=np.array([cap.window_minutes or 0 for cap in caps], np.int64),
        cap_max=np.array([cap.max for cap in caps], np.int64),
        cap_wide=np.array([(cap.window_minutes or 0) > last_start for cap in caps], np.bool_),
        half_life=half_life,
        points=points,
        max_points=fatigue.max_points if fatigue else math.inf,
        decay=np.exp2(-np.arange(problem.n_slots) * problem.slot_minutes / half_life),
        **levels._asdict(),
    )


def _levels(
    fatigue: Fatigue | None, points: Floats, n_slots: int, slot_minutes: int, params: SolveParams
) -> _FatigueLevels:
    """Return fatigue in steps, rounded down, so that a relaxation with them allows whatever the rule allows.

    `points` (channels,) are those of a send. A step is log2(points) + time / half-life, in widths: between sends it
    does not change. A slot tells `levels` steps apart. Where the horizon has many half-lives, the rest of old sends
    falls below the slot's first step: level 0, no fatigue at all.
    """
    if fatigue is None or not (points > 0).any():
        return _FatigueLevels(1, 0.0, 1.0, np.empty(0, np.int32), np.empty(0, np.int16))
    time = np.arange(n_slots) * slot_minutes / (fatigue.half_life_hours * 60.0)
    least, most = math.log2(points[points > 0].min()), math.log2(fatigue.max_points)
    levels = params.levels if n_slots <= params.short_slots else params.levels_long
    forgets = time[-1] > params.forgotten_half_lives
    first = least - params.forgotten_half_lives if forgets else least
    width = (most - first + (0.0 if forgets else time[-1])) / (levels - 2) + _ROUNDING
    base = np.floor(time / width) if forgets else np.zeros(n_slots)
    at = first + (np.arange(levels)[None, :] - 1 + base[:, None]) * width
    before = np.exp2(at - time[:, None])[:, None, :]
    before[:, :, 0] = 0.0
    after = before + points[None, :, None]
    step = np.floor((np.log2(np.maximum(after, 1e-300)) + time[:, None, None] - first) / width - _ROUNDING)
    level = np.clip(1 + step - base[:, None, None], 0, levels - 1)
    level = np.where(points[None, :, None] > 0, level, np.arange(levels)[None, None, :])
    level[after > fatigue.max_points + _ROUNDING] = -1
    return _FatigueLevels(levels, first, width, base.astype(np.int32), level.astype(np.int16).ravel())


def _spacing(limits: Limits, points: Floats) -> float:
    """Return the least minutes between two planned sends of a user: by the gap, caps of one, fatigue of two sends.

    `points` are those of the channels with messages.
    """
    apart = [float(limits.min_gap_minutes)]
    apart += [float(c.window_minutes or 0) for c in limits.caps.values() if c.scope == "all" and c.max <= 1]
    least = float(points.min(initial=math.inf))
    if limits.fatigue and 0 < limits.fatigue.max_points - least < least:
        halvings = math.log2(least / (limits.fatigue.max_points - least))
        apart.append(limits.fatigue.half_life_hours * 60.0 * halvings - _ROUNDING)
    return max(apart)


def _past(problem: Problem, user_rank: Ints, code: dict[str, _Codes], rules: Rules) -> _Past:
    """Return the sends of the past by user, then by minute; `user_rank` is the place of each user."""
    h, n = problem.history, len(user_rank)
    owner, minute = user_rank[h.user], -h.minutes_before.astype(np.float64)
    codes = {name: code[name].of_past for name in code}
    order = np.lexsort((codes["category"], codes["campaign"], codes["channel"], minute, owner))
    owner, minute = owner[order], minute[order]
    codes = {name: column[order] for name, column in codes.items()}
    before = ~h.committed[order]  # what is committed tires from its own minute on
    points = np.zeros(len(order)) if len(rules.points) == 0 else rules.points[codes["channel"]]
    weight = np.where(before, points * np.exp2(np.minimum(minute, 0.0) / rules.half_life), 0.0)
    most = np.full(n, _UNLIMITED, np.int64)
    last_start = (rules.n_slots - 1) * rules.slot_minutes
    for wide, scope, window, cap in zip(rules.cap_wide, rules.cap_scope, rules.cap_window, rules.cap_max, strict=True):
        if wide and scope == ALL:
            # in every window that holds a planned send: sends that even the last slot still looks back on
            always = (minute > last_start - window) & (minute <= 0)
            most = np.minimum(most, np.maximum(0, cap - np.bincount(owner[always], minlength=n)))
    return _Past(
        past_start=_starts(owner, n),
        past_minute=minute,
        past_channel=codes["channel"].astype(np.int16),
        past_campaign=codes["campaign"].astype(np.int32),
        past_category=codes["category"].astype(np.int32),
        past_day=h.local_day[order].astype(np.int32),
        fatigue=np.bincount(owner, weights=weight, minlength=n).astype(np.float64),
        most=most.astype(np.int32),
    )


def _plain(rules: Rules, past: _Past) -> Flags:
    """Return (U,) users whom only the gap, identity and caps on everything over the whole horizon can bind."""
    simple = bool((rules.cap_wide & (rules.cap_scope == ALL)).all())
    points = float(rules.points.max(initial=0.0))
    rested = past.fatigue + np.minimum(past.most, 1000) * points <= rules.max_points
    return (np.diff(past.past_start) == 0) & rested & simple


def _distinct(identity: NDArray[np.int32], of_user: Ints, n: int) -> Ints:
    """Return (U,) the number of identities of each user; `identity` (M,) counts from 0."""
    count = np.zeros(n, np.int64)
    np.maximum.at(count, of_user, identity + 1)
    return count


def _identities(of_user: Ints, group: Texts) -> NDArray[np.int32]:
    """Return (M,) the number of each message within its user, in order; messages of one named group share a number."""
    n = len(of_user)
    if n == 0:
        return np.empty(0, np.int32)
    first = np.r_[True, of_user[1:] != of_user[:-1]]
    alone = ~group.astype(bool)
    if alone.all():
        return (np.arange(n) - np.maximum.accumulate(np.where(first, np.arange(n), 0))).astype(np.int32)
    named = pd.factorize(np.where(alone, "", group))[0].astype(np.int64)
    key = np.where(alone, -1 - np.arange(n), named)
    whole = pd.factorize(pd.MultiIndex.from_arrays([of_user, key]))[0]
    start = np.minimum.accumulate(whole[::-1])[::-1]  # numbers grow by first sight, so a user's least is its start
    least = np.full(int(of_user[-1]) + 1, n, np.int64)
    np.minimum.at(least, of_user, start)
    return (whole - least[of_user]).astype(np.int32)


def _by_message(column: Floats, order: _Order) -> _ByMessage:
    """Return `column` by message where the cells of each message agree, else by cell."""
    amount = agreed(column, order.cells, order.cell_start)
    return _ByMessage(taken(column, order.cells, np.float64), True) if amount is None else _ByMessage(amount, False)


def _starts(sorted_owner: Ints, n: int) -> Ints:
    """Return (n + 1,) the first row of each of n owners."""
    return np.r_[0, np.cumsum(np.bincount(sorted_owner, minlength=n))].astype(np.int64)


def _inverse(order: Ints) -> Ints:
    """Return the place of each position in `order`."""
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return inverse
