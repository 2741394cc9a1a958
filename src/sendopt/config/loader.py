"""Reads a conf directory into `Settings`, or says everything that is wrong with it at once.

Files overlay each other: schema defaults, `defaults.yaml` (may be absent), `growth.yaml`, `env/NAME.yaml`; maps are
merged key by key, all else is replaced. `growth.yaml` and `env/NAME.yaml` may hold only the sections they own.
Paths inside the settings (data, results, source mappings and inputs) are taken from the working directory, as those
on a command line are.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sendopt.config import checks, wording
from sendopt.config.schema import ENV_SECTIONS, GROWTH_SECTIONS, NIGHT_SECTIONS, Settings
from sendopt.config.yaml_tree import Key, KeyPath, Mark, Problem, Tree, read, sentences
from sendopt.domain.outside_text import nearest
from sendopt.errors import ConfigError

DEFAULTS, GROWTH = "defaults.yaml", "growth.yaml"
SECTIONS = GROWTH_SECTIONS | ENV_SECTIONS | NIGHT_SECTIONS


def load(conf_dir: Path, env: str = "local") -> Settings:
    """The resolved settings of `conf_dir` in the environment `env`.

    Raises ConfigError (exit 2) whose `problems` are all faults of all files as `FILE:LINE: dotted.path: sentence`,
    by file and line.
    """
    conf_dir, env_name = Path(conf_dir), f"env/{env}.yaml"
    _require_files(conf_dir, env)
    trees: list[Tree] = []
    problems: list[Problem] = []
    unreadable = False
    for file in (DEFAULTS, GROWTH, env_name):
        if file == DEFAULTS and not os.path.lexists(conf_dir / file):
            continue
        tree, faults = read(conf_dir / file, _display(conf_dir / file))
        problems += faults
        unreadable |= tree is None
        if tree is not None:
            problems += _strays(file, tree)
            trees.append(tree)
    merged = _merge(trees)
    settings, faults = _validate(merged, cross_checks=not unreadable)
    problems += faults
    if problems or settings is None:
        raise _error(conf_dir, env, problems)
    return settings


def config_hash(settings: Settings) -> str:
    """16 hex digits of SHA-256 over the canonical JSON of what can change a plan.

    Sections of the environment (sources, paths, spark, mlflow) are left out: the same plan comes from any machine.
    """
    plan_settings = settings.model_dump(mode="json", exclude=set(ENV_SECTIONS))
    text = json.dumps(plan_settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """The JSON schema of the settings, as `conf/schema.json` holds it."""
    return copy.deepcopy(wording.json_schema())


def _display(path: Path) -> str:
    """As people would type it: from the working directory where the file lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _require_files(conf_dir: Path, env: str) -> None:
    shown_dir = _display(conf_dir)
    try:
        if not conf_dir.is_dir():
            raise ConfigError(f"{shown_dir}: no such folder; give one that holds {GROWTH} and env/NAME.yaml")
        growth = conf_dir / GROWTH
        if not growth.exists():
            advice = _other_ending(growth) or "a conf folder needs one (it may be empty)"
            raise ConfigError(f"{_display(growth)}: no such file; {advice}")
        known = sorted(path.stem for path in (conf_dir / "env").glob("*.yaml"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{shown_dir[:200]}: cannot be read: {reason}; check the path and its permissions") from None
    if env not in known:
        close = nearest(env, known)
        advice = f"did you mean {close}?" if close else f"expected one of: {', '.join(known) or 'none is there'}"
        advice = _other_ending(conf_dir / "env" / f"{env[:80]}.yaml") or advice
        raise ConfigError(f"{_display(conf_dir / 'env')}: no environment {env[:80]}, {advice}")


def _other_ending(path: Path) -> str | None:
    """What to do where a file is there as .yml only."""
    other = path.with_suffix(".yml")
    return f"{other.name} is there: name it {path.name}" if other.is_file() else None


def _strays(file: str, tree: Tree) -> Iterator[Problem]:
    """Sections in a file that another file owns."""
    owned = {DEFAULTS: SECTIONS, GROWTH: GROWTH_SECTIONS}.get(file, ENV_SECTIONS)
    for section in tree.value:
        if section in SECTIONS and section not in owned:
            home = GROWTH if section in GROWTH_SECTIONS else "env/NAME.yaml" if section in ENV_SECTIONS else DEFAULTS
            yield Problem(tree.marks[(section,)], (section,), f"not a section of {file}; move it to {home}")


def _merge(trees: list[Tree]) -> Tree:
    merged = Tree()
    for tree in trees:
        merged.value = _overlay(merged.value, tree.value)
        merged.marks.update(tree.marks)
    return merged


def _overlay(below: dict[Key, Any], above: dict[Key, Any]) -> dict[Key, Any]:
    """Maps key by key; a map whose `kind` changes is another thing and replaces the one below whole."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind") in (None, old.get("kind")):
            value = _overlay(old, value)
        result[key] = value
    return result


def _validate(tree: Tree, cross_checks: bool) -> tuple[Settings | None, list[Problem]]:
    """The settings and all problems.

    Faulty values are cut out, or a stand-in put where one is required, until the schema takes the rest: so the rules
    across sections are judged too, save where a faulty value is involved.
    """
    problems: list[Problem] = []
    faulty: set[KeyPath] = set()
    rest = copy.deepcopy(tree.value)
    while True:
        try:
            settings = Settings.model_validate(rest)
            break
        except ValidationError as error:
            found = wording.findings(error, rest)
            if not faulty:
                problems = [_problem(tree, path, text) for path, text, _ in found]
            faulty |= {path for path, _, _ in found}
            for path, _, stand_in in found:
                _replace(rest, path, stand_in)
    names = _names(tree.value)
    if cross_checks and names is not None:
        broken = checks.findings(settings, names, grid_is_sound=all(path[0] != "grid" for path in faulty))
        problems += [_problem(tree, path, text) for path, text in broken if not _touches(path, faulty)]
    return settings, problems


def _touches(path: KeyPath, faulty: set[KeyPath]) -> bool:
    return any(path[: len(bad)] == bad[: len(path)] for bad in faulty)


def _replace(values: dict[Key, Any], path: KeyPath, stand_in: object) -> None:
    """Sets the path to the stand-in; without one, removes it, or the list it points into, where still there."""
    at: Any = values
    for part in path[:-1]:
        below = at.get(part)
        if not isinstance(below, dict):
            at.pop(part, None)
            return
        at = below
    if stand_in is None:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = stand_in


def _names(values: dict[Key, Any]) -> checks.Names | None:
    """Ids as written; None where the maps that hold them are no maps."""
    channels, campaigns = values.get("channels") or {}, values.get("campaigns") or {}
    if not isinstance(channels, dict) or not isinstance(campaigns, dict):
        return None
    categories = {str(c["category"]) for c in campaigns.values() if isinstance(c, dict) and "category" in c}
    return checks.Names(
        channels={str(name) for name in channels},
        categories=categories,
        campaigns={str(name) for name in campaigns},
    )


def _problem(tree: Tree, path: KeyPath, text: str) -> Problem:
    return Problem(tree.mark(path) or Mark("schema defaults", 0), path, text)


def _error(conf_dir: Path, env: str, problems: list[Problem]) -> ConfigError:
    unique = sentences(problems)
    count = f"{len(unique)} problem" + ("s" if len(unique) > 1 else "")
    return ConfigError(f"the configuration in {_display(conf_dir)} (env {env}) has {count}:", unique)
