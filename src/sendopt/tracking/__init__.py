"""Where models, their evaluations and their lineage are kept: what a stage needs of it, and nothing of MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from sendopt.errors import ModelError
from sendopt.propensity.model import OpenModel

REFERENCE = "reference.json"  # what the inputs looked like when the model was trained


@dataclass(frozen=True)
class Lineage:
    """What a training was made from; text for tags, numbers and text for parameters."""

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
    reference: dict[str, Any] | None = None  # what the inputs looked like when it was trained

    def require_label(self, label: str) -> None:
        """Nothing, or ModelError where the model predicts another label."""
        if self.model.card.label != label:
            raise ModelError(
                f"champion {self.model_version} predicts {self.model.card.label!r}, label.kind is {label!r}; "
                "train one for it with --train",
                model_version=self.model_version,
            )


@dataclass(frozen=True)
class Kept:
    """What became of a training; `warnings` are sentences about what could not be kept."""

    model_version: str | None  # None: a baseline, or the registry failed
    run_id: str | None
    promoted: bool
    warnings: tuple[str, ...] = field(default=())


class Tracker(Protocol):
    """Reads raise ModelError or InputNotReady; a write never fails a job, it warns."""

    def champion(self) -> Registered | None:
        """The deployed model, None where none was promoted. InputNotReady where the registry cannot be reached."""
        ...

    def champion_version(self) -> str | None:
        """Its "name/version" without loading it."""
        ...

    def trained(self, fingerprint: str) -> Kept | None:
        """The finished training of this fingerprint, if there was one; a promotion it still awaits is made up for."""
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
        """Set tags on a finished run; gives warnings where they could not be set."""
        ...

    def roll_back(self, to: str | None = None) -> tuple[str, str]:
        """("name/version" that was champion, the one that now is): the champion before it, or version `to`.

        Raises ModelError where there is none, or `to` never passed its gate.
        """
        ...

    def champion_evaluation(self) -> dict[str, Any] | None:
        """The evaluation of the champion, else of the last finished training, else None."""
        ...
