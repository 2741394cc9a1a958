"""Further heads beside p_open: the chance of each goal, and what a send is worth with all of them (model ¶5, ¶8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pandas as pd

from sendopt.config.schema import Goal
from sendopt.propensity.model import Model, OpenModel
from sendopt.stats.arrays import Floats
from sendopt.stats.logistic import clip


class Head(Protocol):
    """A rule or model that gives the chance of a goal."""

    def chance(self, frame: pd.DataFrame, p_open: Floats) -> Floats:
        """Return the chance of the goal of each row, float64 in (0, 1), shape (N,)."""
        ...


@dataclass(frozen=True)
class Learned:
    """A model trained on the goal."""

    model: OpenModel

    def chance(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  a share needs it
        return self.model.predict(frame)


@dataclass(frozen=True)
class SharedSuccess:
    """The fallback of a goal without a champion: the same share of every success."""

    share: float  # goals per success, at least 0; above 1 where a goal is commoner than the label

    def chance(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  as a model's
        return clip(p_open * self.share)


@dataclass(frozen=True)
class ShareOf:
    """`SharedSuccess` as a model: the rule that a goal's own model must beat."""

    p_open: Model
    share: float
    kind: str = field(default="baseline", init=False)

    @classmethod
    def fitted(cls, p_open: Model, rows: pd.DataFrame) -> ShareOf:
        """Return the rule whose expected goals on these rows equal the observed ones (`label`)."""
        expected = float(p_open.predict(rows).sum())
        return cls(p_open, float(rows["label"].sum()) / expected if expected else 0.0)

    def predict(self, frame: pd.DataFrame) -> Floats:
        return clip(self.p_open.predict(frame) * self.share)


def share_of_success(goals: int, successes: int) -> float:
    """Return goals per success, shrunk by half a goal and one success; 0 where no success was observed yet.

    >>> share_of_success(4, 8), share_of_success(0, 0)
    (0.5, 0.0)
    """
    return (goals + 0.5) / (successes + 1.0) if successes else 0.0


def worth(p_open: Floats, p_goals: Mapping[str, Floats], goals: Mapping[str, Goal]) -> Floats:
    """Return the value of a send in opens, p_open + Σ weight · p(goal), shape (N,).

    `spark.propensity.goals` has the same formula as a Spark column.
    """
    return np.asarray(p_open + sum(goal.weight * p_goals[name] for name, goal in goals.items()), dtype=np.float64)


def predicted(goal: Goal) -> str:
    """Return the label of a model of the goal, as its card has it; another window is another label.

    >>> predicted(Goal(kind="click", window_hours=24, weight=0.5))
    'click within 24 h'
    """
    return f"{goal.kind} within {goal.window_hours:g} h"
