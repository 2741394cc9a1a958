"""The result of an ingest in words: lines for each table, and for outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sendopt.ingest.counts import OUTCOMES, Counts, reasons_in_words


def in_words(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines for `facts["tables"]` of an ingest: its tables in their order, then outcomes."""
    tables_counts = {name: Counts(**of) for name, of in tables.items()}
    for name, counts in tables_counts.items():
        if name not in (OUTCOMES, "interactions"):
            yield from _table(name, counts)
    yield from _outcomes(tables_counts)


def _table(name: str, of: Counts) -> Iterator[str]:
    files = f"{of.files} file{'s' * (of.files != 1)}" + (f" ({of.empty_files} empty)" if of.empty_files else "")
    yield f"{name}: {of.rows_out:,} of {of.rows_in:,} rows kept, from {files}"
    if of.quarantined:
        yield f"  refused: {reasons_in_words(of.quarantined, of.examples)}"
    if of.lost:
        yield f"  values left out, their rows kept: {reasons_in_words(of.lost, of.examples)}"
    if of.elsewhere:
        yield f"  rows that `where` leaves to other tables: {of.elsewhere:,}"
    if of.left:
        yield f"  people no longer in the full snapshot, planned no more: {of.left:,}"


def _outcomes(counts: Mapping[str, Counts]) -> Iterator[str]:
    """Yield the lines on possible successes: outcomes in the rows of sends, and rows of interactions."""
    if of := counts.get(OUTCOMES):
        sends = counts["sends"].rows_out
        share = f" ({of.rows_out / sends:.1%})" if sends else ""
        yield f"outcomes: {of.rows_out:,} of {sends:,} sends have one{share}"
        yield from _unread(of, counts["sends"].examples)
    if of := counts.get("interactions"):
        yield from _table("interactions (outcomes)", of)
        if of.consent_only:
            yield f"  statements of consent without a send of theirs, applied: {of.consent_only:,}"
    parts = [of for name in (OUTCOMES, "interactions") if (of := counts.get(name))]
    if tolerated := sum(of.tolerated for of in parts):
        yield f"  seem to come a little before their send (label.clock_tolerance_seconds), kept: {tolerated:,}"
    if parts and not sum(of.rows_out for of in parts):
        yield "  WARNING: no outcome was read, so that no send seems to bring anything: check outcome and interactions"


def _unread(of: Counts, examples: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    if of.quarantined:
        yield f"  not read, learnt from by nobody: {reasons_in_words(of.quarantined, examples)}"
