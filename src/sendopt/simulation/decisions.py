"""A trial in the simulated world: messages are held back at random, goals occur with and without them (model ¶6).

The truth is known. Without a message, a goal (a visit within the hour) has a probability that follows the user's habit.
A message changes its log-odds by the user's receptiveness, which is negative for some users.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from scipy.special import expit

from sendopt.errors import ConfigError
from sendopt.simulation.clock import iso
from sendopt.simulation.draws import normal, uniform
from sendopt.simulation.nature import Memory
from sendopt.simulation.policy import LegacyNight, legacy_night
from sendopt.simulation.population import ZONES
from sendopt.simulation.world import World
from sendopt.stats.arrays import Floats, Ints

GOAL_HOURS = 1.0
RECEPTIVE, RECEPTIVE_SPREAD = 0.35, 0.5  # log-odds that a message adds: mean and spread over users
PUSHED = 0.4  # log-odds that push adds to those of other channels
BY_ITSELF = -1.2  # log-odds of a visit within an hour without a message, at a habit of zero


def p_goal(world: World, user: Ints, at: Ints, channel: Ints) -> tuple[Floats, Floats]:
    """Return the true (p(goal | sent), p(goal | not sent)) at epoch seconds `at`; all of shape (N,)."""
    by_itself = BY_ITSELF + world.habit(user, at)
    receptive = RECEPTIVE + RECEPTIVE_SPREAD * normal(world.people.seeds, "receptive")[user]
    pushed = np.array([PUSHED if name == "push" else 0.0 for name in world.channels])[channel]
    return np.asarray(expit(by_itself + receptive + pushed)), np.asarray(expit(by_itself))


def decision_points(world: World, days: int, share_sent: float = 0.6) -> pd.DataFrame:
    """Return the decision points of the `days` nights before `world.start`, each sent with probability `share_sent`.

    Columns are those of a raw log (user, id, campaign, channel, category, at, tz, pscore, sent, outcome 0/1,
    outcome_at) and the truth: p_sent, p_not_sent. The same arguments give the same rows. Raises ConfigError where
    `share_sent` is not inside (0, 1), since an arm would be empty.
    """
    if not 0 < share_sent < 1:
        raise ConfigError(
            f"share of a trial's messages to send: got {share_sent!r}, expected a number between 0 and 1; both arms "
            "need their points"
        )
    memory = Memory.blank(world)
    nights = [world.start - timedelta(days=n) for n in range(days, 0, -1)]
    points = [_points_of(world, legacy_night(world, day, memory), share_sent) for day in nights]
    return pd.concat(points, ignore_index=True)


def _points_of(world: World, night: LegacyNight, share_sent: float) -> pd.DataFrame:
    """Return the decision points of one night, in the columns of `decision_points`."""
    people, names, zones = world.people, np.array(list(world.campaigns), object), np.array(list(ZONES), object)
    offers = night.offers
    user, at, seeds = offers.user, offers.at, offers.seeds
    sent = uniform(seeds, "held back") < share_sent
    p_sent, p_not_sent = p_goal(world, user, at, offers.channel)
    outcome = uniform(seeds, "goal") < np.where(sent, p_sent, p_not_sent)
    delay = (uniform(seeds, "goal delay") * GOAL_HOURS * 3600).astype(np.int64)
    return pd.DataFrame(
        {
            "user": people.ids[user],
            "id": night.ids,
            "campaign": names[night.campaign],
            "channel": np.array(world.channels, object)[offers.channel],
            "category": np.array(world.categories, object)[offers.category],
            "at": iso(at),
            "tz": pd.Series(zones[people.zone[user]]).where(people.zone_known[user], None),
            "pscore": share_sent,
            "sent": sent,
            "outcome": outcome.astype(int),
            "outcome_at": pd.Series(iso(at + delay), dtype=object).where(outcome, None),
            "p_sent": p_sent,
            "p_not_sent": p_not_sent,
        }
    )
