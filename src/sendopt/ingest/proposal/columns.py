"""What single columns of a raw log hold, and which of them plays which role."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd

from sendopt.errors import ContractError
from sendopt.ingest.proposal import words
from sendopt.ingest.proposal.clocks import Clock, clock_of
from sendopt.ingest.proposal.sample import Sample
from sendopt.ingest.schema import SEPARATOR
from sendopt.ingest.values import is_number
from sendopt.ingest.vocabulary import FALSE, TRUE, is_nothing, zone_named

_STATES = ("sent", "delivered", "failed")
MAX_NAMES = 500  # different values of a column of names


class Columns:
    """The columns of a sample, by role."""

    def __init__(self, sample: Sample, given: Mapping[str, str] | None = None) -> None:
        self.sample, self.rows, self.given = sample, sample.rows, given or {}
        self._clocks: dict[tuple[str, bool], Clock | None] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def filled(self, column: str) -> pd.Series[Any]:
        """The values of a column that say something."""
        given = self.rows[column].dropna()
        return given[~given.map(is_nothing).astype(bool)]

    def counts(self, column: str) -> Counter[str]:
        return Counter(self.filled(column))

    def share(self, column: str) -> float:
        return len(self.filled(column)) / max(1, len(self.rows))

    def clock(self, column: str, dates_only: bool = False) -> Clock | None:
        key = (column, dates_only)
        if key not in self._clocks:
            self._clocks[key] = clock_of(self.rows[column], dates_only)
        return self._clocks[key]

    def clock_of_two(self, day: str, hour: str) -> Clock | None:
        """The clock of a day and an hour in two columns, composed as a mapping composes them."""
        return clock_of(self.rows[day].astype(object) + SEPARATOR + self.rows[hour].astype(object))

    def by_rank(self, role: str) -> list[str]:
        """Columns whose names fit a role, best first; the given one alone, where one is."""
        if role in self.given:
            return [self.given[role]]
        ranked = [(words.rank(role, c), -i, c) for i, c in enumerate(self.sample.columns)]
        return [c for points, _, c in sorted(ranked, reverse=True) if points]

    def numbers(self, column: str) -> bool:
        values = self.counts(column)
        return bool(values) and all(is_number(v) for v in values)

    @cached_property
    def user(self) -> str:
        """The column of people; raises ContractError where none is seen."""
        for column in self.by_rank("user_id"):
            if self.share(column) >= 0.5 and self.clock(column) is None and len(self.counts(column)) > 1:
                return column
        raise self.missing("user", "user_id", "who got a message")

    def missing(self, what: str, role: str, meaning: str) -> ContractError:
        looked = ", ".join(words.ROLES[role][:8])
        return ContractError(
            f"{self.sample.source}: no {what} column was seen. Looked for a column that says {meaning}, called like "
            f"{looked} …; the log has: {self.sample.listed}. Name it by --column {role}=NAME"
        )

    @cached_property
    def zone(self) -> str | None:
        for column in self.by_rank("timezone"):
            values = self.counts(column)
            known = sum(n for v, n in values.items() if zone_named(v) is not None)
            if values and known >= 0.8 * values.total():
                return column
        return None

    @cached_property
    def event(self) -> str | None:
        """The column that says of each row what happened: sends and outcomes both."""
        for column in self.by_rank("event"):
            values = self.counts(column)
            kinds = {words.event_of(v) for v in values}
            if len(values) <= 100 and kinds & {"sent", "delivered"} and kinds & {"open", "click", "goal"}:
                return column
        return None

    @cached_property
    def state(self) -> str | None:
        """The column that says of each send whether it arrived, and of no outcome."""
        for column in self.by_rank("event"):
            values = self.counts(column)
            kinds = Counter({k: sum(n for v, n in values.items() if words.event_of(v) == k) for k in _STATES})
            if kinds["failed"] and len(values) <= 100 and kinds.total() >= 0.8 * values.total():
                return column
        return None

    def flag(self, role: str) -> str | None:
        """A column of yes and no whose name fits a role."""
        for column in self.by_rank(role):
            if flag_words(self.counts(column)) is not None:
                return column
        return None

    def names(self, role: str, taken: set[str]) -> str | None:
        """A column of names: few different ones, each in many rows."""
        for column in self.by_rank(role):
            values = self.counts(column)
            few = 0 < len(values) <= min(MAX_NAMES, max(20, len(self.rows) // 3))
            if column not in taken and few and self.share(column) >= 0.3 and self.clock(column) is None:
                return column
        return None

    def named_channel(self) -> tuple[str | None, str]:
        """The one channel of a log without a column of channels, where something names it, and what does."""
        values = self.counts(self.user)
        if sum("@" in v for v in values) > 0.8 * len(values):
            return "email", f"{self.user} holds e-mail addresses"
        for text in (self.sample.source.stem, *self.sample.columns):
            if (channel := words.channel_of(text)) is not None:
                return channel, f"no column of channels; {text!r} names it"
        return None, "no column of channels was seen"

    def language(self) -> tuple[str, str, str] | None:
        """(language, its zone, the words that show it), where a language spoken mostly in one zone is seen."""
        texts = {words.normal(c) for c in self.sample.columns}
        for column in self.sample.columns:
            head = self.rows[column].head(200).dropna()
            texts |= {words.normal(t) for t in head if len(t) < 15 and t.isalpha()}
        for language, (zone, known) in words.LANGUAGES.items():
            if len(seen := sorted(texts & set(known))) >= 2:
                return language, zone, ", ".join(seen[:4])
        return None


def flag_words(values: Counter[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """(words for yes, words for no) beyond those of every log; None where the values are no flag."""
    strange = [v for v in values if v.lower() not in TRUE | FALSE]
    if not values or len(values) > 6:
        return None
    if not strange:
        return (), ()
    if len(values) == 2 and len(strange) <= 2:
        no = [v for v in strange if words.is_negated(v)]
        yes = [v for v in strange if v not in no]
        if len(strange) == 2 and len(no) == len(yes) == 1:
            return (yes[0],), (no[0],)
    return None


def slug(text: str) -> str:
    """A name that settings take, made of any text.

    >>> [slug(t) for t in ("Frühlings-Angebot!", "spring_sale", "10 % off", "¿?")]
    ['Fruhlings-Angebot', 'spring_sale', '10-off', 'x']
    """
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-_.")[:60] or "x"


def renamed(values: Counter[str]) -> dict[str, str]:
    """raw value -> a name that settings take, for the values that are none themselves."""
    taken = {v for v in values if slug(v) == v}
    names: dict[str, str] = {}
    for value in sorted(values):
        if value in taken:
            continue
        name, number = slug(value), 2
        while name in taken:
            name, number = f"{slug(value)}-{number}", number + 1
        taken.add(name)
        names[value] = name
    return names
