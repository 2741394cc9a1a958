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

from sendopt import errors, jvm_log
from sendopt.allocation.buckets import Part, Planned, bucket_of, write_bucket
from sendopt.allocation.buckets import solve_folder as in_buckets
from sendopt.allocation.buckets.split import no_rows, parts_of, typed
from sendopt.allocation.files import CANDIDATES, CANDIDATES_MORE, HISTORY, HISTORY_MORE
from sendopt.config.schema import SparkSettings
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ContractError, SendoptError
from sendopt.spark.session import open_session

_WRITTEN = "bucket int, error string, message string"


def solve_folder(
    master: str, source: Path, history: Path | None, limits: SolveLimits, out: Path, relative_gap: float,
    buckets: int | None,
) -> Planned:  # fmt: skip
    """`sendopt.allocation.buckets.solve_folder` on a Spark master: the same plan, byte for byte."""
    spark = open_session(SparkSettings(master=master), jvm_log.opened())
    try:
        writes, run = partial(write_buckets, spark), partial(over_buckets, spark)
        return in_buckets(source, history, limits, out, relative_gap, buckets, writes, run)
    finally:
        spark.stop()


def write_buckets(spark: SparkSession, source: Path, history: Path | None, folder: Path, buckets: int) -> None:
    """What `sendopt.allocation.buckets.split` writes, byte for byte, by the workers; one shuffle.

    Raises what it raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write = _Write(str(folder), buckets, str(source), None if history is None else str(history))
    cells = _rows(spark, source, {*CANDIDATES, *CANDIDATES_MORE}, buckets).groupBy("bucket")
    if history is None:
        written = cells.applyInArrow(lambda rows: write(rows, None), _WRITTEN)
    else:
        past = _rows(spark, history, {*HISTORY, *HISTORY_MORE}, buckets).groupBy("bucket")
        written = cells.cogroup(past).applyInArrow(lambda rows, before: write(rows, before), _WRITTEN)
    done = {row.bucket: row for row in written.collect()}
    for bucket in range(buckets):
        if bucket not in done:
            write_bucket(folder, bucket, buckets, no_rows(CANDIDATES, CANDIDATES_MORE), None, str(source))
        elif done[bucket].error:
            raise getattr(errors, done[bucket].error)(done[bucket].message)


def over_buckets(spark: SparkSession, work: Callable[[int], Part], buckets: int) -> Iterable[Part]:
    """The map of `solve_buckets` as one Spark job, a task a bucket."""
    found = spark.sparkContext.parallelize(range(buckets), buckets).map(partial(_answer, work)).collect()
    for part in found:
        if isinstance(part, _Failure):
            raise getattr(errors, part.error)(part.message)
    return [part for part in found if isinstance(part, Part)]


@dataclass(frozen=True)
class _Failure:
    """A sentence for people, from a worker: exceptions lose their kind on the way."""

    error: str
    message: str


def _answer(work: Callable[[int], Part], bucket: int) -> Part | _Failure:
    try:
        return work(bucket)
    except SendoptError as error:
        return _Failure(type(error).__name__, error.message)


def _rows(spark: SparkSession, source: Path, wanted: set[str], buckets: int) -> DataFrame:
    files = [str(path.resolve()) for path in parts_of(source)]
    rows = spark.read.parquet(*files)
    if "user_id" not in rows.columns:
        raise ContractError(f"{files[0]}: columns user_id are missing; found: {', '.join(rows.columns)}")

    def numbers(users: pd.Series) -> pd.Series:
        return pd.Series(bucket_of(users.to_numpy(object), buckets))

    number = pandas_udf(numbers, T.LongType())  # type: ignore[call-overload]
    bucket = number(F.col("user_id").cast("string"))
    return rows.select(*(c for c in rows.columns if c in wanted), bucket.alias("bucket"))


@dataclass(frozen=True)
class _Write:
    """Writes one bucket from its rows, in a worker."""

    folder: str
    buckets: int
    source: str
    history: str | None

    def __call__(self, cells: pa.Table, history: pa.Table | None) -> pa.Table:
        some = cells if cells.num_rows or history is None else history
        bucket = some["bucket"][0].as_py()
        error, message = None, None
        try:
            ready = typed(Path(self.source), cells, CANDIDATES, CANDIDATES_MORE)
            past = None
            if history is not None and self.history is not None:
                past = typed(Path(self.history), history, HISTORY, HISTORY_MORE)
            write_bucket(Path(self.folder), bucket, self.buckets, ready, past, self.source)
        except SendoptError as refused:
            error, message = type(refused).__name__, refused.message
        columns = [pa.array([bucket], pa.int32()), pa.array([error], pa.string()), pa.array([message], pa.string())]
        return pa.table(columns, names=["bucket", "error", "message"])
