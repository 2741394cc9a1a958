"""Rows of a log made by hand, as a table's contract wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from sendopt.domain.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sendopt.spark.tables import Lake


def full_rows(lake: Lake, name: str, frame: pd.DataFrame) -> DataFrame:
    """The frame as rows of a table; columns that it does not have are NULL."""
    from sendopt.spark.tables import schema_of

    table = TABLES[name]
    absent = {c: None for c in table.names if c not in frame.columns}
    return lake.spark.createDataFrame(frame.assign(**absent)[list(table.names)], schema_of(table))
