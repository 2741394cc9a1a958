"""The settings of a conf directory, or every fault of its files at once.

Files overlay each other: the schema's defaults, `defaults.yaml` (may be absent), `growth.yaml`, `env/NAME.yaml`. Maps
are merged key by key; everything else is replaced. `growth.yaml` and `env/NAME.yaml` may hold only the sections they
own. Paths inside the settings (data, results, source mappings and inputs) are relative to the working directory, as
those on a command line are.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sendopt.config import checks, wording
from sendopt.config.schema import ENV_SECTIONS, GROWTH_SECTIONS, NIGHT_SECTIONS, Settings
from sendopt.config.yaml_tree import KeyPath, Mark, Problem, Tree, YamlMap, parse, read, sentences
from sendopt.domain.outside_text import nearest
from sendopt.errors import ConfigError

DEFAULTS, GROWTH = "defaults.yaml", "growth.yaml"
SECTIONS = GROWTH_SECTIONS | ENV_SECTIONS | NIGHT_SECTIONS


def load(conf_dir: Path, env: str = "local") -> Settings:
    """Return the resolved settings of `conf_dir` in the environment `env`.

    Raises ConfigError (exit 2) whose `problems` are all faults of all files as `FILE:LINE: dotted.path: sentence`,
    by file and line.
    """
    conf_dir, env_name = Path(conf_dir), f"env/{env}.yaml"
    _require_files(conf_dir, env)
    names = [name for name in (DEFAULTS, GROWTH, env_name) if name != DEFAULTS or os.path.lexists(conf_dir / name)]
    files = [_File(name, *read(conf_dir / name, _display(conf_dir / name))) for name in names]
    return _resolved(files, f"{_display(conf_dir)} (env {env})")


def load_text(growth: str, env: str = "", defaults: str = "") -> Settings:
    """Return the settings of the texts of `growth.yaml`, `env/NAME.yaml` and `defaults.yaml`.

    Raises ConfigError as `load` does.

    >>> growth = "caps: {daily: {scope: all, window_minutes: 1440, max: 2}}"
    >>> settings = load_text(growth, defaults="grid: {slot_minutes: 30}")
    >>> settings.caps["daily"].max, settings.grid.slot_minutes, settings.grid.lead_minutes
    (2, 30, 60)
    >>> try:
    ...     load_text("caps:\\n  daily: {scope: all, max: two}")
    ... except ConfigError as error:
    ...     print(error.problems[0].partition(";")[0])
    growth.yaml:2: caps.daily.max: not a whole number
    """
    texts = {DEFAULTS: defaults, GROWTH: growth, "env/NAME.yaml": env}
    return _resolved([_File(name, *parse(text, name)) for name, text in texts.items()], "texts")


@dataclass(frozen=True)
class _File:
    """One file of a conf directory by its name there; no tree where it cannot be read."""

    name: str
    tree: Tree | None
    problems: Sequence[Problem]


def _resolved(files: Sequence[_File], place: str) -> Settings:
    """Return the settings of files that overlay each other in this order; raises ConfigError for all their faults."""
    problems = [problem for file in files for problem in file.problems]
    trees = [file.tree for file in files if file.tree is not None]
    problems += [stray for file in files if file.tree is not None for stray in _strays(file.name, file.tree)]
    settings, faults = _validate(_merge(trees), cross_checks=len(trees) == len(files))
    problems += faults
    if problems:
        raise _error(place, problems)
    return settings


def config_hash(settings: Settings) -> str:
    """Return 16 hex digits of SHA-256 over the canonical JSON of the settings that can change a plan.

    Sections of the environment (sources, paths, spark, mlflow) are left out: the same plan comes from any machine.
    """
    plan_settings = settings.model_dump(mode="json", exclude=set(ENV_SECTIONS))
    text = json.dumps(plan_settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the settings, as `conf/schema.json` holds it."""
    return copy.deepcopy(wording.json_schema())


def _display(path: Path) -> str:
    """Return a path as people would type it: relative to the working directory where it lies below that."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _require_files(conf_dir: Path, env: str) -> None:
    """Raise ConfigError where the directory, its `growth.yaml` or its `env/NAME.yaml` does not exist."""
    shown_dir = _display(conf_dir)
    try:
        if not conf_dir.is_dir():
            raise ConfigError(f"{shown_dir}: no such folder; give one that holds {GROWTH} and env/NAME.yaml")
        growth = conf_dir / GROWTH
        if not growth.exists():
            advice = _yml_advice(growth) or "a conf folder needs one (it may be empty)"
            raise ConfigError(f"{_display(growth)}: no such file; {advice}")
        known = sorted(path.stem for path in (conf_dir / "env").glob("*.yaml"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{shown_dir[:200]}: cannot be read: {reason}; check the path and its permissions") from None
    if env not in known:
        close = nearest(env, known)
        advice = f"did you mean {close}?" if close else f"expected one of: {', '.join(known) or 'none is there'}"
        advice = _yml_advice(conf_dir / "env" / f"{env[:80]}.yaml") or advice
        raise ConfigError(f"{_display(conf_dir / 'env')}: no environment {env[:80]}, {advice}")


def _yml_advice(path: Path) -> str | None:
    """Return what to do where a file exists as .yml only; else None."""
    with_yml = path.with_suffix(".yml")
    return f"{with_yml.name} is there: name it {path.name}" if with_yml.is_file() else None


def _strays(file: str, tree: Tree) -> Iterator[Problem]:
    """Yield a problem for each section in a file that another file owns."""
    owned = {DEFAULTS: SECTIONS, GROWTH: GROWTH_SECTIONS}.get(file, ENV_SECTIONS)
    for section in tree.value:
        if section in SECTIONS and section not in owned:
            home = GROWTH if section in GROWTH_SECTIONS else "env/NAME.yaml" if section in ENV_SECTIONS else DEFAULTS
            yield Problem(tree.marks[(section,)], (section,), f"not a section of {file}; move it to {home}")


def _merge(trees: list[Tree]) -> Tree:
    """Return one tree of trees that overlay each other in this order."""
    merged = Tree()
    for tree in trees:
        merged.value = _overlay(merged.value, tree.value)
        merged.marks.update(tree.marks)
    return merged


def _overlay(below: YamlMap, above: YamlMap) -> YamlMap:
    """Return the maps merged key by key; a map of another `kind` replaces the one below."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind") in (None, old.get("kind")):
            result[key] = _overlay(old, value)
        else:
            result[key] = value
    return result


def _validate(tree: Tree, cross_checks: bool) -> tuple[Settings, list[Problem]]:
    """Return the settings and all problems of a merged tree.

    Faulty values are removed, or replaced by a stand-in where one is required, until the schema accepts the rest. So
    the rules across sections are checked too, except where a faulty value is involved. The settings are those of the
    rest: good for nothing else where there are problems.
    """
    problems: list[Problem] = []
    faulty: set[KeyPath] = set()
    rest = copy.deepcopy(tree.value)
    while True:
        try:
            settings = Settings.model_validate(rest)
            break
        except ValidationError as error:
            faults = wording.findings(error, rest)
            if not faulty:
                problems = [_problem(tree, path, text) for path, text, _ in faults]
            faulty |= {path for path, _, _ in faults}
            for path, _, stand_in in faults:
                _replace(rest, path, stand_in)
    names = _names(tree.value)
    if cross_checks and names is not None:
        broken = checks.findings(settings, names, grid_is_sound=all(path[0] != "grid" for path in faulty))
        problems += [_problem(tree, path, text) for path, text in broken if not _touches(path, faulty)]
    return settings, problems


def _touches(path: KeyPath, faulty: set[KeyPath]) -> bool:
    """Return True where a path leads to, into or through a faulty one."""
    return any(path[: len(bad)] == bad[: len(path)] for bad in faulty)


def _replace(values: YamlMap, path: KeyPath, stand_in: object) -> None:
    """Set the path to the stand-in; without one, remove it, or the list that it points into, where still there."""
    at = values
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


def _names(values: YamlMap) -> checks.Names | None:
    """Return the ids as the files hold them; None where their sections are no maps."""
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


def _error(place: str, problems: list[Problem]) -> ConfigError:
    unique = sentences(problems)
    count = f"{len(unique)} problem" + ("s" if len(unique) > 1 else "")
    return ConfigError(f"the configuration in {place} has {count}:", unique)
