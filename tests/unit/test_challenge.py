"""Which champion a challenger is compared with: one that can be read and predicts the same, and why not otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from propensity_rows import world

from sendopt.config.schema import Training
from sendopt.errors import ModelError
from sendopt.propensity.model import OpenModel, train
from sendopt.spark.propensity.challenge import _rival, refusal
from sendopt.tracking import Kept, Registered

ROWS = world(users=60, days=15)


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return train(ROWS, Training(max_trees=5, bootstrap_samples=50), "open")


class Store:
    """A tracker that knows its champion only."""

    def __init__(self, champion: Registered | ModelError | None) -> None:
        self.found = champion

    def champion(self) -> Registered | None:
        if isinstance(self.found, ModelError):
            raise self.found
        return self.found


def registered(model: OpenModel, **card: Any) -> Registered:
    return Registered("m/1", "f", "run", replace(model, card=replace(model.card, **card)), {})


def test_a_champion_that_can_be_compared_is(model: OpenModel) -> None:
    champion = registered(model)
    assert _rival(Store(champion), model, ROWS) == (champion, None)
    assert _rival(Store(None), model, ROWS) == (None, None)


def test_others_are_no_rivals_and_the_run_says_why(model: OpenModel) -> None:
    broken = Store(ModelError("model m/1 cannot be read"))
    assert _rival(broken, model, ROWS) == (None, "The champion cannot be compared with: model m/1 cannot be read.")
    none, why = _rival(Store(registered(model, label="goal")), model, ROWS)
    assert (none, why) == (None, "Champion m/1 predicts 'goal' and is no rival.")
    none, why = _rival(Store(registered(model, features=("local_hour", "tides"))), model, ROWS)
    assert (none, why) == (None, "Champion m/1 looks at tides, no feature any more, and is no rival.")


def test_a_refusal_beside_a_champion_is_an_alert() -> None:
    gate = {"promoted": False, "reasons": ["Too bad.", "Really."]}
    (alert,) = refusal("m/1", Kept("m/2", "run", False), gate)
    assert (alert.kind, alert.name) == ("gate", "m/2")
    assert alert.sentence == "m/2 was not promoted, m/1 stays: Too bad. Really."
    assert refusal(None, Kept("m/2", "run", False), gate) == []
    assert refusal("m/1", Kept("m/2", "run", True), {**gate, "promoted": True}) == []
