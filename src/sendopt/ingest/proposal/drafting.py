"""The state of a guess: the columns of a log, those that have a role already, and the mapping that is drafted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sendopt.ingest.proposal.clocks import Clock
from sendopt.ingest.proposal.columns import Columns
from sendopt.ingest.proposal.draft import Draft, RawColumns, Seen, TableDraft, as_tuple


class SendTime(NamedTuple):
    """The raw columns of the time of a send, and the clock that reads them."""

    raw: RawColumns
    clock: Clock


@dataclass
class Drafting:
    """A draft under way."""

    columns: Columns
    zone: str | None  # of all people, where the user gave one
    draft: Draft
    event: str | None = None  # the column that says what happened, where there is one
    taken: set[str] = field(default_factory=set)  # columns that have a role
    formats: list[str] = field(default_factory=list)  # of all columns of times

    @property
    def sends(self) -> TableDraft:
        """The table of sends."""
        return self.draft.sends

    def take(self, role: str, raw: RawColumns, why: str) -> None:
        """Give raw columns a role in the table of sends."""
        self.sends.columns[role] = Seen(raw, why)
        self.taken.update(as_tuple(raw))

    def constant(self, role: str, value: str | bool, why: str) -> None:
        """Give a role the same value in all sends."""
        self.sends.constants[role] = Seen(value, why)
