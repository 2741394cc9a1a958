"""The limits file of `sendopt solve`, or every fault of it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from pydantic import ValidationError

from sendopt.config import wording
from sendopt.config.yaml_tree import Key, KeyPath, Mark, Problem, Tree, YamlMap, YamlValue, read, sentences
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError

Finding: TypeAlias = tuple[KeyPath, str]  # the path of a faulty limit, and the sentence


def load_limits(path: Path) -> SolveLimits:
    """Return the limits in a YAML file.

    Raises ConfigError (exit 2) whose `problems` are all faults as `FILE:LINE: dotted.path: sentence`, by line.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(f"{path}: {what}; give the limits as a YAML file (an empty one sets none)")
    tree, problems = read(path, str(path))
    return _limits(str(path), tree, problems)


def limits_of(mapping: Mapping[Any, Any], name: str = "limits") -> SolveLimits:
    """Return the limits in a mapping of the same layout as the YAML file; numpy's numbers are taken as Python's.

    Raises ConfigError (exit 2) whose `problems` are all faults as `NAME: dotted.path: sentence`.

    >>> limits_of({"capacity": {"push": 3}, "min_gap_minutes": 240}).capacity
    {'push': 3}
    """
    return _limits(name, Tree(_plain_map(mapping)), [])


def _limits(name: str, tree: Tree | None, problems: list[Problem]) -> SolveLimits:
    limits = None
    if tree is not None:
        try:
            limits = SolveLimits.model_validate(tree.value)
        except ValidationError as error:
            faults = wording.findings(error, tree.value, SolveLimits.model_json_schema())
            problems = problems + [Problem(tree.mark(path) or Mark(name, 0), path, text) for path, text, _ in faults]
    if problems or limits is None:
        lines = sentences(problems)
        raise ConfigError(f"the limits {name} have {len(lines)} problem{'s' * (len(lines) > 1)}:", lines)
    return limits


def _plain_map(mapping: Mapping[Any, object]) -> YamlMap:
    return {cast(Key, _plain(key)): _plain(entry) for key, entry in mapping.items()}


def _plain(value: object) -> YamlValue:
    """Return `value` as a YAML file holds it: plain maps, lists as tuples, Python's numbers."""
    if isinstance(value, Mapping):
        return _plain_map(value)
    if isinstance(value, list | tuple):
        return tuple(_plain(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def refuse(path: Path | None, findings: Sequence[Finding], advice: str) -> ConfigError:
    """Return the error for limits that match nothing in the input, with the lines of the file that they are from."""
    tree = (read(path, str(path))[0] if path is not None else None) or Tree()
    name = str(path) if path is not None else "limits"
    lines = sentences([Problem(tree.mark(place) or Mark(name, 0), place, text) for place, text in findings])
    count = f"{len(lines)} of the limits match{'es' * (len(lines) == 1)} nothing"
    return ConfigError(f"{name}: {count}; {advice}:", lines)
