"""The meaning of settings for a night in sentences, without reading any data (`sendopt check`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date

from sendopt.config import local_hours
from sendopt.config.checks import MINUTES_PER_DAY, window_minutes
from sendopt.config.schema import AudienceActive, AudienceIngested, AudienceShare, Campaign, Settings
from sendopt.domain.limits import Cap, Capacity, Fatigue

A_YEAR = 2026  # the year of the clock changes where no date is given


def forecast(settings: Settings) -> list[str]:
    """Return sentences on messages offered, what one user can get, room by channel, budgets, goals and arms."""
    return [
        *_offers(settings),
        *_dates(settings),
        *_per_user(settings),
        *_room(settings),
        *_across_users(settings),
        *_worth(settings),
        _arms(settings),
    ]


def stated_clock(env: str, settings: Settings) -> list[str]:
    """Return a sentence where the environment `env` sets the time of its nights; none where it is the real time."""
    if settings.clock.now == "machine":
        return []
    stated = "its own as_of" if settings.clock.now == "as_of" else settings.clock.now
    return [f"Clock of env {env}: a night takes {stated} for now. For historic and simulated logs only."]


def warnings(settings: Settings, today: date | None = None) -> list[str]:
    """Return a `dotted.path: sentence` for each setting that is valid but probably a mistake.

    `today` decides which campaigns are over, and its year which clock changes count. Without it no date is checked.
    """
    return [
        *_campaign_warnings(settings),
        *_dates_over(settings, today),
        *local_hours.warnings(settings, today.year if today else A_YEAR),
        *_channel_warnings(settings),
        *_budget_warnings(settings),
        *_user_warnings(settings),
        *_fatigue_warnings(settings),
        *_arm_warnings(settings),
        *_training_warnings(settings),
        *_goal_warnings(settings),
    ]


def slots_per_day(settings: Settings) -> int:
    """Return the number of slots of a plan."""
    return settings.grid.horizon_hours * 60 // settings.grid.slot_minutes


def channel_total(capacity: Capacity, n_slots: int) -> int | None:
    """Return the most sends of a night; None where a slot has no limit (a map limits only the slots it names).

    >>> channel_total(60, 24), channel_total({0: 5, 1: 5}, 2), channel_total({0: 5}, 2)
    (1440, 10, None)
    """
    if isinstance(capacity, int):
        return capacity * n_slots
    return sum(capacity.values()) if len(capacity) == n_slots else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _count(count: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def _reach(campaign: Campaign) -> float:
    """Return the most messages offered per user and night; the number of ingested ones is not known and counts 0."""
    audience = campaign.audience
    if isinstance(audience, AudienceIngested):
        return 0.0
    share = audience.fraction if isinstance(audience, (AudienceShare, AudienceActive)) else 1.0
    return share * campaign.messages_per_user


def _offers(settings: Settings) -> Iterator[str]:
    campaigns = settings.campaigns
    categories = {c.category for c in campaigns.values()}
    offered = _number(sum(_reach(c) for c in campaigns.values()))
    who = f"{_count(len(campaigns), 'campaign')} in {_count(len(categories), 'category')}"
    yield f"On offer: up to {offered} messages a user and night, from {who} (before consent, channels and quiet hours)."


def _dates(settings: Settings) -> Iterator[str]:
    for name, campaign in settings.campaigns.items():
        first = f" from {campaign.first_date}" if campaign.first_date else ""
        last = f" until {campaign.last_date}, and on no night after it" if campaign.last_date else ""
        if first or last:
            yield f"Campaign {name} is offered{first}{last}."


def _per_user(settings: Settings) -> Iterator[str]:
    everyone = settings.quiet_hours.everyone
    awake = MINUTES_PER_DAY - (window_minutes(everyone) if everyone else 0)
    if everyone:
        yield f"Nobody is sent to between {everyone.start} and {everyone.end} local time: {_hours(awake)} a day remain."
    if settings.min_gap_minutes:
        most = max(0, awake - settings.grid.slot_minutes) // settings.min_gap_minutes + 1
        yield (
            f"The gap of {_number(settings.min_gap_minutes)} minutes leaves a user at most "
            f"{_count(most, 'message')} a day."
        )
    for name, cap in settings.caps.items():
        yield _cap_sentence(name, cap)
    if settings.fatigue:
        yield from _fatigue_sentences(settings.fatigue)


def _hours(minutes: int) -> str:
    return f"{_number(minutes / 60)} hours"


def _cap_sentence(name: str, cap: Cap) -> str:
    what = _count(cap.max, "message") + ("" if cap.scope == "all" else f" of {cap.scope.replace(':', ' ')}")
    if cap.calendar:
        return f"Cap {name}: a user gets at most {what} in a local calendar {cap.calendar}."
    minutes = cap.window_minutes or MINUTES_PER_DAY
    per_day = cap.max * MINUTES_PER_DAY / minutes
    average = "" if minutes == MINUTES_PER_DAY else f", {_number(per_day)} a day on average"
    return f"Cap {name}: a user gets at most {what} in any {_hours(minutes)}{average}."


def _fatigue_sentences(fatigue: Fatigue) -> Iterator[str]:
    for channel, points in fatigue.points_per_send.items():
        if points == 0:
            continue
        if points > fatigue.max_points:
            yield f"Fatigue: one {channel} send costs more points than a user may have, so {channel} is never sent."
        elif points == fatigue.max_points:
            yield f"Fatigue: a user gets {channel} only when wholly rested, so hardly ever."
        else:
            # Sends every T hours peak at points / (1 - 2^(-T/half-life)); the T where that is max_points.
            hours = -fatigue.half_life_hours * math.log2(1 - points / fatigue.max_points)
            yield f"Fatigue: {channel} alone can go on for ever at {24 / hours:.2f} sends a day to a user."


def _room(settings: Settings) -> Iterator[str]:
    n_slots = slots_per_day(settings)
    for channel in settings.channels:
        members = [c for c in settings.campaigns.values() if c.channel == channel]
        limited = [c.max_sends for c in members if c.max_sends is not None]
        unlimited = len(members) - len(limited)
        maxima = f"campaigns: {len(limited)} with a maximum ({sum(limited):,} in all), {unlimited} without"
        capacity = settings.capacity.get(channel)
        total = None if capacity is None else channel_total(capacity, n_slots)
        room = "no limit of sends a night" if total is None else f"room for {total:,} sends a night in {n_slots} slots"
        yield f"Channel {channel}: {room}; {maxima}."


def _across_users(settings: Settings) -> Iterator[str]:
    if settings.opt_outs:
        yield f"A plan may be expected to lose {_number(settings.opt_outs.max_expected)} users to opt-outs at most."
    if settings.cost:
        affordable = [
            f"{_number(settings.cost.max_total / channel.cost_per_send // 1)} {name}"
            for name, channel in settings.channels.items()
            if channel.cost_per_send > 0
        ]
        yield f"A plan may cost {_number(settings.cost.max_total)}: {' or '.join(affordable) or 'no channel costs'}."


def _worth(settings: Settings) -> Iterator[str]:
    goals = settings.objective.goals
    if goals:
        counted = ", ".join(
            f"{_number(goal.weight)} for each {name} ({goal.kind} within {_number(goal.window_hours)} hours)"
            for name, goal in goals.items()
        )
        yield f"Goals: beside its chance of success a send is worth {counted}, in opens."


def _goal_warnings(settings: Settings) -> Iterator[str]:
    label = settings.label
    for name, goal in settings.objective.goals.items():
        if (goal.kind, goal.window_hours) == (label.kind, label.window_hours):
            yield f"objective.goals.{name}: counts what the label counts already, so it only makes opt-outs cheaper"


def _arms(settings: Settings) -> str:
    arms = settings.arms
    treated = 1 - arms.holdout_fraction - arms.uniform_time_fraction
    return (
        f"Arms: {arms.holdout_fraction:.1%} of users get nothing (holdout), {arms.uniform_time_fraction:.1%} get their "
        f"messages at random times (uniform_time), {treated:.1%} are planned (treatment)."
    )


def _campaign_warnings(settings: Settings) -> Iterator[str]:
    if not settings.campaigns:
        yield "campaigns: none is configured, so nothing is sent"
    for name, campaign in settings.campaigns.items():
        at = f"campaigns.{name}"
        if campaign.max_sends is not None and campaign.min_sends > campaign.max_sends:
            yield (
                f"{at}.min_sends: {campaign.min_sends} is more than max_sends {campaign.max_sends}; "
                "the night will end with exit 4"
            )
        if campaign.shortfall_price is not None and campaign.min_sends == 0:
            yield f"{at}.shortfall_price: without effect, because min_sends is 0"
        if _reach(campaign) == 0 and not isinstance(campaign.audience, AudienceIngested):
            yield f"{at}.audience: a share of 0 reaches nobody"
        if campaign.max_sends == 0:
            yield f"{at}.max_sends: 0 stops the campaign"
        capacity = settings.capacity.get(campaign.channel)
        total = None if capacity is None else channel_total(capacity, slots_per_day(settings))
        if capacity is None:
            yield f"{at}.channel: {campaign.channel} has no capacity set, so its volume in a slot is without limit"
        elif total is not None and total < max(1, campaign.min_sends):
            room = f"{campaign.channel} has room for {total} sends a night"
            yield f"{at}.channel: {room}, the campaign wants at least {max(1, campaign.min_sends)}"


def _dates_over(settings: Settings, today: date | None) -> Iterator[str]:
    over = [n for n, c in settings.campaigns.items() if today and c.last_date and c.last_date < today.isoformat()]
    for name in over:
        last = settings.campaigns[name].last_date
        yield f"campaigns.{name}.last_date: {last} is past; no night after {last} offers the campaign"
    if over and len(over) == len(settings.campaigns):
        yield "campaigns: the last_date of every one is past, so nothing is sent"


def _channel_warnings(settings: Settings) -> Iterator[str]:
    used = {c.channel for c in settings.campaigns.values()}
    for channel in settings.channels:
        if channel not in used:
            yield f"channels.{channel}: no campaign uses it"
    for channel, capacity in settings.capacity.items():
        if isinstance(capacity, dict) and len(capacity) < slots_per_day(settings):
            yield f"capacity.{channel}: slots that are not in the map are without limit"


def _budget_warnings(settings: Settings) -> Iterator[str]:
    if settings.opt_outs and settings.opt_outs.max_expected == 0:
        yield "opt_outs.max_expected: 0 stops every message that has any chance of an opt-out"
    if settings.cost is None:
        return
    if all(c.cost_per_send == 0 for c in settings.channels.values()):
        yield "cost.max_total: without effect, because no channel has a cost_per_send"
    for name, channel in settings.channels.items():
        if channel.cost_per_send > settings.cost.max_total:
            yield (
                f"channels.{name}.cost_per_send: {channel.cost_per_send:g} is more than cost.max_total "
                f"{settings.cost.max_total:g}, so nothing is sent there"
            )


def _user_warnings(settings: Settings) -> Iterator[str]:
    for name, cap in settings.caps.items():
        if cap.max == 0:
            yield f"caps.{name}.max: 0 stops every message of scope {cap.scope}"
    if 0 < settings.min_gap_minutes < settings.grid.slot_minutes:
        yield (
            f"min_gap_minutes: {settings.min_gap_minutes} is shorter than a slot of {settings.grid.slot_minutes} "
            "minutes, so it only forbids two messages in one slot"
        )


def _fatigue_warnings(settings: Settings) -> Iterator[str]:
    fatigue = settings.fatigue
    if fatigue is None:
        return
    for channel, points in fatigue.points_per_send.items():
        if points > fatigue.max_points:
            yield f"fatigue.points_per_send.{channel}: {points:g} is more than max_points, so nothing is sent there"
    if not any(fatigue.points_per_send.values()):
        yield "fatigue: without effect, because no channel costs points"
        return
    for channel in sorted({c.channel for c in settings.campaigns.values()} - set(fatigue.points_per_send)):
        yield f"fatigue.points_per_send: {channel} is left out, so its sends cost no points"


def _arm_warnings(settings: Settings) -> Iterator[str]:
    arms = settings.arms
    if arms.holdout_fraction == 0:
        yield "arms.holdout_fraction: 0, so the effect of sending at all cannot be measured"
    if arms.uniform_time_fraction == 0:
        yield "arms.uniform_time_fraction: 0, so the effect of timing cannot be measured"
    if arms.holdout_fraction + arms.uniform_time_fraction > 0.5:
        yield "arms: holdout and uniform_time together are more than half of the users, so most are not planned"


def _training_warnings(settings: Settings) -> Iterator[str]:
    training = settings.training
    if training.early_stopping_rounds >= training.max_trees:
        yield (
            f"training.early_stopping_rounds: {training.early_stopping_rounds} is not less than max_trees "
            f"{training.max_trees}, so training never stops early"
        )
