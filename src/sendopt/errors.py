"""The error tree: every failure a user can meet, with its exit code and whether a retry may help.

Exit codes (docs/adr/0001): 2 config, 3 contract, 4 infeasible, 5 solver, 6 model, 7 audit, 75 a later try may do it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

MOST_PROBLEMS = 100


class SendoptError(Exception):
    """A failure with a sentence for people and facts for machines.

    The message says what, where, got, expected and what to do. `facts` are JSON-ready and never hold a user id.
    """

    exit_code: int = 1
    retryable: bool = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class ConfigError(SendoptError):
    """A setting, a file of settings or the installation (Java, jars) is wrong. `problems` holds every line found.

    The message shows the first hundred of them.
    """

    exit_code = 2

    def __init__(self, message: str, problems: tuple[str, ...] = (), **facts: object) -> None:
        rest = len(problems) - MOST_PROBLEMS
        shown = (*problems[:MOST_PROBLEMS], *((f"and {rest:,} more",) if rest > 0 else ()))
        super().__init__("\n".join((message, *shown)), **facts)
        self.problems = problems


class ContractError(SendoptError):
    """Data does not keep its table's contract: names table, column, count and up to three example rows."""

    exit_code = 3


class InfeasibleError(SendoptError):
    """Limits contradict each other whatever is sent; names them."""

    exit_code = 4


class SolverError(SendoptError):
    """The solver failed without an answer; another try may help."""

    exit_code = 5
    retryable = True


class ModelError(SendoptError):
    """A model cannot be trained, loaded or trusted."""

    exit_code = 6


class AuditError(SendoptError):
    """The solver-free audit refused a plan; nothing was published."""

    exit_code = 7


class InputNotReady(SendoptError):
    """Something that the work needs is not there yet: an input table, the lake, space. A later try may find it."""

    exit_code = 75
    retryable = True


class LakeBusy(InputNotReady):
    """Another process writes the lake, or committed first to a table that this one was about to write."""


class NoSpace(InputNotReady):
    """A disk is full or a quota is used up; what was being written is not there."""


NO_SPACE_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")


def no_space(error: BaseException, text: str = "") -> NoSpace | None:
    """The error as NoSpace where it, one of its causes or `text` says that a disk is full; else None."""
    for one in _with_causes(error):
        full = isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(words in text_of(one) for words in NO_SPACE_WORDS):
            path = getattr(one, "filename", None)
            return _no_space(f" of {path}" if isinstance(path, str) else "")
    return _no_space("") if any(words in text for words in NO_SPACE_WORDS) else None


def text_of(error: BaseException) -> str:
    """What the error says of itself; empty where it cannot say it (an error of a JVM that is gone asks that JVM)."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  whatever its text needs
        return ""


def _no_space(place: str) -> NoSpace:
    return NoSpace(
        f"no space is left on the disk{place}; what was being written is not there and finished work is kept. Make "
        "room in the folders of paths.data and paths.out and in the temporary folder (TMPDIR, spark.local.dir), then "
        "run it again"
    )


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from, each once."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
