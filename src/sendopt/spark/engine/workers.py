"""Functions that run in Spark's Python workers. Their errors reach the driver as what they were.

Spark hands a worker's exception on as text. So a worker writes kind, sentence and facts into that text, and `decoded`
reads them on the driver (`failures.translated` calls it). Every function that a worker runs goes through this module.
"""

from __future__ import annotations

import base64
import builtins
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, GroupedData
from pyspark.sql.types import StructType

from sendopt import errors
from sendopt.errors import ConfigError, SendoptError

Frames = Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]
Batches = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
_MARKED = re.compile(r"<sendopt-error ([A-Za-z0-9+/=]+)>")


class WorkerError(Exception):
    """An error on its way from a worker to the driver; its text holds the error's kind, sentence and facts."""


def map_frames(rows: DataFrame, work: Frames, schema: StructType | str) -> DataFrame:
    """`rows.mapInPandas(work, schema)`, with errors that cross."""
    return rows.mapInPandas(_stream(work), schema)


def map_batches(rows: DataFrame, work: Batches, schema: StructType | str) -> DataFrame:
    """`rows.mapInArrow(work, schema)`, with errors that cross."""
    return rows.mapInArrow(_stream(work), schema)


def map_groups(groups: GroupedData, work: Callable[[pa.Table], pa.Table], schema: StructType | str) -> DataFrame:
    """`groups.applyInArrow(work, schema)`, with errors that cross."""
    one = crossing(work)
    return groups.applyInArrow(lambda rows: one(rows), schema)  # Spark counts the arguments of a plain function


def map_pairs(
    groups: GroupedData, others: GroupedData, work: Callable[[pa.Table, pa.Table], pa.Table], schema: StructType | str
) -> DataFrame:
    """`groups.cogroup(others).applyInArrow(work, schema)`, with errors that cross."""
    one = crossing(work)
    return groups.cogroup(others).applyInArrow(lambda rows, more: one(rows, more), schema)


def crossing(work: Callable[..., Any]) -> Callable[..., Any]:
    """The function `work`, whose errors cross from a worker to the driver; for UDFs and maps over an RDD."""
    return partial(_call, work)


def _call(work: Callable[..., Any], *arguments: Any) -> Any:
    with _encoded():
        return work(*arguments)


def _stream(work: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """As `crossing`, for a function that yields."""
    return partial(_yield, work)


def _yield(work: Callable[[Any], Iterator[Any]], batches: Iterator[Any]) -> Iterator[Any]:
    with _encoded():
        yield from work(batches)


@contextmanager
def _encoded() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  every kind crosses
        ours = error if isinstance(error, SendoptError) else errors.no_space(error)
        raise WorkerError(_text_of(error if ours is None else ours)) from (error if ours is None else None)


def _text_of(error: Exception) -> str:
    told: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, SendoptError):
        told |= {"message": error.message, "facts": error.facts}
    if isinstance(error, ConfigError):
        told |= {"message": error.args[0].partition("\n")[0], "problems": list(error.problems)}
    coded = base64.b64encode(json.dumps(told, default=str).encode()).decode()
    return f"{told['kind']} <sendopt-error {coded}>"


def decoded(text: str) -> Exception | None:
    """The worker's error that `text` holds: a SendoptError with message and facts, or a built-in error; None if none.

    Of a text that holds several the first counts.
    """
    mark = _MARKED.search(text)
    if mark is None:
        return None
    told = json.loads(base64.b64decode(mark.group(1)))
    kind = getattr(errors, told["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ConfigError):
        return kind(told["message"], tuple(told.get("problems", ())), **told.get("facts", {}))
    if isinstance(kind, type) and issubclass(kind, SendoptError):
        return kind(told["message"], **told.get("facts", {}))
    plain = getattr(builtins, told["kind"], None)
    if isinstance(plain, type) and issubclass(plain, Exception) and not issubclass(plain, UnicodeError):
        return plain(told["message"])
    return RuntimeError(f"{told['kind']}: {told['message']}")
