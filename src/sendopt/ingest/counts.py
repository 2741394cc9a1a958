"""Counts of what became of a log's rows, and the shares of refused rows that stop an ingest or an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sendopt.config.schema import Ingest
from sendopt.errors import ContractError
from sendopt.ingest.refusals import Refusal, is_duplicate

OUTCOMES = "outcomes"  # the outcomes in the rows of accepted sends, counted like a table of their own


@dataclass
class Counts:
    """The rows of one table by what became of them: rows_in = rows_out + the sum of `quarantined`."""

    rows_in: int
    rows_out: int
    quarantined: dict[str, int]
    files: int = 0
    empty_files: int = 0
    lost: dict[str, int] = field(default_factory=dict)  # reason -> optional values that accepted rows lost
    elsewhere: int = 0  # rows that `where` assigns to other tables
    tolerated: int = 0  # interactions accepted although they seem to come before their send
    consent_only: int = 0  # accepted rows that state consent and are no interaction of a send
    left: int = 0  # people who are in the lake but not in a full snapshot
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> a few texts behind it, no ids

    def refused(self) -> dict[str, int]:
        """Return the reasons for which rows could not be used; without duplicates, which were used once."""
        return {reason: rows for reason, rows in self.quarantined.items() if not is_duplicate(reason)}


class _Share(StrEnum):
    """A setting of `ingest`: the largest share of rows that may be refused."""

    REFUSED = "max_refused_fraction"
    UNREAD = "max_unread_outcomes"
    UNMATCHED = "max_unmatched_interactions"


_REFUSED_ROWS = {
    _Share.REFUSED: "are refused",
    _Share.UNREAD: "cannot be read or are before their send",
    _Share.UNMATCHED: "find no send",
}


@dataclass(frozen=True)
class _Excess:
    """More refused rows of a table than a share allows; `total` is the number of rows that the share is of."""

    table: str
    refused: int
    total: int
    share: _Share
    limit: float
    reasons: str  # in words

    def sentence(self, is_option: bool) -> str:
        """Return what is wrong; `is_option` says that the share is an option of the command, not a setting."""
        setting = f"--{self.share.replace('_', '-')}" if is_option else f"ingest.{self.share}"
        return (
            f"tables.{self.table}: {self.refused:,} {_REFUSED_ROWS[self.share]} of {self.total:,} rows "
            f"({self.refused / max(1, self.total):.1%}; at most {self.limit:.1%}, {setting}): {self.reasons}"
        )


def require_readable(
    source: str, counts: Mapping[str, Counts], settings: Ingest, kept: str = "", options: bool = False
) -> None:
    """Raise ContractError naming every table of which more is refused than the settings allow, and the reasons.

    `kept` says what was written nevertheless; `options` says that the shares are options of the command, not settings.
    """
    sentences = [excess.sentence(options) for excess in _excesses(counts, settings)]
    if sentences:
        raise ContractError(
            f"source {source}: too much cannot be used{', and ' * bool(kept)}{kept}. "
            f"{'; '.join(sentences)}. Correct the mapping or the log (docs/how-to/bring-your-own-log.md), or raise the "
            f"{'option' if options else 'setting'}",
            source=source,
        )


def _excesses(tables: Mapping[str, Counts], settings: Ingest) -> Iterator[_Excess]:
    for table, counts in tables.items():
        refused = counts.refused()
        unmatched: dict[str, int] = {Refusal.INTERACTION_WITHOUT_SEND: refused.pop(Refusal.INTERACTION_WITHOUT_SEND, 0)}
        if table == OUTCOMES:
            # an outcome that cannot be read may be a yes or a no, so that its share is one of all sends
            early: dict[str, int] = {Refusal.INTERACTION_BEFORE_SEND: refused.pop(Refusal.INTERACTION_BEFORE_SEND, 0)}
            sends = tables["sends"]
            yield from _excess(table, refused, sends.rows_out, _Share.UNREAD, settings, sends)
            yield from _excess(table, early, counts.rows_in, _Share.UNREAD, settings, counts)
        elif table == "interactions":
            yield from _excess(table, refused, counts.rows_in, _Share.UNREAD, settings, counts)
            yield from _excess(table, unmatched, counts.rows_in, _Share.UNMATCHED, settings, counts)
        else:
            yield from _excess(table, refused, counts.rows_in, _Share.REFUSED, settings, counts)


def _excess(
    table: str, reasons: Mapping[str, int], total: int, share: _Share, settings: Ingest, counts: Counts
) -> Iterator[_Excess]:
    """Yield the excess where the rows of these reasons are more than the share of `total`; examples are of `counts`."""
    refused, limit = sum(reasons.values()), float(getattr(settings, share))
    if refused and refused > limit * total:
        yield _Excess(table, refused, total, share, limit, reasons_in_words(reasons, counts.examples))


def reasons_in_words(reasons: Mapping[str, int], examples: Mapping[str, tuple[str, ...]]) -> str:
    """Return the reasons, those of most rows first, each with a few texts that were not understood.

    >>> reasons_in_words({"unknown_zone": 3, "bad_time:at": 1200}, {"unknown_zone": ("Mars",)})
    "1,200 bad_time:at, 3 unknown_zone (such as 'Mars')"
    """
    parts = []
    for reason, number in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
        texts = ", ".join(f"'{t}'" for t in examples.get(reason, ()))
        parts.append(f"{number:,} {reason}" + (f" (such as {texts})" if texts else ""))
    return ", ".join(parts)
