"""Invented allocation problems of any size: three kinds of scores, and the variants that are hard to plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation import Cells, History, Messages, Problem, empty_history
from sendopt.domain.limits import CampaignLimits, Cap, Fatigue, Limits, OptOutBudget

CAMPAIGNS = 40
CATEGORIES = 4
Scores = NDArray[np.float64]


def smooth(draw: np.random.Generator, users: int, hours: Scores) -> Scores:
    """(users, slots) chance of an open: a level and a daily curve of one's own on top of everyone's."""
    level = draw.normal(-1.9, 0.6, (users, 1))
    wave = draw.normal(0, 0.5, (users, 2))
    day = 2 * np.pi * hours / 24
    common = 0.6 * np.exp(-(((hours - 19) / 3.0) ** 2)) + 0.4 * np.exp(-(((hours - 8) / 2.0) ** 2))
    return 1 / (1 + np.exp(-(level + wave[:, :1] * np.cos(day) + wave[:, 1:] * np.sin(day) + common)))


def rough(draw: np.random.Generator, users: int, hours: Scores) -> Scores:
    """Every user × slot drawn by itself around the user's rate."""
    rate = draw.beta(2, 12, (users, 1))
    return np.clip(rate * draw.gamma(4.0, 0.25, hours.shape), 0, 0.95)


def stepped(draw: np.random.Generator, users: int, hours: Scores) -> Scores:
    """As a model of trees gives them: 100 profiles, each of a few levels."""
    profiles = np.round(smooth(draw, 100, hours[draw.integers(0, users, 100)]), 2)
    return profiles[draw.integers(0, 100, users)]


GENERATORS = {"smooth": smooth, "rough": rough, "stepped": stepped}


def instance(
    users: int,
    *,
    seed: int = 0,
    scores: str = "smooth",
    per_user: int = 3,
    days: int = 1,
    limits: str = "plain",
    with_history: float = 0.0,
) -> Problem:
    """A problem of 65 coupling rows a day: 24 slots of capacity, 40 campaigns, opt-outs.

    `limits`: plain (2 a day, 4 h apart), scoped (that and caps by week and category), many (4 a day, 2 h apart), week
    (caps by day, week and category, fatigue), tired week (fatigue that lets few have what they would), minimums (plain,
    with soft minimums of which one cannot be met).
    """
    draw = np.random.default_rng(seed)
    slots, rows = 24 * days, users * per_user
    offset = draw.choice([-8, -5, 0, 1, 2, 5, 8], (users, 1), p=[0.15, 0.2, 0.15, 0.2, 0.1, 0.1, 0.1])
    hours = ((np.arange(slots)[None, :] + offset) % 24).astype(float)
    chance = GENERATORS[scores](draw, users, hours)
    owner = np.repeat(np.arange(users), per_user)
    campaign = draw.integers(0, CAMPAIGNS, rows)
    weight = draw.uniform(0.5, 1.5, CAMPAIGNS)
    expiry = draw.integers(slots // 2, slots + 1, rows)
    may = ((hours >= 7) & (hours < 23))[owner] & (np.arange(slots)[None, :] < expiry[:, None])
    message, slot = np.nonzero(may)
    p_opt_out = np.round(draw.beta(1, 800, users), 6)[owner]
    value = chance[owner[message], slot] * weight[campaign[message]] - p_opt_out[message]
    names = np.array([f"c{i:02d}" for i in range(CAMPAIGNS)], object)
    kinds = np.array([f"k{i}" for i in range(CATEGORIES)], object)
    keys = np.array([f"m{i}" for i in range(per_user)], object)
    return Problem(
        slot_minutes=60,
        n_slots=slots,
        users=np.array([f"u{i:08d}" for i in range(users)], object),
        messages=Messages(
            user=owner,
            message_id=np.tile(keys, users),
            campaign=names[campaign],
            channel=np.full(rows, "push", object),
            category=kinds[campaign % CATEGORIES],
            exclusive_group=np.full(rows, "", object),
            tier=np.ones(rows, np.int64),
        ),
        cells=Cells(
            message=message,
            slot=slot,
            value=value,
            p_opt_out=p_opt_out[message],
            cost=np.zeros(len(message)),
            local_day=np.zeros(len(message), np.int64),
        ),
        limits=_limits(draw, users, limits),
        history=_history(draw, users, names, kinds, with_history),
    )


def _limits(draw: np.random.Generator, users: int, kind: str) -> Limits:
    volume = draw.uniform(0.015, 0.045, CAMPAIGNS) * users * (1 if kind in ("plain", "minimums", "scoped") else 2)
    campaigns = {f"c{i:02d}": CampaignLimits(max_sends=int(v)) for i, v in enumerate(volume)}
    if kind == "minimums":
        for i in range(0, CAMPAIGNS, 5):
            campaigns[f"c{i:02d}"] = CampaignLimits(min_sends=int(0.04 * users))
        campaigns["c01"] = CampaignLimits(min_sends=users)  # more than it has messages
    caps = {
        "plain": {"day": Cap(window_minutes=1440, max=2)},
        "minimums": {"day": Cap(window_minutes=1440, max=2)},
        "many": {"day": Cap(window_minutes=1440, max=4)},
        "scoped": {
            "day": Cap(window_minutes=1440, max=2),
            "week": Cap(window_minutes=7 * 1440, max=5),
            "kind": Cap(scope="category:k0", window_minutes=1440, max=1),
            "other": Cap(scope="category:k1", window_minutes=3 * 1440, max=1),
            "third": Cap(scope="category:k2", window_minutes=2 * 1440, max=1),
        },
        "week": {
            "day": Cap(window_minutes=1440, max=2),
            "week": Cap(window_minutes=7 * 1440, max=4),
            "kind": Cap(scope="category:k0", window_minutes=7 * 1440, max=1),
            "other": Cap(scope="category:k1", window_minutes=3 * 1440, max=1),
            "third": Cap(scope="category:k2", window_minutes=2 * 1440, max=1),
        },
    }["week" if kind == "tired week" else kind]
    fatigue = {
        "week": Fatigue(half_life_hours=72, points_per_send={"push": 1.0}, max_points=3.0),
        "tired week": Fatigue(half_life_hours=48, points_per_send={"push": 1.0}, max_points=1.8),
    }.get(kind)
    per_slot = {"plain": 0.06, "minimums": 0.06, "scoped": 0.06, "many": 0.12}.get(kind, 0.012)
    return Limits(
        caps=caps,
        min_gap_minutes=120 if kind == "many" else 240,
        fatigue=fatigue,
        capacity={"push": int(per_slot * users)},
        campaigns=campaigns,
        opt_outs=OptOutBudget(max_expected=users * (0.0012 if kind in ("plain", "minimums", "scoped") else 0.0024)),
    )


def _history(
    draw: np.random.Generator, users: int, names: NDArray[np.object_], kinds: NDArray[np.object_], share: float
) -> History:
    if share == 0:
        return empty_history()
    counts = np.where(draw.random(users) < share, draw.integers(1, 5, users), 0)
    owner = np.repeat(np.arange(users), counts)
    campaign = draw.integers(0, CAMPAIGNS, len(owner))
    n = len(owner)
    return History(
        user=owner,
        channel=np.full(n, "push", object),
        category=kinds[campaign % CATEGORIES],
        campaign=names[campaign],
        minutes_before=draw.integers(1, 7 * 24, n) * 60.0,
        local_day=np.zeros(n, np.int64),
        p_opt_out=np.zeros(n),
        cost=np.zeros(n),
    )
