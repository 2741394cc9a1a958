"""`sendopt init`: a mapping and settings proposed from a log."""

from __future__ import annotations

from pathlib import Path

from sendopt.commands.printing import print_lines
from sendopt.night import runtime
from sendopt.process import output


def init(
    log: Path,
    out: Path | None,
    preset: str | None,
    zone: str | None,
    columns: list[str],
    as_json: bool = False,
) -> None:
    """Write a proposed folder of settings for `log` and print what was read from it; `columns` are `ROLE=COLUMN`."""
    from sendopt.ingest import proposal

    proposed = proposal.propose(log, out, runtime.machine_time(), preset, zone, columns)
    proposal.write(proposed)
    if as_json:
        output.document(vars(proposed))
        return
    print_lines(proposal.in_words(proposed))
