"""The format of a column of times, seen from its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pandas as pd

from sendopt.ingest.times import FIRST_TIME, read_time
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
    """The formats of a column of times, the first for most; whether values carry an offset; what shows it.

    `assumed` says so where day and month could be either.
    """

    formats: tuple[str, ...]
    naive: bool
    evidence: str
    assumed: str = ""
    to_the_minute: bool = False
    offset: str | None = None  # the one that all values carry, where that is not UTC's


@cache
def _patterns(dates_only: bool) -> tuple[str, ...]:
    if dates_only:
        return _DATES
    return tuple(f"{d}{s}{h}{z}" for d in _DATES for h in _HOURS for s in _BETWEEN for z in _OFFSETS)


def clock_of(texts: pd.Series, dates_only: bool = False) -> Clock | None:
    """The clock of a column's values in the order of the file; None where fewer than 95 % are times."""
    filled = [t for t in texts.dropna() if not is_nothing(t) and not NO_TIME.match(t)]
    values = list(dict.fromkeys(filled))[:MAX_VALUES]
    if not values:
        return None
    chosen: list[str] = []
    assumed = ""
    rest = values
    while rest and len(chosen) < 3:
        form, doubt = _best(rest, dates_only)
        if form is None:
            break
        chosen.append(form)
        assumed = assumed or doubt
        rest = [t for t in rest if not _reads(t, form)]
    if not chosen or len(rest) > (1 - _ENOUGH) * len(values):
        return None
    times = [t for t in (read_time(v, chosen) for v in values) if t is not None]
    shown = f"{len(values) - len(rest):,} of {len(values):,} values, such as {values[0]!r}"
    minute = all(t.second == 0 and t.microsecond == 0 for t in times) and len(times) > 20
    naive = any(t.tzinfo is None for t in times)
    offsets = set() if naive else {t.strftime("%z") for t in times}
    offset = next(iter(offsets)) if len(offsets) == 1 and offsets != {"+0000"} else None
    return Clock(tuple(chosen), naive, shown, assumed, minute, offset)


@cache
def _shape(pattern: str) -> tuple[frozenset[str], int, bool]:
    """The characters that every text of a pattern holds, its groups of digits, and whether it has words."""
    numbers = re.sub(r"%[YmdyHIMS]", "0", pattern.replace("%z", ""))
    literal = frozenset(re.sub(r"%.|[0\s]", "", numbers))
    return literal, len(re.findall("0+", numbers)), any(d in pattern for d in ("%b", "%B", "%p"))


def _may_read(text: str, pattern: str) -> bool:
    """False where a pattern cannot read a text, seen without trying it."""
    literal, groups, words = _shape(pattern)
    given = len(re.findall(r"\d+", text))
    fits = given == groups if "%z" not in pattern else groups <= given <= groups + 2
    return fits and literal <= set(text) and (not words or any(c.isalpha() for c in text))


def _reads(text: str, form: str) -> bool:
    at = read_time(text, (form,))
    if at is None:
        return False
    at = at.replace(tzinfo=FIRST_TIME.tzinfo) if at.tzinfo is None else at
    return FIRST_TIME <= at < _LATEST


def _best(values: Sequence[str], dates_only: bool) -> tuple[str | None, str]:
    """The format that reads most of the values, and in words what was assumed to choose it."""
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
    first, other = ties[0], _swapped(ties[0])
    if other == first or other not in ties:
        return first, ""
    if _falls(values, other) < _falls(values, first):
        first, other = other, first
    order = "day before month" if first.index("%d") < first.index("%m") else "month before day"
    return first, f"no day after the 12th shows whether day or month comes first; {order} is taken"


def _swapped(form: str) -> str:
    """The pattern with day and month in each other's place."""
    return form.replace("%d", "\0").replace("%m", "%d").replace("\0", "%m")


def _falls(values: Sequence[str], form: str) -> int:
    """How often a time is before the one above it: logs are mostly in order."""
    times = [read_time(v, (form,)) for v in values]
    return sum(b < a for a, b in pairwise(t for t in times if t is not None))
