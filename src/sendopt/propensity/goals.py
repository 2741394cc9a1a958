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
    """What gives the chance of a goal."""

    def chance(self, frame: pd.DataFrame, p_open: Floats) -> Floats:
        """The chance of the goal of each row, float64 in (0, 1), shape (N,)."""
        ...


@dataclass(frozen=True)
class Learned:
    """A model of the goal's own."""

    model: OpenModel

    def chance(self, frame: pd.DataFrame, p_open: Floats) -> Floats:  # noqa: ARG002  a share needs it
        return self.model.predict(frame)


@dataclass(frozen=True)
class SharedSuccess:
    """The fallback where the goal has no trusted model: the same share of every success."""

    share: float  # goals a success, at least 0; above 1 where a goal is commoner than the label

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
        """With the share that makes these rows expect the goals (`label`) that they had."""
        expected = float(p_open.predict(rows).sum())
        return cls(p_open, float(rows["label"].sum()) / expected if expected else 0.0)

    def predict(self, frame: pd.DataFrame) -> Floats:
        return clip(self.p_open.predict(frame) * self.share)


def share_of_success(goals: int, successes: int) -> float:
    """Goals a success, shrunk by half of one; 0 where no success was seen yet: nothing is known, so nothing counts."""
    return (goals + 0.5) / (successes + 1.0) if successes else 0.0


def worth(p_open: Floats, p_goals: Mapping[str, Floats], goals: Mapping[str, Goal]) -> Floats:
    """What a send is worth, in opens: p_open + Σ weight · p(goal); (N,). `spark.propensity.goals` has it as SQL."""
    return np.asarray(p_open + sum(goal.weight * p_goals[name] for name, goal in goals.items()), dtype=np.float64)


def predicted(goal: Goal) -> str:
    """What a model of the goal predicts, as its card says it: one of another window is another label."""
    return f"{goal.kind} within {goal.window_hours:g} h"
