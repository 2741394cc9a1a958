"""The keyed hashes of `domain.keys` as Spark columns; a test compares the digits of both."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def keyed_hash(*parts: Column | str) -> Column:
    """Return 32 hex digits of the parts; a str is a literal."""
    return F.substring(_digest(parts), 1, 32)


def unit_interval(*parts: Column | str) -> Column:
    """Return a double in [0, 1), uniform over the parts; a str is a literal."""
    return F.conv(F.substring(_digest(parts), 1, 13), 16, 10).cast("double") / F.lit(16.0**13)


def _digest(parts: tuple[Column | str, ...]) -> Column:
    columns = [F.lit(p) if isinstance(p, str) else p for p in parts]
    return F.sha2(F.concat_ws("\x1f", *columns), 256)
