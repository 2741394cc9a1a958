"""A problem as the flat arrays that the price engine walks: users in keyed-hash order, cells by message and slot."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.allocation.coupling import Rows, rows_of
from sendopt.allocation.prices.arrange import agreed, arranged, taken
from sendopt.allocation.problem import Problem
from sendopt.allocation.unit import Units, unit_of
from sendopt.domain.limits import Fatigue, Limits
from sendopt.stats.arrays import Floats, Ints, Texts

ALL, CHANNEL, CATEGORY, CAMPAIGN = range(4)  # what a cap counts
ROLLING, DAY, WEEK = range(3)  # over what it counts
_HASH_KEY = "sendopt-users-v1"  # 16 bytes
_UNLIMITED = 1 << 30
_ROUNDING = 1e-6
LEVELS, MORE_LEVELS = 40, 80  # of fatigue; more where there are more than
FEW_SLOTS = 200
FORGOTTEN = 3.0  # half-lives after which the least send's points count as none


class Rules(NamedTuple):
    """Rules of one user, the same for all (model ¶9b to ¶9d)."""

    slot_minutes: int
    n_slots: int
    gap_minutes: int
    spacing_minutes: float  # at least so far apart are any two planned sends, by the gap or by what follows from others
    cap_scope: NDArray[np.int64]  # (K,) ALL ... CAMPAIGN
    cap_code: NDArray[np.int64]  # (K,) code of the channel, category or campaign counted; -1: no send here has it
    cap_period: NDArray[np.int64]  # (K,) ROLLING, DAY, WEEK
    cap_window: NDArray[np.int64]  # (K,) minutes of a rolling window
    cap_max: NDArray[np.int64]  # (K,)
    cap_wide: NDArray[np.bool_]  # (K,) a rolling window that spans the whole horizon
    half_life: float  # minutes
    points: Floats  # (channels,) fatigue points of a send
    max_points: float  # inf: no fatigue budget
    decay: Floats  # (n_slots,) what is left of points after so many slots
    levels: int  # of fatigue that a relaxation may tell apart at a time; 1: none
    first_level: float  # log2 of the points that step 0 begins with, at plan start
    level_width: float
    level_base: NDArray[np.int32]  # (n_slots,) the step that is level 1 in a slot; level 0 is whatever is below
    next_level: NDArray[np.int16]  # (slots * channels * levels) level after a send; -1 where it is one too many


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
    """An instance and its way back to the problem."""

    instance: Instance
    rows: Rows  # as configured, in the problem's own numbers
    units: Units  # of the instance
    channels: list[str]  # by code
    campaigns: list[str]  # by code
    user: Ints  # (U,) row of Problem.users
    cell: Ints  # (C,) row of Problem.cells


def compile_problem(problem: Problem) -> Compiled:
    """The arrays of `problem`, which must be sound (`contract.require_sound`)."""
    m, c = problem.messages, problem.cells
    users = hash_order(problem.users)
    user_rank = _inverse(users)
    messages, message_start = arranged(m.user, users, text_hash(m.message_id))
    cells, cell_start = arranged(c.message, messages, c.slot)
    code = {
        name: _Codes(getattr(m, name), getattr(problem.history, name)) for name in ("channel", "campaign", "category")
    }
    rules = _rules(problem, code)
    of_user = np.repeat(np.arange(len(users)), np.diff(message_start))
    calendar = any(cap.calendar for cap in problem.limits.caps.values())
    identity = _identities(of_user, m.exclusive_group[messages])
    opt_out = _by_message("p_opt_out", "opt_out_by_cell", c.p_opt_out, cells, cell_start)
    cost = _by_message("cost", "cost_by_cell", c.cost, cells, cell_start)
    past = _past(problem, user_rank, code, rules)
    single = np.diff(message_start) == _distinct(identity, of_user, len(users))
    value = taken(np.where(c.value > 0, c.value, -np.inf), cells, np.float64)
    units = Units(unit_of(value), unit_of(opt_out["p_opt_out"]), unit_of(cost["cost"]))
    value /= units.value
    opt_out["p_opt_out"] /= units.opt_outs
    cost["cost"] /= units.cost
    instance = Instance(
        rules=rules,
        message_start=message_start,
        cell_start=cell_start,
        slot=taken(c.slot, cells, np.int16),
        value=value,
        channel=code["channel"].own[messages].astype(np.int16),
        campaign=code["campaign"].own[messages].astype(np.int32),
        category=code["category"].own[messages].astype(np.int32),
        identity=identity,
        **opt_out,
        **cost,
        local_day=taken(c.local_day, cells, np.int32) if calendar else np.empty(0, np.int32),
        **past,
        rent=np.zeros(len(messages) if rules.levels > 1 else 0),
        plain=_plain(rules, past),
        pairable=single & (not opt_out["opt_out_by_cell"]) & (not cost["cost_by_cell"]) & (rules.spacing_minutes > 0),
    )
    return Compiled(instance, rows_of(problem), units, code["channel"].names, code["campaign"].names, users, cells)


def hash_order(names: Texts) -> Ints:
    """Positions of `names` in the order of their keyed hash; equal hashes by the text itself."""
    found = text_hash(names)
    order = np.argsort(found, kind="stable")
    if len(found) and (np.diff(found[order].view(np.int64)) == 0).any():
        order = np.array(sorted(range(len(names)), key=lambda i: (int(found[i]), str(names[i]))), np.int64)
    return order


def text_hash(names: Texts) -> NDArray[np.uint64]:
    """64 bits of each text, the same on every machine."""
    texts = names if len(names) and isinstance(names[0], str) else np.array([str(n) for n in names], object)
    return np.asarray(pd.util.hash_array(texts, hash_key=_HASH_KEY, categorize=False))


class _Codes:
    """The names of messages and of the past as small integers, numbered by name."""

    def __init__(self, own: Texts, past: Texts) -> None:
        codes, names = pd.factorize(np.concatenate([own, past]))
        order = np.argsort(np.array([str(n) for n in names], dtype=str), kind="stable")
        codes = _inverse(order)[codes] if len(names) else codes
        self.names = [str(names[i]) for i in order]
        self.own, self.past = codes[: len(own)], codes[len(own) :]

    def of(self, name: str) -> int:
        return self.names.index(name) if name in self.names else -1


def _rules(problem: Problem, code: dict[str, _Codes]) -> Rules:
    limits = problem.limits
    caps = [limits.caps[name] for name in sorted(limits.caps)]
    kinds = {"all": ALL, "channel": CHANNEL, "category": CATEGORY, "campaign": CAMPAIGN}
    scopes = [cap.scope.partition(":")[::2] for cap in caps]
    last_start = (problem.n_slots - 1) * problem.slot_minutes
    fatigue = limits.fatigue
    by_channel = fatigue.points_per_send if fatigue else {}
    half_life = fatigue.half_life_hours * 60.0 if fatigue else 1.0
    points = np.array([by_channel.get(name, 0.0) for name in code["channel"].names], float)
    return Rules(
        slot_minutes=problem.slot_minutes,
        n_slots=problem.n_slots,
        gap_minutes=limits.min_gap_minutes,
        spacing_minutes=_spacing(limits, points[np.unique(code["channel"].own)]),
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
        **_levels(limits.fatigue, points, problem.n_slots, problem.slot_minutes),
    )


def _levels(fatigue: Fatigue | None, points: Floats, n_slots: int, slot_minutes: int) -> dict[str, Any]:
    """Fatigue in steps, rounded down, so that a relaxation with them allows whatever the rule allows.

    A step is log2(points) + time / half-life, in widths: between sends it stays as it is. A slot tells LEVELS of them
    apart, so where the horizon has many half-lives, what is left of old sends falls below the slot's first one: level
    0, no fatigue at all.
    """
    if fatigue is None or not (points > 0).any():
        none = {"level_base": np.empty(0, np.int32), "next_level": np.empty(0, np.int16)}
        return {"levels": 1, "first_level": 0.0, "level_width": 1.0, **none}
    time = np.arange(n_slots) * slot_minutes / (fatigue.half_life_hours * 60.0)
    least, most = math.log2(points[points > 0].min()), math.log2(fatigue.max_points)
    levels = LEVELS if n_slots <= FEW_SLOTS else MORE_LEVELS
    forgets = time[-1] > FORGOTTEN
    first = least - FORGOTTEN if forgets else least
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
    return {
        "levels": levels,
        "first_level": first,
        "level_width": width,
        "level_base": base.astype(np.int32),
        "next_level": level.astype(np.int16).ravel(),
    }


def _spacing(limits: Limits, points: Floats) -> float:
    """Minutes that any two planned sends of a user are apart: the gap, caps of one, and fatigue of two sends alone.

    `points` are those of the channels with messages.
    """
    apart = [float(limits.min_gap_minutes)]
    apart += [float(c.window_minutes or 0) for c in limits.caps.values() if c.scope == "all" and c.max <= 1]
    least = float(points.min(initial=math.inf))
    if limits.fatigue and 0 < limits.fatigue.max_points - least < least:
        halvings = math.log2(least / (limits.fatigue.max_points - least))
        apart.append(limits.fatigue.half_life_hours * 60.0 * halvings - _ROUNDING)
    return max(apart)


def _past(problem: Problem, user_rank: Ints, code: dict[str, _Codes], rules: Rules) -> dict[str, Any]:
    h, n = problem.history, len(user_rank)
    owner, minute = user_rank[h.user], -h.minutes_before.astype(np.float64)
    codes = {name: code[name].past for name in code}
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
    return {
        "past_start": _starts(owner, n),
        "past_minute": minute,
        "past_channel": codes["channel"].astype(np.int16),
        "past_campaign": codes["campaign"].astype(np.int32),
        "past_category": codes["category"].astype(np.int32),
        "past_day": h.local_day[order].astype(np.int32),
        "fatigue": np.bincount(owner, weights=weight, minlength=n).astype(np.float64),
        "most": most.astype(np.int32),
    }


def _plain(rules: Rules, past: dict[str, Any]) -> NDArray[np.bool_]:
    """Users whom no rule but the gap, identity and caps on everything over the whole horizon can stop."""
    simple = bool((rules.cap_wide & (rules.cap_scope == ALL)).all())
    points = float(rules.points.max(initial=0.0))
    rested = past["fatigue"] + np.minimum(past["most"], 1000) * points <= rules.max_points
    return (np.diff(past["past_start"]) == 0) & rested & simple


def _distinct(identity: NDArray[np.int32], of_user: Ints, n: int) -> Ints:
    """(U,) identities of a user, given that they are numbered from 0."""
    found = np.zeros(n, np.int64)
    np.maximum.at(found, of_user, identity + 1)
    return found


def _identities(of_user: Ints, group: Texts) -> NDArray[np.int32]:
    """Numbers of the messages within their user, in order; messages of one named group have one number."""
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


def _by_message(name: str, flag: str, column: Floats, cells: Ints, cell_start: Ints) -> dict[str, Any]:
    """One value a message where its cells agree, else the cells' own."""
    value = agreed(column, cells, cell_start)
    return {name: taken(column, cells, np.float64) if value is None else value, flag: value is None}


def _starts(sorted_owner: Ints, n: int) -> Ints:
    return np.r_[0, np.cumsum(np.bincount(sorted_owner, minlength=n))].astype(np.int64)


def _inverse(order: Ints) -> Ints:
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return inverse
