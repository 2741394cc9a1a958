"""Whatever a log's shape, an evaluation of timing ends in a verdict with a sentence, never in an error."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sendopt.report.timing import page
from sendopt.timing import gain
from sendopt.timing.decisions import Decisions
from sendopt.timing.evaluation import as_json, in_words
from sendopt.timing.log import Log

KINDS = {gain.Kind.SHOWN, gain.Kind.NOT_SHOWN, gain.Kind.HARMFUL, gain.Kind.REFUSED}
EACH = {
    "one": lambda rng, n: np.ones(n, int),
    "two": lambda rng, n: np.full(n, 2),
    "three": lambda rng, n: np.full(n, 3),
    "many": lambda rng, n: np.full(n, 40),
    "some": lambda rng, n: rng.integers(1, 6, n),
    "one of all": lambda rng, n: np.r_[np.full(1, 500), np.ones(n - 1, int)],
}
SUCCESS = {
    "some": lambda rng, n, slot: rng.random(n) < 0.3,
    "none": lambda rng, n, slot: np.zeros(n),
    "all": lambda rng, n, slot: np.ones(n),
    "one": lambda rng, n, slot: np.arange(n) == n // 2,
    "all but one": lambda rng, n, slot: np.arange(n) != n // 2,
    "early": lambda rng, n, slot: np.arange(n) < n // 3,
    "by slot": lambda rng, n, slot: slot == 0,
    "rare": lambda rng, n, slot: rng.random(n) < 0.01,
}
PSCORE = {
    "uniform": lambda rng, n, k: np.full(n, 1 / k),
    "half": lambda rng, n, k: np.full(n, 0.5),
    "certain": lambda rng, n, k: np.ones(n),
    "nearly certain": lambda rng, n, k: np.full(n, 1 - 1e-9),
    "tiny": lambda rng, n, k: np.full(n, 1e-300),
    "least": lambda rng, n, k: np.full(n, 5e-324),
    "one tiny": lambda rng, n, k: np.where(np.arange(n) == 0, 1e-200, 1 / k),
    "mixed": lambda rng, n, k: rng.choice([0.1, 1 / k, 0.9, 1.0], n),
}
GROUP = {
    "one": lambda rng, user, slot: user * 0,
    "own": lambda rng, user, slot: np.arange(len(user)),
    "few": lambda rng, user, slot: rng.integers(0, 3, len(user)),
    "by slot": lambda rng, user, slot: slot,
    "by user": lambda rng, user, slot: user,
}
SENT = {
    "all": lambda rng, p: np.ones(len(p), bool),
    "none": lambda rng, p: np.zeros(len(p), bool),
    "one": lambda rng, p: np.arange(len(p)) == 0,
    "drawn": lambda rng, p: rng.random(len(p)) < p,
}


@dataclass(frozen=True)
class Shape:
    """A log in words: the keys of the tables above, and numbers of people and slots."""

    seed: int = 0
    people: int = 300
    slots: int = 4
    each: str = "three"
    slot: str = "drawn"
    success: str = "some"
    pscore: str = "uniform"
    campaign: str = "one"
    segment: str = "one"
    day: str | None = None
    kind: str = "slot"
    sent: str = "all"


def decisions(shape: Shape) -> Decisions:
    rng = np.random.default_rng(shape.seed)
    user = np.repeat(np.arange(shape.people), EACH[shape.each](rng, shape.people)) if shape.people else np.zeros(0, int)
    n, k = len(user), shape.slots
    slot = {"drawn": rng.integers(0, k, n), "one": np.zeros(n, int), "kept": user % k, "turns": np.arange(n) % k}[
        shape.slot
    ]
    pscore = PSCORE[shape.pscore](rng, n, k)
    segment = GROUP[shape.segment](rng, user, slot)
    sent = SENT[shape.sent](rng, pscore) if shape.kind == "send" else np.ones(n, bool)
    return Decisions(
        user.astype(np.int64),
        slot.astype(np.int64),
        segment.astype(np.int64),
        GROUP[shape.campaign](rng, user, slot).astype(np.int64),
        np.asarray(SUCCESS[shape.success](rng, n, slot), float),
        sent,
        pscore,
        shape.kind,
        tuple(f"{i:02d}:00" for i in range(k)),
        tuple(map(str, range(int(segment.max(initial=0)) + 1))),
        GROUP[shape.day](rng, user, slot).astype(np.int64) if shape.day else None,
    )


SHAPES = st.builds(
    Shape,
    seed=st.integers(0, 99),
    people=st.sampled_from([0, 1, 2, 9, 10, 11, 60, 300, 700]),
    slots=st.sampled_from([1, 2, 4, 24]),
    each=st.sampled_from(sorted(EACH)),
    slot=st.sampled_from(["drawn", "drawn", "one", "kept", "turns"]),
    success=st.sampled_from(sorted(SUCCESS)),
    pscore=st.sampled_from(sorted(PSCORE)),
    campaign=st.sampled_from(sorted(GROUP)),
    segment=st.sampled_from(sorted(GROUP)),
    day=st.sampled_from([None, *sorted(GROUP)]),
    kind=st.sampled_from(["slot", "send"]),
    sent=st.sampled_from(sorted(SENT)),
)


@given(SHAPES)
@example(Shape())  # 300 people with exactly three decisions: nothing was left to tune LightGBM on
@example(Shape(each="one", people=700))
@example(Shape(each="two"))
@example(Shape(each="one of all"))
@example(Shape(segment="own", each="many", people=60))
@example(Shape(kind="send", sent="drawn", pscore="half", each="many", people=60))
@example(Shape(kind="send", sent="drawn", pscore="half", each="many", people=60, success="by slot"))
@settings(max_examples=80)
def test_a_log_of_any_shape_gives_a_verdict_with_a_sentence(shape):
    judged(decisions(shape))


@given(SHAPES, st.sampled_from([20, 61, 300, 900]))
@example(Shape(success="by slot", segment="by slot", each="many"), 300)  # rates of exactly 0 and 1
@settings(max_examples=60)
def test_a_log_that_can_be_valued_gives_a_verdict_however_its_outcomes_fall(shape, people):
    """The same with draws as stated, so that refusals of the draw do not hide what comes after them."""
    fair = {"people": people, "slots": max(shape.slots, 2), "slot": "drawn"}
    drawn = {"kind": "send", "sent": "drawn", "pscore": "half"} if shape.kind == "send" else {"pscore": "uniform"}
    judged(decisions(Shape(**{**vars(shape), **fair, **drawn, "campaign": "few"})))


def judged(log: Decisions) -> None:
    evaluation = gain.evaluate(log, samples=40)
    assert evaluation.kind in KINDS
    assert (evaluation.kind == gain.Kind.REFUSED) == bool(evaluation.refusal) == bool(evaluation.reason)
    result = as_json(evaluation, Log(log, len(log), {}, "open", "the local hour", len(np.unique(log.user))), "shop")
    json.dumps(result, allow_nan=False)
    assert result["data"]["used"] + sum(result["data"]["dropped"].values()) == len(log)
    lines = list(in_words(result, page_folder()))
    assert lines[0].endswith(".")
    assert "more than 0.0 is ruled out" not in " ".join(lines)
    assert page.render(result)
    difference = evaluation.difference
    if difference is not None and difference.value is not None and evaluation.moved and evaluation.apart is None:
        assert difference.low < difference.high


def page_folder():
    from pathlib import Path

    return Path("out")


@pytest.mark.parametrize("seed", range(3))
def test_lightgbm_s_own_refusal_costs_its_policy_and_not_the_verdict(seed, monkeypatch):
    import lightgbm

    def refuses(*_args, **_more):
        raise lightgbm.basic.LightGBMError("no")

    monkeypatch.setattr("lightgbm.train", refuses)
    evaluation = gain.evaluate(decisions(Shape(seed=seed, each="many", people=60)), samples=40)
    assert evaluation.kind != gain.Kind.REFUSED
    assert evaluation.no_model == "LightGBM refused the data: no"
    assert "model" not in [p.name for p in evaluation.policies]
