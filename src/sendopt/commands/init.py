"""`sendopt init`: mapping and settings proposed from a log."""

from __future__ import annotations

from pathlib import Path

from sendopt.commands.printing import print_lines
from sendopt.night import runtime
from sendopt.process import output


def init(log: Path, out: Path | None, preset: str | None, zone: str | None, columns: list[str], as_json: bool) -> None:
    from sendopt.ingest import proposal

    proposed = proposal.propose(log, out, runtime.machine_time(), preset, zone, columns)
    proposal.write(proposed)
    if as_json:
        output.document(vars(proposed))
        return
    print_lines(proposal.in_words(proposed))
