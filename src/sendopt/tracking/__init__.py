"""The store of models, evaluations and lineage, as stages use it; nothing of MLflow is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from sendopt.errors import ModelError
from sendopt.propensity.model import OpenModel

REFERENCE = "reference.json"  # distributions of the inputs when the model was trained


@dataclass(frozen=True)
class Lineage:
    """The inputs of a training: tags are text, parameters are numbers or text."""

    fingerprint: str  # hash of training data, settings and code
    tags: Mapping[str, str]  # plan_date, config_hash, Delta versions read
    parameters: Mapping[str, str | float]


@dataclass(frozen=True)
class Registered:
    """A model version of the registry."""

    model_version: str  # "name/version"
    fingerprint: str
    run_id: str
    model: OpenModel
    evaluation: dict[str, Any]
    reference: dict[str, Any] | None = None  # distributions of the inputs when it was trained

    def require_label(self, label: str) -> None:
        """Raise ModelError where the model predicts another label."""
        if self.model.card.label != label:
            raise ModelError(
                f"champion {self.model_version} predicts {self.model.card.label!r}, label.kind is {label!r}; "
                "train one for it with --train",
                model_version=self.model_version,
            )


@dataclass(frozen=True)
class Kept:
    """The stored result of a training; `warnings` are sentences about what could not be stored."""

    model_version: str | None  # None: a baseline, or the registry failed
    run_id: str | None
    promoted: bool
    warnings: tuple[str, ...] = field(default=())


class Tracker(Protocol):
    """A store of models. Reads raise ModelError or InputNotReady; writes raise nothing and return warnings."""

    def champion(self) -> Registered | None:
        """Return the deployed model, or None; raise InputNotReady where the registry cannot be reached."""
        ...

    def champion_version(self) -> str | None:
        """Return the champion's "name/version" without loading it, or None."""
        ...

    def trained(self, fingerprint: str) -> Kept | None:
        """Return the finished training of this fingerprint, or None; complete its promotion where that is missing."""
        ...

    def keep(
        self,
        model: OpenModel | None,
        evaluation: dict[str, Any],
        lineage: Lineage,
        documents: Mapping[str, Any] = MappingProxyType({}),
    ) -> Kept:
        """Store the run and, where there is one, the model: alias challenger, and champion where its gate says so.

        `documents`: file name to JSON-ready content, kept beside the evaluation.
        """
        ...

    def note(self, run_id: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Set tags on a finished run; return warnings where they could not be set."""
        ...

    def roll_back(self, to: str | None = None) -> tuple[str, str]:
        """Make the champion before this one, or version `to`, the champion; return "name/version" before and after.

        Raises ModelError where there is none, or `to` never passed its gate.
        """
        ...

    def champion_evaluation(self) -> dict[str, Any] | None:
        """Return the evaluation of the champion, else of the last finished training, else None."""
        ...
