"""Training rows of a simulated world with a known timing effect and known rates by user; features as of each day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from sendopt.stats.logistic import expit, logit

CHANNELS, CATEGORIES = np.array(["email", "push"]), np.array(["news", "offers", "tips"])
PRIOR = 20.0


def world(users: int = 300, days: int = 40, timing: float = 1.5, seed: int = 1) -> pd.DataFrame:
    """Return one row a send: every user once a day at a uniform hour, from 6 to 21.

    A send at the user's favourite hour or up to three hours from it has `timing` log-odds more than another. `truth` is
    the probability of success.
    """
    rng = np.random.default_rng(seed)
    level, favourite = rng.normal(-1.2, 0.7, users), rng.integers(6, 22, users)
    sent, won = np.zeros((users, 24)), np.zeros((users, 24))  # sends and successes so far
    frames = []
    for day in range(days):
        hour = rng.integers(6, 22, users)
        apart = np.minimum((hour - favourite) % 24, (favourite - hour) % 24)
        kind, topic = rng.integers(0, 2, users), rng.integers(0, 3, users)
        p = expit(level + timing * (apart <= 3) - timing / 2 + 0.5 * kind)
        label = (rng.random(users) < p).astype(int)
        frames.append(_rows(day, hour, kind, topic, label, sent, won).assign(truth=p))
        np.add.at(sent, (np.arange(users), hour), 1)
        np.add.at(won, (np.arange(users), hour), label)
    return pd.concat(frames, ignore_index=True)


def points(users: int, days: int, seed: int, effect: float) -> pd.DataFrame:
    """Return decision points, each sent with probability 0.6, or 0.4 in the category `tips`.

    Sending adds `effect` log-odds on push and takes as much on e-mail. `uplift` is the true difference in probability.
    """
    rows = world(users=users, days=days, timing=0.5, seed=seed)
    rng = np.random.default_rng(seed + 1000)
    chance = np.where(rows["category"] == "tips", 0.4, 0.6)
    sent = rng.random(len(rows)) < chance
    sign = np.where(rows["channel"] == "push", 1.0, -1.0)
    rest = logit(rows["truth"].to_numpy())
    p1, p0 = expit(rest + effect * sign), expit(rest)
    label = (rng.random(len(rows)) < np.where(sent, p1, p0)).astype(int)
    return rows.assign(sent=sent, pscore=chance, label=label, uplift=p1 - p0)


def _rows(day, hour, kind, topic, label, sent, won) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    """Return the day's rows: one a user, with features from the sends and successes (users by hours) of days before."""
    users = np.arange(len(hour))
    base = (won.sum() + 0.25 * PRIOR) / (sent.sum() + PRIOR)
    n, x = sent.sum(axis=1), won.sum(axis=1)
    rate = (x + PRIOR * base) / (n + PRIOR)
    near = (hour[:, None] + np.arange(-2, 3)) % 24
    part = (won[users[:, None], near].sum(axis=1) + 4 * rate) / (sent[users[:, None], near].sum(axis=1) + 4)
    at_hour = (won.sum(axis=0) + PRIOR * base) / (sent.sum(axis=0) + PRIOR)
    plan_date = date(2025, 1, 1) + timedelta(days=day)
    never = np.where(n > 0, 1.0, np.nan)
    return pd.DataFrame(
        {
            "send_key": [f"{u}-{day}" for u in users],
            "user_id": [f"u{u}" for u in users],
            "sent_at_utc": pd.Timestamp(plan_date) + pd.to_timedelta(hour, unit="h"),
            "plan_date": plan_date,
            "local_hour": hour.astype("int32"),
            "weekend": plan_date.weekday() >= 5,
            "weekday": plan_date.weekday(),
            "channel": CHANNELS[kind],
            "category": CATEGORIES[topic],
            "label": label,
            "user_hour_mature": sent[users, hour],
            "user_hour_rate": (won[users, hour] + 4 * rate) / (sent[users, hour] + 4),
            "user_daypart_rate": part,
            "user_hour_activity": 0.1,
            "user_weekpart_activity": 0.1,
            "hour_rate": at_hour[hour],
            "category_rate": base,
            "channel_rate": base,
            **dict.fromkeys(("rate_7d", "rate_30d", "rate_90d"), rate),
            "successes_90d": x,
            **dict.fromkeys(("mature_7d", "mature_30d", "mature_90d", "sends_7d", "sends_30d"), n),
            **dict.fromkeys(("sessions_7d", "sessions_30d"), 0),
            **dict.fromkeys(("days_since_send", "days_since_open", "days_since_session"), never),
            "tenure_days": float(day),
            "fatigue_points": 0.0,
        }
    )
