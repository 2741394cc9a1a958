"""p_open: the calibrated chance that a user opens a message of a channel and category sent in a slot (model ¶5, ¶16).

Gradient-boosted trees with a two-parameter calibration, kept as text (booster and card): nothing here is pickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sendopt.config.schema import Training
from sendopt.errors import ModelError
from sendopt.propensity.rows import Blocks, Flags, Floats, Rows

CATEGORICAL = ("channel", "category")
# What depends on the slot. Counts that grow with the log's age (hour_sends, mature_90d, tenure_days, …) are left out:
# they are calendar time in disguise, and trees cannot extrapolate them into the night that is planned. Measured on
# later days of a world whose truth is known: with them true / expected was .972, without them .992.
TIMING = (
    "local_hour", "weekday", "weekend", "user_hour_rate", "user_daypart_rate",
    "user_hour_activity", "user_weekpart_activity", "hour_rate",
)  # fmt: skip
FEATURES = (
    *TIMING, *CATEGORICAL, "category_rate", "channel_rate", "rate_7d", "rate_30d", "rate_90d",
    "sends_7d", "sends_30d", "sessions_7d", "sessions_30d",
    "days_since_send", "days_since_open", "days_since_session", "fatigue_points",
)  # fmt: skip
MIN_ROWS = 200
MIN_POSITIVES = 20  # of each outcome, among the rows that trees learn from
TRAIN_UNTIL = 0.8  # share of the rows, in time order, whole days
LEAST_P = 1e-6
ONE_SIDED = (
    "A fold of the users lacks one of the outcomes: too few users for {} folds; set training.folds lower, or wait for "
    "more sends."
)


class Model(Protocol):
    """What gives p_open."""

    @property
    def kind(self) -> str: ...

    def predict(self, frame: pd.DataFrame) -> Floats: ...


@dataclass(frozen=True)
class Parts:
    """Rows to learn from and rows to test on, all of later days: masks of shape (N,)."""

    train: Flags
    test: Flags


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


def obstacles(rows: Rows | pd.DataFrame, folds: int) -> list[str]:
    """Sentences that say why these rows cannot train a model; empty where they can."""
    if len(rows) < MIN_ROWS:
        return [f"{len(rows)} mature sends to learn from; at least {MIN_ROWS} are needed."]
    parts = split(rows)
    if parts is None:
        return ["All sends to learn from lie on one or two days; at least three are needed to test on later days."]
    label = Rows.of(rows).column("label").astype(np.int64)[parts.train]
    fewest = int(min(label.sum(), len(label) - label.sum()))
    if fewest < MIN_POSITIVES:
        return [f"The rarer outcome was seen {fewest} times among the training sends; at least {MIN_POSITIVES} needed."]
    fold = fold_of(rows, folds)[parts.train]
    if not all(_both_outcomes(label[fold == k]) and _both_outcomes(label[fold != k]) for k in range(folds)):
        return [ONE_SIDED.format(folds)]
    return []


def split(rows: Rows | pd.DataFrame) -> Parts | None:
    """80/20 % of the rows by time in whole days (`plan_date`), or None where there are fewer than three days."""
    days, of_day = days_of(rows)
    counts = np.bincount(of_day, minlength=len(days))
    if len(days) < 3:
        return None
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()  # where a day's middle row stands
    first_test = min(max(2, int(np.searchsorted(middle, TRAIN_UNTIL))), len(days) - 1)
    return Parts(of_day < first_test, of_day >= first_test)


def fold_of(rows: Rows | pd.DataFrame, folds: int, salt: str = "fold") -> NDArray[np.int64]:
    """The fold, 0 to folds − 1, of each row's user, by hash; shape (N,)."""
    return np.floor(Rows.of(rows).unit_hash("user_id", salt) * folds).astype(np.int64)


def train(
    rows: Rows | pd.DataFrame,
    settings: Training,
    label: str,
    features: tuple[str, ...] = FEATURES,
    parts: Parts | None = None,
) -> OpenModel:
    """The model of `rows` (`features`, label 0/1, plan_date, user_id, send_key), which sees nothing of the test days.

    Users are dealt into folds by hash, and each fold is scored by trees that learned from the others: these scores, of
    all rows, say how many trees to grow and give the calibration line. A line fitted on a part of the rows would carry
    that part's luck into every night (a fifth of 65,000 sends: 2 % of the rate). The trees deployed learn from all
    folds. Of failures only the share `negative_share` is learnt from, by hash; the log of that share puts the prior
    right. Same rows and settings give the same bytes (¶14). `parts` are those of `split` where none are given. Raises
    ModelError where `obstacles` finds any.
    """
    grown = _grow(Rows.of(rows), settings, label, features, parts)
    return grown.model(*calibrate(grown.raw, grown.target))


def train_arms(
    rows: Rows | pd.DataFrame, settings: Training, label: str, features: tuple[str, ...], arm: str, parts: Parts
) -> tuple[OpenModel, OpenModel]:
    """(model of the rows whose feature `arm` is 1, of those where it is 0): the same trees, each at its arm's level.

    Trees that learn slowly tell the arms apart too little, or not at all, so one calibration line for both would hide
    what the arm does on the whole. The line's slope is common: how rows differ within an arm stays the trees' matter.
    """
    rows = Rows.of(rows)
    grown = _grow(rows, settings, label, features, parts)
    in_arm = rows.column(arm).astype(np.float64)[grown.rows]
    intercept, slope, shift = fit_logistic(np.column_stack([grown.raw, in_arm]), grown.target, near=(0.0, 1.0, 0.0))
    if slope >= 0:
        return grown.model(intercept + shift, slope), grown.model(intercept, slope)
    sent, not_sent = (calibrate(np.zeros(int(mine.sum())), grown.target[mine]) for mine in (in_arm == 1, in_arm == 0))
    return grown.model(sent[0], 0.0), grown.model(not_sent[0], 0.0)


@dataclass(frozen=True)
class _Grown:
    """Trees of all folds, and what trees of the others say of each row: raw scores and target of `rows`, a mask."""

    text: str
    card: Card
    thinned: float
    rows: Flags
    raw: Floats
    target: Floats

    def model(self, intercept: float, slope: float) -> OpenModel:
        return OpenModel(self.text, replace(self.card, intercept=intercept + slope * self.thinned, slope=slope))


def _grow(rows: Rows, settings: Training, label: str, features: tuple[str, ...], parts: Parts | None) -> _Grown:
    if parts is None and (found := obstacles(rows, settings.folds)):
        raise ModelError(" ".join(found))
    parts = parts or split(rows)
    assert parts is not None, "obstacles would have said so"
    target = rows.column("label").astype(np.float64)
    vocabulary = {name: rows.words(name, parts.train) for name in CATEGORICAL}
    card = Card(label, features, vocabulary, 0.0, 1.0, 0, describe(rows, parts))
    learned = parts.train & _sampled(rows, target, settings)
    thinned = float(np.log(settings.negative_share))
    if "suspected" in rows.columns:  # nobody knows what the person did
        parts = replace(parts, train=parts.train & ~rows.column("suspected").astype(bool))
    fold = fold_of(rows, settings.folds)
    raw = np.full(len(rows), np.nan)
    trees = []
    for k in range(settings.folds):
        out = parts.train & (fold == k)
        if not _both_outcomes(target[learned & out]) or not _both_outcomes(target[learned & ~out]):
            raise ModelError(ONE_SIDED.format(settings.folds))
        booster = _boost(rows, card, target, learned & ~out, settings, stop=learned & out)
        trees.append(booster.best_iteration)
        raw[out] = _raw_scores(booster, rows, card, out) + thinned
    grown = max(1, round(float(np.mean(trees))))
    text = _boost(rows, card, target, learned, settings, trees=grown).model_to_string()
    return _Grown(text, replace(card, trees=grown), thinned, parts.train, raw[parts.train], target[parts.train])


def calibrate(raw: Floats, target: Floats) -> tuple[float, float]:
    """(intercept, slope >= 0) of Platt's line on the raw score.

    Two parameters and not an isotonic step curve: the raw score is already near the logit, a line cannot overfit a few
    hundred rows, and it keeps every difference between slots, which steps would flatten into ties.
    """
    intercept, slope = fit_logistic(raw[:, None], target, near=(0.0, 1.0))
    if slope >= 0:
        return intercept, slope
    return float(logit(target.mean())), 0.0  # the trees' order did not hold on other days: one rate for all


def describe(rows: Rows | pd.DataFrame, parts: Parts) -> dict[str, Any]:
    """Sizes and first and last days of the parts, JSON-ready. `valid`: rows scored by trees that had not seen them."""
    days, of_day = days_of(rows)
    learned, tested = of_day[parts.train], of_day[parts.test]
    return {
        "train": int(parts.train.sum()),
        "valid": int(parts.train.sum()),
        "test": int(parts.test.sum()),
        "train_from": str(days[learned.min()]),
        "test_from": str(days[tested.min()]) if len(tested) else None,
        "test_to": str(days[tested.max()]) if len(tested) else None,
    }


def matrix(frame: pd.DataFrame | pa.RecordBatch, card: Card) -> Floats:
    """The card's features as float64, shape (N, F); NaN is missing. Raises ModelError on a missing column."""
    if isinstance(frame, pd.DataFrame):
        require_columns(frame, card.features)
        frame = pa.RecordBatch.from_pandas(frame[list(card.features)], preserve_index=False)
    result = np.empty((frame.num_rows, len(card.features)))
    for i, name in enumerate(card.features):
        values = frame.column(name)
        if name in card.vocabulary and not pa.types.is_null(values.type):
            values = pc.index_in(values.cast(pa.string()), value_set=pa.array(card.vocabulary[name], pa.string()))
        elif pa.types.is_boolean(values.type):
            values = values.cast(pa.uint8())
        result[:, i] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
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


def days_of(rows: Rows | pd.DataFrame) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """(the days of `plan_date` as YYYY-MM-DD, in order; the position of each row's day among them, shape (N,))."""
    codes, days = pd.factorize(Rows.of(rows).column("plan_date"), sort=True)
    return np.array([str(day)[:10] for day in days], dtype=str), codes.astype(np.int64)


def day_text(rows: pd.DataFrame) -> NDArray[np.str_]:
    """`plan_date` as YYYY-MM-DD, shape (N,)."""
    days, of_day = days_of(rows)
    return days[of_day] if len(rows) else np.empty(0, dtype=str)


def _both_outcomes(target: NDArray[Any]) -> bool:
    return bool(len(target)) and 0 < target.sum() < len(target)


def _sampled(rows: Rows, target: Floats, settings: Training) -> Flags:
    """Every success, and the share of failures that is learnt from."""
    if settings.negative_share == 1:
        return np.ones(len(rows), bool)
    return np.asarray((target == 1) | (rows.unit_hash("send_key", "failure") < settings.negative_share))


def _boost(
    rows: Rows, card: Card, target: Floats, keep: Flags, settings: Training,
    stop: Flags | None = None, trees: int | None = None,
) -> lgb.Booster:  # fmt: skip
    """Trees of the kept rows: as many as said, or until the rows of `stop` gain nothing any more."""

    def dataset(mine: Flags, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        where = [card.features.index(name) for name in CATEGORICAL]
        blocks = Blocks(rows, card.features, mine, lambda batch: matrix(batch, card))
        return lgb.Dataset(blocks, target[mine], reference, feature_name=list(card.features), categorical_feature=where)

    learned = dataset(keep)
    if stop is None:
        return lgb.train(_parameters(settings), learned, num_boost_round=trees)
    return lgb.train(
        _parameters(settings),
        learned,
        num_boost_round=settings.max_trees,
        valid_sets=[dataset(stop, learned)],
        callbacks=[lgb.early_stopping(settings.early_stopping_rounds, verbose=False)],
    )


def _raw_scores(booster: lgb.Booster, rows: Rows, card: Card, keep: Flags) -> Floats:
    """Raw scores of the kept rows, in their order."""
    batches = (matrix(batch, card) for batch in rows.batches(card.features, keep))
    return np.concatenate([np.asarray(booster.predict(x, raw_score=True, num_threads=1)) for x in batches])


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


def require_columns(frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Raises ModelError that names the columns which `frame` lacks."""
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise ModelError(
            f"the model needs the feature(s) {', '.join(absent)}, which the rows lack; run build_features of the "
            "model's version, or train again with --train"
        )
