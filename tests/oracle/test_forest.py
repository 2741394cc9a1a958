"""The forest against LightGBM itself: equal in every bit, on models of every kind and on values of every kind."""

from __future__ import annotations

import re

import lightgbm as lgb
import numpy as np
import pytest

from sendopt.errors import ModelError
from sendopt.propensity.forest import Forest, Kind
from sendopt.propensity.forest.forest import KINDS

TRAINED, CHANGED = 200, 4  # models learned, and changed copies of each: 1,000 in all
TINY = float(np.float32(1e-35))
ODD = np.array(
    [
        np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        1e-36,
        -1e-36,
        TINY,
        -TINY,
        1.1e-35,
        -1.1e-35,
        -0.5,
        -1.0,
        0.999,
        1e10,
        -1e10,
        3e9,
        31.0,
        32.0,
        64.5,
    ]
)


def test_a_thousand_random_models_agree_to_the_last_bit() -> None:
    compared = 0
    for seed in range(TRAINED):
        rng = np.random.default_rng(seed)
        text = _learned(rng).model_to_string()
        for copy in range(1 + CHANGED):
            booster = lgb.Booster(model_str=_changed(text, rng) if copy else text)
            forest = Forest.from_booster(booster, _kinds(booster, rng))
            assert forest.not_covered is None
            _assert_equal(booster, forest, *_inputs(booster, forest, rng))
            compared += 1
    assert compared == 1000


def _learned(rng: np.random.Generator) -> lgb.Booster:
    """A small booster of a few features: numbers, rounded numbers, tiny ones, categories, with or without holes."""
    n, width = 300, int(rng.integers(1, 7))
    x = rng.normal(0, 2, (n, width))
    categories = []
    for j in range(width):
        kind = rng.integers(0, 5)
        if kind == 0:
            x[:, j] = rng.integers(0, rng.choice([3, 12, 70]), n)
            categories.append(j)
        elif kind == 1:
            x[:, j] = np.round(x[:, j])
        elif kind == 2:
            x[:, j] *= rng.choice([1e-36, 1e-35, 1e300])
        if rng.random() < 0.5:
            x[rng.random(n) < 0.2, j] = np.nan
        if rng.random() < 0.3:
            x[rng.random(n) < 0.4, j] = 0.0
    finite = np.nan_to_num(np.clip(x, -9, 9), nan=1.3)
    y = np.sin(finite @ rng.normal(0, 1, width)) + (finite[:, 0] > 1) + rng.normal(0, 0.3, n)
    settings = {
        "objective": rng.choice(["regression", "binary"]),
        "num_leaves": int(rng.choice([2, 5, 24, 64])),
        "learning_rate": 0.2,
        "min_data_in_leaf": 2,
        "min_data_per_group": 2,
        "cat_smooth": 1.0,
        "cat_l2": 0.0,
        "max_cat_to_onehot": int(rng.choice([1, 4])),
        "zero_as_missing": bool(rng.random() < 0.3),
        "use_missing": bool(rng.random() < 0.8),
        "max_bin": int(rng.choice([7, 63, 255])),
        "min_data_in_bin": 1,
        "num_threads": 1,
        "verbosity": -1,
        "seed": 1,
        "feature_pre_filter": False,
    }
    label = (y > 0.3).astype(float) if settings["objective"] == "binary" else y
    data = lgb.Dataset(x, label, categorical_feature=categories, params=settings)
    return lgb.train(settings, data, num_boost_round=int(rng.choice([1, 6, 16, 19])))


def _changed(text: str, rng: np.random.Generator) -> str:
    """The same trees with other directions for what is missing and with thresholds around zero."""

    def decisions(line: re.Match[str]) -> str:
        old = np.array(line[1].split(), int)
        return "decision_type=" + " ".join(map(str, np.where(old & 1, old, rng.choice([0, 2, 4, 6, 8, 10], len(old)))))

    def thresholds(lines: re.Match[str]) -> str:
        kinds, values = np.array(lines[2].split(), int), np.array(lines[1].split(), float)
        odd = (kinds & 1 == 0) & (rng.random(len(kinds)) < 0.3)
        values = np.where(odd, rng.choice([0.0, TINY, -TINY, 1e-36, -1e-36, 1.5e-35, -1.5e-35], len(values)), values)
        return "threshold=" + " ".join(f"{v:.17g}" for v in values) + f"\ndecision_type={lines[2]}"

    text = re.sub(r"tree_sizes=.*\n", "", text)  # the changed trees have other sizes
    text = re.sub(r"threshold=([^\n]+)\ndecision_type=([^\n]+)", thresholds, text)
    return re.sub(r"decision_type=([^\n]+)", decisions, text)


def _kinds(booster: lgb.Booster, rng: np.random.Generator) -> dict[str, Kind]:
    return {name: KINDS[rng.integers(0, 3)] for name in booster.feature_name()}


def _inputs(booster: lgb.Booster, forest: Forest, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Inputs of 6 users × 9 slots from the model's own thresholds, their neighbours, odd values and small integers."""
    numbers = " ".join(re.findall(r"\nthreshold=([^\n]+)", booster.model_to_string()))
    thresholds = np.array(numbers.split(), float)
    pool = np.concatenate(
        [
            thresholds,
            np.nextafter(thresholds, np.inf),
            np.nextafter(thresholds, -np.inf),
            np.repeat(ODD, 3),
            np.arange(72),
        ]
    )
    width = {kind: len(names) for kind, names in forest.features.items()}
    shapes = ((6, width["user"]), (9, width["slot"]), (6, 9, width["user_slot"]))
    return tuple(rng.choice(pool, shape) for shape in shapes)


def _assert_equal(booster: lgb.Booster, forest: Forest, user: np.ndarray, slot: np.ndarray, both: np.ndarray) -> None:
    """By LightGBM on a matrix that this test fills by name, column by column."""
    names = booster.feature_name()
    rows = np.empty((len(user) * len(slot), len(names)))
    for j, name in enumerate(names):
        (kind,) = (kind for kind, features in forest.features.items() if name in features)
        k = forest.features[kind].index(name)
        column = {"user": user[:, None], "slot": slot[None], "user_slot": both}[kind]
        rows[:, j] = np.broadcast_to(column, (len(user), len(slot), column.shape[2]))[:, :, k].ravel()
    expected = np.asarray(booster.predict(rows, raw_score=True, num_threads=1)).reshape(len(user), len(slot))
    assert forest.raw_score(user, slot, both).tobytes() == expected.tobytes()
    assert forest.plain(user, slot, both).tobytes() == expected.tobytes()


def _booster(leaves: int = 15, rounds: int = 5, **settings: object) -> tuple[lgb.Booster, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (1500, 3))
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + rng.normal(0, 0.1, len(x))
    if settings.get("objective") == "multiclass":
        y = np.digitize(y, [-0.5, 0.5])
    params = {"num_leaves": leaves, "min_data_in_leaf": 2, "num_threads": 1, "verbosity": -1, **settings}
    return lgb.train(params, lgb.Dataset(x, y, feature_name=["a", "b", "c"]), rounds), rng.normal(0, 1, (700, 20, 1))


ABC: dict[str, Kind] = {"a": "user", "b": "slot", "c": "user_slot"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"leaves": 65}, "more than 64 leaves"),
        ({"linear_tree": True}, "linear trees"),
        ({"boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, "averaged trees"),
    ],
)
def test_what_is_not_covered_is_scored_by_the_booster(settings: dict[str, object], reason: str) -> None:
    booster, both = _booster(**settings)  # type: ignore[arg-type]
    forest = Forest.from_booster(booster, ABC)
    assert reason in str(forest.not_covered)
    _assert_equal(booster, forest, both[:9, 0], both[0, :7], both[:9, :7])


def test_many_users_in_several_rounds_and_strided_inputs() -> None:
    booster, both = _booster(leaves=64, rounds=33)
    forest = Forest.from_booster(booster, ABC)
    assert forest.not_covered is None
    _assert_equal(booster, forest, both[:, 3], both[2], both)  # 700 users: more than one stretch
    _assert_equal(booster, forest, both[::-2, 3], both[2, ::3], both[::-2, ::3])
    alone = forest.raw_score(both[5:6, 3], both[2], both[5:6])
    np.testing.assert_array_equal(alone, forest.raw_score(both[:, 3], both[2], both)[5:6])


def test_no_users_no_slots_and_early_stopped_trees() -> None:
    booster, both = _booster(rounds=20)
    forest = Forest.from_booster(booster, ABC)
    assert forest.raw_score(both[:0, 0], both[0], both[:0]).shape == (0, 20)
    assert forest.raw_score(both[:4, 0], both[0, :0], both[:4, :0]).shape == (4, 0)
    booster.best_iteration = 7  # predict uses these trees only
    _assert_equal(booster, Forest.from_booster(booster, ABC), both[:5, 0], both[0], both[:5])


def test_wrong_features_shapes_and_classes_are_refused() -> None:
    booster, both = _booster()
    with pytest.raises(ModelError, match=r"feature\(s\) c are not known"):
        Forest.from_booster(booster, {"a": "user", "b": "slot"})
    forest = Forest.from_booster(booster, ABC)
    with pytest.raises(ModelError, match=r"got inputs of shapes .* expected"):
        forest.raw_score(both[:4, 0], both[0, :3], both[:4])
    several, _ = _booster(objective="multiclass", num_class=3)
    with pytest.raises(ModelError, match="3 scores a row"):
        Forest.from_booster(several, ABC)
