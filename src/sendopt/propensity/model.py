"""p_open: the calibrated chance that a user opens a message of a channel and category sent in a slot (model ¶5, ¶16).

Gradient-boosted trees with a two-parameter calibration, kept as text (booster and card): nothing here is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.config.schema import Training
from sendopt.errors import ModelError

Floats = NDArray[np.float64]

CATEGORICAL = ("channel", "category")
# What depends on the slot. Counts that only grow with the log's age (hour_sends, …) are left out: they are calendar
# time in disguise, and trees cannot extrapolate them into the night that is planned.
TIMING = (
    "local_hour", "weekday", "weekend", "user_hour_mature", "user_hour_rate", "user_daypart_rate",
    "user_hour_activity", "user_weekpart_activity", "hour_rate",
)  # fmt: skip
FEATURES = (
    *TIMING, *CATEGORICAL, "category_rate", "channel_rate", "rate_7d", "rate_30d", "rate_90d",
    "mature_7d", "mature_30d", "mature_90d", "sends_7d", "sends_30d", "sessions_7d", "sessions_30d",
    "days_since_send", "days_since_open", "days_since_session", "tenure_days", "fatigue_points",
)  # fmt: skip
MIN_ROWS = 200
MIN_POSITIVES = 20  # of each outcome, among the rows that trees learn from
TRAIN_UNTIL, VALID_UNTIL = 0.6, 0.8  # shares of the rows, in time order, whole days
LEAST_P = 1e-6


class Model(Protocol):
    """What gives p_open."""

    @property
    def kind(self) -> str: ...

    def predict(self, frame: pd.DataFrame) -> Floats: ...


@dataclass(frozen=True)
class Parts:
    """Rows to learn from, to stop and calibrate on, and to test on: masks of shape (N,), whole days in time order."""

    train: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    test: NDArray[np.bool_]


@dataclass(frozen=True)
class Card:
    """What a booster needs beside its trees, JSON-ready."""

    label: str
    features: tuple[str, ...]
    vocabulary: dict[str, tuple[str, ...]]
    intercept: float
    slope: float
    trees: int
    split: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card; raises ModelError where the text is no card of this version."""
        try:
            raw = json.loads(text)
            raw["features"] = tuple(raw["features"])
            raw["vocabulary"] = {name: tuple(words) for name, words in raw["vocabulary"].items()}
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"the model's card is not readable ({error}); train again with --train") from None


@dataclass(frozen=True)
class OpenModel:
    """Trees as LightGBM text plus their card."""

    booster_text: str
    card: Card
    kind: str = field(default="lightgbm", init=False)

    @cached_property
    def booster(self) -> lgb.Booster:
        return lgb.Booster(model_str=self.booster_text)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """p_open of each row, float64 in [1e-6, 1 - 1e-6], shape (N,) (¶5).

        `frame` holds the columns of the card's features; a channel or category unseen in training counts as missing.
        Raises ModelError where a feature's column is missing.
        """
        if not len(frame):
            return np.empty(0)
        raw = self.booster.predict(matrix(frame, self.card), raw_score=True, num_threads=1)
        return clip(expit(self.card.intercept + self.card.slope * np.asarray(raw, dtype=np.float64)))


@dataclass(frozen=True)
class UserSlotBaseline:
    """The fallback where no model may be trusted: the user's rate moved by the hour's on the logit scale."""

    global_rate: float
    kind: str = field(default="baseline", init=False)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """p_open of each row, float64 in [1e-6, 1 - 1e-6], shape (N,); needs rate_90d and hour_rate."""
        _require_columns(frame, ("rate_90d", "hour_rate"))
        user, hour = (logit(frame[name].to_numpy(np.float64)) for name in ("rate_90d", "hour_rate"))
        return clip(expit(user + hour - logit(np.float64(self.global_rate))))


def obstacles(rows: pd.DataFrame) -> list[str]:
    """Sentences that say why these rows cannot train a model; empty where they can."""
    if len(rows) < MIN_ROWS:
        return [f"{len(rows)} mature sends to learn from; at least {MIN_ROWS} are needed."]
    parts = split(rows)
    if parts is None:
        return ["All sends to learn from lie on one or two days; at least three are needed to test on later days."]
    label = rows["label"].to_numpy()[parts.train]
    fewest = int(min(label.sum(), len(label) - label.sum()))
    if fewest < MIN_POSITIVES:
        return [f"The rarer outcome was seen {fewest} times among the training sends; at least {MIN_POSITIVES} needed."]
    return []


def split(rows: pd.DataFrame) -> Parts | None:
    """60/20/20 % of the rows by time in whole days (`plan_date`), or None where one part would be empty."""
    days, of_day, counts = np.unique(day_text(rows), return_inverse=True, return_counts=True)
    if len(days) < 3:
        return None
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()  # where a day's middle row stands
    first_valid = min(max(1, int(np.searchsorted(middle, TRAIN_UNTIL))), len(days) - 2)
    first_test = min(max(first_valid + 1, int(np.searchsorted(middle, VALID_UNTIL))), len(days) - 1)
    return Parts(of_day < first_valid, (of_day >= first_valid) & (of_day < first_test), of_day >= first_test)


def train(rows: pd.DataFrame, settings: Training, label: str) -> OpenModel:
    """The model of `rows` (FEATURES, label 0/1, plan_date), which sees nothing of the test days.

    Trees learn from the earliest days; the next days stop and calibrate them. The model is deployed as it was tested:
    refitting it on all days would put out trees whose calibration nobody has seen. Same rows and settings give the
    same bytes (¶14). Raises ModelError where `obstacles` finds any.
    """
    found = obstacles(rows)
    parts = split(rows)
    if found or parts is None:
        raise ModelError(" ".join(found))
    vocabulary = {name: tuple(sorted(rows[name][parts.train].unique())) for name in CATEGORICAL}
    card = Card(label, FEATURES, vocabulary, 0.0, 1.0, 0, describe(rows, parts))
    features, target = matrix(rows, card), rows["label"].to_numpy(np.float64)
    learned = lgb.train(
        _parameters(settings),
        _dataset(features[parts.train], target[parts.train]),
        num_boost_round=settings.max_trees,
        valid_sets=[_dataset(features[parts.valid], target[parts.valid])],
        callbacks=[lgb.early_stopping(settings.early_stopping_rounds, verbose=False)],
    )
    text = learned.model_to_string(num_iteration=learned.best_iteration)
    raw = lgb.Booster(model_str=text).predict(features[parts.valid], raw_score=True, num_threads=1)
    intercept, slope = calibrate(np.asarray(raw, dtype=np.float64), target[parts.valid])
    return OpenModel(text, Card(label, FEATURES, vocabulary, intercept, slope, learned.best_iteration, card.split))


def calibrate(raw: Floats, target: Floats) -> tuple[float, float]:
    """(intercept, slope >= 0) of Platt's line on the raw score.

    Two parameters and not an isotonic step curve: the raw score is already near the logit, a line cannot overfit a few
    hundred rows, and it keeps every difference between slots, which steps would flatten into ties.
    """
    intercept, slope = fit_logistic(raw[:, None], target, near=(0.0, 1.0))
    if slope >= 0:
        return intercept, slope
    return float(logit(target.mean())), 0.0  # the trees' order did not hold on the next days: one rate for all


def describe(rows: pd.DataFrame, parts: Parts) -> dict[str, Any]:
    """Sizes and first and last days of the parts, JSON-ready."""
    days = day_text(rows)
    return {
        "train": int(parts.train.sum()),
        "valid": int(parts.valid.sum()),
        "test": int(parts.test.sum()),
        "train_from": str(min(days[parts.train])),
        "test_from": str(min(days[parts.test])),
        "test_to": str(max(days[parts.test])),
    }


def matrix(frame: pd.DataFrame, card: Card) -> Floats:
    """The card's features as float64, shape (N, F); NaN is missing. Raises ModelError on a missing column."""
    _require_columns(frame, card.features)
    result = np.empty((len(frame), len(card.features)))
    for i, name in enumerate(card.features):
        if name in card.vocabulary:
            codes = pd.Categorical(frame[name], categories=list(card.vocabulary[name])).codes
            result[:, i] = np.where(codes < 0, np.nan, codes)
        else:
            result[:, i] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return result


def fit_logistic(x: Floats, y: Floats, near: tuple[float, ...]) -> tuple[float, ...]:
    """(intercept, slopes…) of a logistic regression by Newton steps; x of shape (N, K), y 0/1.

    A normal prior of unit variance around `near` keeps the answer finite where an outcome or a feature's variation is
    missing; it is worth about one observation.
    """
    design = np.column_stack([np.ones(len(y)), x])
    beta = centre = np.asarray(near, dtype=np.float64)
    for _ in range(100):
        p = expit(design @ beta)
        gradient = design.T @ (y - p) - (beta - centre)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta = beta + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-12:
            break
    return tuple(float(b) for b in beta)


def expit(x: Floats) -> Floats:
    positive = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, positive) / (1.0 + positive), dtype=np.float64)


def logit(p: Floats | np.float64) -> Floats:
    q = np.clip(p, LEAST_P, 1 - LEAST_P)
    return np.asarray(np.log(q) - np.log1p(-q), dtype=np.float64)


def clip(p: Floats) -> Floats:
    """Kept off 0 and 1, so that a logarithm of it is finite."""
    return np.clip(p, LEAST_P, 1 - LEAST_P)


def day_text(rows: pd.DataFrame) -> NDArray[np.str_]:
    """`plan_date` as YYYY-MM-DD, shape (N,)."""
    days: Mapping[Any, str] = {day: str(day)[:10] for day in rows["plan_date"].unique()}
    return np.asarray(rows["plan_date"].map(days).to_list(), dtype=str)


def _parameters(settings: Training) -> dict[str, Any]:
    return {
        "objective": "binary",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "lambda_l2": 1.0,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # sums in another order give other trees
        "verbosity": -1,
    }


def _dataset(features: Floats, target: Floats) -> lgb.Dataset:
    where = [FEATURES.index(name) for name in CATEGORICAL]
    return lgb.Dataset(features, target, feature_name=list(FEATURES), categorical_feature=where)


def _require_columns(frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise ModelError(
            f"the model needs the feature(s) {', '.join(absent)}, which the rows lack; run build_features of the "
            "model's version, or train again with --train"
        )
