"""A partition of features in, scores out, against the model row by row."""

from __future__ import annotations

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sendopt.errors import ContractError, ModelError
from sendopt.propensity.line import Line, Term
from sendopt.propensity.model import Card, OpenModel
from sendopt.propensity.opt_out import OptOutRates
from sendopt.propensity.shrinkage import ShrunkBaseline
from sendopt.spark.propensity.slot_scorer import DISAGREE, Scorer, Slots, forest_of

FEATURES = (
    "local_hour",
    "weekend",
    "user_hour_rate",
    "user_hour_activity",
    "hour_rate",
    "channel",
    "category",
    "category_rate",
    "rate_90d",
    "days_since_send",
)
OWN = ("days_since_send", "fatigue_points", "rate_90d")
LINE = Line(
    0.1,
    0.9,
    (
        Term("rate_90d", "log_odds", None, -1.5, 0.31),
        Term("hour_rate", "log_odds", None, -1.6, 0.23),
        Term("user_hour_activity", "log", None, -3.0, 0.17),
        Term("user_hour_activity", "log", "weekend", -0.9, -0.05),
        Term("days_since_send", "missing", None, 0.1, -0.37),
        Term("days_since_send", "log1p", None, 0.4, -0.13),
        Term("weekend", "value", None, 0.3, 0.07),
        Term("channel", "push", None, 0.4, 0.29),
        Term("category", "b", None, 0.3, 0.11),
        Term("category", "news", None, 0.2, -0.19),
    ),
)
PAIRS = (("push", "news"), ("email", "never seen"))
PAIR_RATES = ((0.1, 0.2), (0.15, 0.3))
RATES = OptOutRates((0.5, 1.0), 0.01, {"push": (0.001, 0.002, 0.004)})
CELLS = np.array([[20, 21, 22, 23, 24, 25], [3, 4, 5, 6, 7, 8]])  # two zones: in the first the weekend begins


@pytest.fixture(scope="module")
def model() -> OpenModel:
    rng = np.random.default_rng(1)
    x = rng.random((3000, len(FEATURES)))
    x[:, 0], x[:, 5], x[:, 6] = rng.integers(0, 24, 3000), rng.integers(0, 2, 3000), rng.integers(0, 3, 3000)
    y = x[:, 2] + x[:, 9] + 0.3 * x[:, 5] + 0.2 * np.sin(x[:, 0]) > rng.random(3000) * 2
    data = lgb.Dataset(x, y, feature_name=list(FEATURES), categorical_feature=[5, 6])
    params = {"objective": "binary", "num_leaves": 31, "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1}
    vocabulary = {"channel": ("email", "push"), "category": ("a", "b", "news")}
    return OpenModel(lgb.train(params, data, 20).model_to_string(), Card("open", FEATURES, vocabulary, LINE, 20, {}))


def _scorer(model: OpenModel) -> Scorer:
    forest = forest_of(model)
    assert not isinstance(forest, str)
    slots = Slots(("A/A", "B/B"), CELLS, np.zeros_like(CELLS))
    by_name = {"local_hour": CELLS % 24, "weekend": CELLS // 24, "hour_rate": CELLS / 50}
    values = np.stack([by_name[name] for name in forest.features["slot"]], axis=2).astype(np.float64)
    return Scorer(model, forest, RATES, OWN, slots, values, PAIRS, PAIR_RATES)


def _night(scorer: Scorer, n_users: int = 40) -> tuple[pd.DataFrame, pa.Table]:
    """(the frame of all scores, the partition's rows). Every 7th user lacks its own values, every 5th those of an
    hour."""
    rng = np.random.default_rng(2)
    names = scorer.forest.features["user_slot"]
    first, end = CELLS.min(), CELLS.max() + 1
    rows, frames = [], []
    for u in range(n_users):
        zone = u % 2
        own = dict(zip(OWN, rng.random(3) if u % 7 else [None] * 3, strict=True))
        cells = {name: list(rng.random(48)) for name in names}
        if u % 5 == 0:
            for name in names:
                cells[name][CELLS[zone, 2]] = None
        rows.append({"user_id": f"u{u}", "zone": zone, **own, **{n: v[first:end] for n, v in cells.items()}})
        for (channel, category), (channel_rate, category_rate) in zip(PAIRS, PAIR_RATES, strict=True):
            for slot, cell in enumerate(CELLS[zone]):
                both = {name: cells[name][cell] for name in names}
                of_pair = {"channel": channel, "category": category, "channel_rate": channel_rate}
                of_slot = {"slot": slot, "local_hour": cell % 24, "weekend": cell >= 24, "hour_rate": cell / 50}
                known = {"user_id": f"u{u}", "category_rate": category_rate}
                frames.append({**known, **of_pair, **of_slot, **own, **both})
    table = pa.Table.from_pylist(rows)
    table = table.set_column(1, "zone", table["zone"].cast(pa.int32()))
    numbers = [*OWN, *names]
    return pd.DataFrame(frames).astype(dict.fromkeys(numbers, float)), table


def _scored(scorer: Scorer, table: pa.Table) -> pd.DataFrame:
    found = pa.Table.from_batches(list(scorer(iter(table.to_batches(max_chunksize=9))))).to_pandas()
    found["slot"] = [list(range(6))] * len(found)
    found = found.explode(["p_open", "slot"])
    found["channel"], found["category"] = zip(*(PAIRS[k] for k in found["kind"]), strict=True)
    return found


def test_scores_are_the_models_to_the_last_bit(model: OpenModel) -> None:
    scorer = _scorer(model)
    frame, table = _night(scorer)
    got = frame.merge(_scored(scorer, table), on=["user_id", "slot", "channel", "category"], validate="1:1")
    assert len(got) == len(frame) == 40 * 6 * 2
    np.testing.assert_array_equal(got["p_open"].to_numpy(float), model.predict(got))
    fatigue = got["fatigue_points"].to_numpy(float)
    np.testing.assert_array_equal(got["p_opt_out"], RATES.predict(got["channel"], fatigue))


def test_a_partition_without_rows_gives_nothing(model: OpenModel) -> None:
    assert list(_scorer(model)(iter([]))) == []


def test_a_sample_is_compared_with_the_model(model: OpenModel) -> None:
    scorer = _scorer(model)
    broken = replace(scorer, model=_Moved(model.booster_text, model.card))
    with pytest.raises(ModelError, match=DISAGREE):
        list(broken(iter(_night(scorer)[1].to_batches())))


@pytest.mark.parametrize("broken", [None, [], [0.5], [0.5] * 24], ids=["null", "empty", "one hour", "an hour too many"])
def test_a_row_without_all_its_hours_breaks_the_contract_in_a_sentence(model: OpenModel, broken: object) -> None:
    scorer = _scorer(model)
    rows = _night(scorer)[1].to_pylist()
    name = scorer.forest.features["user_slot"][0]
    assert len(rows[3][name]) == scorer.slots.hours == 23
    rows[3][name] = broken
    table = pa.Table.from_pylist(rows)
    table = table.set_column(1, "zone", table["zone"].cast(pa.int32()))
    with pytest.raises(ContractError, match=f"column {name}: 1 of 9 users lack .* run build_features again"):
        _scored(scorer, table)


class _Moved(OpenModel):
    """A model that has changed its mind by one last bit."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.nextafter(super().predict(frame), 1.0)


def test_other_models_are_scored_row_by_row(model: OpenModel) -> None:
    assert forest_of(ShrunkBaseline(None)) == "model baseline"
    unknown = OpenModel(model.booster_text, replace(model.card, features=("moon", *FEATURES[1:])))
    assert forest_of(unknown) == "feature(s) moon"
    assert not isinstance(forest_of(model), str)
