"""How the report says things: numbers as people read them, reasons, prices and endings of the solver in words."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from sendopt.domain import stages
from sendopt.domain.tables import TABLES

REASONS: dict[str, tuple[str, str]] = {
    "holdout": ("Hold-out group", "The person is in the arm that gets nothing, so that the effect can be measured."),
    "already_sent": ("Sent before", "The log holds a send of this very message."),
    "unknown_user": ("Person not known", "The message names a person that the table of users does not hold."),
    "unknown_campaign": ("Campaign not known", "The message names a campaign that the config does not hold."),
    "no_channel": ("Channel not available", "The person has no address or device for the campaign's channel."),
    "channel_opted_out": ("Opted out of the channel", "The person turned this channel off."),
    "category_opted_out": ("Opted out of the category", "The person turned this kind of message off."),
    "quiet_hours": ("Quiet hours", "Every slot left falls into quiet hours: legal, the channel's or the person's own."),
    "window": ("Outside the campaign's hours", "No slot left lies inside the campaign's local hours."),
    "earliest": ("Too early", "The message may only go out after this plan's day."),
    "expiry": ("Expired", "The message runs out before any slot it could have had."),
    "no_support": ("Hours never tried", "The log has too few sends at these local hours to plan there responsibly."),
    "zone_unknown": ("Time zone unknown", "No slot left is allowed in every zone the person may live in."),
    "not_eligible": ("No slot passes all rules", "Each slot is refused by some rule; no single rule refuses them all."),
    "negative_value": ("Costs more than it gives", "The expected opt-outs outweigh the expected gain."),
    "user_cap": ("Frequency cap", "The person would get more messages than a cap allows."),
    "min_gap": ("Too close to another send", "It would come sooner after another message than the minimum gap."),
    "fatigue": ("Fatigue budget", "Recent messages have used up the person's fatigue points."),
    "capacity": ("Channel full", "Other messages make better use of the channel in the slots it could have."),
    "campaign_budget": ("Campaign at its maximum", "Other people gain more from the campaign's limited sends."),
    "opt_out_budget": ("Opt-out budget used up", "The plan's expected opt-outs have reached their budget."),
    "cost_budget": ("Money budget used up", "The plan's cost has reached its budget."),
    "displaced": ("A better message took its place", "Another message that needs the same room is worth more."),
    "planned_unsent": ("Drawn, but did not fit", "A random-time message whose drawn slot was full, kept on record."),
    "campaign_killed": ("Campaign stopped", "Someone stopped this campaign."),
    "slot_past": ("Slot already begun", "The plan was published after the slot of this message had begun."),
    "withdrawn": ("Message withdrawn", "The message was offered when the night was planned, and is no longer."),
    "duplicate": ("Duplicate", "The same message is already planned or sent."),
}  # fmt: skip

ARMS: dict[str, tuple[str, str]] = {
    "treatment": ("Optimised", "time and message chosen by the plan"),
    "uniform_time": ("Random time", "time drawn uniformly among the allowed slots, so that timing can be learned"),
    "holdout": ("Hold-out", "gets nothing, so that the effect of sending can be measured"),
    "fallback": ("Fallback", "planned without the model, because it failed or does not exist"),
}

TERMINATIONS: dict[str, str] = {
    "optimal": "the solver proved that no better plan exists for the problem it was given",
    "gap_reached": "the solver stopped as soon as the plan was provably close enough to the best one",
    "time_limit": "the solver ran out of time; the plan keeps every rule, but a better one may exist",
    "passes_done": "the prices were improved as often as allowed; the gap says how much a better plan could still gain",
}

METHODS: dict[str, str] = {
    "exact": "one integer program over all people",
    "prices": "prices on the shared limits, each person's best answer to them, then repair",
}

BASELINES: dict[str, str] = {
    "global_rate": "One rate for everyone",
    "slot": "The hour's popularity",
    "user": "The person's own rate",
    "user_slot": "Person's rate + hour",
    "shrunk": "Person's shrunk rate + hour",
    "model_shuffled_slots": "The model, hours shuffled",
    "model": "The model",
}

TABLE_STAGES: dict[str, str] = {
    **{name: f"the stage {stages.writers(name)[0]}" for name in TABLES if stages.writers(name)},
    "runs": "each stage that runs",
}


def number(value: Any) -> float | None:
    """Return a finite float, or None for anything that is not one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return float(value) if math.isfinite(value) else None


def count(value: float) -> str:
    """Return `2,013`; a fraction keeps one digit below 100."""
    if abs(value - round(value)) < 1e-6 or abs(value) >= 100:
        return f"{round(value):,}"
    return f"{value:,.1f}"


def compact(value: float) -> str:
    """Return an axis label: `20k` from 10,000 on."""
    return f"{value / 1000:,g}k" if abs(value) >= 10_000 else count(value)


def expected(value: float) -> str:
    """Return an expected number: whole from 10 on, one digit below."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def plural(value: float, one: str, many: str | None = None) -> str:
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def amount(value: float, digits: int = 2) -> str:
    """Return `digits` significant digits without an exponent where that stays readable: 0.031, 2.1, 140."""
    if value == 0:
        return "0"
    if abs(value) < 1e-5:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def percent(fraction: float, digits: int = 1) -> str:
    return f"{100 * fraction:.{digits}f} %"


def share(part: float, whole: float) -> str:
    """Return a share in whole percent, never a false zero."""
    return "<1 %" if 0 < part < 0.005 * whole else percent(part / whole, 0)


def gap_words(gap: float) -> str:
    """Return a relative gap as `0.02 %`, never a false zero."""
    if gap < 0.00005:
        return "less than 0.01 %"
    return f"{100 * gap:.2f} %" if gap < 0.1 else f"{100 * gap:.0f} %"


def unit(label: str | None) -> str:
    """Return what a plan's value counts: opens, goals, or its neutral name where no evaluation says."""
    return {"open": "opens", "goal": "goals"}.get(label or "", "units of value")


def reason(code: str) -> str:
    """Return a reason's name for people; an unknown code as it is."""
    return REASONS[code][0] if code in REASONS else code


def clock(slot: int, slot_minutes: int | None) -> str:
    """Return a slot's start as UTC clock time; its index where the slot length is not known."""
    if slot_minutes is None:
        return f"slot {slot}"
    minute = slot * slot_minutes
    return f"{minute // 60 % 24:02d}:{minute % 60:02d}"


def use(used: float, limit: float, kept_free: float = 0.0) -> str:
    """Return how much of a limit is used, and what of it is kept for the sends at random times."""
    kept = f", {count(kept_free)} kept for random times" if kept_free >= 0.5 else ""
    return f"{count(used)} of {count(limit)}{kept}"


def price_sentence(row: str, kind: str, price: float, units: str, slot_minutes: int | None) -> str:
    """Return what one more unit of a limit is worth, for a row of `shadow_prices`."""
    worth = f"{amount(price)} {units}"
    _, _, rest = row.partition(":")
    if kind == "capacity":
        channel, _, slot = rest.rpartition(":")
        when = f"at {clock(int(slot), slot_minutes)} UTC" if slot_minutes and slot.isdigit() else f"in slot {slot}"
        return f"One more {channel} send {when} is worth {worth}."
    if kind == "campaign_max":
        return f"One more send of {rest} is worth {worth}."
    if kind == "campaign_min":
        return f"Asking for one more send of {rest} costs {worth}."
    if kind == "opt_outs":
        return f"One more expected opt-out in the budget is worth {worth}."
    if kind == "cost":
        return f"One more unit of money in the budget is worth {worth}."
    return f"One more unit of {row} is worth {worth}."
