"""Failures of the engine as sendopt's own errors: what a worker raised, a write that lost a race, a full disk."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from sendopt.errors import LakeBusy, SendoptError, no_space, text_of
from sendopt.spark.engine.workers import decoded

# Delta's exceptions of a lost commit, in Java and in Python, and the conditions that it names them by.
_LOST_RACE = re.compile(
    r"\b(?:Concurrent(?:Append|DeleteRead|DeleteDelete|Transaction|Write)|MetadataChanged|ProtocolChanged"
    r"|DeltaConcurrentModification)Exception\b"
    r"|\bDELTA_(?:CONCURRENT_\w+|METADATA_CHANGED|PROTOCOL_CHANGED|MAX_COMMIT_RETRIES_EXCEEDED|LOG_ALREADY_EXISTS"
    r"|PATH_EXISTS|TABLE_ALREADY_EXISTS|TABLE_NOT_FOUND)\b"
)


@contextmanager
def as_ours(doing: str = "") -> Iterator[None]:
    """A block whose engine errors are raised as sendopt's own; `doing` names what was lost where a race was.

    A worker's built-in error is raised as it was, from the engine's. What is not understood passes unchanged.
    """
    try:
        with warnings.catch_warnings():
            # toPandas() prints the worker's stack trace as a warning before it raises
            warnings.filterwarnings("ignore", "toPandas attempted Arrow optimization")
            yield
    except SendoptError:
        raise
    except Exception as error:
        ours = translated(error, doing)
        if ours is None:
            raise
        raise ours from error


def translated(error: BaseException, doing: str = "") -> Exception | None:
    """The error as sendopt's own, or as the built-in error that a worker raised; None where it is neither."""
    if not isinstance(error, PySparkException | Py4JJavaError):
        return no_space(error)
    text = _text(error)
    return decoded(text) or (lost_race(doing) if _LOST_RACE.search(text) else None) or no_space(error, text)


def lost_race(doing: str) -> LakeBusy:
    """The error of a write to `doing` whose table another process changed meanwhile."""
    return LakeBusy(
        f"another process committed first{f' to {doing}' if doing else ''}, so this write was given up and changed "
        "nothing; run it again when the other one has ended"
    )


def _text(error: BaseException) -> str:
    """The error's kind, what it says of itself and of its causes, with Java's own stack."""
    return f"{type(error).__name__}\n{text_of(error)}\n{getattr(error, '_stackTrace', '')}"
