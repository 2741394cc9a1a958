"""Which notification each person gets and when, decided every night, with a proof of how good the plan is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sendopt.process.ending import listen_early

listen_early()  # before all else: what a command imports takes seconds to load

if TYPE_CHECKING:
    from sendopt.api import Certificate, Progress, Result, solve

__all__ = ["Certificate", "Progress", "Result", "solve"]


def __getattr__(name: str) -> Any:
    """The public API, loaded when it is first used: `import sendopt` alone takes no time."""
    if name not in __all__:
        raise AttributeError(f"module 'sendopt' has no attribute {name!r}")
    from sendopt import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
