"""The format of a column of times, found by trying formats on its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pandas as pd

from sendopt.ingest.times import FIRST_TIME, read_time
from sendopt.ingest.values import Texts
from sendopt.ingest.vocabulary import NO_TIME, is_nothing

_DATES = (
    *("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%b %d, %Y", "%b %d %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%Y"),
)
_HOURS = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p", "%H.%M", "%H:%M Uhr", "%Hh%M", "%H:%M:%S Uhr")
_BETWEEN = (" ", ", ", "T", " - ", "/", " um ", " at ", " à ", " a las ", " alle ")
_OFFSETS = ("", " %z", "%z")
_EPOCHS = {"epoch_seconds": 1, "epoch_millis": 10**3, "epoch_micros": 10**6, "epoch_nanos": 10**9}
_ENOUGH = 0.95
MAX_VALUES = 2_000
_LATEST = pd.Timestamp("2100-01-01", tz="UTC")


@dataclass(frozen=True)
class Clock:
    """How to read a column of times."""

    formats: tuple[str, ...]  # the first reads most values
    naive: bool  # whether some values carry no offset
    evidence: str
    assumed: str = ""  # a sentence, where day and month could be exchanged
    to_the_minute: bool = False  # whether all seconds are 0
    offset: str | None = None  # the offset of all values, where they have the same and it is not UTC's


@cache
def _patterns(dates_only: bool) -> tuple[str, ...]:
    if dates_only:
        return _DATES
    return tuple(f"{d}{s}{h}{z}" for d in _DATES for h in _HOURS for s in _BETWEEN for z in _OFFSETS)


def clock_of(texts: Texts, dates_only: bool = False) -> Clock | None:
    """Return the clock of a column's values in the order of the file; None where fewer than 95 % are times.

    >>> clock_of(pd.Series(["01.03.2026 09:30", "14.03.2026 10:00"], dtype=object)).formats
    ('%d.%m.%Y %H:%M',)
    """
    filled = [t for t in texts.dropna() if not is_nothing(t) and not NO_TIME.match(t)]
    values = list(dict.fromkeys(filled))[:MAX_VALUES]
    if not values:
        return None
    chosen: list[str] = []
    assumed = ""
    unread = values
    while unread and len(chosen) < 3:
        form, doubt = _best(unread, dates_only)
        if form is None:
            break
        chosen.append(form)
        assumed = assumed or doubt
        unread = [t for t in unread if not _reads(t, form)]
    if not chosen or len(unread) > (1 - _ENOUGH) * len(values):
        return None
    times = [t for t in (read_time(v, chosen) for v in values) if t is not None]
    shown = f"{len(values) - len(unread):,} of {len(values):,} values, such as {values[0]!r}"
    minute = all(t.second == 0 and t.microsecond == 0 for t in times) and len(times) > 20
    naive = any(t.tzinfo is None for t in times)
    offsets = set() if naive else {t.strftime("%z") for t in times}
    offset = next(iter(offsets)) if len(offsets) == 1 and offsets != {"+0000"} else None
    return Clock(tuple(chosen), naive, shown, assumed, minute, offset)


@cache
def _shape(pattern: str) -> tuple[frozenset[str], int, bool]:
    """Return the characters that every text of a pattern holds, the number of its groups of digits, and whether it has
    words."""
    numbers = re.sub(r"%[YmdyHIMS]", "0", pattern.replace("%z", ""))
    literal = frozenset(re.sub(r"%.|[0\s]", "", numbers))
    return literal, len(re.findall("0+", numbers)), any(d in pattern for d in ("%b", "%B", "%p"))


def _may_read(text: str, pattern: str) -> bool:
    """Return False where a pattern cannot read a text; a fast check before it is tried."""
    literal, groups, words = _shape(pattern)
    given = len(re.findall(r"\d+", text))
    fits = given == groups if "%z" not in pattern else groups <= given <= groups + 2
    return fits and literal <= set(text) and (not words or any(c.isalpha() for c in text))


def _reads(text: str, form: str) -> bool:
    """Return True where a format reads a text as a time from 2000 to 2099."""
    at = read_time(text, (form,))
    if at is None:
        return False
    at = at.replace(tzinfo=FIRST_TIME.tzinfo) if at.tzinfo is None else at
    return FIRST_TIME <= at < _LATEST


def _best(values: Sequence[str], dates_only: bool) -> tuple[str | None, str]:
    """Return the format that reads most of the values, and a sentence on what was assumed to choose it."""
    probe = values[:40]
    forms: Iterable[str] = [f for f in _patterns(dates_only) if any(_may_read(t, f) for t in probe[::8])]
    if not dates_only:
        forms = ("iso8601", "rfc2822", *(_EPOCHS if all(t.replace(".", "").isdigit() for t in probe) else ()), *forms)
    least = max(1, len(probe) // 4)
    scores = {f: sum(_reads(t, f) for t in values) for f in forms if sum(_reads(t, f) for t in probe) >= least}
    if not scores:
        return None, ""
    most = max(scores.values())
    ties = [f for f, n in scores.items() if n == most]
    best, swapped = ties[0], _swapped(ties[0])
    if swapped == best or swapped not in ties:
        return best, ""
    if _falls(values, swapped) < _falls(values, best):
        best = swapped
    order = "day before month" if best.index("%d") < best.index("%m") else "month before day"
    return best, f"no day after the 12th shows whether day or month comes first; {order} is taken"


def _swapped(form: str) -> str:
    """Return the pattern with day and month exchanged."""
    return form.replace("%d", "\0").replace("%m", "%d").replace("\0", "%m")


def _falls(values: Sequence[str], form: str) -> int:
    """Return how often a time is earlier than the one before it; logs are mostly in order."""
    times = [read_time(v, (form,)) for v in values]
    return sum(b < a for a, b in pairwise(t for t in times if t is not None))
