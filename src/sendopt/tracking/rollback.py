"""The order of champions, kept as tags in the registry, and rollback along it (with MLflow's client as a parameter)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sendopt.errors import ModelError

CHAMPION = "champion"
BEFORE = "sendopt.champion_before"  # tag of a version that was promoted: the champion's number then, or `none`
ROLLED_BACK = "sendopt.rolled_back_to"
NONE = "none"


def promote(client: Any, name: str, number: int, champion: Any) -> bool:
    """Make version `number` the champion, and return whether it is the champion now.

    A newer champion stays. So does the champion that a rollback chose: only a rollback restores an earlier champion.
    """
    if champion is not None:
        if int(champion.version) == number:
            return True
        if int(champion.version) > number or BEFORE in client.get_model_version(name, str(number)).tags:
            return False
    client.set_model_version_tag(name, str(number), BEFORE, NONE if champion is None else str(champion.version))
    client.set_registered_model_alias(name, CHAMPION, str(number))
    return True


def way_back(client: Any, name: str, champion: Any, to: str | None, passed: Callable[[Any], bool]) -> Any:
    """Return the version to go back to: the last good champion before, or `to`; change nothing.

    `passed` returns whether a version passed its gate. Raises ModelError where there is no such version.
    """
    if champion is None:
        raise ModelError(f"model {name} has no champion, so there is nothing to roll back; train one with --train")
    number = str(champion.version)
    known = _known(client, name)
    return known[_before(number, known, name) if to is None else _named(to, number, known, name, passed)]


def roll_back(client: Any, name: str, champion: Any, to: str | None, passed: Callable[[Any], bool]) -> tuple[str, str]:
    """Make the version of `way_back` the champion, and return ("name/version" before, after).

    Raises ModelError, and changes nothing, where `way_back` raises it.
    """
    target = str(way_back(client, name, champion, to, passed).version)
    number, known = str(champion.version), _known(client, name)
    if int(target) < int(number):  # going forward again is no verdict on the version that is left
        client.set_model_version_tag(name, number, ROLLED_BACK, target)
    if BEFORE not in known[target].tags:  # it passed its gate but was never promoted: this counts as its promotion
        client.set_model_version_tag(name, target, BEFORE, NONE)
    if ROLLED_BACK in known[target].tags:
        client.delete_model_version_tag(name, target, ROLLED_BACK)
    client.set_registered_model_alias(name, CHAMPION, target)
    return f"{name}/{number}", f"{name}/{target}"


def _known(client: Any, name: str) -> dict[str, Any]:
    return {str(v.version): v for v in client.search_model_versions(f"name = '{name}'")}


def _before(number: str, known: dict[str, Any], name: str) -> str:
    """Return the last champion before `number` that still exists and was not rolled back itself."""
    seen = {number}
    before = known[number].tags.get(BEFORE)
    while before in known and before not in seen:
        if ROLLED_BACK not in known[before].tags:
            return str(before)
        seen.add(before)
        before = known[before].tags.get(BEFORE)
    other_versions = ", ".join(sorted(set(known) - {number}, key=int)) or "none"
    raise ModelError(
        f"model {name}/{number} is champion and no good version before it is on record; name one with --to VERSION "
        f"(other versions: {other_versions})"
    )


def _named(to: str, number: str, known: dict[str, Any], name: str, passed: Callable[[Any], bool]) -> str:
    wanted = to.removeprefix(f"{name}/")
    if wanted not in known:
        known_versions = ", ".join(sorted(known, key=int))
        raise ModelError(f"--to: model {name} has no version {to!r}; expected one of {known_versions}")
    if wanted == number:
        raise ModelError(f"--to: version {wanted} of model {name} is the champion already; nothing was changed")
    if not passed(known[wanted]):
        raise ModelError(
            f"--to: version {wanted} of model {name} never passed its gate, so it is no good version; nothing was "
            "changed"
        )
    return wanted
