"""p_open: the calibrated chance that a user opens a message of a channel and category sent in a slot (model ¶5, ¶16).

Gradient-boosted trees and a calibrated line, kept as text (booster and card): nothing here is pickled.
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
from sendopt.propensity import line
from sendopt.propensity.line import Line
from sendopt.propensity.rows import Blocks, Rows
from sendopt.stats.arrays import Flags, Floats
from sendopt.stats.logistic import LEAST_P, clip

CATEGORICAL = ("channel", "category")
# What depends on the slot. Counts that grow with the log's age (hour_sends, mature_90d, sends_30d, …) are left out: in
# the first weeks they are calendar time in disguise, and trees cannot extrapolate them into the night that is planned.
# Measured on later days of six worlds whose truth is known: with sends and sessions of 30 days true / expected was
# .967, without them .997. The rates of a channel and category of the day are left out as well: they wander by chance,
# and trees take that for a trend (true / expected of four worlds 1.027 with them, 1.013 without).
TIMING = (
    "local_hour",
    "weekday",
    "weekend",
    "user_hour_rate",
    "user_daypart_rate",
    "user_hour_activity",
    "user_weekpart_activity",
    "hour_rate",
)
FEATURES = (
    *TIMING,
    *CATEGORICAL,
    "rate_7d",
    "rate_30d",
    "rate_90d",
    "sends_7d",
    "sessions_7d",
    "days_since_send",
    "days_since_open",
    "days_since_session",
    "fatigue_points",
)
MIN_ROWS = 200
MIN_POSITIVES = 20  # of each outcome, among the rows that trees learn from
LINE_ROWS = 500_000  # that the line is fitted on
TRAIN_UNTIL = 0.8  # share of the rows, in time order, whole days
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
    line: Line
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
            raw["line"] = Line.of(raw["line"])
            raw["line"].require(raw["features"], raw["vocabulary"])
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
        x = matrix(frame, self.card)
        raw = np.asarray(self.booster.predict(x, raw_score=True, num_threads=1), dtype=np.float64)
        columns = dict(zip(self.card.features, x.T, strict=True))
        return clip(self.card.line.chance(raw, self.card.line.add(0.0, columns, self.card.vocabulary)))

    def influence(self, frame: pd.DataFrame) -> dict[str, float]:
        """Of each feature, its share of what moves the log-odds of these rows, largest first.

        What moves them is the mean distance of a feature's contribution from its average: that of the trees by Shapley
        values (Lundberg et al. 2020), that of the line by its terms.
        """
        card = self.card
        x = matrix(frame, card)
        moved = card.line.slope * np.asarray(self.booster.predict(x, pred_contrib=True, num_threads=1))[:, :-1]
        columns = dict(zip(card.features, x.T, strict=True))
        for term in card.line.terms:
            moved[:, card.features.index(term.feature)] += term.of(columns, card.vocabulary)
        mean = np.abs(moved - moved.mean(axis=0)).mean(axis=0)
        share = mean / max(mean.sum(), LEAST_P)
        return {card.features[i]: float(share[i]) for i in np.argsort(-share, kind="stable")}


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
    all rows, say how many trees to grow and give the calibrated line (those of half a million by hash, if there are
    more). A line fitted on a small part would carry its luck into every night (a fifth of 65,000 sends: 2 % of the
    rate). The trees deployed learn from all folds. Of failures only the share `negative_share` is learnt from, by hash;
    the log of that share puts the prior right. Same rows and settings give the same bytes (¶14). `parts` are those of
    `split` where none are given. Raises ModelError where `obstacles` finds any.
    """
    grown = _grow(Rows.of(rows), settings, label, features, parts)
    return grown.model(grown.fit_line()[0])


def train_arms(
    rows: Rows | pd.DataFrame, settings: Training, label: str, features: tuple[str, ...], arm: str, parts: Parts
) -> tuple[OpenModel, OpenModel]:
    """(model of the rows whose feature `arm` is 1, of those where it is 0): the same trees, each at its arm's level.

    Trees that learn slowly tell the arms apart too little, or not at all, so one line for both would hide what the arm
    does on the whole. Slope and terms are common: how rows differ within an arm stays the trees' matter.
    """
    grown = _grow(Rows.of(rows), settings, label, features, parts)
    level, shift = grown.fit_line(arm)
    return grown.model(replace(level, intercept=level.intercept + shift)), grown.model(level)


@dataclass(frozen=True)
class _Grown:
    """Trees of all folds, and rows that the line is fitted on, scored by trees that had not seen them."""

    text: str
    card: Card
    thinned: float
    raw: Floats
    target: Floats
    matrix: Floats

    def fit_line(self, beside: str | None = None) -> tuple[Line, float]:
        """The line, and how much the feature `beside` moves it."""
        moving = None if beside is None else self.matrix[:, self.card.features.index(beside)]
        return line.fit(self.raw, self.target, self.matrix, self.card.features, self.card.vocabulary, moving)

    def model(self, fitted: Line) -> OpenModel:
        """With the prior put right for the failures left out: it is in the raw scores that the line was fitted on."""
        fitted = replace(fitted, intercept=fitted.intercept + fitted.slope * self.thinned)
        return OpenModel(self.text, replace(self.card, line=fitted))


def _grow(rows: Rows, settings: Training, label: str, features: tuple[str, ...], parts: Parts | None) -> _Grown:
    if parts is None and (reasons := obstacles(rows, settings.folds)):
        raise ModelError(" ".join(reasons))
    parts = parts or split(rows)
    assert parts is not None, "obstacles would have said so"
    target = rows.column("label").astype(np.float64)
    vocabulary = {name: rows.words(name, parts.train) for name in CATEGORICAL}
    card = Card(label, features, vocabulary, Line(), 0, describe(rows, parts))
    learned = parts.train & _sampled(rows, target, settings)
    if "suspected" in rows.columns:  # nobody knows what the person did
        parts = replace(parts, train=parts.train & ~rows.column("suspected").astype(bool))
    fold = fold_of(rows, settings.folds)
    on_line = parts.train & (rows.unit_hash("send_key", "line") < LINE_ROWS / max(1, int(parts.train.sum())))
    raw = np.full(len(rows), np.nan)
    trees = []
    for k in range(settings.folds):
        out = parts.train & (fold == k)
        if not _both_outcomes(target[learned & out]) or not _both_outcomes(target[learned & ~out]):
            raise ModelError(ONE_SIDED.format(settings.folds))
        booster = _boost(rows, card, target, learned & ~out, settings, stop=learned & out)
        trees.append(booster.best_iteration)
        raw[on_line & out] = _raw_scores(booster, rows, card, on_line & out)
    grown = max(1, round(float(np.mean(trees))))
    text = _boost(rows, card, target, learned, settings, trees=grown).model_to_string()
    thinned = float(np.log(settings.negative_share))
    x = np.concatenate([matrix(batch, card) for batch in rows.batches(features, on_line)])
    return _Grown(text, replace(card, trees=grown), thinned, raw[on_line] + thinned, target[on_line], x)


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
    rows: Rows,
    card: Card,
    target: Floats,
    keep: Flags,
    settings: Training,
    stop: Flags | None = None,
    trees: int | None = None,
) -> lgb.Booster:
    """Trees of the kept rows: as many as said, or until the rows of `stop` gain nothing any more."""

    def dataset(mask: Flags, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        categorical = [card.features.index(name) for name in CATEGORICAL]
        blocks = Blocks(rows, card.features, mask, lambda batch: matrix(batch, card))
        return lgb.Dataset(
            blocks, target[mask], reference, feature_name=list(card.features), categorical_feature=categorical
        )

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
