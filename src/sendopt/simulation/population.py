"""Users of the simulated world, with zones, consent, habits and tastes, all drawn by user id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from sendopt.simulation.clock import DAY, day_start
from sendopt.simulation.draws import Seeds, choice, normal, seeds_of, uniform
from sendopt.stats.arrays import Flags, Floats, Ints, Texts

ZONES = {  # share of users, in no particular unit
    "America/New_York": 18,
    "America/Chicago": 9,
    "America/Los_Angeles": 11,
    "America/St_Johns": 2,
    "America/Sao_Paulo": 6,
    "Europe/London": 10,
    "Europe/Berlin": 13,
    "Europe/Helsinki": 4,
    "Africa/Johannesburg": 3,
    "Asia/Kolkata": 10,
    "Asia/Kathmandu": 2,
    "Asia/Tokyo": 5,
    "Australia/Sydney": 5,
    "Pacific/Auckland": 2,
}
QUIET = (("22:00", "07:00"), ("21:00", "09:00"), ("20:00", "08:00"))
MISSING_ZONE, OWN_QUIET, CATEGORY_OPT_OUT = 0.01, 0.05, 0.03  # shares of users; the last: of user × category
TENURE_DAYS = 365

# Preferred local minutes of a day, and the share of users who hold each first.
PREFERRED = {
    "early": (7.0, 12),
    "commute": (8.5, 22),
    "lunch": (12.5, 20),
    "afternoon": (16.0, 12),
    "evening": (19.5, 22),
    "night_owl": (22.0, 12),
}
SPREAD_MINUTES = 40.0  # of one user's preferred time about its type's
WEEKEND_LATER_MINUTES = 75.0
PREFERENCE = 1.25  # log-odds of a preferred time against none, median user
OPENNESS, OPENNESS_SPREAD = -2.2, 0.85  # log-odds of an open: median user, spread between users
TASTE_SPREAD = 0.45  # log-odds, user × category
SESSIONS_PER_DAY = 1.1  # median user
OPT_OUT_SPREAD = 0.5  # log of a user's readiness to opt out


@dataclass(frozen=True, eq=False)
class Population:
    """Users as columns; U users, C channels, K categories."""

    ids: Texts  # (U,)
    seeds: Seeds  # (U,) key of every draw about the user
    zone: Ints  # (U,) index of ZONES; the true one, also where the log has none
    zone_known: Flags  # (U,)
    owns: Flags  # (U, C)
    refuses: Flags  # (U, K) categories opted out of from the beginning
    quiet: Ints  # (U,) index of QUIET, -1: none
    created: Ints  # (U,) epoch seconds
    openness: Floats  # (U,) log-odds
    taste: Floats  # (U, K) log-odds
    readiness: Floats  # (U,) factor of the opt-out probability
    sessions: Floats  # (U,) sessions a day
    preferred: Floats  # (U, 2, 2) local minute by weekday/weekend and first/second preference
    strength: Floats  # (U, 2, 2) log-odds, likewise; 0 where there is no second preference


def populate(
    users: int,
    seed: int,
    ownership: tuple[float, ...],
    channels: tuple[str, ...],
    categories: tuple[str, ...],
    start: date,
) -> Population:
    """Return `users` people, from u000001 on; person i is the same in a world of any size and any campaigns."""
    ids = np.array([f"u{i:06d}" for i in range(1, users + 1)], object)
    key = seeds_of(seed, ids)
    openness = normal(key, "openness")
    preferred, strength = _preferences(key)
    own_quiet = uniform(key, "own quiet") < OWN_QUIET
    return Population(
        ids=ids,
        seeds=key,
        zone=choice(key, ZONES.values(), "zone"),
        zone_known=uniform(key, "zone known") >= MISSING_ZONE,
        owns=np.stack([uniform(key, "owns", c) < p for c, p in zip(channels, ownership, strict=True)], axis=1),
        refuses=np.stack([uniform(key, "refuses", k) < CATEGORY_OPT_OUT for k in categories], axis=1),
        quiet=np.where(own_quiet, choice(key, [1.0] * len(QUIET), "quiet"), -1),
        created=day_start(start) - 1 - (uniform(key, "created") * TENURE_DAYS * DAY).astype(np.int64),
        openness=OPENNESS + OPENNESS_SPREAD * openness,
        taste=np.stack([TASTE_SPREAD * normal(key, "taste", k) for k in categories], axis=1),
        readiness=np.exp(OPT_OUT_SPREAD * normal(key, "readiness") - OPT_OUT_SPREAD**2 / 2),
        sessions=SESSIONS_PER_DAY * np.exp(0.35 * openness + 0.5 * normal(key, "sessions")),
        preferred=preferred,
        strength=strength,
    )


def _preferences(key: Seeds) -> tuple[Floats, Floats]:
    """Return preferred times and their strengths; half the users have a second time, stronger on weekends."""
    centres = 60.0 * np.array([hour for hour, _ in PREFERRED.values()])
    shares = [float(share) for _, share in PREFERRED.values()]
    minutes = np.stack(
        [centres[choice(key, shares, "preferred", n)] + SPREAD_MINUTES * normal(key, "about", n) for n in (0, 1)],
        axis=1,
    )
    first = PREFERENCE * np.exp(0.3 * normal(key, "strength"))
    second = first * (0.4 + 0.5 * uniform(key, "second")) * (uniform(key, "has second") < 0.5)
    weekday, weekend = (
        np.stack([first, second], axis=1),
        np.stack([0.7 * first, np.minimum(1.2 * second, first)], axis=1),
    )
    return np.stack([minutes, minutes + WEEKEND_LATER_MINUTES], axis=1) % 1440, np.stack([weekday, weekend], axis=1)
