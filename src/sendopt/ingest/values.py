"""Texts of a raw log as typed values, each with the reason where it cannot be read.

A column of texts has shape (N,), None where it is empty. Each function parses the distinct texts of a column only,
since logs repeat them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sendopt.domain.consent import EVERY_CATEGORY
from sendopt.ingest.refusals import Refusal
from sendopt.ingest.rows import is_damaged
from sendopt.ingest.vocabulary import is_nothing

Texts: TypeAlias = "pd.Series[str]"  # (N,) of dtype object: text or None
Objects: TypeAlias = NDArray[np.object_]  # (N,)
Flags: TypeAlias = NDArray[np.bool_]  # (N,)

_EVERY_WORDS = frozenset({"all", "any", "everything", "*", "alle", "tous"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"^\d{4}-\d\d-\d\d$")
_NUMBER = re.compile(r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$")
_NOT_A_NUMBER = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity")
MAX_DIGITS = 400


@dataclass(frozen=True)
class Read:
    """A column of N texts as values; None where a text gives none."""

    values: Objects
    problem: Objects  # the reason why a text could not be read, or None
    empty: Flags  # True where there was no text


def each(texts: Texts, parse: Callable[[str], tuple[object, str | None]]) -> Read:
    """Return the value and the reason that `parse` gives for each distinct text. None is not parsed: it stays empty."""
    codes, distinct = pd.factorize(texts)
    pairs = [parse(str(text)) for text in distinct] + [(None, None)]  # the last for code -1: empty
    values, problems = np.empty(len(pairs), object), np.empty(len(pairs), object)
    for i, (value, problem) in enumerate(pairs):
        values[i], problems[i] = value, problem
    return Read(values[codes], problems[codes], codes < 0)


def _given(texts: Texts) -> Texts:
    """Return the texts, None where a word stands for nothing (`null`, `n/a`)."""
    read = each(texts, lambda text: (None if is_nothing(text) else text, None))
    return pd.Series(read.values, index=texts.index, dtype=object)


def text(texts: Texts, column: str) -> Read:
    """Return the texts themselves.

    A JSON list or object is bad_value, a text with bytes outside the file's encoding is bad_bytes.
    """

    def parse(written: str) -> tuple[str | None, str | None]:
        if is_damaged(written):
            return None, Refusal.BAD_BYTES.of(column)
        return (None, Refusal.BAD_VALUE.of(column)) if _is_structure(written) else (written, None)

    return each(_given(texts), parse)


def _is_structure(written: str) -> bool:
    """Return True for the text of a JSON list or object."""
    if (written[:1], written[-1:]) not in (("{", "}"), ("[", "]")):
        return False
    try:
        return isinstance(json.loads(written), dict | list)
    except (ValueError, RecursionError):
        return False


def by_word(texts: Texts, meaning: Callable[[str], str | None], reason: str) -> Read:
    """Return the meaning of each text; `reason` where `meaning` gives None."""

    def parse(written: str) -> tuple[str | None, str | None]:
        value = meaning(written)
        return value, reason if value is None else None

    return each(_given(texts), parse)


def is_number(written: str) -> bool:
    """Return True for a decimal number in digits, with or without an exponent.

    >>> [is_number(t) for t in ("12", "-.5", "1e-2", "1,5", "nan")]
    [True, True, True, False, False]
    """
    return len(written) <= MAX_DIGITS and _NUMBER.match(written) is not None


def number(texts: Texts, column: str) -> Read:
    """Return finite floats. Reasons: bad_number, and not_a_number for NaN and infinity."""

    def parse(written: str) -> tuple[float | None, str | None]:
        if written.lower() in _NOT_A_NUMBER:
            return None, Refusal.NOT_A_NUMBER.of(column)
        if not is_number(written):
            return None, Refusal.BAD_NUMBER.of(column)
        value = float(written)
        return (value, None) if np.isfinite(value) else (None, Refusal.NOT_A_NUMBER.of(column))

    return each(_given(texts), parse)


def boolean(texts: Texts, column: str, words: Mapping[str, bool]) -> Read:
    """Return True or False by `words`, which maps words in lower case; another word is bad_boolean.

    >>> texts = pd.Series(["TRUE", "Nein", "2", None], dtype=object)
    >>> flags = boolean(texts, "opened", {"true": True, "nein": False})
    >>> flags.values.tolist()
    [True, False, None, None]
    >>> flags.problem.tolist()
    [None, None, 'bad_boolean:opened', None]
    """

    def parse(written: str) -> tuple[bool | None, str | None]:
        value = words.get(written.lower())
        return value, Refusal.BAD_BOOLEAN.of(column) if value is None else None

    return each(_given(texts), parse)


def success(texts: Texts, words: Mapping[str, bool], threshold: float | None) -> Read:
    """Return whether each text is a success: a word for yes, or a number that reaches `threshold`.

    Without a threshold, numbers above 0 are successes, and words come before numbers. A text that is neither a word
    nor such a number is not a failure: its value is None, its reason bad_boolean:outcome.

    >>> texts = pd.Series(["3", "0", "yes", "-1"], dtype=object)
    >>> success(texts, {"yes": True}, None).values.tolist()
    [True, False, True, None]
    """

    def parse(written: str) -> tuple[bool | None, str | None]:
        if threshold is None and (value := words.get(written.lower())) is not None:
            return value, None
        if is_number(written) and (threshold is not None or float(written) >= 0):
            return (float(written) > 0 if threshold is None else float(written) >= threshold), None
        value = words.get(written.lower())
        return value, Refusal.BAD_BOOLEAN.of("outcome") if value is None else None

    return each(_given(texts), parse)


def day(texts: Texts, column: str) -> Read:
    """Return the dates that are written YYYY-MM-DD; anything else is bad_date."""

    def parse(written: str) -> tuple[date | None, str | None]:
        try:
            if _DAY.match(written):
                return date.fromisoformat(written), None
        except ValueError:
            pass
        return None, Refusal.BAD_DATE.of(column)

    return each(_given(texts), parse)


def names(texts: Texts, column: str, separator: str, known: Sequence[str], fallback: tuple[str, ...]) -> Read:
    """Return each text as a tuple of names without repetition; empty text is the empty tuple.

    A text is a JSON array, or names with `separator` between them; case does not matter. Where `known` names are
    configured, a part that is none of them, even split at the usual separators, becomes `fallback`, with the reason
    unknown_name. So does a list that cannot be read, with the reason bad_list.
    """
    parser = _NameList(column, separator, {name.lower(): name for name in known}, fallback)
    read = each(_given(texts), parser.parse)
    filled = np.array([() if value is None else value for value in read.values] + [None], dtype=object)[:-1]
    return Read(filled, read.problem, read.empty)


@dataclass(frozen=True)
class _NameList:
    """The parser of one column of names, see `names`; `known` maps names in lower case to the configured ones."""

    column: str
    separator: str
    known: Mapping[str, str]
    fallback: tuple[str, ...]

    def parse(self, written: str) -> tuple[tuple[str, ...], str | None]:
        """Return the names in a text, and the reason where some are not understood."""
        parts = self._parts(written)
        if parts is None:
            return self.fallback, Refusal.BAD_LIST.of(self.column)
        listed, is_understood = list[str](), True
        for part in (part.strip() for part in parts):
            if part and not is_nothing(part):
                part_names = self._names_in(part)
                is_understood &= part_names is not None
                listed += self.fallback if part_names is None else part_names
        return tuple(dict.fromkeys(listed)), None if is_understood else Refusal.UNKNOWN_NAME.of(self.column)

    def _parts(self, written: str) -> list[str] | None:
        """Return the entries of the list as text; None for a JSON array that is malformed."""
        if not written.startswith("["):
            return written.split(self.separator)
        try:
            entries = json.loads(written)
        except (ValueError, RecursionError):
            return None
        if not isinstance(entries, list):
            return None
        return [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries if entry is not None]

    def _names_in(self, part: str) -> list[str] | None:
        """Return the names that one entry holds; None where it is not understood."""
        if is_damaged(part):
            return None
        if self.column != "channels" and part.lower() in _EVERY_WORDS:
            return [EVERY_CATEGORY]
        if not self.known or part.lower() in self.known:
            return [self.known.get(part.lower(), part)]
        pieces = [piece.strip() for piece in re.split(r"[,;|/]|\s+", part) if piece.strip()]
        if len(pieces) > 1 and all(piece.lower() in self.known for piece in pieces):
            return [self.known[piece.lower()] for piece in pieces]
        return None


def flag(rows: ArrayLike, reason: str) -> Objects:
    """Return (N,) `reason` where `rows` (N,) is true, else None."""
    is_set = np.asarray(rows, bool)
    flags = np.full(len(is_set), None, object)
    flags[is_set] = reason
    return flags


def first(*reasons: Objects) -> Objects:
    """Return (N,) the first of each row's values that is not None.

    >>> first(flag([True, False, False], "bad_time:at"), flag([True, True, False], "malformed_row")).tolist()
    ['bad_time:at', 'malformed_row', None]
    """
    filled = np.full(len(reasons[0]), None, object)
    for reason in reasons:
        filled = np.where(filled == None, reason, filled)  # noqa: E711  elementwise
    return filled


def micros(moments: Sequence[datetime] | Objects) -> NDArray[np.int64]:
    """Return (N,) microseconds since 1970 of aware datetimes."""
    codes, distinct = pd.factorize(pd.Series(moments, dtype=object))
    deltas = [(moment - _EPOCH) for moment in distinct]
    whole = np.array([d.days * 86_400_000_000 + d.seconds * 1_000_000 + d.microseconds for d in deltas], np.int64)
    return whole[codes]
