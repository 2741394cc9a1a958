"""Reads the limits file of `sendopt solve`, or says everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sendopt.config import wording
from sendopt.config.yaml_tree import KeyPath, Mark, Problem, Tree, read, sentences
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError

Finding = tuple[KeyPath, str]


def load_limits(path: Path) -> SolveLimits:
    """The limits of a YAML file.

    Raises ConfigError (exit 2) whose `problems` are all faults as `FILE:LINE: dotted.path: sentence`, by line.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(f"{path}: {what}; give the limits as a YAML file (an empty one sets none)")
    tree, problems = read(path, str(path))
    return _limits(str(path), tree, problems)


def limits_of(mapping: Mapping[Any, Any], name: str = "limits") -> SolveLimits:
    """The limits of a mapping laid out as the YAML file is; numbers of numpy count as Python's.

    Raises ConfigError (exit 2) whose `problems` are all faults as `NAME: dotted.path: sentence`.
    """
    return _limits(name, Tree(_plain(mapping)), [])


def _limits(name: str, tree: Tree | None, problems: list[Problem]) -> SolveLimits:
    limits = None
    if tree is not None:
        try:
            limits = SolveLimits.model_validate(tree.value)
        except ValidationError as error:
            faults = wording.findings(error, tree.value, SolveLimits.model_json_schema())
            problems = problems + [Problem(tree.mark(at) or Mark(name, 0), at, text) for at, text, _ in faults]
    if problems or limits is None:
        lines = sentences(problems)
        raise ConfigError(f"the limits {name} have {len(lines)} problem{'s' * (len(lines) > 1)}:", lines)
    return limits


def _plain(value: Any) -> Any:
    """`value` as a YAML file would hold it: plain maps, lists as tuples, Python's numbers."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def refuse(path: Path | None, findings: Sequence[Finding], advice: str) -> ConfigError:
    """The error for limits that were read from `path` and are no good for what they should bind, with their lines."""
    tree = (read(path, str(path))[0] if path is not None else None) or Tree()
    name = str(path) if path is not None else "limits"
    lines = sentences([Problem(tree.mark(place) or Mark(name, 0), place, text) for place, text in findings])
    count = f"{len(lines)} of the limits match{'es' * (len(lines) == 1)} nothing"
    return ConfigError(f"{name}: {count}; {advice}:", lines)
