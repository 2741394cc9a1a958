"""Points in time as raw logs write them: the formats that a mapping may name, and how a text is read by them.

A format is a name of `TIME_FORMATS` or a strptime pattern. Seconds may have a fraction under every format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache

TIME_FORMATS = ("iso8601", "epoch_seconds", "epoch_millis", "epoch_micros", "epoch_nanos", "rfc2822")
_PER_SECOND = {"epoch_seconds": 1, "epoch_millis": 10**3, "epoch_micros": 10**6, "epoch_nanos": 10**9}
_ISO = re.compile(
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,]([0-9]{1,9}))?"
    r"\s*(Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$")
_RFC2822 = re.compile(r"^([A-Za-z]{3},?\s+)?\d{1,2}\s+[A-Za-z]{3}\s+\d{4}\s")
_FRACTION = re.compile(r"([.,])([0-9]{1,9})(?=\D|$)")
_END_OF_TIME = 253_402_300_800  # year 10000, in epoch seconds
FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_CLOCK_STARTS = tuple(
    datetime(year, month, day, tzinfo=UTC)
    for year, month, day in ((1601, 1, 1), (1753, 1, 1), (1899, 12, 30), (1900, 1, 1), (1970, 1, 1))
)

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_MONTH_NAMES = "january|february|march|april|may|june|july|august|september|october|november|december"
DIRECTIVES = {
    "Y": "([0-9]{4})",
    "y": "([0-9]{2})",
    "m": "(1[0-2]|0[1-9]|[1-9])",
    "b": f"({_MONTHS})",
    "B": f"({_MONTH_NAMES})",
    "d": "(3[01]|[12][0-9]|0[1-9]|[1-9])",
    "H": "(2[0-3]|[01][0-9]|[0-9])",
    "I": "(1[0-2]|0[1-9]|[1-9])",
    "M": "([0-5][0-9]|[0-9])",
    "S": "([0-5][0-9]|[0-9])",
    "f": "([0-9]{1,6})",
    "p": "(am|pm)",
    "z": "(z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])",
}
_ALTERNATIVES = (("year", "Yy"), ("month", "mbB"), ("day", "d"))


def is_no_time(at: datetime) -> bool:
    """Return True for a time by which programs say that there is none.

    Such a time is midnight, in any zone, of the day on which a program's clock starts, or lies in datetime's last year.
    """
    if at.year == MAXYEAR:
        return True
    if at.second or at.microsecond or at.minute % 15:
        return False
    return any(abs(at - day) <= timedelta(hours=14) for day in _CLOCK_STARTS)


@dataclass(frozen=True)
class TimePattern:
    """A strptime pattern as a regular expression; `fields` names its groups in order."""

    regex: str
    fields: tuple[str, ...]


@cache
def time_pattern(pattern: str) -> TimePattern:
    """Return the compiled strptime pattern.

    Raises ValueError, with a sentence for the mapping's author, for a pattern that does not hold each part of a date
    once or has a directive that is not supported.

    >>> time_pattern("%d.%m.%Y %H:%M").fields
    ('d', 'm', 'Y', 'H', 'M')
    """
    regex, fields = "", []
    for piece in re.findall(r"%.|\s+|[^%\s]|%", pattern, flags=re.DOTALL):
        if piece.isspace():
            regex += r"\s+"
        elif piece == "%%":
            regex += "%"
        elif not piece.startswith("%"):
            regex += re.escape(piece)
        elif piece[1:] in DIRECTIVES:
            regex += DIRECTIVES[piece[1:]]
            fields.append(piece[1:])
        else:
            raise ValueError(f"{piece} is not supported; expected %{' %'.join(DIRECTIVES)}")
    for what, letters in _ALTERNATIVES:
        if sum(fields.count(letter) for letter in letters) != 1:
            raise ValueError(f"must hold the {what} once: one of %{' %'.join(letters)}; or {', '.join(TIME_FORMATS)}")
    if len(set(fields)) < len(fields) or {"H", "I"} <= set(fields) or ("I" in fields) != ("p" in fields):
        raise ValueError("must hold each part once, and %I only with %p, without %H")
    return TimePattern(f"(?i)^{regex}$", tuple(fields))


def read_time(text: str, formats: Sequence[str], typed: bool = False) -> datetime | None:
    """Return the time that a text means under the first format that reads it, else None.

    The time is aware where the text carries an offset, else naive. `typed` says that the text comes from a typed
    column, so that ISO 8601 is read whatever the formats are.

    >>> str(read_time("1772357400.5", ("epoch_seconds",)))
    '2026-03-01 09:30:00.500000+00:00'
    >>> str(read_time("01.03.2026 9:30", ("iso8601", "%d.%m.%Y %H:%M")))
    '2026-03-01 09:30:00'
    >>> read_time("2026-13-01 09:30", ("iso8601",)) is None
    True
    """
    for form in (*formats, *(("iso8601",) if typed else ())):
        try:
            if (at := _PARSERS.get(form, _by_pattern)(text, form)) is not None:
                return at
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    return None


def _iso(text: str, _form: str) -> datetime | None:
    match = _ISO.match(text)
    if match is None:
        return None
    offset = (match[3] or "").upper()
    whole = datetime.fromisoformat(match[1] + ("+00:00" if offset in ("Z", "UTC", "GMT") else offset))
    return whole.replace(microsecond=int((match[2] or "0")[:6].ljust(6, "0")))


def _epoch(text: str, form: str) -> datetime | None:
    if not _NUMBER.match(text) or len(text) > 40:
        return None
    per_second = _PER_SECOND[form]
    micros = int(text) * 10**6 // per_second if text.isdigit() else round(float(text) / per_second * 1e6)
    if not 0 <= micros < _END_OF_TIME * 10**6:
        return None
    return datetime.fromtimestamp(micros // 10**6, UTC).replace(microsecond=micros % 10**6)


def _rfc2822(text: str, _form: str) -> datetime | None:
    return parsedate_to_datetime(text) if _RFC2822.match(text) else None


def _by_pattern(text: str, form: str) -> datetime | None:
    """Return the time by a strptime pattern; a fraction of seconds is read even where the pattern has none."""
    compiled = time_pattern(form)
    if re.match(compiled.regex, text):
        return datetime.strptime(text, form)  # noqa: DTZ007  naive: local time of the mapping's zone
    if "f" in compiled.fields or "S" not in compiled.fields:
        return None
    for fraction in reversed(list(_FRACTION.finditer(text))):
        rest = text[: fraction.start()] + text[fraction.end() :]
        if re.match(compiled.regex, rest) and (at := datetime.strptime(rest, form)):  # noqa: DTZ007
            return at.replace(microsecond=int(fraction[2][:6].ljust(6, "0")))
    return None


_PARSERS = {"iso8601": _iso, "rfc2822": _rfc2822, **dict.fromkeys(_PER_SECOND, _epoch)}
