"""A problem as a night of the demo makes it: few candidates a user, a long past, rules of every kind.

Twelve campaigns over three channels and five categories, quiet hours and windows as slots that are missing, about 40
cells and 47 past sends a user over 90 days, caps on everything and by channel, category and campaign over one and seven
days, a gap of four hours, fatigue; capacity by hour, volumes, opt-outs and money across users.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation import Cells, History, Messages, Problem
from sendopt.domain.limits import CampaignLimits, Cap, CostBudget, Fatigue, Limits, OptOutBudget

SLOTS = 24
DAYS_BEFORE = 90
SENDS_BEFORE = 47
TODAY = 20_500  # a local day
COMMITTED = 0.02  # of users have a send inside the horizon


class Campaign(NamedTuple):
    """What a campaign of the night offers."""

    name: str
    channel: str
    category: str
    value: float
    audience: float  # share of users
    first_hour: int  # local, [first, last)
    last_hour: int
    sends: tuple[float | None, float]  # most and least, as a share of users


CAMPAIGNS = (
    Campaign("weekend_sale", "push", "deals", 1.2, 0.30, 8, 22, (0.15, 0.0)),
    Campaign("price_drop", "push", "deals", 1.5, 0.25, 8, 22, (0.125, 0.0)),
    Campaign("flash_deal", "sms", "deals", 1.6, 0.25, 11, 20, (0.045, 0.0)),
    Campaign("cart_reminder", "push", "reminders", 2.0, 0.20, 8, 22, (None, 0.0)),
    Campaign("back_in_stock", "push", "reminders", 1.8, 0.15, 8, 22, (None, 0.0)),
    Campaign("daily_digest", "email", "news", 0.8, 0.70, 8, 13, (None, 0.0)),
    Campaign("new_arrivals", "email", "news", 1.0, 0.35, 8, 22, (0.2, 0.0)),
    Campaign("friend_activity", "push", "social", 1.0, 0.35, 8, 22, (None, 0.0)),
    Campaign("weekly_recap", "email", "social", 0.9, 0.30, 8, 22, (None, 0.0)),
    Campaign("loyalty_points", "email", "account", 0.7, 0.35, 8, 22, (None, 0.075)),
    Campaign("app_tips", "push", "account", 0.5, 0.25, 8, 22, (0.1, 0.0)),
    Campaign("survey_invite", "sms", "account", 0.6, 0.12, 10, 20, (None, 0.0)),
)
COST = {"push": 0.0, "email": 0.0005, "sms": 0.01}
CAPACITY = {"push": 0.03, "email": 0.02, "sms": 0.005}  # an hour, of users


def night(users: int = 1_700, seed: int = 0) -> Problem:
    """The problem of so many users."""
    draw = np.random.default_rng(seed)
    offset = draw.choice([-8, -5, 0, 1, 2, 5, 8], users, p=[0.15, 0.2, 0.15, 0.2, 0.1, 0.1, 0.1])
    hours = (np.arange(SLOTS)[None, :] + offset[:, None]) % SLOTS
    offered = draw.random((users, len(CAMPAIGNS))) < np.array([c.audience for c in CAMPAIGNS])
    user, campaign = np.nonzero(offered)
    first, last = (np.array([getattr(c, end) for c in CAMPAIGNS])[campaign] for end in ("first_hour", "last_hour"))
    may = (hours[user] >= first[:, None]) & (hours[user] < last[:, None])
    message, slot = np.nonzero(may)
    level = draw.normal(-1.9, 0.6, (users, 1))
    wave = draw.normal(0, 0.5, (users, 2))
    day = 2 * np.pi * hours / 24
    chance = 1 / (1 + np.exp(-(level + wave[:, :1] * np.cos(day) + wave[:, 1:] * np.sin(day))))
    p_opt_out = np.round(draw.beta(1, 800, users), 6)[user]
    value = np.array([c.value for c in CAMPAIGNS])[campaign]
    return Problem(
        slot_minutes=60,
        n_slots=SLOTS,
        users=np.array([f"u{i:08d}" for i in range(users)], object),
        messages=Messages(
            user=user,
            message_id=_texts(campaign, "name"),
            campaign=_texts(campaign, "name"),
            channel=_texts(campaign, "channel"),
            category=_texts(campaign, "category"),
            exclusive_group=np.full(len(user), "", object),
            tier=np.ones(len(user), np.int64),
        ),
        cells=Cells(
            message=message,
            slot=slot,
            value=value[message] * chance[user[message], slot] - 3.0 * p_opt_out[message],
            p_opt_out=p_opt_out[message],
            cost=np.array([COST[c.channel] for c in CAMPAIGNS])[campaign[message]],
            local_day=TODAY + (slot + offset[user[message]]) // SLOTS,
        ),
        limits=_limits(users),
        history=_history(draw, users),
    )


def _texts(campaign: NDArray[np.int64], field: str) -> NDArray[np.object_]:
    return np.array([getattr(c, field) for c in CAMPAIGNS], object)[campaign]


def _limits(users: int) -> Limits:
    return Limits(
        caps={
            "daily": Cap(window_minutes=1440, max=2),
            "weekly": Cap(window_minutes=7 * 1440, max=8),
            "daily_push": Cap(scope="channel:push", window_minutes=1440, max=2),
            "weekly_sms": Cap(scope="channel:sms", window_minutes=7 * 1440, max=1),
            "daily_deals": Cap(scope="category:deals", window_minutes=1440, max=1),
            "weekly_deals": Cap(scope="category:deals", window_minutes=7 * 1440, max=3),
            "weekly_recap": Cap(scope="campaign:weekly_recap", window_minutes=7 * 1440, max=1),
            "daily_digest": Cap(scope="campaign:daily_digest", calendar="day", max=1),
        },
        min_gap_minutes=240,
        fatigue=Fatigue(half_life_hours=72, points_per_send={"push": 1.0, "email": 0.5, "sms": 1.5}, max_points=3.5),
        capacity={channel: max(1, int(share * users)) for channel, share in CAPACITY.items()},
        campaigns={
            c.name: CampaignLimits(
                max_sends=None if c.sends[0] is None else int(c.sends[0] * users),
                min_sends=int(c.sends[1] * users),
                shortfall_price=0.3,
            )
            for c in CAMPAIGNS
        },
        opt_outs=OptOutBudget(max_expected=0.0015 * users),
        cost=CostBudget(max_total=0.00075 * users),
    )


def _history(draw: np.random.Generator, users: int) -> History:
    """Users differ in how much they were sent; a send is at a whole hour, few are still to come."""
    counts = np.minimum(draw.gamma(4.0, SENDS_BEFORE / 4.0, users).astype(int), 2 * DAYS_BEFORE)
    user = np.repeat(np.arange(users), counts)
    before = draw.integers(3, DAYS_BEFORE * 24, len(user)) * 60.0
    late = np.flatnonzero(draw.random(users) < COMMITTED)
    user = np.concatenate([user, late])
    before = np.concatenate([before, -60.0 * draw.integers(0, SLOTS, len(late))])
    campaign = draw.choice(len(CAMPAIGNS), len(user), p=np.array([c.audience for c in CAMPAIGNS]) / 3.57)
    return History(
        user=user,
        channel=_texts(campaign, "channel"),
        category=_texts(campaign, "category"),
        campaign=_texts(campaign, "name"),
        minutes_before=before,
        local_day=TODAY - np.ceil(before / 1440).astype(np.int64),
        p_opt_out=np.full(len(user), 0.001),
        cost=np.array([COST[c.channel] for c in CAMPAIGNS])[campaign],
    )
