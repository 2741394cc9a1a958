"""Lines of a command on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from sendopt.domain.outside_text import printable


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; characters that names and ids from outside could hide in them are escaped."""
    for line in lines:
        sys.stdout.write(printable(line, keep="\n") + "\n")
