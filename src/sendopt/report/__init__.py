"""The report of a night: `data.load` reads the tables, `render` gives the page, `write` puts it into a file."""

from sendopt.report.night.page import render, write

__all__ = ["render", "write"]
