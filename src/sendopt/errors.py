"""The error tree: every failure a user can meet, with its exit code and whether a retry may help.

Exit codes (docs/adr/0001): 2 config, 3 contract, 4 infeasible, 5 solver, 6 model, 7 audit, 75 input not ready.
"""

from __future__ import annotations

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
    """An input table has not arrived yet; a later try may find it."""

    exit_code = 75
    retryable = True
