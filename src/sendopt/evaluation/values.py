"""Text of a raw log as values, with the reason where it cannot be read: what `sendopt.spark.raw_values` does in Spark.

Each function works on the different texts of a column only, since a log repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from sendopt.domain.slots import from_local, zone_or_none
from sendopt.ingest import FALSE, FIRST_TIME, ISO_TIME, NUMBER, TRUE, time_pattern

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = 253_402_300_800.0  # year 10000, in epoch seconds
_ISO, _NUMBER = re.compile(ISO_TIME), re.compile(NUMBER)
_NOT_A_NUMBER = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity")


@dataclass(frozen=True)
class Read:
    """`values` (N,), None or NaN where nothing can be read; `problem` (N,), a reason or None."""

    values: np.ndarray[Any, Any]
    problem: np.ndarray[Any, Any]


def each(text: pd.Series, one: Callable[[str], tuple[Any, str | None]]) -> Read:
    """`one` of each different text: its value, and the reason where it has none."""
    codes, found = pd.factorize(text)
    pairs = [one(str(value)) for value in found] + [(None, None)]
    values, problems = (np.empty(len(pairs), object) for _ in range(2))
    for i, (value, problem) in enumerate(pairs):
        values[i], problems[i] = value, problem
    return Read(values[codes], problems[codes])


def is_number(text: str) -> bool:
    return _NUMBER.match(text) is not None


def number(text: pd.Series, name: str) -> Read:
    def one(raw: str) -> tuple[float | None, str | None]:
        if raw.lower() in _NOT_A_NUMBER:
            return None, f"not_a_number:{name}"
        return (float(raw), None) if _NUMBER.match(raw) else (None, f"bad_number:{name}")

    return each(text, one)


def boolean(text: pd.Series, name: str) -> Read:
    def one(raw: str) -> tuple[bool | None, str | None]:
        lower = raw.lower()
        return (lower in TRUE, None) if lower in TRUE + FALSE else (None, f"bad_boolean:{name}")

    return each(text, one)


def moment(text: pd.Series, zone: pd.Series | str, time_format: str, typed: bool, name: str) -> Read:
    """UTC datetimes; a text without an offset is local time of `zone`, its first reading where it was read twice.

    `typed`: Parquet may hold a real timestamp, whose text is ISO 8601 whatever the format says.
    """
    zones = zone if isinstance(zone, pd.Series) else pd.Series(zone, index=text.index, dtype=object)
    both = text.where(text.isna(), text.astype(object) + "\x1f" + zones.fillna("").astype(object))

    def one(raw: str) -> tuple[datetime | None, str | None]:
        written, _, where = raw.partition("\x1f")
        at = _written(written, time_format, typed)
        if at is None:
            return None, f"bad_time:{name}"
        if at.tzinfo is None:
            if not where:
                return None, "local_time_without_zone"
            if zone_or_none(where) is None:
                return None, "unknown_zone"
            local = from_local(at, where)
            if local is None:
                return None, "nonexistent_local_time"
            at = local
        at = at.astimezone(UTC)
        return (at, None) if at >= FIRST_TIME else (None, "time_before_2000")

    return each(both, one)


def _written(text: str, time_format: str, typed: bool) -> datetime | None:
    try:
        if time_format == "iso8601" or (typed and _ISO.match(text)):
            return datetime.fromisoformat(text) if _ISO.match(text) else None
        if time_format in ("epoch_seconds", "epoch_millis"):
            seconds = float(text) / (1e3 if time_format == "epoch_millis" else 1.0) if _NUMBER.match(text) else -1.0
            return datetime.fromtimestamp(seconds, UTC) if 0 <= seconds < _END_OF_TIME else None
        return datetime.strptime(text, time_format) if re.match(time_pattern(time_format).regex, text) else None  # noqa: DTZ007
    except (ValueError, OverflowError):
        return None


def micros(at: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Microseconds since 1970 of UTC datetimes, shape (N,)."""
    codes, found = pd.factorize(pd.Series(at, dtype=object))
    known = [(v - _EPOCH) for v in found]
    whole = np.array([d.days * 86_400_000_000 + d.seconds * 1_000_000 + d.microseconds for d in known], np.int64)
    return whole[codes]
