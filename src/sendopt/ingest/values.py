"""Text of a raw log as values, each with the reason where it cannot be read.

Each function works on the different texts of a column only, since a log repeats them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd

from sendopt.domain.consent import EVERY_CATEGORY
from sendopt.ingest.rows import is_damaged
from sendopt.ingest.vocabulary import is_nothing

_EVERY_WORDS = frozenset({"all", "any", "everything", "*", "alle", "tous"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$")
_NOT_A_NUMBER = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity")
MAX_DIGITS = 400


@dataclass(frozen=True)
class Read:
    """`values` (N,), None where nothing can be read; `problem` (N,), a reason or None; `empty` (N,), no text at all."""

    values: Any
    problem: Any
    empty: Any


def each(texts: pd.Series[Any], one: Callable[[str], tuple[Any, str | None]]) -> Read:
    """`one` of each different text: its value, and the reason where it has none; None stays empty."""
    codes, distinct = pd.factorize(texts)
    pairs = [one(str(value)) for value in distinct] + [(None, None)]
    found, problems = (np.empty(len(pairs), object) for _ in range(2))
    for i, (value, problem) in enumerate(pairs):
        found[i], problems[i] = value, problem
    return Read(found[codes], problems[codes], codes < 0)


def _given(texts: pd.Series[Any]) -> pd.Series[Any]:
    """The texts, None where a word stands for nothing."""
    read = each(texts, lambda t: (None if is_nothing(t) else t, None))
    return pd.Series(read.values, index=texts.index, dtype=object)


def text(texts: pd.Series[Any], name: str) -> Read:
    """The texts; a list or structure of JSON is no text, and bytes that are none cost their value."""

    def read(t: str) -> tuple[str | None, str | None]:
        if is_damaged(t):
            return None, f"bad_bytes:{name}"
        return (None, f"bad_value:{name}") if _is_structure(t) else (t, None)

    return each(_given(texts), read)


def _is_structure(t: str) -> bool:
    if not (t.startswith("{") and t.endswith("}")) and not (t.startswith("[") and t.endswith("]")):
        return False
    try:
        return isinstance(json.loads(t), dict | list)
    except (ValueError, RecursionError):
        return False


def one(texts: pd.Series[Any], read: Callable[[str], str | None], reason: str) -> Read:
    """What `read` makes of each text; `reason` where that is None."""

    def both(t: str) -> tuple[str | None, str | None]:
        value = read(t)
        return value, reason if value is None else None

    return each(_given(texts), both)


def is_number(t: str) -> bool:
    return len(t) <= MAX_DIGITS and _NUMBER.match(t) is not None


def number(texts: pd.Series[Any], name: str) -> Read:
    def read(t: str) -> tuple[float | None, str | None]:
        if t.lower() in _NOT_A_NUMBER:
            return None, f"not_a_number:{name}"
        if not is_number(t):
            return None, f"bad_number:{name}"
        value = float(t)
        return (value, None) if np.isfinite(value) else (None, f"not_a_number:{name}")

    return each(_given(texts), read)


def boolean(texts: pd.Series[Any], name: str, words: Mapping[str, bool]) -> Read:
    def read(t: str) -> tuple[bool | None, str | None]:
        value = words.get(t.lower())
        return value, f"bad_boolean:{name}" if value is None else None

    return each(_given(texts), read)


def success(texts: pd.Series[Any], words: Mapping[str, bool], threshold: float | None) -> Read:
    """True for a success: a word that means yes, or a number of at least `threshold`, above 0 where that is None.

    What is neither a word nor such a number is no failure: its value is None and its problem bad_boolean:outcome.
    """

    def read(t: str) -> tuple[bool | None, str | None]:
        if threshold is None and (value := words.get(t.lower())) is not None:
            return value, None
        if is_number(t) and (threshold is not None or float(t) >= 0):
            return (float(t) > 0 if threshold is None else float(t) >= threshold), None
        value = words.get(t.lower())
        return value, "bad_boolean:outcome" if value is None else None

    return each(_given(texts), read)


def day(texts: pd.Series[Any], name: str) -> Read:
    def read(t: str) -> tuple[date | None, str | None]:
        try:
            return (date.fromisoformat(t), None) if re.match(r"^\d{4}-\d\d-\d\d$", t) else (None, f"bad_date:{name}")
        except ValueError:
            return None, f"bad_date:{name}"

    return each(_given(texts), read)


def names(texts: pd.Series[Any], name: str, separator: str, known: tuple[str, ...], instead: tuple[str, ...]) -> Read:
    """A list: a JSON array, else parts between separators; empty text is the empty list, doubles count once.

    Names are read in any case. Where `known` names are configured, a part that is none of them, even split at the usual
    separators, gives `instead` and the reason unknown_name:COLUMN; so does a list that cannot be read
    (bad_list:COLUMN).
    """
    by_lower = {k.lower(): k for k in known}

    def one_part(part: str) -> tuple[list[str], bool]:
        if is_damaged(part):
            return list(instead), False
        if name != "channels" and part.lower() in _EVERY_WORDS:
            return [EVERY_CATEGORY], True
        if not by_lower or part.lower() in by_lower:
            return [by_lower.get(part.lower(), part)], True
        split = [p.strip() for p in re.split(r"[,;|/]|\s+", part) if p.strip()]
        if len(split) > 1 and all(p.lower() in by_lower for p in split):
            return [by_lower[p.lower()] for p in split], True
        return list(instead), False

    def read(t: str) -> tuple[tuple[str, ...], str | None]:
        parts: list[str]
        if t.startswith("["):
            try:
                listed = json.loads(t)
            except (ValueError, RecursionError):
                return instead, f"bad_list:{name}"
            if not isinstance(listed, list):
                return instead, f"bad_list:{name}"
            parts = [p if isinstance(p, str) else json.dumps(p) for p in listed if p is not None]
        else:
            parts = t.split(separator)
        found, understood = list[str](), True
        for part in (p.strip() for p in parts):
            if part and not is_nothing(part):
                read_part, ok = one_part(part)
                found += read_part
                understood &= ok
        return tuple(dict.fromkeys(found)), None if understood else f"unknown_name:{name}"

    listed = each(_given(texts), read)
    filled = np.array([() if v is None else v for v in listed.values] + [None], dtype=object)[:-1]
    return Read(filled, listed.problem, listed.empty)


def flag(which: Any, reason: str) -> Any:
    """`reason` where `which` (N,), else None."""
    flags = np.full(len(which), None, object)
    flags[np.asarray(which, bool)] = reason
    return flags


def first(*reasons: Any) -> Any:
    """The first reason of each row."""
    reason_of = np.full(len(reasons[0]), None, object)
    for reason in reasons:
        reason_of = np.where(reason_of == None, reason, reason_of)  # noqa: E711  elementwise
    return reason_of


def micros(at: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Microseconds since 1970 of aware datetimes, shape (N,)."""
    codes, distinct = pd.factorize(pd.Series(at, dtype=object))
    deltas = [(v - _EPOCH) for v in distinct]
    whole = np.array([d.days * 86_400_000_000 + d.seconds * 1_000_000 + d.microseconds for d in deltas], np.int64)
    return whole[codes]
