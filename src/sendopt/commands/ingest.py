"""`sendopt ingest`: raw logs read into tables."""

from __future__ import annotations

from pathlib import Path

from sendopt import summary
from sendopt.commands.printing import print_lines
from sendopt.config.schema import Settings
from sendopt.night import runtime
from sendopt.process import output


def ingest(source: Path, data: Path, settings: Settings, times: runtime.Times, as_json: bool = False) -> None:
    """Read the raw logs in `data` by the mapping `source` into the silver tables, and print the row counts."""
    from sendopt.ingest import load_mapping
    from sendopt.spark.ingest.ingest import ingest as ingest_logs

    mapping = load_mapping(source)
    with runtime.lake_of(settings) as lake:
        result = ingest_logs(lake, mapping, data, settings, times.clock(settings, None).received_utc)
    if as_json:
        output.document(
            {
                "rows_in": result.rows_in,
                "rows_out": result.rows_out,
                "dropped": result.dropped,
                "tables": result.facts["tables"],
            }
        )
        return
    print_lines(summary.of_ingest(result.rows_in, result.rows_out, result.facts["tables"]))
