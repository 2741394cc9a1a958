"""Which registered model and experiment holds what: p_open, each goal, each arm of the incremental value."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sendopt.config.schema import Mlflow
from sendopt.errors import ConfigError, ModelError
from sendopt.tracking.mlflow import MlflowTracker

ARMS = ("sent", "not_sent")  # of the incremental value; their versions are trained, and go back, together


def of_goal(settings: Mlflow, name: str) -> Mlflow:
    """The store of a goal's model: a registered model of its own; goals share an experiment beside that of p_open."""
    return _beside(settings, f"goal-{name}", "goals")


def of_arm(settings: Mlflow, arm: str) -> Mlflow:
    """The store of an arm's model, one of `ARMS`; both arms share an experiment beside that of p_open."""
    return _beside(settings, arm.replace("_", "-"), "uplift")


def _beside(settings: Mlflow, model: str, experiment: str) -> Mlflow:
    update = {"model_name": f"{settings.model_name}-{model}", "experiment": f"{settings.experiment}-{experiment}"}
    return settings.model_copy(update=update)


def goal_evaluations(settings: Mlflow, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """By goal the evaluation of its champion, else of its last training; goals without any are left out."""
    evaluations = {name: MlflowTracker(of_goal(settings, name)).champion_evaluation(goal=name) for name in names}
    return {name: evaluation for name, evaluation in evaluations.items() if evaluation is not None}


def roll_back(settings: Mlflow, model: str, goals: Collection[str], to: str | None = None) -> tuple[str, str]:
    """("name/version" that was champion, the one that now is) of `model`: p_open, goal:NAME (of `goals`) or uplift.

    Of uplift both arms go back to the versions of one training; names are joined by `+`, and `to` is a version of the
    arm `sent`. Raises ConfigError for another model, ModelError where there is nothing good to go back to.
    """
    if model == "uplift":
        return _both_arms(settings, to)
    known = {"p_open": settings} | {f"goal:{name}": of_goal(settings, name) for name in goals}
    if model not in known:
        raise ConfigError(f"--model: got {model!r}, expected one of {', '.join([*sorted(known), 'uplift'])}")
    return MlflowTracker(known[model]).roll_back(to)


def _both_arms(settings: Mlflow, to: str | None) -> tuple[str, str]:
    first, second = (MlflowTracker(of_arm(settings, arm)) for arm in ARMS)
    after, fingerprint = first.way_back(to)
    mate = second.version_of(f"{fingerprint.removesuffix(ARMS[0])}{ARMS[1]}")
    if mate is None:
        raise ModelError(
            f"model {after} has no other arm of the same training any more; name another version with --to VERSION"
        )
    mate_champion = second.champion_version()
    if mate_champion != mate:  # this arm first: where the other then fails, the same command finishes it
        second.roll_back(mate)
    return "+".join((first.roll_back(after)[0], mate_champion or "none")), f"{after}+{mate}"
