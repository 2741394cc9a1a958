"""Translation of Spark's and Delta's errors into sendopt's: a worker's error, a lost commit, a full disk."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from sendopt.errors import LakeBusy, SendoptError, no_space, text_of
from sendopt.spark.engine.workers import decoded

# Delta's exceptions for a lost commit, in Java and in Python, and the names of its error conditions.
_LOST_RACE = re.compile(
    r"\b(?:Concurrent(?:Append|DeleteRead|DeleteDelete|Transaction|Write)|MetadataChanged|ProtocolChanged"
    r"|DeltaConcurrentModification)Exception\b"
    r"|\bDELTA_(?:CONCURRENT_\w+|METADATA_CHANGED|PROTOCOL_CHANGED|MAX_COMMIT_RETRIES_EXCEEDED|LOG_ALREADY_EXISTS"
    r"|PATH_EXISTS|TABLE_ALREADY_EXISTS|TABLE_NOT_FOUND)\b"
)


@contextmanager
def as_ours(doing: str = "") -> Iterator[None]:
    """Raise the engine's errors within the block as sendopt's; `doing` names the table for a lost commit.

    A built-in error of a worker is raised with its kind and message, from the engine's error. Any other error passes
    unchanged.
    """
    try:
        with warnings.catch_warnings():
            # toPandas() prints the worker's stack trace as a warning before it raises
            warnings.filterwarnings("ignore", "toPandas attempted Arrow optimization")
            yield
    except SendoptError:
        raise
    except Exception as error:
        translation = translated(error, doing)
        if translation is None:
            raise
        raise translation from error


def translated(error: BaseException, doing: str = "") -> Exception | None:
    """Return the error as a SendoptError, or as the built-in error that a worker raised; None if it is neither."""
    if not isinstance(error, PySparkException | Py4JJavaError):
        return no_space(error)
    text = _text(error)
    return decoded(text) or (lost_race(doing) if _LOST_RACE.search(text) else None) or no_space(error, text)


def lost_race(doing: str) -> LakeBusy:
    """Return the error of a write to `doing` that failed because another process changed the table first."""
    return LakeBusy(
        f"another process committed first{f' to {doing}' if doing else ''}, so this write was given up and changed "
        "nothing; run it again when the other one has ended"
    )


def _text(error: BaseException) -> str:
    """Return the error's kind, its message, the messages of its causes and Java's stack trace."""
    return f"{type(error).__name__}\n{text_of(error)}\n{getattr(error, '_stackTrace', '')}"
