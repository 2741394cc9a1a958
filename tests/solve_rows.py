"""A sound table of candidates and one of history, and ways to change them into bad input to `sendopt solve`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ANN, BOB = "secret-ann", "secret-bob"
ROWS = {
    "user_id": [ANN, ANN, BOB],
    "message_id": ["m1", "m2", "m3"],
    "campaign_id": ["sale", "news", "sale"],
    "channel": ["push", "email", "push"],
    "category": ["deals", "info", "deals"],
    "slot": [9, 10, 11],
    "value": [0.5, 0.25, 1.0],
}
PAST = {
    "user_id": [ANN, BOB],
    "channel": ["push", "push"],
    "category": ["deals", "deals"],
    "campaign_id": ["sale", "sale"],
    "minutes_before": [90.0, 180.0],
}
LIMITS = "capacity: {push: 1}\n"
Columns = dict[str, Any]
Change = Callable[[], Columns | pa.Table]


def of(base: Columns, **columns: Any) -> Columns:
    """Return the table with the given columns added or replaced."""
    return {**base, **columns}


def first(base: Columns, column: str, value: Any) -> Columns:
    """Return the table with another value in the first row of a column."""
    return {**base, column: [value, *base[column][1:]]}


def without(base: Columns, *columns: str) -> Columns:
    """Return the table without the given columns."""
    return {name: values for name, values in base.items() if name not in columns}


def table(base: Columns) -> pa.Table:
    return pa.table(
        {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in base.items()}
    )


def bytes_of(content: Columns | pa.Table) -> bytes:
    """Return the table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(content if isinstance(content, pa.Table) else table(content), sink)
    return sink.getvalue().to_pybytes()


def csv_of(base: Columns, **options: Any) -> bytes:
    """Return the table as CSV; `options` are those of pandas."""
    return pd.DataFrame(base).to_csv(index=False, **options).encode()


def json_lines(*rows: object) -> bytes:
    """Return one line of JSON a row."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def objects(base: Columns = ROWS) -> list[dict[str, Any]]:
    """Return the rows of the table as dicts."""
    return pd.DataFrame(base).to_dict("records")


def typed(column: str, values: list[Any], kind: pa.DataType, base: Columns = ROWS) -> Columns:
    """Return the table with a column of the given Arrow type."""
    return of(base, **{column: pa.array(values, kind)})
