"""The contents of the columns of a raw log, and the roles that they fit."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from sendopt.errors import ContractError
from sendopt.ingest.proposal import words
from sendopt.ingest.proposal.clocks import Clock, clock_of
from sendopt.ingest.proposal.sample import Sample
from sendopt.ingest.schema import SEPARATOR
from sendopt.ingest.values import Texts, is_number
from sendopt.ingest.vocabulary import FALSE, TRUE, is_nothing, zone_named

_STATES = ("sent", "delivered", "failed")
MAX_NAMES = 500  # different values of a column of names


class Columns:
    """The columns of a sample, by role; `given` are those that the user named, by role."""

    def __init__(self, sample: Sample, given: Mapping[str, str] | None = None) -> None:
        self.sample, self.rows, self.given = sample, sample.rows, given or {}
        self._clocks: dict[tuple[str, bool], Clock | None] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def filled(self, column: str) -> Texts:
        """Return the filled values of a column."""
        given = self.rows[column].dropna()
        return given[~given.map(is_nothing).astype(bool)]

    def counts(self, column: str) -> Counter[str]:
        """Return the number of rows of each filled value."""
        return Counter(self.filled(column))

    def share(self, column: str) -> float:
        """Return the share of rows in which a column is filled, 0 to 1."""
        return len(self.filled(column)) / max(1, len(self.rows))

    def clock(self, column: str, dates_only: bool = False) -> Clock | None:
        """Return the clock of a column of times; None where it is none."""
        key = (column, dates_only)
        if key not in self._clocks:
            self._clocks[key] = clock_of(self.rows[column], dates_only)
        return self._clocks[key]

    def clock_of_two(self, day: str, hour: str) -> Clock | None:
        """Return the clock of a day and an hour in two columns, joined as a mapping joins them."""
        return clock_of(self.rows[day].astype(object) + SEPARATOR + self.rows[hour].astype(object))

    def by_rank(self, role: str) -> list[str]:
        """Return the columns whose names fit a role, best first; only the given column where the user named it."""
        if role in self.given:
            return [self.given[role]]
        ranked = [(words.rank(role, c), -i, c) for i, c in enumerate(self.sample.columns)]
        return [c for points, _, c in sorted(ranked, reverse=True) if points]

    def numbers(self, column: str) -> bool:
        """Return True for a column of numbers."""
        values = self.counts(column)
        return bool(values) and all(is_number(v) for v in values)

    @cached_property
    def user(self) -> str:
        """The column of people; raises ContractError where none can be seen."""
        for column in self.by_rank("user_id"):
            if self.share(column) >= 0.5 and self.clock(column) is None and len(self.counts(column)) > 1:
                return column
        raise self.missing("user", "user_id", "who got a message")

    def missing(self, what: str, role: str, meaning: str) -> ContractError:
        """Return the error for a role that no column fits."""
        looked = ", ".join(words.ROLES[role][:8])
        return ContractError(
            f"{self.sample.source}: no {what} column was seen. Looked for a column that says {meaning}, called like "
            f"{looked} …; the log has: {self.sample.listed}. Name it by --column {role}=NAME"
        )

    @cached_property
    def zone(self) -> str | None:
        """The column of time zones."""
        for column in self.by_rank("timezone"):
            values = self.counts(column)
            known = sum(n for v, n in values.items() if zone_named(v) is not None)
            if values and known >= 0.8 * values.total():
                return column
        return None

    @cached_property
    def event(self) -> str | None:
        """The column with the kind of event of each row, where both sends and outcomes are rows."""
        for column in self.by_rank("event"):
            values = self.counts(column)
            kinds = {words.event_of(v) for v in values}
            if len(values) <= 100 and kinds & {"sent", "delivered"} and kinds & {"open", "click", "goal"}:
                return column
        return None

    @cached_property
    def state(self) -> str | None:
        """The column with the state of each send, sent or failed, without outcomes."""
        for column in self.by_rank("event"):
            values = self.counts(column)
            kinds = Counter({k: sum(n for v, n in values.items() if words.event_of(v) == k) for k in _STATES})
            if kinds["failed"] and len(values) <= 100 and kinds.total() >= 0.8 * values.total():
                return column
        return None

    def flag(self, role: str) -> str | None:
        """Return the best column of yes and no whose name fits a role."""
        for column in self.by_rank(role):
            if flag_words(self.counts(column)) is not None:
                return column
        return None

    def names(self, role: str, taken: set[str]) -> str | None:
        """Return the best column of names for a role: few distinct ones, each in many rows."""
        for column in self.by_rank(role):
            values = self.counts(column)
            few = 0 < len(values) <= min(MAX_NAMES, max(20, len(self.rows) // 3))
            if column not in taken and few and self.share(column) >= 0.3 and self.clock(column) is None:
                return column
        return None

    def named_channel(self) -> tuple[str | None, str]:
        """Return the channel of a log without a column of channels, None where nothing names it, and the evidence."""
        values = self.counts(self.user)
        if sum("@" in v for v in values) > 0.8 * len(values):
            return "email", f"{self.user} holds e-mail addresses"
        for text in (self.sample.source.stem, *self.sample.columns):
            if (channel := words.channel_of(text)) is not None:
                return channel, f"no column of channels; {text!r} names it"
        return None, "no column of channels was seen"

    def language(self) -> tuple[str, str, str] | None:
        """Return (language, its zone, the words that show it) for a language that is spoken mostly in one zone."""
        texts = {words.normal(c) for c in self.sample.columns}
        for column in self.sample.columns:
            head = self.rows[column].head(200).dropna()
            texts |= {words.normal(t) for t in head if len(t) < 15 and t.isalpha()}
        for language, (zone, known) in words.LANGUAGES.items():
            if len(shared := sorted(texts & set(known))) >= 2:
                return language, zone, ", ".join(shared[:4])
        return None


def flag_words(values: Counter[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return (words for yes, words for no) beyond those of every log; None where the values are no flag.

    >>> flag_words(Counter({"geklickt": 3, "nicht geklickt": 8})), flag_words(Counter({"a": 1, "b": 1}))
    ((('geklickt',), ('nicht geklickt',)), None)
    """
    unknown = [v for v in values if v.lower() not in TRUE | FALSE]
    if not values or len(values) > 6:
        return None
    if not unknown:
        return (), ()
    if len(values) == 2 and len(unknown) <= 2:
        no = [v for v in unknown if words.is_negated(v)]
        yes = [v for v in unknown if v not in no]
        if len(unknown) == 2 and len(no) == len(yes) == 1:
            return (yes[0],), (no[0],)
    return None


def slug(text: str) -> str:
    """Return a name that settings accept, made of any text.

    >>> [slug(t) for t in ("Frühlings-Angebot!", "spring_sale", "10 % off", "¿?")]
    ['Fruhlings-Angebot', 'spring_sale', '10-off', 'x']
    """
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-_.")[:60] or "x"


def renamed(values: Counter[str]) -> dict[str, str]:
    """Return raw value -> a name that settings accept, for the values that are no such names.

    >>> renamed(Counter(["spring sale", "spring-sale", "news"]))
    {'spring sale': 'spring-sale-2'}
    """
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
