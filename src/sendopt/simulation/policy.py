"""The policy that made the history: random campaigns at random permitted hours, each with its exact probability."""

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
ZONE_IF_UNKNOWN = "Europe/London"  # the legacy system's own guess; the log shows no zone


@dataclass(frozen=True)
class LegacyNight:
    """One night's offers; all arrays have shape (N,)."""

    offers: Offers
    ids: list[str]  # notification ids
    campaign: Ints  # position in `world.campaigns`
    pscore: Floats  # 1 / number of slots the slot was drawn from


def legacy_night(world: World, day: date, memory: Memory) -> LegacyNight:
    """Each user's 0 to 3 different campaigns, drawn by audience share among those whose channel and category the user
    accepts at the night's start, each at a slot drawn uniformly (and apart from the others) from the permitted ones.

    Campaign windows and dates bind plans, not this old policy: its log covers every hour for every campaign.
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
    """(U, slots): the slot starts at a local hour from 8 to 21 and lies outside the user's own quiet hours."""
    people, starts = world.people, world.slot_starts(day)
    zone = np.where(people.zone_known, people.zone, list(ZONES).index(ZONE_IF_UNKNOWN))
    minute, _ = world.clock.local(zone[:, None], starts[None, :])
    allowed = (minute >= 60 * FIRST_HOUR) & (minute < 60 * (LAST_HOUR + 1))
    for index, (begin, end) in enumerate(QUIET):
        mine = people.quiet == index
        allowed[mine] &= outside(minute[mine], np.full_like(minute[mine], world.slot_minutes), begin, end)
    return allowed


def _ranking(world: World, day: date, memory: Memory) -> tuple[Ints, Ints]:
    """(campaigns of each user, in the order they are taken; how many the user may get): a race with speeds ∝ share."""
    people, number = world.people, day_number(day)
    category, channel = _codes(world)
    on = people.owns & (memory.off_at > day_start(day))
    speeds = np.array([_share(c) for c in world.campaigns.values()])
    waits = np.stack([-np.log(uniform(people.seeds, "race", name, number)) for name in world.campaigns], axis=1)
    may = on[:, channel] & ~people.refuses[:, category] & (speeds > 0)
    finish = np.where(may, waits / np.where(speeds > 0, speeds, 1.0), np.inf)
    return np.argsort(finish, axis=1, kind="stable"), may.sum(axis=1)


def _codes(world: World) -> tuple[Ints, Ints]:
    """(category, channel) of each campaign, as indices."""
    campaigns = world.campaigns.values()
    category = np.array([world.categories.index(c.category) for c in campaigns], np.int64)
    return category, np.array([world.channels.index(c.channel) for c in campaigns], np.int64)


def _share(campaign: Campaign) -> float:
    """Share of users in the audience; the old policy sent nothing for upstream systems."""
    match campaign.audience:
        case AudienceAll():
            return 1.0
        case AudienceShare(fraction=fraction) | AudienceActive(fraction=fraction):
            return fraction
        case _:
            return 0.0
