"""Reactions of the world to a day of sends: consent, fatigue, opens, clicks, orders, opt-outs; and app sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from sendopt.simulation.clock import DAY, day_number, day_start
from sendopt.simulation.draws import Seeds, normal, poisson, uniform
from sendopt.simulation.world import HALF_LIFE_SECONDS, OPEN_HOURS, World
from sendopt.stats.arrays import Flags, Floats, Ints

NEVER = np.iinfo(np.int64).max

LONGEST_DELAY = 3 * DAY  # seconds between a cause and its reaction
OPEN_DELAY = (np.log(20 * 60), 2.0)  # mean and spread of the log of seconds: half within 20 minutes, 1.6 % after 24 h
CLICK_DELAY = (np.log(40), 1.0)
OPT_OUT_DELAY = (np.log(30 * 60), 1.5)
ORDER_DELAY = (np.log(30 * 60), 1.0)  # after the open
CLICK_SHARE = 0.15  # of opens

MOST_SESSIONS = 8  # a user and day
SESSION_CELL = 1800  # seconds of equal activity
SESSION_SHARPNESS = 1.2  # log of activity per log-odds of habit

CONSENT, OPTED_OUT, NOT_OWNED, CATEGORY_REFUSED = range(4)
WITHHELD = {OPTED_OUT: "opted_out", NOT_OWNED: "channel_not_owned", CATEGORY_REFUSED: "category_opted_out"}


@dataclass(frozen=True)
class Offers:
    """Messages of one day to send, in order of (time, user, id); all arrays have shape (N,)."""

    seeds: Seeds
    user: Ints
    at: Ints  # epoch seconds
    category: Ints
    channel: Ints


@dataclass(frozen=True)
class Reactions:
    """Reactions to each offer; times in epoch seconds, NEVER where there was none. Shapes (N,)."""

    refusal: Ints  # CONSENT where it was sent, else a key of WITHHELD
    opened: Ints
    clicked: Ints
    opted_out: Ints
    ordered: Ints
    fatigue: Floats  # points just before the send
    p_open: Floats  # true probability of the open


@dataclass
class Memory:
    """State that the world carries from day to day: fatigue points at the day's start, channels turned off."""

    points: Floats  # (U,)
    off_at: Ints  # (U, C) epoch seconds, NEVER where still on

    @classmethod
    def blank(cls, world: World) -> Memory:
        """Return the state before any send."""
        users = len(world.people.ids)
        return cls(np.zeros(users), np.full((users, len(world.channels)), NEVER, np.int64))

    def pass_day(self, world: World, day: date, user: Ints, channel: Ints, at: Ints) -> None:
        """Move to the next day's start, adding the day's sends; reading the log back gives exactly the same state."""
        left = 2.0 ** ((at - day_start(day) - DAY) / HALF_LIFE_SECONDS)
        sent = np.bincount(user, weights=world.points(channel) * left, minlength=len(self.points))
        self.points = self.points * 2.0 ** (-DAY / HALF_LIFE_SECONDS) + sent


def react(world: World, day: date, offers: Offers, memory: Memory, live_consent: bool) -> Reactions:
    """Return the reactions to a day's offers, and add the opt-outs to `memory` (`pass_day` adds the fatigue).

    Offers of one user are played in order, each with the fatigue of those before. With `live_consent` an opt-out counts
    from its own second (the last-mile check), else from the next day's start, as in a nightly list. The latter keeps a
    slot's logging probability exact: nothing after the draw decides who is sent.
    """
    count = len(offers.user)
    refusal, fatigue, p_open = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    opened, clicked, opted_out, ordered = (np.full(count, NEVER, np.int64) for _ in range(4))
    points, points_at = memory.points.copy(), np.full(len(memory.points), day_start(day), np.int64)
    for rows in _turns(offers):
        user, channel, at = offers.user[rows], offers.channel[rows], offers.at[rows]
        off_at = memory.off_at[user, channel]
        refusal[rows] = _refusal(world, offers, rows, off_at <= (at if live_consent else day_start(day)))
        sent = refusal[rows] == CONSENT
        rows, user, channel, at, off_at = rows[sent], user[sent], channel[sent], at[sent], off_at[sent]
        seeds, now = offers.seeds[rows], points[user] * 2.0 ** ((points_at[user] - at) / HALF_LIFE_SECONDS)
        fatigue[rows], p_open[rows] = now, world.p_open(user, at, offers.category[rows], channel, now)
        opens = uniform(seeds, "open") < np.minimum(p_open[rows] / _within_label(), 1.0)
        open_at = at + _delay(seeds, OPEN_DELAY, "open delay")
        opened[rows] = np.where(opens, open_at, NEVER)
        clicks = opens & (uniform(seeds, "click") < CLICK_SHARE)
        clicked[rows] = np.where(clicks, open_at + _delay(seeds, CLICK_DELAY, "click delay"), NEVER)
        orders = opens & (uniform(seeds, "order") < world.p_order(user, offers.category[rows]))
        ordered[rows] = np.where(orders, open_at + _delay(seeds, ORDER_DELAY, "order delay"), NEVER)
        leaves = (off_at == NEVER) & (uniform(seeds, "opt out") < world.p_opt_out(user, channel, now))
        opted_out[rows] = np.where(leaves, at + _delay(seeds, OPT_OUT_DELAY, "opt out delay"), NEVER)
        memory.off_at[user, channel] = np.minimum(off_at, opted_out[rows])
        points[user], points_at[user] = now + world.points(channel), at
    return Reactions(refusal, opened, clicked, opted_out, ordered, fatigue, p_open)


def p_order(world: World, user: Ints, category: Ints, p_open: Floats, window_hours: float) -> Floats:
    """Return the true p(order within `window_hours` of a send), from that of an open within 24 h; all (N,)."""
    opens = np.minimum(p_open / _within_label(), 1.0)
    return np.asarray(opens * world.p_order(user, category) * _orders_within(window_hours), dtype=np.float64)


def sessions(world: World, day: date) -> tuple[Ints, Ints]:
    """Return the app sessions that start on the UTC day: (user, epoch seconds), in order of time then user.

    Their times follow the habit that opens follow, so they show the habit of a user with few sends.
    """
    people = world.people
    cells = day_start(day) + np.arange(0, DAY, SESSION_CELL, dtype=np.int64)
    everyone = np.arange(len(people.ids))
    activity = np.exp(SESSION_SHARPNESS * world.habit(everyone[:, None], cells[None, :]))
    edges = np.cumsum(activity, axis=1)
    number = day_number(day)
    counts = poisson(people.seeds, people.sessions, MOST_SESSIONS, "session count", number)
    users, times = [], []
    for nth in range(MOST_SESSIONS):
        active = everyone[counts > nth]
        seeds = people.seeds[active]
        level = uniform(seeds, "session", number, nth) * edges[active, -1]
        cell = np.minimum((edges[active] <= level[:, None]).sum(axis=1), len(cells) - 1)
        times.append(cells[cell] + (uniform(seeds, "session second", number, nth) * SESSION_CELL).astype(np.int64))
        users.append(active)
    user, at = np.concatenate(users), np.concatenate(times)
    order = np.lexsort((user, at))
    user, at = user[order], at[order]
    new = np.ones(len(user), bool)
    new[1:] = (user[1:] != user[:-1]) | (at[1:] != at[:-1])  # one row a (user, second)
    keep = new & (at >= people.created[user])
    return user[keep], at[keep]


def _turns(offers: Offers) -> list[NDArray[np.intp]]:
    """Return the rows of every user's first offer, then of every second offer, …: no user is twice in one turn."""
    order = np.argsort(offers.user, kind="stable")
    user = offers.user[order]
    first = np.searchsorted(user, user, side="left")
    rank = np.arange(len(user)) - first
    return [order[rank == k] for k in range(int(rank.max(initial=-1)) + 1)]


def _refusal(world: World, offers: Offers, rows: NDArray[np.intp], off: Flags) -> Ints:
    """Return CONSENT or a key of WITHHELD for each of `rows`; `off`: whether the user turned the channel off."""
    user = offers.user[rows]
    owned = world.people.owns[user, offers.channel[rows]]
    refused = world.people.refuses[user, offers.category[rows]]
    return np.select([~owned, off, refused], [NOT_OWNED, OPTED_OUT, CATEGORY_REFUSED], CONSENT).astype(np.int64)


def _delay(seeds: Seeds, law: tuple[float, float], lane: str) -> Ints:
    mean, spread = law
    seconds = np.exp(mean + spread * normal(seeds, lane))
    return np.clip(seconds, 1, LONGEST_DELAY).astype(np.int64)


@cache
def _within_label() -> float:
    """Return the share of opens within the label's window; p_open is the probability of these."""
    mean, spread = OPEN_DELAY
    return float(ndtr((np.log(OPEN_HOURS * 3600) - mean) / spread))


@cache
def _orders_within(window_hours: float) -> float:
    """Return the share of orders within so many hours of the send: the order's delay averaged over the open's."""
    (open_mean, open_spread), (mean, spread) = OPEN_DELAY, ORDER_DELAY
    middles = (np.arange(100_000) + 0.5) / 100_000
    opened = np.clip(np.exp(open_mean + open_spread * ndtri(middles)), 1, LONGEST_DELAY)
    left = np.maximum(window_hours * 3600 - opened, 1e-9)
    return float(ndtr((np.log(left) - mean) / spread).mean())
