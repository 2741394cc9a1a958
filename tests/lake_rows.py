"""Rows of tables, written to a lake without Spark in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from sendopt.domain.tables import TABLES

EMPTY: dict[str, Any] = {
    "string": "x",
    "int": 0,
    "bigint": 0,
    "double": 0.5,
    "boolean": False,
    "date": date(2026, 5, 4),
    "timestamp": datetime(2026, 1, 3, 23, tzinfo=UTC),
    "array<string>": [],
    "array<double>": [0.5] * 48,
    "array<bigint>": [0] * 48,
}
ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "array<string>": pa.list_(pa.string()),
    "array<double>": pa.list_(pa.float64()),
    "array<bigint>": pa.list_(pa.int64()),
    "map<string,double>": pa.map_(pa.string(), pa.float64()),
}


def put(root: Path | str, name: str, values: Sequence[dict[str, Any]], only: str = "") -> None:
    """Write rows of a table to the lake at `root`.

    Rows of a table with a plan date replace those that match the condition `only`, by default those of the plan date of
    the first row. Rows of other tables are merged by key. A column that a row leaves out is NULL where the table
    allows it, else a value of `EMPTY`.
    """
    contract = TABLES[name]
    blank = {c.name: None if c.nullable else EMPTY[c.type] for c in contract.columns}
    schema = pa.schema([pa.field(c.name, ARROW[c.type], c.nullable) for c in contract.columns])
    rows = pa.Table.from_pylist([{**blank, **value} for value in values], schema)
    path = str(Path(root) / name)
    if not DeltaTable.is_deltatable(path):
        write_deltalake(path, rows, partition_by=list(contract.partition_by) or None)
    elif "plan_date" in contract.names:
        condition = only or f"plan_date = '{values[0]['plan_date']}'"
        write_deltalake(path, rows, mode="overwrite", predicate=condition)
    else:
        same_key = " AND ".join(f"new.{key} = old.{key}" for key in contract.key)
        merge = DeltaTable(path).merge(rows, same_key, source_alias="new", target_alias="old")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()


def in_order(name: str, values: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return rows as tuples in the order of the table's columns. A column that a row leaves out is None."""
    names = TABLES[name].names
    unknown = {column for value in values for column in value} - {*names}
    assert not unknown, f"{name} has no columns {sorted(unknown)}"
    return [tuple(value.get(column) for column in names) for value in values]


def slot_feature(day: date, hour: int, rate: float = 0.5) -> dict[str, Any]:
    """Return a row of `slot_features`: one send and no success in a local hour of weekdays."""
    counts = {"hour_sends": 1, "hour_mature": 1, "hour_successes": 0}
    return {"plan_date": day, "local_hour": hour, "weekend": False, **counts, "hour_rate": rate}


def put_frame(root: Path | str, name: str, frame: pd.DataFrame) -> None:
    """Write the rows of a frame with `put`. Missing values of the frame are NULL."""
    nullable = frame.astype(object).where(frame.notna(), None)
    put(root, name, nullable.to_dict("records"))
