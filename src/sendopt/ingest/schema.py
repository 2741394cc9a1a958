"""The schema of a mapping: where a source's raw rows are, which column is which, and what their values mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sendopt.config.schema import Name
from sendopt.domain.limits import Strict
from sendopt.ingest.vocabulary import FALSE, TRUE

LOG_TABLES = ("sends", "interactions", "sessions", "users", "messages")
# Columns that ingest fills itself where the mapping does not.
FILLED = {"sends": {"source", "send_key", "outcome_known"}, "interactions": {"send_key", "at_imputed"}}
NEVER_MAPPED = {"source", "at_imputed", "outcome_known", "origin", "stated_at", "left"}
# Columns of a log that its table does not have: they match an interaction with its send, or its person.
MATCHING = {"interactions": ("user_id", "notification_id", "campaign_id", "channel", "category")}
DECISION_KINDS = ("send", "slot")
SEPARATOR = "/"  # between the parts of a value that is composed of several raw columns

Text = Annotated[str, Field(min_length=1)]
# Ends of the keys that ask for alternatives: one of them is needed, or none since another column is there.
ALTERNATIVE, OPTIONAL = ".first", ".first (another is there)"
Columns = Text | Annotated[tuple[Text, ...], Field(min_length=1)]
Words = tuple[Text, ...]


class FirstOf(Strict):
    """Several raw columns of which the first filled one is taken; the log may lack some of them."""

    first: Annotated[tuple[Text, ...], Field(min_length=2)]


class Outcome(Strict):
    """An outcome in the row of its send; a true one becomes an interaction."""

    column: Text | None = Field(
        None, description="raw column: yes or no, or a count or number; left out: a filled `at` is an outcome"
    )
    kind: Literal["open", "click", "goal", "dismiss", "opt_out"] = "goal"
    at: Text | None = Field(None, description="raw column of its time; empty: sent_at + label.window_hours, at_imputed")
    threshold: float | None = Field(
        None, description="numbers from here on are successes; left out: those above 0, and a negative one is refused"
    )
    yes: Words = Field((), description="words of `column` that are a success, beside those of every log")
    no: Words = Field((), description="words of `column` that are none")


class Decision(Strict):
    """The columns by which `sendopt evaluate` takes a send for a decision about time; ingest does not read them."""

    slot: Text | None = Field(
        None, description="raw column that names the slot; left out: the local hour of sent_at_utc"
    )
    slot_hours: Literal[1, 2, 3, 4, 6, 8, 12] = Field(1, description="hours a slot, where no column names it")
    segment: Text | None = Field(None, description="raw column of a segment that may have a best time of its own")


class Booleans(Strict):
    """Words for yes and no in this table's flags, beside those of every log."""

    yes: Words = ()
    no: Words = ()

    def meaning(self) -> dict[str, bool]:
        """Return the meaning of each word, in lower case; the mapping's words come before those of every log.

        >>> words = Booleans(yes=("opened",), no=("on",)).meaning()
        >>> [words[word] for word in ("opened", "ja", "on")]
        [True, True, False]
        """
        words = {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}
        return words | {w.lower(): True for w in self.yes} | {w.lower(): False for w in self.no}


class TableMapping(Strict):
    """The place of one table's raw rows, and how its columns are read."""

    files: Text | None = Field(None, description="pattern below the input folder; left out: the input is the file")
    format: Literal["csv", "jsonl", "json", "parquet"]
    encoding: Text = Field("utf-8", description="of CSV and JSON text; UTF-16 is seen by its mark")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    where: dict[str, Columns] = Field(
        default_factory=dict, description="raw column -> its value or values that make a row one of this table"
    )
    time_format: Text | Annotated[tuple[Text, ...], Field(min_length=1)] = "iso8601"
    times_in: Text | Annotated[dict[Literal["column"], Text], Field(min_length=1)] = "UTC"
    list_separator: Annotated[str, Field(min_length=1, max_length=1)] = "|"
    columns: dict[str, Columns | FirstOf] = Field(default_factory=dict)
    constants: dict[str, str | bool | float | tuple[str, ...]] = Field(default_factory=dict)
    defaults: dict[str, Text] = Field(
        default_factory=dict, description="mapped column -> the raw value of rows that hold none"
    )
    values: dict[str, dict[str, str | bool | float]] = Field(
        default_factory=dict, description='column -> raw value -> our value; "*" stands for every other value'
    )
    booleans: Booleans = Booleans()
    outcome: Outcome | None = None
    decision: Decision | None = None
    identity: tuple[Literal["user_id", "notification_id", "campaign_id", "channel", "sent_at_utc"], ...] = Field(
        ("user_id", "notification_id"), min_length=1, description="of sends: the columns that make a send one of a kind"
    )
    match: Literal["id", "nearest_send"] = Field(
        "id", description="of interactions: how one finds its send: by key or id, or the user's latest send before it"
    )
    within_hours: Annotated[float, Field(gt=0, le=24 * 90)] = Field(
        72.0, description="of interactions with match nearest_send: hours that the send may lie before"
    )
    snapshot: Literal["changes", "full"] = Field(
        "changes", description="of users: full where each ingest holds everyone, so that who is missing has left"
    )

    @property
    def zone_column(self) -> str | None:
        """The raw column with the zone of each row's local times; None where one zone holds for all."""
        return self.times_in["column"] if isinstance(self.times_in, dict) else None

    @property
    def time_formats(self) -> tuple[str, ...]:
        """The formats of times, tried in this order."""
        return (self.time_format,) if isinstance(self.time_format, str) else self.time_format

    def parts_of(self, column: str) -> tuple[str, ...]:
        """Return the raw columns that a column is composed of, or the alternatives that it is taken from."""
        raw = self.columns[column]
        if isinstance(raw, FirstOf):
            return raw.first
        return (raw,) if isinstance(raw, str) else raw

    @property
    def raw_columns(self) -> dict[str, str]:
        """The raw columns that are read, each with the key of the mapping that asks for it."""
        wanted: dict[str, str] = {}
        for name, given in self.columns.items():
            for raw in () if isinstance(given, FirstOf) else self.parts_of(name):
                wanted.setdefault(raw, f"columns.{name}")
        if self.outcome:
            for key in ("column", "at"):
                if getattr(self.outcome, key) is not None:
                    wanted.setdefault(getattr(self.outcome, key), f"outcome.{key}")
        if self.zone_column is not None:
            wanted.setdefault(self.zone_column, "times_in.column")
        for raw in self.where:
            wanted.setdefault(raw, f"where.{raw}")
        for name, given in self.columns.items():
            if isinstance(given, FirstOf):
                end = OPTIONAL if any(raw in wanted for raw in given.first) else ALTERNATIVE
                for raw in given.first:
                    wanted.setdefault(raw, f"columns.{name}{end}")
        return wanted

    @property
    def decision_columns(self) -> dict[str, str]:
        """The raw columns that only `sendopt evaluate` reads, each with the key of the mapping that asks for it."""
        given = self.decision or Decision()
        return {raw: f"decision.{key}" for key in ("slot", "segment") if (raw := getattr(given, key))}


class DerivedUsers(Strict):
    """Users taken from the sends: created_at is their first sent_at, timezone the last one known."""

    derive_from: Literal["sends"]
    channels: tuple[Name, ...] = Field(min_length=1)


class SourceMapping(Strict):
    """One source of raw logs. `derived_users` is set where `tables.users` says `derive_from`."""

    source: Name
    tables: dict[str, TableMapping]
    derived_users: DerivedUsers | None = None
