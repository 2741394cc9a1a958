"""Rows in batches: what LightGBM gets from Arrow is what it would get from one matrix in memory (¶5, ¶14)."""

from __future__ import annotations

from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from propensity_rows import world

from sendopt.config.schema import Training
from sendopt.errors import ModelError
from sendopt.propensity import rows as arrow
from sendopt.propensity.line import Line
from sendopt.propensity.model import CATEGORICAL, FEATURES, Card, matrix, split, train
from sendopt.propensity.rows import Blocks, Rows
from sendopt.stats.logistic import expit

SETTINGS = Training(bootstrap_samples=50, folds=2, max_trees=40)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return world(users=200, days=20)


@pytest.fixture(scope="module")
def card(rows: pd.DataFrame) -> Card:
    vocabulary = {name: tuple(sorted(rows[name].unique())) for name in CATEGORICAL}
    return Card("open", FEATURES, vocabulary, Line(), 0, {})


def test_blocks_give_the_rows_of_one_matrix(rows: pd.DataFrame, card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "BATCH_ROWS", 700)  # so that slices cross batches
    keep = np.arange(len(rows)) % 3 != 1
    blocks = Blocks(Rows.of(rows), card.features, keep, lambda batch: matrix(batch, card))
    whole = matrix(rows[keep], card)
    assert len(blocks) == len(whole)
    np.testing.assert_array_equal(blocks[0 : len(whole)], whole)
    np.testing.assert_array_equal(blocks[650:1500], whole[650:1500])
    np.testing.assert_array_equal(blocks[3], whole[3])  # back again
    np.testing.assert_array_equal(blocks[[5, 900]], whole[[5, 900]])


def test_trees_from_batches_equal_trees_from_a_matrix(rows: pd.DataFrame, card: Card) -> None:
    parameters = {"objective": "binary", "seed": 7, "deterministic": True, "force_row_wise": True, "num_threads": 1}
    parameters["verbosity"] = -1
    where = [card.features.index(name) for name in CATEGORICAL]
    label = rows["label"].to_numpy(float)
    blocks = Blocks(Rows.of(rows), card.features, np.ones(len(rows), bool), lambda batch: matrix(batch, card))
    texts = [
        lgb.train(parameters, lgb.Dataset(data, label, categorical_feature=where), 15).model_to_string()
        for data in (blocks, matrix(rows, card))
    ]
    assert texts[0] == texts[1]


def test_delta_and_frame_train_the_same_bytes(rows: pd.DataFrame, tmp_path: Path) -> None:
    frame = rows.assign(plan_date=pd.to_datetime(rows["plan_date"]).dt.date)
    write_deltalake(str(tmp_path / "rows"), pa.Table.from_pandas(frame, preserve_index=False), target_file_size=50_000)
    models = [train(source, SETTINGS, "open") for source in (Rows.of_delta(str(tmp_path / "rows")), frame)]
    assert models[0].booster_text == models[1].booster_text
    assert models[0].card.to_json() == models[1].card.to_json()


def test_hashes_are_even_and_depend_on_text_and_salt_only(rows: pd.DataFrame) -> None:
    some = Rows.of(rows)
    found = some.unit_hash("send_key", "failure")
    assert 0 <= found.min() < found.max() < 1
    assert abs(found.mean() - 0.5) < 4 / np.sqrt(12 * len(rows))
    turned = Rows.of(rows[::-1].reset_index(drop=True)).unit_hash("send_key", "failure")
    np.testing.assert_array_equal(turned[::-1], found)
    assert abs(np.corrcoef(found, some.unit_hash("send_key", "fold"))[0, 1]) < 0.06


def test_fewer_failures_leave_the_prior_right(rows: pd.DataFrame) -> None:
    """Half of the failures thrown away: without the correction the odds would be doubled."""
    parts = split(rows)
    assert parts is not None
    thinned = train(rows, SETTINGS.model_copy(update={"negative_share": 0.5}), "open")
    test = rows[parts.test]
    expected = train(rows, SETTINGS, "open").predict(test).sum()
    assert thinned.predict(test).sum() / expected == pytest.approx(1.0, abs=0.05)
    raw = thinned.booster.predict(matrix(test, thinned.card), raw_score=True)
    assert expit(np.asarray(raw)).sum() / expected > 1.3


def test_a_missing_column_is_named(rows: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="fatigue_points"):
        train(rows.drop(columns="fatigue_points"), SETTINGS, "open")


def test_parquet_columns_of_every_kind_encode_like_a_frame(card: Card, rows: pd.DataFrame, tmp_path: Path) -> None:
    odd = rows.head(40).assign(
        channel=[None, "never seen", *rows["channel"][2:40]], days_since_open=[np.nan, *rows["days_since_open"][1:40]]
    )
    pq.write_table(pa.Table.from_pandas(odd, preserve_index=False), tmp_path / "odd.parquet")
    batch = pq.read_table(tmp_path / "odd.parquet").combine_chunks().to_batches()[0]
    encoded = matrix(batch, card)
    np.testing.assert_array_equal(encoded, matrix(odd, card))
    channel = encoded[:, card.features.index("channel")]
    assert np.isnan(channel[:2]).all()
    by_pandas = pd.Categorical(odd["channel"], categories=list(card.vocabulary["channel"])).codes
    np.testing.assert_array_equal(channel[2:], by_pandas[2:])
