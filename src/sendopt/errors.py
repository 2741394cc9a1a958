"""The error tree: every failure that a user can meet, its exit code, and whether a retry may help.

Exit codes (docs/adr/0001): 2 config, 3 contract, 4 infeasible, 5 solver, 6 model, 7 audit, 75 a later try may succeed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

MOST_PROBLEMS = 100


class SendoptError(Exception):
    """A failure with a sentence for people and facts for machines.

    The message says what failed, where, what was read, what was expected and what to do. `facts` are ready for JSON and
    never hold a user id.
    """

    exit_code: int = 1
    retryable: bool = False

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class ConfigError(SendoptError):
    """A wrong setting, file of settings or installation (Java, jars).

    `problems` holds one line per problem; the message shows the first hundred.
    """

    exit_code = 2

    def __init__(self, message: str, problems: tuple[str, ...] = (), **facts: object) -> None:
        rest = len(problems) - MOST_PROBLEMS
        shown = (*problems[:MOST_PROBLEMS], *((f"and {rest:,} more",) if rest > 0 else ()))
        super().__init__("\n".join((message, *shown)), **facts)
        self.problems = problems


class ContractError(SendoptError):
    """Data that breaks the contract of its table. The message names table, column, count and up to three examples."""

    exit_code = 3


class InfeasibleError(SendoptError):
    """Limits that contradict each other whatever is sent. The message names them."""

    exit_code = 4


class SolverError(SendoptError):
    """A failure of the solver without an answer; another try may succeed."""

    exit_code = 5
    retryable = True


class ModelError(SendoptError):
    """A model that cannot be trained, loaded or trusted."""

    exit_code = 6


class AuditError(SendoptError):
    """A plan that the solver-free audit refused; nothing was published."""

    exit_code = 7


class InputNotReady(SendoptError):
    """A missing input, a busy lake or a full disk. A later try may succeed."""

    exit_code = 75
    retryable = True


class LakeBusy(InputNotReady):
    """A lake that another process writes, or a table to which another process committed first."""


class NoSpace(InputNotReady):
    """A full disk or a used-up quota; what was being written is not there."""


NO_SPACE_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")


def no_space(error: BaseException, text: str = "") -> NoSpace | None:
    """Return the error as NoSpace if it, one of its causes or `text` says that a disk is full; else None."""
    for cause in _with_causes(error):
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(words in text_of(cause) for words in NO_SPACE_WORDS):
            path = getattr(cause, "filename", None)
            return _no_space(f" of {path}" if isinstance(path, str) else "")
    return _no_space("") if any(words in text for words in NO_SPACE_WORDS) else None


def text_of(error: BaseException) -> str:
    """Return the text of an error; empty where that fails (an error of the JVM asks the JVM, which may be gone)."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  any error of any library
        return ""


def _no_space(place: str) -> NoSpace:
    return NoSpace(
        f"no space is left on the disk{place}; what was being written is not there and finished work is kept. Make "
        "room in the folders of paths.data and paths.out and in the temporary folder (TMPDIR, spark.local.dir), then "
        "run it again"
    )


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, then its causes, each once."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
