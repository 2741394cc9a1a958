"""Functions that run in Spark's Python workers; their errors reach the driver with kind, message and facts.

Spark passes a worker's exception to the driver as text. A worker therefore encodes the error's kind, message and facts
into that text, and `decoded` reads them on the driver (`failures.translated` calls it). Every function that a worker
runs goes through this module.
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
    """An error passed from a worker to the driver; its text encodes the error's kind, message and facts."""


def map_frames(rows: DataFrame, work: Frames, schema: StructType | str) -> DataFrame:
    """Return `rows.mapInPandas(work, schema)`; errors of `work` are encoded for the driver."""
    return rows.mapInPandas(_stream(work), schema)


def map_batches(rows: DataFrame, work: Batches, schema: StructType | str) -> DataFrame:
    """Return `rows.mapInArrow(work, schema)`; errors of `work` are encoded for the driver."""
    return rows.mapInArrow(_stream(work), schema)


def map_groups(groups: GroupedData, work: Callable[[pa.Table], pa.Table], schema: StructType | str) -> DataFrame:
    """Return `groups.applyInArrow(work, schema)`; errors of `work` are encoded for the driver."""
    encoding = crossing(work)
    # Spark counts the arguments of the function and can do so for a plain function only
    return groups.applyInArrow(lambda rows: encoding(rows), schema)


def map_pairs(
    groups: GroupedData, others: GroupedData, work: Callable[[pa.Table, pa.Table], pa.Table], schema: StructType | str
) -> DataFrame:
    """Return `groups.cogroup(others).applyInArrow(work, schema)`; errors of `work` are encoded for the driver."""
    encoding = crossing(work)
    return groups.cogroup(others).applyInArrow(lambda left, right: encoding(left, right), schema)


def crossing(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return `work` as a function whose errors are encoded for the driver; for UDFs and maps over an RDD."""
    return partial(_call, work)


def _call(work: Callable[..., Any], *arguments: Any) -> Any:
    with _encoded():
        return work(*arguments)


def _stream(work: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """Return `work`, a generator function, as one whose errors are encoded for the driver."""
    return partial(_yield, work)


def _yield(work: Callable[[Any], Iterator[Any]], batches: Iterator[Any]) -> Iterator[Any]:
    with _encoded():
        yield from work(batches)


@contextmanager
def _encoded() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  errors of every kind are encoded
        known = error if isinstance(error, SendoptError) else errors.no_space(error)
        raise WorkerError(_text_of(error if known is None else known)) from (error if known is None else None)


def _text_of(error: Exception) -> str:
    """Return the text that `decoded` reads."""
    content: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, SendoptError):
        content |= {"message": error.message, "facts": error.facts}
    if isinstance(error, ConfigError):
        content |= {"message": error.args[0].partition("\n")[0], "problems": list(error.problems)}
    encoded = base64.b64encode(json.dumps(content, default=str).encode()).decode()
    return f"{content['kind']} <sendopt-error {encoded}>"


def decoded(text: str) -> Exception | None:
    """Return the worker's error that `text` encodes, or None if it encodes none.

    A SendoptError keeps its message and facts, a built-in error its message; any other kind becomes a RuntimeError. If
    the text encodes several errors, the first is returned.
    """
    mark = _MARKED.search(text)
    if mark is None:
        return None
    content = json.loads(base64.b64decode(mark.group(1)))
    kind = getattr(errors, content["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ConfigError):
        return kind(content["message"], tuple(content.get("problems", ())), **content.get("facts", {}))
    if isinstance(kind, type) and issubclass(kind, SendoptError):
        return kind(content["message"], **content.get("facts", {}))
    built_in = getattr(builtins, content["kind"], None)
    if isinstance(built_in, type) and issubclass(built_in, Exception) and not issubclass(built_in, UnicodeError):
        return built_in(content["message"])
    return RuntimeError(f"{content['kind']}: {content['message']}")
