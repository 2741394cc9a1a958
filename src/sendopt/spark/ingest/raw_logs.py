"""Raw logs as Spark rows: one worker reads each file, with the reader of `sendopt.ingest`.

Workers return their counts to the driver as additional rows, so that no file is read twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sendopt.domain.tables import TABLES
from sendopt.ingest.reader import Reading, Tally, filled_files, read_file, total_of
from sendopt.ingest.schema import MATCHING
from sendopt.spark.engine import workers
from sendopt.spark.engine.failures import as_ours

_ARROW = {
    "string": pa.string(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "array<string>": pa.list_(pa.string()),
}
ROWS_A_FILE = 10**10  # place of a row: number of its file · ROWS_A_FILE + its row in the file


@dataclass(frozen=True)
class RawLog:
    """Typed rows of one table (see `ingest.typed.typed_rows`) with the column `place`, their order by file and line."""

    table: str
    rows: DataFrame
    files: int
    empty_files: int
    tally: Tally


def columns_of(table: str) -> dict[str, str]:
    """Return the name and type of every column of a table's typed rows."""
    contract = {
        c.name: c.type for c in TABLES[table].columns if c.name not in ("source", "at_imputed", "outcome_known")
    }
    outcome = {"outcome": "boolean", "outcome_at": "timestamp", "outcome_problem": "string"} if table == "sends" else {}
    dated = {"file_date": "timestamp"} if table == "users" else {}
    of_reader = {"raw": "string", "reason": "string", "lost": "string", "place": "double", "tally": "string"}
    return {**contract, **{c: "string" for c in MATCHING.get(table, ())}, **outcome, **dated, **of_reader}


def read_raw(spark: SparkSession, reading: Reading, source: Path) -> RawLog:
    """Return the typed rows of a table, persisted by Spark; the caller unpersists `rows`.

    Raise InputNotReady if there is no file, and ContractError if a file cannot be read or does not fit the mapping.
    """
    files, empty = filled_files(reading, source)
    columns = columns_of(reading.table)
    schema = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    if not files:
        return RawLog(reading.table, spark.createDataFrame([], schema), empty, empty, Tally())
    parts = min(len(files), 2 * spark.sparkContext.defaultParallelism)
    listed = spark.createDataFrame([(i, str(f)) for i, f in enumerate(files)], "number int, path string")
    every = workers.map_batches(listed.repartition(parts, "number"), _reader(reading, columns), schema).persist()
    with as_ours(f"reading tables.{reading.table}"):
        tally_rows = every.where(F.col("tally").isNotNull()).select("tally").collect()
    tallies = [_tally(json.loads(row["tally"])) for row in tally_rows]
    total = total_of(reading, tallies, len(files))
    return RawLog(reading.table, every.where(F.col("tally").isNull()), len(files) + empty, empty, total)


def _reader(
    reading: Reading, columns: dict[str, str]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number, path in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield from _file(reading, columns, number, Path(path))

    return work


def _file(reading: Reading, columns: dict[str, str], number: int, path: Path) -> Iterator[pa.RecordBatch]:
    place = number * ROWS_A_FILE
    for rows, tally in read_file(reading, path):
        rows["place"] = [float(place + i) for i in range(len(rows))]
        place += len(rows)
        yield arrow_rows(rows, columns)
        yield arrow_rows(pd.DataFrame({"tally": [json.dumps(vars(tally))]}), columns)


def _tally(document: dict[str, Any]) -> Tally:
    lists = {name: tuple(document[name]) for name in ("keys", "values")}
    examples = {reason: tuple(texts) for reason, texts in document["examples"].items()}
    return Tally(document["rows"], document["elsewhere"], examples=examples, **lists)


def arrow_rows(rows: pd.DataFrame, columns: dict[str, str]) -> pa.RecordBatch:
    """Return the rows as an Arrow batch of `columns` (name → type); columns that the rows lack are NULL."""
    arrays = [_array(rows[name] if name in rows else [None] * len(rows), kind) for name, kind in columns.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _array(values: Any, kind: str) -> pa.Array:
    clean = [None if v is None or v is pd.NaT or v != v else list(v) if isinstance(v, tuple) else v for v in values]
    return pa.array(clean, type=_ARROW[kind])
