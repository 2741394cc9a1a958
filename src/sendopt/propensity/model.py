"""p_open: the calibrated chance that a user opens a message of a channel and category sent in a slot (model ¶5, ¶16).

The model is gradient-boosted trees and a calibrated line. Both are stored as text (booster and card), never pickled.
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
# Features that depend on the slot. Counts that grow with the log's age (hour_sends, mature_90d, sends_30d, …) are left
# out: in the first weeks they stand for calendar time, and trees cannot extrapolate them to the night that is planned.
# On later days of six simulated worlds true / expected was .967 with the sends and sessions of 30 days, and .997
# without them. The rates of a channel and category on a day are left out as well: they vary by chance, and trees fit
# this noise as a trend (true / expected of four worlds: 1.027 with them, 1.013 without).
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
MIN_POSITIVES = 20  # rows of each outcome among the training rows
LINE_ROWS = 500_000  # expected number of rows that the line is fitted on, at most
TRAIN_UNTIL = 0.8  # share of the rows, in time order and whole days, that are training rows
ONE_SIDED = (
    "A fold of the users lacks one of the outcomes: too few users for {} folds; set training.folds lower, or wait for "
    "more sends."
)


class Model(Protocol):
    """A model or rule that predicts p_open; `kind` is `lightgbm` for a trained model, `baseline` for a rule."""

    @property
    def kind(self) -> str: ...

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Return p_open of each row, float64 in (0, 1), shape (N,)."""
        ...


@dataclass(frozen=True)
class Parts:
    """Masks of the training rows and of the test rows, shape (N,) each; all test rows are of later days."""

    train: Flags
    test: Flags


@dataclass(frozen=True)
class Card:
    """What a model needs beside its trees: features, codes of words, line and facts of its training; JSON-ready."""

    label: str
    features: tuple[str, ...]
    vocabulary: dict[str, tuple[str, ...]]
    line: Line
    trees: int
    split: dict[str, Any]

    def to_json(self) -> str:
        """Return the card as JSON text; equal cards give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Return the card in `text`; raise ModelError where it is not a card of this version."""
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
    """Trees as LightGBM text, and their card."""

    booster_text: str
    card: Card
    kind: str = field(default="lightgbm", init=False)

    @cached_property
    def booster(self) -> lgb.Booster:
        """Return the trees as LightGBM's booster; they are parsed once."""
        return lgb.Booster(model_str=self.booster_text)

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Return p_open of each row, float64 in [1e-6, 1 - 1e-6], shape (N,) (¶5).

        `frame` has a column for each of the card's features. A channel or category that training did not see counts as
        missing. Raises ModelError where a feature's column is missing.
        """
        if not len(frame):
            return np.empty(0)
        x = matrix(frame, self.card)
        raw = np.asarray(self.booster.predict(x, raw_score=True, num_threads=1), dtype=np.float64)
        columns = dict(zip(self.card.features, x.T, strict=True))
        return clip(self.card.line.chance(raw, self.card.line.add(0.0, columns, self.card.vocabulary)))

    def influence(self, frame: pd.DataFrame) -> dict[str, float]:
        """Return each feature's share of the movement of the log-odds over these rows, largest first; the sum is 1.

        A feature's movement is the mean absolute deviation of its contribution from the contribution's mean. The
        contribution is the Shapley value in the trees (Lundberg et al. 2020) plus the feature's terms in the line.
        """
        card = self.card
        x = matrix(frame, card)
        contribution = card.line.slope * np.asarray(self.booster.predict(x, pred_contrib=True, num_threads=1))[:, :-1]
        columns = dict(zip(card.features, x.T, strict=True))
        for term in card.line.terms:
            contribution[:, card.features.index(term.feature)] += term.of(columns, card.vocabulary)
        movement = np.abs(contribution - contribution.mean(axis=0)).mean(axis=0)
        share = movement / max(movement.sum(), LEAST_P)
        return {card.features[i]: float(share[i]) for i in np.argsort(-share, kind="stable")}


def obstacles(rows: Rows | pd.DataFrame, folds: int) -> list[str]:
    """Return sentences that say why these rows cannot train a model; an empty list where they can."""
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
    """Return the first 80 % and the last 20 % of the rows by whole days (`plan_date`); None for fewer than three days.

    >>> days = ["2026-01-01"] * 4 + ["2026-01-02"] * 4 + ["2026-01-03"] * 2
    >>> split(pd.DataFrame({"plan_date": days})).test.tolist().count(True)
    2
    """
    days, day_code = days_of(rows)
    counts = np.bincount(day_code, minlength=len(days))
    if len(days) < 3:
        return None
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()  # position of each day's middle row, in (0, 1)
    first_test = min(max(2, int(np.searchsorted(middle, TRAIN_UNTIL))), len(days) - 1)
    return Parts(day_code < first_test, day_code >= first_test)


def fold_of(rows: Rows | pd.DataFrame, folds: int, salt: str = "fold") -> NDArray[np.int64]:
    """Return the fold of each row's user by hash, 0 to folds − 1, shape (N,)."""
    return np.floor(Rows.of(rows).unit_hash("user_id", salt) * folds).astype(np.int64)


def train(
    rows: Rows | pd.DataFrame,
    settings: Training,
    label: str,
    features: tuple[str, ...] = FEATURES,
    parts: Parts | None = None,
) -> OpenModel:
    """Return a model trained on `rows`, without their test days.

    `rows` has `features`, label (0 or 1), plan_date, user_id and send_key. `parts` defaults to `split(rows)`. The same
    rows and settings give the same bytes (¶14). Raises ModelError where `obstacles` returns any.

    A hash assigns each user to a fold, and trees trained on the other folds score the fold. Early stopping on these
    folds gives the number of trees, and the scores fit the calibrated line (a sample of about half a million by hash,
    if there are more). All rows are scored because a line fitted on a small part keeps that part's sampling error on
    every night (a fifth of 65,000 sends: 2 % of the rate). The trees that are deployed learn from all folds. Of the
    failures only the share `negative_share` is used, by hash; the logarithm of that share corrects the intercept.
    """
    forest = _grow(Rows.of(rows), settings, label, features, parts)
    return forest.model(forest.fit_line()[0])


def train_arms(
    rows: Rows | pd.DataFrame, settings: Training, label: str, features: tuple[str, ...], arm: str, parts: Parts
) -> tuple[OpenModel, OpenModel]:
    """Return (model of the rows whose feature `arm` is 1, model of those where it is 0), as `train` does.

    Both have the same trees, slope and terms; only the intercept differs. Shrunken trees separate the arms too little,
    or not at all, so a common intercept would hide the arm's mean effect. Differences within an arm are left to the
    trees.
    """
    forest = _grow(Rows.of(rows), settings, label, features, parts)
    level, shift = forest.fit_line(arm)
    return forest.model(replace(level, intercept=level.intercept + shift)), forest.model(level)


@dataclass(frozen=True)
class _Forest:
    """Trees trained on all folds, and the rows that fit the line, each scored by trees that had not seen it."""

    text: str
    card: Card
    correction: float  # of raw scores for the failures left out: the logarithm of `negative_share`
    raw: Floats  # (M,) corrected raw scores
    target: Floats  # (M,)
    matrix: Floats  # (M, F)

    def fit_line(self, shifted_by: str | None = None) -> tuple[Line, float]:
        """Return the line, and the shift of its intercept where the feature `shifted_by` is 1."""
        indicator = None if shifted_by is None else self.matrix[:, self.card.features.index(shifted_by)]
        return line.fit(self.raw, self.target, self.matrix, self.card.features, self.card.vocabulary, indicator)

    def model(self, fitted: Line) -> OpenModel:
        """Return the model with this line; its intercept takes over the correction of the raw scores."""
        fitted = replace(fitted, intercept=fitted.intercept + fitted.slope * self.correction)
        return OpenModel(self.text, replace(self.card, line=fitted))


def _grow(rows: Rows, settings: Training, label: str, features: tuple[str, ...], parts: Parts | None) -> _Forest:
    """Return the trees of `train` and the out-of-fold scores that fit its line."""
    if parts is None and (reasons := obstacles(rows, settings.folds)):
        raise ModelError(" ".join(reasons))
    parts = parts or split(rows)
    assert parts is not None, "`obstacles` reports rows that have no split"
    target = rows.column("label").astype(np.float64)
    vocabulary = {name: rows.words(name, parts.train) for name in CATEGORICAL}
    card = Card(label, features, vocabulary, Line(), 0, describe(rows, parts))
    learned = parts.train & _sampled(rows, target, settings)
    if "suspected" in rows.columns:  # an open by a machine does not show what the person did
        parts = replace(parts, train=parts.train & ~rows.column("suspected").astype(bool))
    fold = fold_of(rows, settings.folds)
    on_line = parts.train & (rows.unit_hash("send_key", "line") < LINE_ROWS / max(1, int(parts.train.sum())))
    raw = np.full(len(rows), np.nan)
    best_iterations = []
    for k in range(settings.folds):
        held_out = parts.train & (fold == k)
        if not _both_outcomes(target[learned & held_out]) or not _both_outcomes(target[learned & ~held_out]):
            raise ModelError(ONE_SIDED.format(settings.folds))
        booster = _boost(rows, card, target, learned & ~held_out, settings, stop=learned & held_out)
        best_iterations.append(booster.best_iteration)
        raw[on_line & held_out] = _raw_scores(booster, rows, card, on_line & held_out)
    trees = max(1, round(float(np.mean(best_iterations))))
    text = _boost(rows, card, target, learned, settings, trees=trees).model_to_string()
    correction = float(np.log(settings.negative_share))
    x = np.concatenate([matrix(batch, card) for batch in rows.batches(features, on_line)])
    return _Forest(text, replace(card, trees=trees), correction, raw[on_line] + correction, target[on_line], x)


def describe(rows: Rows | pd.DataFrame, parts: Parts) -> dict[str, Any]:
    """Return sizes, first and last days of the parts, JSON-ready; `valid` counts the rows scored out of fold."""
    days, day_code = days_of(rows)
    learned, tested = day_code[parts.train], day_code[parts.test]
    return {
        "train": int(parts.train.sum()),
        "valid": int(parts.train.sum()),
        "test": int(parts.test.sum()),
        "train_from": str(days[learned.min()]),
        "test_from": str(days[tested.min()]) if len(tested) else None,
        "test_to": str(days[tested.max()]) if len(tested) else None,
    }


def matrix(frame: pd.DataFrame | pa.RecordBatch, card: Card) -> Floats:
    """Return the card's features as float64, shape (N, F); NaN is missing. Raises ModelError on a missing column."""
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
    """Return (days of `plan_date` as YYYY-MM-DD, sorted; the index of each row's day among them, shape (N,)).

    >>> days, day_code = days_of(pd.DataFrame({"plan_date": ["2026-01-02", "2026-01-01", "2026-01-02"]}))
    >>> days.tolist(), day_code.tolist()
    (['2026-01-01', '2026-01-02'], [1, 0, 1])
    """
    codes, days = pd.factorize(Rows.of(rows).column("plan_date"), sort=True)
    return np.array([str(day)[:10] for day in days], dtype=str), codes.astype(np.int64)


def day_text(rows: pd.DataFrame) -> NDArray[np.str_]:
    """Return `plan_date` as YYYY-MM-DD, shape (N,)."""
    days, day_code = days_of(rows)
    return days[day_code] if len(rows) else np.empty(0, dtype=str)


def _both_outcomes(target: NDArray[Any]) -> bool:
    return bool(len(target)) and 0 < target.sum() < len(target)


def _sampled(rows: Rows, target: Floats, settings: Training) -> Flags:
    """Return a mask of all successes and of the share `negative_share` of failures, shape (N,)."""
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
    """Return a booster of the kept rows with `trees` trees, or with early stopping on the rows of `stop`."""

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
    """Return the raw scores of the kept rows, in their order."""
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
        "num_threads": 1,  # another order of summation gives different trees
        "verbosity": -1,
    }


def require_columns(frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Raise ModelError naming the columns that `frame` lacks."""
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise ModelError(
            f"the model needs the feature(s) {', '.join(absent)}, which the rows lack; run build_features of the "
            "model's version, or train again with --train"
        )
