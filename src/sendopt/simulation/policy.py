"""The legacy policy behind the history: random campaigns at random permitted hours, with exact probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from sendopt.config.schema import AudienceActive, AudienceAll, AudienceShare, Campaign
from sendopt.domain.slots import outside
from sendopt.simulation.clock import day_number, day_start
from sendopt.simulation.draws import choice, seeds_of, uniform
from sendopt.simulation.nature import Memory, Offers
from sendopt.simulation.population import QUIET, ZONES
from sendopt.simulation.world import World
from sendopt.stats.arrays import Flags, Floats, Ints

FIRST_HOUR, LAST_HOUR = 8, 21  # local hours of slot starts, both included
MESSAGES = (0.45, 0.35, 0.14, 0.06)  # share of user-nights with 0, 1, 2, 3 messages
ZONE_IF_UNKNOWN = "Europe/London"  # assumed by the legacy system; the log shows no zone


@dataclass(frozen=True)
class LegacyNight:
    """Offers of one night; all arrays have shape (N,)."""

    offers: Offers
    ids: list[str]  # notification ids
    campaign: Ints  # position in `world.campaigns`
    pscore: Floats  # 1 / number of slots the slot was drawn from


def legacy_night(world: World, day: date, memory: Memory) -> LegacyNight:
    """Return the offers of one night: 0 to 3 different campaigns for each user.

    Campaigns are drawn by audience share among those whose channel and category the user accepts at the night's start.
    Slots are drawn uniformly and independently from the permitted ones. Campaign windows and dates bind plans, not this
    policy, so its log covers every hour for every campaign.
    """
    ranking, allowed = _ranking(world, day, memory)
    permitted = permitted_slots(world, day)
    count = choice(world.people.seeds, MESSAGES, "messages", day_number(day))
    count = np.minimum(count, allowed) * (world.people.created < day_start(day)) * permitted.any(axis=1)
    user = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    campaign = ranking[user, nth]
    names = list(world.campaigns)
    people = world.people
    ids = [f"legacy-{day:%Y%m%d}-{names[c]}-{people.ids[u]}" for c, u in zip(campaign, user, strict=True)]
    seeds = seeds_of(world.seed, ids)
    slots = permitted.sum(axis=1)[user]
    drawn = np.minimum((uniform(seeds, "slot") * slots).astype(np.int64), slots - 1)
    position = np.argmax(np.cumsum(permitted, axis=1)[user] > drawn[:, None], axis=1)
    at = world.slot_starts(day)[position]
    order = np.lexsort((campaign, user, at))
    category, channel = _codes(world)
    campaign = campaign[order]
    offers = Offers(seeds[order], user[order], at[order], category[campaign], channel[campaign])
    return LegacyNight(offers, [ids[i] for i in order], campaign, 1.0 / slots[order])


def permitted_slots(world: World, day: date) -> Flags:
    """Return whether a slot starts at a local hour from 8 to 21, outside the user's quiet hours; shape (U, slots)."""
    people, starts = world.people, world.slot_starts(day)
    zone = np.where(people.zone_known, people.zone, list(ZONES).index(ZONE_IF_UNKNOWN))
    minute, _ = world.clock.local(zone[:, None], starts[None, :])
    allowed = (minute >= 60 * FIRST_HOUR) & (minute < 60 * (LAST_HOUR + 1))
    for index, (begin, end) in enumerate(QUIET):
        users = people.quiet == index
        allowed[users] &= outside(minute[users], np.full_like(minute[users], world.slot_minutes), begin, end)
    return allowed


def _ranking(world: World, day: date, memory: Memory) -> tuple[Ints, Ints]:
    """Return (each user's campaigns in the order they are taken, how many the user may get).

    The order is that of an exponential race with speeds proportional to the audience shares.
    """
    people, number = world.people, day_number(day)
    category, channel = _codes(world)
    on = people.owns & (memory.off_at > day_start(day))
    speeds = np.array([_share(c) for c in world.campaigns.values()])
    waits = np.stack([-np.log(uniform(people.seeds, "race", name, number)) for name in world.campaigns], axis=1)
    accepted = on[:, channel] & ~people.refuses[:, category] & (speeds > 0)
    finish = np.where(accepted, waits / np.where(speeds > 0, speeds, 1.0), np.inf)
    return np.argsort(finish, axis=1, kind="stable"), accepted.sum(axis=1)


def _codes(world: World) -> tuple[Ints, Ints]:
    """Return (category, channel) of each campaign, as indices."""
    campaigns = world.campaigns.values()
    category = np.array([world.categories.index(c.category) for c in campaigns], np.int64)
    return category, np.array([world.channels.index(c.channel) for c in campaigns], np.int64)


def _share(campaign: Campaign) -> float:
    """Return the share of users in the audience; the legacy policy sends nothing for upstream systems."""
    match campaign.audience:
        case AudienceAll():
            return 1.0
        case AudienceShare(fraction=fraction) | AudienceActive(fraction=fraction):
            return fraction
        case _:
            return 0.0
