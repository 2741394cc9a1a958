"""Delta tables read without a JVM: rows and versions (deltalake, of the extra `spark`, is imported when asked for)."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

from sendopt.domain.tables import TABLES

ABSENT = -1  # the version of a table that is not there


def read_table(
    data_root: str | Path, name: str, plan_date: date | None = None, user: str | None = None
) -> pd.DataFrame:
    """Return all columns of `<data_root>/<name>`, of one plan date and one user where given; no rows if not there."""
    table = dataset(f"{str(data_root).rstrip('/')}/{name}")
    if table is None:
        return pd.DataFrame(columns=list(TABLES[name].names))
    where = None
    for column, wanted in (("plan_date", plan_date), ("user_id", user)):
        if wanted is not None:
            is_it = ds.field(column) == wanted
            where = is_it if where is None else where & is_it
    frame: pd.DataFrame = table.to_table(filter=where).to_pandas()
    return frame


def dataset(uri: str) -> ds.Dataset | None:
    """Return the Delta table at `uri` as it is now, None if it is not there."""
    from deltalake import DeltaTable

    return DeltaTable(uri).to_pyarrow_dataset() if DeltaTable.is_deltatable(uri) else None


def version(uri: str) -> int:
    """Return the version of the Delta table at `uri` as it is now, ABSENT if it is not there."""
    from deltalake import DeltaTable

    return int(DeltaTable(uri).version()) if DeltaTable.is_deltatable(uri) else ABSENT
