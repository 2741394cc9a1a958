"""The report's texts: numbers as people read them; arms, prices and endings of the solver in words."""

from __future__ import annotations

import math
from numbers import Real

from sendopt.domain import stages
from sendopt.domain.tables import TABLES

ARMS: dict[str, tuple[str, str]] = {
    "treatment": ("Optimised", "time and message chosen by the plan"),
    "uniform_time": (
        "Random time",
        "the plan's messages, each at a time drawn among the allowed slots, so that timing can be learned",
    ),
    "holdout": ("Hold-out", "gets nothing, so that the effect of sending can be measured"),
    "fallback": ("Fallback", "planned without the model, because it failed or does not exist"),
}

TERMINATIONS: dict[str, str] = {
    "optimal": "the solver proved that no better plan exists for the problem it was given",
    "gap_reached": "the solver stopped as soon as the plan was provably close enough to the best one",
    "work_limit": "the solver did all the work it may; the plan keeps every rule, but a better one may exist",
    "time_limit": "the solver ran out of time; the plan keeps every rule, but a better one may exist",  # before 0018
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


def number(value: object) -> float | None:
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


def plural(value: float, singular: str, plural_form: str | None = None) -> str:
    """Return a number with its noun.

    >>> plural(1, "send"), plural(2013, "send"), plural(2, "person", "people")
    ('1 send', '2,013 sends', '2 people')
    """
    return f"{count(value)} {singular if value == 1 else plural_form or singular + 's'}"


def amount(value: float, digits: int = 2) -> str:
    """Return `digits` significant digits, without an exponent where that is readable.

    >>> amount(0.0312), amount(2.14), amount(140.2), amount(2e-6)
    ('0.031', '2.1', '140', '2.0e-06')
    """
    if value == 0:
        return "0"
    if abs(value) < 1e-5:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """Return a number with its sign; the minus is the typographic one."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def percent(fraction: float, digits: int = 1) -> str:
    """Return a share of 1 in percent with `digits` decimals: `12.5 %`."""
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


def clock(slot: int, slot_minutes: int | None) -> str:
    """Return a slot's start as UTC clock time; its index where the slot length is not known."""
    if slot_minutes is None:
        return f"slot {slot}"
    minute = slot * slot_minutes
    return f"{minute // 60 % 24:02d}:{minute % 60:02d}"


def use(used: float, limit: float, kept_free: float = 0.0) -> str:
    """Return how much of a limit is used and how much is kept for the sends at random times."""
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
