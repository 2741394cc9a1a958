"""Names of the registered models and experiments of p_open, of each goal and of each arm of the incremental value."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sendopt.config.schema import Mlflow
from sendopt.errors import ConfigError, ModelError
from sendopt.tracking.mlflow import MlflowTracker

ARMS = ("sent", "not_sent")  # of the incremental value; both are trained and rolled back together


def of_goal(settings: Mlflow, name: str) -> Mlflow:
    """Return the settings of a goal's registered model; all goals share an experiment, named after that of p_open."""
    return _beside(settings, f"goal-{name}", "goals")


def of_arm(settings: Mlflow, arm: str) -> Mlflow:
    """Return the settings of the registered model of an arm of `ARMS`; both arms share an experiment."""
    return _beside(settings, arm.replace("_", "-"), "uplift")


def _beside(settings: Mlflow, model: str, experiment: str) -> Mlflow:
    update = {"model_name": f"{settings.model_name}-{model}", "experiment": f"{settings.experiment}-{experiment}"}
    return settings.model_copy(update=update)


def goal_evaluations(settings: Mlflow, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return, by goal, the evaluation of its champion, else of its last training; goals without one are left out."""
    evaluations = {name: MlflowTracker(of_goal(settings, name)).champion_evaluation(goal=name) for name in names}
    return {name: evaluation for name, evaluation in evaluations.items() if evaluation is not None}


def roll_back(settings: Mlflow, model: str, goals: Collection[str], to: str | None = None) -> tuple[str, str]:
    """Roll back `model` (p_open, goal:NAME of `goals`, or uplift), and return the champion before and after.

    A champion is "name/version". For uplift both arms go back to versions of one training: their names are joined by
    `+`, and `to` is a version of the arm `sent`. Raises ConfigError for another model, and ModelError where there is no
    good version to go back to.
    """
    if model == "uplift":
        return _both_arms(settings, to)
    known = {"p_open": settings} | {f"goal:{name}": of_goal(settings, name) for name in goals}
    if model not in known:
        raise ConfigError(f"--model: got {model!r}, expected one of {', '.join([*sorted(known), 'uplift'])}")
    return MlflowTracker(known[model]).roll_back(to)


def _both_arms(settings: Mlflow, to: str | None) -> tuple[str, str]:
    """Roll back both arms to one training, and return the champions before and after."""
    first, second = (MlflowTracker(of_arm(settings, arm)) for arm in ARMS)
    after, fingerprint = first.way_back(to)
    mate = second.version_of(f"{fingerprint.removesuffix(ARMS[0])}{ARMS[1]}")
    if mate is None:
        raise ModelError(
            f"model {after} has no other arm of the same training any more; name another version with --to VERSION"
        )
    mate_champion = second.champion_version()
    if mate_champion != mate:  # this arm first: if the first arm then fails, the same command completes the rollback
        second.roll_back(mate)
    return "+".join((first.roll_back(after)[0], mate_champion or "none")), f"{after}+{mate}"
