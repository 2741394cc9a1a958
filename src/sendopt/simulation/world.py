"""The simulated world: its truth says how likely each user reacts to any message at any time.

Tests and benchmarks compare estimates with the truth: `p_open`, `p_order` and `p_opt_out`. The pipeline sees raw logs
only.
Log-odds of an open within 24 h = openness(user) + taste(user, category) + appeal(category) + channel + habit(user,
local time) − 0.1 · fatigue. habit = a curve common to all + `personal_timing` · the user's own preferred times. Fatigue
is each channel's points per earlier send, halving every 72 h (like model ¶9d, with points of the world's own).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from scipy.special import expit, i0e

from sendopt.config.schema import Campaign, Grid
from sendopt.domain.slots import MINUTES_PER_DAY
from sendopt.errors import ConfigError
from sendopt.simulation.clock import DAY, Clock, day_start
from sendopt.simulation.draws import normal, seeds_of
from sendopt.simulation.population import SESSIONS_PER_DAY, ZONES, Population, populate
from sendopt.stats.arrays import Floats, Ints

HALF_LIFE_SECONDS = 72 * 3600
OPEN_HOURS = 24  # p_open counts opens up to so many hours after the send
FATIGUE_ON_OPEN = 0.10  # log-odds lost per point
FATIGUE_OF_DOUBLE_OPT_OUT = 3.0  # points that double the probability of an opt-out
MAX_FATIGUE_FACTOR, MAX_OPT_OUT = 12.0, 0.05
APPEAL_SPREAD = 0.15  # log-odds between categories

# An order after an open: log-odds of a category (of others ORDER), by the user's sessions, and between users.
ORDER = -2.2
ORDERS = {"deals": -1.2, "reminders": -0.9, "news": -2.6, "social": -3.6, "account": -3.2}
ORDER_SESSIONS, ORDER_SPREAD = 0.6, 0.4  # log-odds per log of sessions over the median user's; standard deviation

WIDTH_MINUTES = 120.0  # standard deviation of a habit's bump
_KAPPA = (MINUTES_PER_DAY / (2 * math.pi * WIDTH_MINUTES)) ** 2
_MEAN_BUMP = float(i0e(_KAPPA))  # of a bump over the whole day

# The common curve: (local hour, log-odds) of bumps on weekdays and at weekends; all fall at night.
COMMON = (
    ((8.0, 0.25), (12.5, 0.30), (19.5, 0.55), (3.0, -1.5), (0.5, -0.6)),
    ((10.5, 0.35), (15.0, 0.15), (20.0, 0.45), (4.0, -1.5), (1.5, -0.4)),
)


@dataclass(frozen=True)
class ChannelTruth:
    """A channel: log-odds it adds to an open, opt-out probability without fatigue, points, share of owners."""

    opens: float
    opt_out: float
    points: float
    owners: float


KNOWN_CHANNELS = {
    "push": ChannelTruth(opens=0.15, opt_out=0.0006, points=1.0, owners=0.97),
    "email": ChannelTruth(opens=-0.15, opt_out=0.0005, points=0.5, owners=0.85),
    "sms": ChannelTruth(opens=0.35, opt_out=0.0012, points=1.5, owners=0.35),
}
OTHER_CHANNEL = ChannelTruth(opens=0.0, opt_out=0.0008, points=1.0, owners=0.6)


@dataclass(frozen=True, eq=False)
class World:
    """The truth and the people. Indices are positions in `people.ids`, `channels` and `categories`."""

    seed: int
    start: date  # the first night that history leaves to a plan
    personal_timing: float
    slot_minutes: int
    channels: tuple[str, ...]
    categories: tuple[str, ...]
    campaigns: Mapping[str, Campaign]
    people: Population
    clock: Clock
    appeal: Floats  # (categories,) log-odds

    @classmethod
    def create(
        cls,
        users: int,
        seed: int,
        campaigns: Mapping[str, Campaign],
        channels: Iterable[str],
        start: date,
        grid: Grid | None = None,
        personal_timing: float = 1.0,
    ) -> World:
        """Return the world of these arguments; the same arguments give the same world.

        users: 1 to 999,999. seed ≥ 0. channels: names, or a mapping by name. personal_timing ≥ 0 scales the personal
        part of every habit, of opens and of sessions; at 0 all users share one curve. Raises ConfigError.
        """
        names = tuple(channels)
        _check(users, seed, campaigns, names, personal_timing)
        categories = tuple(sorted({c.category for c in campaigns.values()}))
        owners = tuple(KNOWN_CHANNELS.get(c, OTHER_CHANNEL).owners for c in names)
        return cls(
            seed=seed,
            start=start,
            personal_timing=float(personal_timing),
            slot_minutes=(grid or Grid()).slot_minutes,
            channels=names,
            categories=categories,
            campaigns=dict(campaigns),
            people=populate(users, seed, owners, names, categories, start),
            clock=Clock.around(tuple(ZONES), start),
            appeal=APPEAL_SPREAD * normal(seeds_of(seed, categories), "appeal"),
        )

    def habit(self, user: Ints, at: Ints) -> Floats:
        """Return the log-odds that the local time adds, common and personal; indices and epoch seconds broadcast."""
        user, at = np.broadcast_arrays(user, at)
        minute, weekend = self.clock.local(self.people.zone[user], at)
        common = np.where(weekend, *(_common(minute, bumps) for bumps in (COMMON[1], COMMON[0])))
        if self.personal_timing == 0:
            return common
        part = weekend.astype(np.int64)
        personal = np.zeros(user.shape)
        for nth in (0, 1):
            bump = _bump(minute, self.people.preferred[user, part, nth]) - _MEAN_BUMP
            personal += self.people.strength[user, part, nth] * bump
        return common + self.personal_timing * personal

    def p_open(self, user: Ints, at: Ints, category: Ints, channel: Ints, fatigue: Floats | float) -> Floats:
        """Return the true probability of an open within 24 h of a send at epoch seconds `at` (UTC).

        `user`, `category`, `channel` are indices, `fatigue` the points just before the send; all broadcast. Ownership
        of the channel and consent are not considered.
        """
        user = np.asarray(user)
        log_odds = self.people.openness[user] + self.people.taste[user, category] + self.appeal[category]
        log_odds = log_odds + self._channel("opens")[channel] + self.habit(user, np.asarray(at))
        return np.minimum(expit(log_odds - FATIGUE_ON_OPEN * np.asarray(fatigue)), 0.95)

    def p_opt_out(self, user: Ints, channel: Ints, fatigue: Floats | float) -> Floats:
        """Return the true probability, in [0, 0.05], that a send makes the user turn its channel off; see `p_open`."""
        factor = np.minimum(1 + (np.asarray(fatigue) / FATIGUE_OF_DOUBLE_OPT_OUT) ** 2, MAX_FATIGUE_FACTOR)
        return np.minimum(self._channel("opt_out")[channel] * self.people.readiness[user] * factor, MAX_OPT_OUT)

    def p_order(self, user: Ints, category: Ints) -> Floats:
        """Return the true probability that an order (a `goal`) follows an open, at any time; indices broadcast.

        It differs by category and person, otherwise than that of an open: users with many sessions order more.
        """
        by_category = np.array([ORDERS.get(name, ORDER) for name in self.categories], np.float64)
        people, user = self.people, np.asarray(user)
        often = ORDER_SESSIONS * np.log(people.sessions[user] / SESSIONS_PER_DAY)
        personal = ORDER_SPREAD * normal(people.seeds[user], "order")
        return np.asarray(expit(by_category[category] + often + personal), np.float64)

    def points(self, channel: Ints) -> Floats:
        """Return the fatigue points that one send on each of these channels adds."""
        return self._channel("points")[channel]

    def slot_starts(self, plan_date: date) -> Ints:
        """Return the epoch seconds at which the slots of `plan_date` start, shape (24 h / slot_minutes,)."""
        return day_start(plan_date) + np.arange(0, DAY, self.slot_minutes * 60, dtype=np.int64)

    def _channel(self, field: str) -> Floats:
        return np.array([getattr(KNOWN_CHANNELS.get(c, OTHER_CHANNEL), field) for c in self.channels], np.float64)

    def save(self, path: Path) -> None:
        """Write the arguments of `create` for `load`, without the campaigns, which `growth.yaml` owns."""
        facts = {
            "users": len(self.people.ids),
            "seed": self.seed,
            "start": self.start.isoformat(),
            "channels": list(self.channels),
            "slot_minutes": self.slot_minutes,
            "personal_timing": self.personal_timing,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path, campaigns: Mapping[str, Campaign]) -> World:
        """Return the world that `save` wrote.

        Campaigns may have changed since: each user's truth by category stays. Raises ConfigError where the file is
        missing or is no world.
        """
        try:
            facts = json.loads(path.read_text())
            return cls.create(
                facts["users"],
                facts["seed"],
                campaigns,
                facts["channels"],
                date.fromisoformat(facts["start"]),
                Grid(slot_minutes=facts["slot_minutes"]),
                facts["personal_timing"],
            )
        except FileNotFoundError as error:
            raise ConfigError(f"there is no simulated world at {path}; simulate its history first") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is no simulated world ({error}); simulate its history again") from error


def world_file(raw: Path) -> Path:
    """Return the file of the world of the raw logs in `raw`: beside them, so that no log reader reads it."""
    return raw.parent / "world.json"


def _common(minute: Ints, bumps: tuple[tuple[float, float], ...]) -> Floats:
    return np.asarray(sum(height * _bump(minute, np.float64(60 * hour)) for hour, height in bumps), np.float64)


def _bump(minute: Ints, centre: Floats | np.float64) -> Floats:
    """Return a bump over the circular day: 1 at the centre, about 0 six hours away."""
    angle = (minute - centre) * (2 * math.pi / MINUTES_PER_DAY)
    return np.asarray(np.exp(_KAPPA * (np.cos(angle) - 1)), np.float64)


def _check(
    users: int, seed: int, campaigns: Mapping[str, Campaign], channels: tuple[str, ...], personal_timing: float
) -> None:
    if not isinstance(users, int) or not 1 <= users <= 999_999:
        raise ConfigError(
            f"users of a simulated world: got {users!r}, expected 1 to 999999; give a number in that range"
        )
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed of a simulated world: got {seed!r}, expected an integer >= 0; give one")
    if not (isinstance(personal_timing, int | float) and math.isfinite(personal_timing) and personal_timing >= 0):
        raise ConfigError(
            f"personal_timing of a simulated world: got {personal_timing!r}, expected a number >= 0; 1 is the usual one"
        )
    if not campaigns:
        raise ConfigError("campaigns of a simulated world: got none, expected at least one; add one to growth.yaml")
    if len(set(channels)) != len(channels):
        raise ConfigError(
            f"channels of a simulated world: got {', '.join(channels)}, expected each once; name each once"
        )
    missing = sorted({c.channel for c in campaigns.values()} - set(channels))
    if missing:
        raise ConfigError(
            f"channels of a simulated world: campaigns use {', '.join(missing)}, which is not among "
            f"{', '.join(channels) or 'none'}; add the channel or change the campaign"
        )
