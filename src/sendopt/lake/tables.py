"""Delta tables read without a JVM: rows and versions (deltalake, of the extra `spark`, is imported when needed)."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

from sendopt.domain.tables import TABLES

ABSENT = -1  # version of a table that does not exist


def read_table(
    data_root: str | Path, name: str, plan_date: date | None = None, user: str | None = None
) -> pd.DataFrame:
    """Return the rows of `<data_root>/<name>`, of one plan date and one user if given; none if it does not exist."""
    table = dataset(f"{str(data_root).rstrip('/')}/{name}")
    if table is None:
        return pd.DataFrame(columns=list(TABLES[name].names))
    condition = None
    for column, value in (("plan_date", plan_date), ("user_id", user)):
        if value is not None:
            equal = ds.field(column) == value
            condition = equal if condition is None else condition & equal
    frame: pd.DataFrame = table.to_table(filter=condition).to_pandas()
    return frame


def dataset(uri: str) -> ds.Dataset | None:
    """Return the Delta table at `uri` at its present version, or None if it does not exist."""
    from deltalake import DeltaTable

    return DeltaTable(uri).to_pyarrow_dataset() if DeltaTable.is_deltatable(uri) else None


def version(uri: str) -> int:
    """Return the present version of the Delta table at `uri`, or ABSENT if it does not exist."""
    from deltalake import DeltaTable

    return int(DeltaTable(uri).version()) if DeltaTable.is_deltatable(uri) else ABSENT
