"""A reason's `detail` in words: the rule, how full it is, and its price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from sendopt.domain import reasons
from sendopt.report.kit.words import amount, count, plural

Detail = Mapping[str, Any]
Clock = Callable[[float], str]  # minutes after plan start -> "at 11:30 local"


def rule(code: str, detail: Detail) -> str:
    """Return the name of the rule in the settings: a cap, channel or campaign; empty for a rule without a name.

    >>> rule("capacity", {"rule": "capacity:push:17"})
    'push'
    """
    kind, _, rest = str(detail.get("rule", "")).partition(":")
    if code == "user_cap":
        return rest
    if kind == "capacity":
        return rest.rpartition(":")[0]
    return rest if kind == "campaign_max" else ""


def facts(code: str, detail: Detail, clock: Clock, slot_minutes: int) -> str:
    """Return a clause like `price_drop is planned at 11:30 local and the gap is 4 h`; empty without any numbers."""
    if not detail:
        return ""
    if code == "user_cap":
        return _cap(detail)
    if code == "min_gap":
        verb = "is planned" if detail["planned"] else "went out or is committed"
        return f"{detail['to_campaign']} {verb} {clock(detail['to_minute'])} and the gap is {hours(detail['minutes'])}"
    if code == "fatigue":
        return f"it would bring the person to {amount(detail['points'])} points of at most {amount(detail['limit'])}"
    if "price" in detail:
        return _limit(detail, clock, slot_minutes)
    if "slots" in detail:
        return slots(detail["slots"])
    if code == "negative_value":
        return f"it is worth {amount(detail['value'])} at best"
    return ""


def slots(counts: Mapping[str, int]) -> str:
    """Return how many slots each reason refuses, the largest number first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{n} {reasons.name(code).lower()}" for code, n in ordered)


def hours(minutes: float) -> str:
    """Return minutes as people say them.

    >>> hours(45), hours(240), hours(10080)
    ('45 min', '4 h', '7 days')
    """
    if minutes % 1440 == 0 and minutes > 1440:
        return f"{count(minutes / 1440)} days"
    return f"{count(minutes / 60)} h" if minutes % 60 == 0 else f"{count(minutes)} min"


def _cap(detail: Detail) -> str:
    window = f"in {hours(detail['window_minutes'])}" if "window_minutes" in detail else f"a {detail['calendar']}"
    scope, _, value = str(detail["scope"]).partition(":")
    counted = {"all": "", "channel": f" by {value}", "category": f" about {value}", "campaign": f" of {value}"}[scope]
    name = str(detail["rule"]).partition(":")[2]
    used, planned = detail["used"], detail["planned"]
    part = "" if planned == used else f", {count(planned)} by this plan" if planned else " before"
    taken = f"{count(used)} of them taken{part or ' by this plan'}"
    return f"the cap {name} allows {plural(detail['limit'], 'send')}{counted} {window}, {taken}"


def _limit(detail: Detail, clock: Clock, slot_minutes: int) -> str:
    kind, _, rest = str(detail["rule"]).partition(":")
    names = {"campaign_max": f"the maximum of {rest}", "opt_outs": "the opt-out budget", "cost": "the money budget"}
    if kind == "capacity":
        channel, _, slot = rest.rpartition(":")
        names[kind] = f"{channel} {clock(int(slot) * slot_minutes)}"
    full = f"{names[kind]} has {_number(detail['used'])} of {_number(detail['limit'])} in use"
    if detail["price"] <= 0:
        return full
    return f"{full} at a price of {amount(detail['price'])} for one more; the message needs {amount(detail['needs'])}"


def _number(value: object) -> str:
    return amount(value, 3) if isinstance(value, float) else count(cast(int, value))
