"""What became of a log's rows, and the shares of them that stop an ingest or an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sendopt.config.schema import Ingest
from sendopt.errors import ContractError

OUTCOMES = "outcomes"  # rows that come out of accepted sends, counted by themselves
_BEFORE, _UNMATCHED = "interaction_before_send", "interaction_without_send"


@dataclass
class Counts:
    """What became of the rows of one table: rows_in = rows_out + the sum of `quarantined`."""

    rows_in: int
    rows_out: int
    quarantined: dict[str, int]
    files: int = 0
    empty_files: int = 0
    lost: dict[str, int] = field(default_factory=dict)  # optional values that accepted rows lost, by reason
    elsewhere: int = 0  # rows that `where` leaves to other tables
    tolerated: int = 0  # interactions accepted although they seem to come before their send
    consent_only: int = 0  # accepted rows that say what a person allows and are no interaction of a send
    left: int = 0  # people who are in the lake and no longer in a full snapshot
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> a few texts behind it, no ids

    def refused(self) -> dict[str, int]:
        """Reasons for which rows could not be used; a duplicate was used once."""
        return {r: n for r, n in self.quarantined.items() if not r.startswith("duplicate_")}


def require_readable(
    source: str, counts: Mapping[str, Counts], settings: Ingest, kept: str = "", options: bool = False
) -> None:
    """Raise ContractError naming every table of which more is refused than the settings allow, and why.

    `kept` says what was written all the same; `options`: the shares are options of the command, no settings.
    """
    faults = [
        f"tables.{table}: {what} of {total:,} rows ({share:.1%}; at most {limit:.1%}, {_shown(setting, options)}): "
        f"{reasons}"
        for table, what, total, share, limit, setting, reasons in _faults(counts, settings)
    ]
    if faults:
        raise ContractError(
            f"source {source}: too much cannot be used{', and ' * bool(kept)}{kept}. "
            f"{'; '.join(faults)}. Correct the mapping or the log (docs/how-to/bring-your-own-log.md), or raise the "
            f"{'option' if options else 'setting'}",
            source=source,
        )


def _shown(setting: str, is_option: bool) -> str:
    return f"--{setting.replace('_', '-')}" if is_option else f"ingest.{setting}"


def _faults(counts: Mapping[str, Counts], settings: Ingest) -> Iterator[tuple[str, str, int, float, float, str, str]]:
    for table, of in counts.items():
        refused = of.refused()
        unmatched = refused.pop(_UNMATCHED, 0)
        total = of.rows_in
        if table == OUTCOMES:
            # an outcome that cannot be read may be a yes or a no: it is one of all sends
            early, sends = refused.pop(_BEFORE, 0), counts["sends"].rows_out
            yield from _over(
                table, refused, sends, settings.max_unread_outcomes, "max_unread_outcomes", counts["sends"]
            )
            yield from _over(table, {_BEFORE: early}, total, settings.max_unread_outcomes, "max_unread_outcomes", of)
        elif table == "interactions":
            yield from _over(table, refused, total, settings.max_unread_outcomes, "max_unread_outcomes", of)
            lost = {_UNMATCHED: unmatched}
            yield from _over(table, lost, total, settings.max_unmatched_interactions, "max_unmatched_interactions", of)
        else:
            yield from _over(table, refused, total, settings.max_refused_fraction, "max_refused_fraction", of)


def _over(
    table: str, refused: Mapping[str, int], total: int, limit: float, setting: str, of: Counts
) -> Iterator[tuple[str, str, int, float, float, str, str]]:
    number = sum(refused.values())
    if number and number > limit * total:
        what = f"{number:,} {'cannot be read or are before their send' if 'unread' in setting else 'are refused'}"
        if setting == "max_unmatched_interactions":
            what = f"{number:,} find no send"
        yield table, what, total, number / max(1, total), limit, setting, reasons_in_words(refused, of.examples)


def reasons_in_words(reasons: Mapping[str, int], examples: Mapping[str, tuple[str, ...]]) -> str:
    """Reasons by number of rows, each with a few texts that were not understood."""
    parts = []
    for reason, number in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
        texts = ", ".join(f"'{t}'" for t in examples.get(reason, ()))
        parts.append(f"{number:,} {reason}" + (f" (such as {texts})" if texts else ""))
    return ", ".join(parts)
