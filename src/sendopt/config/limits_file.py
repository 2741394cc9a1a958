"""Reads the limits file of `sendopt solve`, or says everything that is wrong with it at once."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sendopt.config import wording
from sendopt.config.yaml_tree import Mark, Problem, read, sentences
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError


def load_limits(path: Path) -> SolveLimits:
    """The limits of a YAML file.

    Raises ConfigError (exit 2) whose `problems` are all faults as `FILE:LINE: dotted.path: sentence`, by line.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give the limits as YAML (an empty file sets none)")
    tree, problems = read(path, str(path))
    limits = None
    if tree is not None:
        try:
            limits = SolveLimits.model_validate(tree.value)
        except ValidationError as error:
            found = wording.findings(error, tree.value, SolveLimits.model_json_schema())
            problems += [Problem(tree.mark(place) or Mark(str(path), 0), place, text) for place, text, _ in found]
    if problems or limits is None:
        lines = sentences(problems)
        raise ConfigError(f"the limits {path} have {len(lines)} problem{'s' * (len(lines) > 1)}:", lines)
    return limits
