"""Tiny allocation problems: tables a reader solves by eye, and random ones small enough to try every plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from sendopt.allocation import Cells, History, Messages, Problem, audit_plan
from sendopt.config.schema import Allocation
from sendopt.domain.limits import Limits

EXACT = Allocation(exact_max_users=10**6, exact_work=1000.0, relative_gap=0.0)
PRICES = Allocation(exact_max_users=0, relative_gap=1e-6)


class Message(NamedTuple):
    """A row of `messages`: one candidate send of a user."""

    user: str
    message_id: str
    campaign: str
    channel: str
    category: str
    exclusive_group: str = ""
    tier: int = 1


class Cell(NamedTuple):
    """A row of `cells`: a slot in which a message may be sent."""

    message: int  # row of `messages`
    slot: int
    value: float
    p_opt_out: float = 0.0
    cost: float = 0.0
    local_day: float = 100


class PastSend(NamedTuple):
    """A row of `history`: a send before the plan's start, or committed after it (`minutes_before` of 0 or less)."""

    user: str
    minutes_before: float
    channel: str = "push"
    category: str = "news"
    campaign: str = "old"
    local_day: int = 99
    p_opt_out: float = 0.0
    cost: float = 0.0


def problem(
    messages: Sequence[Sequence[Any]],
    cells: Sequence[Sequence[Any]],
    limits: Mapping[str, object],
    history: Sequence[Sequence[Any]] = (),
    *,
    n_slots: int = 6,
    slot_minutes: int = 60,
) -> Problem:
    """Return a problem of rows: `Message`, `Cell` and `PastSend`, or tuples of their first columns in that order."""
    message_rows = [Message(*row) for row in messages]
    cell_rows = [Cell(*row) for row in cells]
    past_rows = [PastSend(*row) for row in history]
    users = sorted({m.user for m in message_rows} | {str(h.user) for h in past_rows})
    return Problem(
        slot_minutes=slot_minutes,
        n_slots=n_slots,
        users=np.array(users, dtype=object),
        messages=Messages(
            user=np.array([users.index(m.user) for m in message_rows], dtype=np.int64),
            message_id=_texts(m.message_id for m in message_rows),
            campaign=_texts(m.campaign for m in message_rows),
            channel=_texts(m.channel for m in message_rows),
            category=_texts(m.category for m in message_rows),
            exclusive_group=_texts(m.exclusive_group for m in message_rows),
            tier=np.array([m.tier for m in message_rows], dtype=np.int64),
        ),
        cells=Cells(
            message=np.array([c.message for c in cell_rows], dtype=np.int64),
            slot=np.array([c.slot for c in cell_rows], dtype=np.int64),
            value=np.array([c.value for c in cell_rows], dtype=np.float64),
            p_opt_out=np.array([c.p_opt_out for c in cell_rows], dtype=np.float64),
            cost=np.array([c.cost for c in cell_rows], dtype=np.float64),
            local_day=np.array([c.local_day for c in cell_rows], dtype=np.int64),
        ),
        history=History(
            user=np.array([users.index(h.user) for h in past_rows], dtype=np.int64),
            channel=_texts(h.channel for h in past_rows),
            category=_texts(h.category for h in past_rows),
            campaign=_texts(h.campaign for h in past_rows),
            minutes_before=np.array([h.minutes_before for h in past_rows], dtype=np.float64),
            local_day=np.array([h.local_day for h in past_rows], dtype=np.int64),
            p_opt_out=np.array([h.p_opt_out for h in past_rows], dtype=np.float64),
            cost=np.array([h.cost for h in past_rows], dtype=np.float64),
        ),
        limits=Limits.model_validate(limits),
    )


def planned(p: Problem, chosen: Iterable[int]) -> set[tuple[str, int]]:
    """Return the plan as a set of (message_id, slot)."""
    return {(str(p.messages.message_id[p.cells.message[c]]), int(p.cells.slot[c])) for c in chosen}


def objective(p: Problem, chosen: Sequence[int]) -> float:
    """Return the value of the chosen cells less the penalty of shortfalls. Committed sends serve a minimum."""
    total = sum(float(p.cells.value[c]) for c in chosen)
    sent = [p.messages.campaign[p.cells.message[c]] for c in chosen]
    sent += [name for name, before in zip(p.history.campaign, p.history.minutes_before, strict=True) if before <= 0]
    for name, bounds in p.limits.campaigns.items():
        missing = bounds.min_sends - sent.count(name)
        if missing > 0:
            price = bounds.shortfall_price
            if price is None:
                values = p.cells.value[p.messages.campaign[p.cells.message] == name]
                price = max(0.0, float(values.max(initial=0.0)))
            total -= price * missing
    return total


def best_by_trying_all(p: Problem) -> float:
    """Return the best objective of all feasible plans of sends with a positive value, by brute force."""
    options: dict[int, dict[int, list[int | None]]] = {}
    for c in np.flatnonzero(p.cells.value > 0).tolist():
        message = int(p.cells.message[c])
        options.setdefault(int(p.messages.user[message]), {}).setdefault(message, [None]).append(c)
    plans_by_user = []
    for messages in options.values():
        picks = [[c for c in pick if c is not None] for pick in itertools.product(*messages.values())]
        # A plan of one user that breaks a rule breaks it with other users too: added sends only use more of a limit.
        plans_by_user.append([pick for pick in picks if not audit_plan(p, np.array(pick, dtype=np.int64))])
    best = -math.inf
    for picks in itertools.product(*plans_by_user):
        chosen = sorted(itertools.chain.from_iterable(picks))
        reached = objective(p, chosen)
        if reached > best and not audit_plan(p, np.array(chosen, dtype=np.int64)):
            best = reached
    return best


def random_problem(seed: int, *, users: int = 3, per_user: int = 2, n_slots: int = 4) -> Problem:
    """Return a tiny problem in which every kind of rule may be on and may bind, with history and committed sends."""
    draw = np.random.default_rng(seed)
    channels, kinds, names = ("push", "sms"), ("news", "shop"), ("a", "b", "c")
    style = {name: (channels[draw.integers(2)], kinds[draw.integers(2)]) for name in names}
    step = int(draw.choice([60, 120, 480]))
    messages, cells, history = [], [], []
    for u, k in itertools.product(range(users), range(per_user)):
        name = names[draw.integers(3)]
        group = "season" if draw.random() < 0.3 else ""
        channel, category = style[name]
        messages.append(Message(f"u{u}", f"m{u}{k}", name, channel, category, exclusive_group=group))
        for slot in range(n_slots):
            if draw.random() < 0.75:
                value = round(float(draw.uniform(-0.1, 1.0)), 3)
                opt_out, cost = round(float(draw.uniform(0, 0.2)), 3), float(draw.integers(0, 3))
                day = 100 + (slot * step + 240 * u) // 1440
                cells.append(Cell(len(messages) - 1, slot, value, p_opt_out=opt_out, cost=cost, local_day=day))
    for u in range(users):
        for _ in range(int(draw.integers(0, 3))):
            name = names[draw.integers(3)]
            before = float(draw.integers(-n_slots * step + 1, 4 * step))
            if draw.random() < 0.5:
                before = float(np.floor(before / step) * step)
            before = max(before, 1.0 - n_slots * step)
            day = 100 + int(-before + 240 * u) // 1440
            channel, category = style[name]
            history.append(PastSend(f"u{u}", before, channel, category, name, day, p_opt_out=0.05, cost=1.0))
    return problem(messages, cells, _random_limits(draw, step), history, n_slots=n_slots, slot_minutes=step)


def _random_limits(draw: np.random.Generator, step: int) -> dict[str, object]:
    """Return limits for slots of `step` minutes; each section is on or off at random."""

    def sometimes(limit: dict[str, object], share: float = 0.5) -> dict[str, object]:
        return limit if draw.random() < share else {}

    caps: dict[str, object] = {}
    caps |= sometimes({"day": {"scope": "all", "window_minutes": 1440, "max": int(draw.integers(0, 4))}})
    caps |= sometimes({"some": {"scope": "channel:push", "window_minutes": 2 * step + 30, "max": 1}})
    caps |= sometimes({"kind": {"scope": "category:news", "calendar": "day", "max": int(draw.integers(1, 3))}}, 0.3)
    caps |= sometimes({"week": {"scope": "campaign:a", "calendar": "week", "max": 1}}, 0.3)
    tired = {
        "half_life_hours": float(draw.choice([6, 24])),
        "points_per_send": {"push": 1.0, "sms": 0.6},
        "max_points": round(float(draw.uniform(0.9, 2.6)), 2),
    }
    capacity = {"push": int(draw.integers(0, 3)), "sms": {int(draw.integers(4)): int(draw.integers(0, 2))}}
    campaigns = {
        "a": {"max_sends": int(draw.integers(1, 4)), "min_sends": int(draw.integers(0, 2))},
        "b": {"min_sends": int(draw.integers(0, 4)), "shortfall_price": round(float(draw.uniform(0, 1)), 2)},
    }
    return {
        "caps": caps,
        **sometimes({"min_gap_minutes": int(draw.choice([step, step + 1, 2 * step]))}),
        **sometimes({"fatigue": tired}),
        **sometimes({"capacity": capacity}, 0.6),
        **sometimes({"campaigns": campaigns}, 0.6),
        **sometimes({"opt_outs": {"max_expected": round(float(draw.uniform(0.05, 0.5)), 3)}}),
        **sometimes({"cost": {"max_total": float(draw.integers(1, 6))}}),
    }


def shuffled(p: Problem, seed: int) -> Problem:
    """Return the problem with its users, messages, cells and history in a random order."""
    draw = np.random.default_rng(seed)

    def rank_of(order: np.ndarray) -> np.ndarray:
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return rank

    users, messages = draw.permutation(len(p.users)), draw.permutation(len(p.messages.user))
    cells, past = draw.permutation(len(p.cells.slot)), draw.permutation(len(p.history.user))
    moved_messages = {f.name: getattr(p.messages, f.name)[messages] for f in fields(p.messages)}
    moved_messages["user"] = rank_of(users)[moved_messages["user"]]
    moved_cells = {f.name: getattr(p.cells, f.name)[cells] for f in fields(p.cells)}
    moved_cells["message"] = rank_of(messages)[moved_cells["message"]]
    moved_past = {f.name: getattr(p.history, f.name)[past] for f in fields(p.history)}
    moved_past["user"] = rank_of(users)[moved_past["user"]]
    return replace(
        p,
        users=p.users[users],
        messages=Messages(**moved_messages),
        cells=Cells(**moved_cells),
        history=History(**moved_past),
    )


def with_limits(p: Problem, **changes: object) -> Problem:
    """Return the problem with the given sections of its limits replaced."""
    return replace(p, limits=Limits.model_validate({**p.limits.model_dump(exclude_none=True), **changes}))


def _texts(values: Iterable[object]) -> np.ndarray:
    listed = list(values)
    texts = np.empty(len(listed), dtype=object)
    texts[:] = listed
    return texts
