"""The result of an ingest in words: lines for each table, and for outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sendopt.ingest.counts import OUTCOMES, Counts, reasons_in_words


def in_words(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines for `facts["tables"]` of an ingest: its tables in their order, then outcomes."""
    table_counts = {name: Counts(**fields) for name, fields in tables.items()}
    for name, counts in table_counts.items():
        if name not in (OUTCOMES, "interactions"):
            yield from _table(name, counts)
    yield from _outcomes(table_counts)


def _table(name: str, counts: Counts) -> Iterator[str]:
    empty = f" ({counts.empty_files} empty)" if counts.empty_files else ""
    files = f"{counts.files} file{'s' * (counts.files != 1)}{empty}"
    yield f"{name}: {counts.rows_out:,} of {counts.rows_in:,} rows kept, from {files}"
    if counts.quarantined:
        yield f"  refused: {reasons_in_words(counts.quarantined, counts.examples)}"
    if counts.lost:
        yield f"  values left out, their rows kept: {reasons_in_words(counts.lost, counts.examples)}"
    if counts.elsewhere:
        yield f"  rows that `where` leaves to other tables: {counts.elsewhere:,}"
    if counts.left:
        yield f"  people no longer in the full snapshot, planned no more: {counts.left:,}"


def _outcomes(tables: Mapping[str, Counts]) -> Iterator[str]:
    """Yield the lines on possible successes: outcomes in the rows of sends, and rows of interactions."""
    if counts := tables.get(OUTCOMES):
        sends = tables["sends"].rows_out
        share = f" ({counts.rows_out / sends:.1%})" if sends else ""
        yield f"outcomes: {counts.rows_out:,} of {sends:,} sends have one{share}"
        yield from _unread(counts, tables["sends"].examples)
    if counts := tables.get("interactions"):
        yield from _table("interactions (outcomes)", counts)
        if counts.consent_only:
            yield f"  statements of consent without a send of theirs, applied: {counts.consent_only:,}"
    parts = [counts for name in (OUTCOMES, "interactions") if (counts := tables.get(name))]
    if tolerated := sum(counts.tolerated for counts in parts):
        yield f"  seem to come a little before their send (label.clock_tolerance_seconds), kept: {tolerated:,}"
    if parts and not sum(counts.rows_out for counts in parts):
        yield "  WARNING: no outcome was read, so that no send seems to bring anything: check outcome and interactions"


def _unread(counts: Counts, examples: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    if counts.quarantined:
        yield f"  not read, learnt from by nobody: {reasons_in_words(counts.quarantined, examples)}"
