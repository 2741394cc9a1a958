"""Words that raw logs use: for nothing, for yes and no, for kinds of events, for zones and for times of day.

A word is read only where it has one meaning. All others need an entry in the mapping; without one they are refused.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from sendopt.domain.slots import zone_or_none

NOTHING = frozenset({"null", "none", "nil", "nat", r"\n", "n/a", "<null>", "(null)", "undefined"})
NO_TIME = re.compile(r"^(0000-00-00|0001-01-01|0000/00/00)([T ]00:00(:00([.]0+)?)?(Z|[+]00:?00)?)?$")

# Words of several languages. A mapping's `booleans` adds words, or gives one of these another meaning.
TRUE = frozenset(
    {"true", "t", "yes", "y", "1", "1.0", "on", "ja", "j", "oui", "si", "sí", "sim", "да", "tak", "是", "はい"}
)
FALSE = frozenset({"false", "f", "no", "n", "0", "0.0", "off", "nein", "non", "não", "нет", "nie", "否", "いいえ"})

INTERACTION_KINDS = ("open", "click", "goal", "dismiss", "opt_out")
CONSENT_KINDS = ("opt_out", "opt_in")
EVENT_KINDS = (*INTERACTION_KINDS, "opt_in")
# For consent only: a person who opted out by any of these words must not be sent to. Other kinds are read by their own
# names and by the mapping's `values`.
_CONSENT_WORDS = {
    **dict.fromkeys(
        (
            *("optout", "unsubscribe", "unsubscribed", "group_unsubscribe", "unsub", "spamreport", "spam_report"),
            *("complaint", "complained", "spam_complaint", "opted_out"),
        ),
        "opt_out",
    ),
    **dict.fromkeys(("optin", "resubscribe", "resubscribed", "subscribe", "subscribed", "opted_in"), "opt_in"),
}

# Zones with one offset all year, for offsets of part hours, which no Etc/GMT zone has.
_ZONE_OF_PART_HOURS = {
    "+03:30": "Asia/Tehran",
    "+04:30": "Asia/Kabul",
    "+05:30": "Asia/Kolkata",
    "+05:45": "Asia/Kathmandu",
    "+06:30": "Asia/Yangon",
    "+08:45": "Australia/Eucla",
    "+09:30": "Australia/Darwin",
    "-09:30": "Pacific/Marquesas",
}
_OFFSET = re.compile(r"^(?:utc|gmt)?\s*([+-])\s*(\d{1,2})(?::?([0-5]\d))?$", re.IGNORECASE)
_NO_ZONES = frozenset({"factory", "etc/unknown", "posixrules", "localtime"})
_CLOCK = re.compile(
    r"^(\d{1,2})(?:[:.h]?([0-5]\d))?(?::00(?:[.]0+)?)?\s*(?:h|uhr)?\s*([ap])?\.?\s*(m)?\.?$", re.IGNORECASE
)
MINUTES_PER_DAY = 24 * 60


def is_nothing(text: str) -> bool:
    """Return True for a text that stands for an empty value.

    >>> [is_nothing(t) for t in ("", "NULL", "n/a", "0")]
    [True, True, True, False]
    """
    return text == "" or text.lower() in NOTHING


def kind_of(text: str) -> str | None:
    """Return the kind of event that a word names, in any case; None where it names none.

    >>> [kind_of(t) for t in ("OPEN", "Spam Report", "resubscribe", "opened")]
    ['open', 'opt_out', 'opt_in', None]
    """
    word = re.sub(r"[\s-]+", "_", text.strip().lower())
    return word if word in EVENT_KINDS else _CONSENT_WORDS.get(word)


@cache
def known_zones() -> frozenset[str]:
    """Return the names of all zones of the pinned tzdata: those that `domain.slots.zone_or_none` knows."""
    return frozenset((resources.files("tzdata") / "zones").read_text().split())


@cache
def _zones_by_lower() -> dict[str, str]:
    return {name.lower(): name for name in sorted(known_zones())}


@cache
def _windows_zones() -> dict[str, str]:
    """Return CLDR's map from Windows zone names, in lower case, to the IANA zone of their main territory."""
    from babel.core import get_global

    return {str(name).lower(): str(zone) for name, zone in get_global("windows_zone_mapping").items()}


@cache
def zone_named(text: str) -> str | None:
    """Return the IANA zone that a text names: in any case, as a fixed offset or by its Windows name; else None.

    >>> [zone_named(t) for t in ("europe/berlin", "+02:00", "W. Europe Standard Time", "Mars/Phobos")]
    ['Europe/Berlin', 'Etc/GMT-2', 'Europe/Berlin', None]
    """
    lower = text.strip().lower().replace(" ", "_")
    if lower in _NO_ZONES:
        return None
    if (exact := text.strip()) in known_zones() or (exact := _zones_by_lower().get(lower, "")):
        return exact
    if lower in ("z", "utc", "gmt", "utc+0", "utc-0"):
        return "UTC"
    if match := _OFFSET.match(text.strip()):
        sign, hours, minutes = match[1], int(match[2]), match[3] or "00"
        if minutes == "00" and hours <= (14 if sign == "+" else 12):
            # POSIX signs: Etc/GMT-2 is two hours ahead of Greenwich
            return "UTC" if hours == 0 else f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"
        return _ZONE_OF_PART_HOURS.get(f"{sign}{hours:02d}:{minutes}")
    zone = _windows_zones().get(text.strip().lower())
    return zone if zone and zone_or_none(zone) else None


@cache
def clock_of(text: str) -> str | None:
    """Return HH:MM of a time of day as people write it (9:00, 22, 22h, 10:00 PM, 24:00); None where it is none.

    >>> [clock_of(t) for t in ("9:00", "22", "10:00 PM", "24:00", "12 am", "25:00")]
    ['09:00', '22:00', '22:00', '00:00', '00:00', None]
    """
    match = _CLOCK.match(text.strip())
    if match is None or (match[4] and not match[3]):
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    if hour == 24 and minute == 0:
        hour = 0
    return f"{hour:02d}:{minute:02d}" if hour < 24 else None
