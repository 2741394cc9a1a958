"""`sendopt solve` on Spark: buckets written once, then one map over them; workers read and write files by themselves.

Prices never travel by a Spark job of their own, and after the buckets are written no row does (model ¶11). The folders
must be paths that driver and workers share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.functions import pandas_udf

from sendopt.allocation.buckets import Part, Planned, bucket_of, write_bucket
from sendopt.allocation.buckets import solve_folder as in_buckets
from sendopt.allocation.buckets.folder import NOTHING_EXPECTED
from sendopt.allocation.control import UNWATCHED, Control
from sendopt.allocation.tables.columns import (
    CANDIDATES,
    CANDIDATES_MORE,
    HISTORY,
    HISTORY_MORE,
    no_rows,
    require_there,
    typed,
)
from sendopt.allocation.tables.out_folder import require_out
from sendopt.allocation.tables.tabular import PARQUET, parts_of, plain, source_of
from sendopt.allocation.tables.unused import Expectation
from sendopt.config.schema import SparkSettings
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError
from sendopt.process import jvm_log
from sendopt.spark.engine import workers
from sendopt.spark.engine.failures import as_ours
from sendopt.spark.engine.session import open_session

_WRITTEN = "bucket int"


def solve_folder(
    master: str,
    source: Path,
    history: Path | None,
    limits: SolveLimits,
    out: Path,
    relative_gap: float,
    buckets: int | None,
    expect: Expectation = NOTHING_EXPECTED,
    control: Control = UNWATCHED,
) -> Planned:
    """Run `sendopt.allocation.buckets.solve_folder` on a Spark master; the plan is equal byte for byte.

    Raises ConfigError (exit 2), before Spark starts, where a file is not Parquet.
    """
    require_out(out, [source, history], in_parts=True)
    for path in (*parts_of(source), *(parts_of(history) if history else ())):
        if source_of(path).format != PARQUET:
            raise ConfigError(f"--spark reads Parquet only, and {path} is none: leave out --spark, or write Parquet")
    spark = open_session(SparkSettings(master=master), jvm_log.opened())
    try:
        writes, run = partial(write_buckets, spark), partial(over_buckets, spark)
        return in_buckets(source, history, limits, out, relative_gap, buckets, writes, run, expect, control)
    finally:
        spark.stop()


def write_buckets(spark: SparkSession, source: Path, history: Path | None, folder: Path, buckets: int) -> None:
    """Write the bytes of `sendopt.allocation.buckets.split` from the workers, with one shuffle.

    Raises the errors of `split`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write = _Write(str(folder), buckets, str(source), None if history is None else str(history))
    cells = _rows(spark, source, {*CANDIDATES, *CANDIDATES_MORE}, buckets).groupBy("bucket")
    if history is None:
        written = workers.map_groups(cells, write, _WRITTEN)
    else:
        past = _rows(spark, history, {*HISTORY, *HISTORY_MORE}, buckets).groupBy("bucket")
        written = workers.map_pairs(cells, past, write, _WRITTEN)
    with as_ours():
        filled = {row.bucket for row in written.collect()}
    for bucket in sorted({*range(buckets)} - filled):
        write_bucket(folder, bucket, buckets, no_rows(CANDIDATES, CANDIDATES_MORE), None, str(source))


def over_buckets(spark: SparkSession, work: Callable[[int], Part], buckets: int) -> Iterable[Part]:
    """Return the parts of all buckets from one Spark job with a task a bucket."""
    with as_ours():
        return list(spark.sparkContext.parallelize(range(buckets), buckets).map(workers.crossing(work)).collect())


def _rows(spark: SparkSession, source: Path, wanted: set[str], buckets: int) -> DataFrame:
    parts = parts_of(source)
    read = spark.read.parquet(*(str(path.resolve()) for path in parts))
    rows = read.toDF(*(plain(name) for name in read.columns))
    require_there(parts[0], ["user_id"], rows.columns)

    number_of = workers.crossing(bucket_of)

    def numbers(users: pd.Series) -> pd.Series:
        return pd.Series(number_of(users.to_numpy(object), buckets))

    number = pandas_udf(numbers, T.LongType())  # type: ignore[call-overload]
    bucket = number(F.col("user_id").cast("string"))
    return rows.select(*(c for c in rows.columns if c in wanted), bucket.alias("bucket"))


@dataclass(frozen=True)
class _Write:
    """A function that writes one bucket from its rows, in a worker."""

    folder: str
    buckets: int
    source: str
    history: str | None

    def __call__(self, cells: pa.Table, history: pa.Table | None = None) -> pa.Table:
        rows = cells if cells.num_rows or history is None else history
        bucket = rows["bucket"][0].as_py()
        ready = typed(Path(self.source), cells, CANDIDATES, CANDIDATES_MORE)
        past = None
        if history is not None and self.history is not None:
            past = typed(Path(self.history), history, HISTORY, HISTORY_MORE)
        write_bucket(Path(self.folder), bucket, self.buckets, ready, past, self.source)
        return pa.table([pa.array([bucket], pa.int32())], names=["bucket"])
