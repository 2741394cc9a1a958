"""`sendopt report`: the page of a planned night, and the index of all nights."""

from __future__ import annotations

import sys
from datetime import date

from sendopt.config.schema import Settings
from sendopt.night import runtime
from sendopt.process import output


def report(day: date | None, settings: Settings, as_json: bool = False) -> None:
    """Write the page of a night, by default of the last one, and print where it and the index are."""
    page = runtime.write_report(settings, day)
    index = page.with_name("index.html")
    if as_json:
        output.document({"report": str(page), "index": str(index)})
        return
    sys.stdout.write(f"Report: {page}; all nights: {index}\n")
