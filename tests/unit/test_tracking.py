"""The MLflow tracker on a fresh sqlite store: native boosters, aliases, reuse, and failures that fail no job."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import numpy as np
import pandas as pd
import pytest
from propensity_rows import world

from sendopt.config.schema import Mlflow, Training
from sendopt.errors import InputNotReady, ModelError
from sendopt.propensity import evaluation as assess
from sendopt.propensity.model import OpenModel, train
from sendopt.propensity.shrinkage import Shrinkage, ShrunkBaseline
from sendopt.tracking import Lineage
from sendopt.tracking.figures import figures
from sendopt.tracking.mlflow import MlflowTracker

pytestmark = pytest.mark.slow
SETTINGS = Training(bootstrap_samples=50)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return world(users=100, days=20)


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> OpenModel:
    return train(rows, SETTINGS, "open")


@pytest.fixture(scope="module")
def evaluation(rows: pd.DataFrame, model: OpenModel) -> assess.Evaluation:
    return assess.evaluate(rows, model, model, SETTINGS, "open")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "not yet there"


@pytest.fixture
def tracker(store: Path, request: pytest.FixtureRequest) -> MlflowTracker:
    """A tracker of its own experiment and model in the shared store (a new one takes seconds)."""
    name = request.node.name[:70].replace("[", "-").replace("]", "")
    return MlflowTracker(Mlflow(tracking_uri=f"sqlite:///{store}/mlflow.db", experiment=name, model_name=name))


def _lineage(fingerprint: str = "f1") -> Lineage:
    return Lineage(fingerprint, {"plan_date": "2025-02-01", "delta_versions": '{"sends": 3}'}, {"seed": 7})


def _gated(evaluation: assess.Evaluation, promoted: bool) -> assess.Evaluation:
    return {**evaluation, "gate": {"promoted": promoted, "reasons": ["because"]}}


def _store_model(tracker: MlflowTracker) -> Path:
    """The folder of the champion's files in the store."""
    with tracker._reading() as client:
        version = tracker._by_alias(client)
        address = client.get_model_version_download_uri(version.name, version.version)
        return Path(url2pathname(address.removeprefix("file://")))


def test_a_booster_comes_back_bit_equal_with_pickle_refused(
    tracker: MlflowTracker,
    rows: pd.DataFrame,
    model: OpenModel,
    evaluation: assess.Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tracker.keep(model, _gated(evaluation, True), _lineage())
    assert kept.warnings == ()
    assert kept.promoted
    monkeypatch.setattr(pickle, "load", _refuse)
    monkeypatch.setattr(pickle, "loads", _refuse)
    champion = tracker.champion()
    assert champion is not None
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert champion.model_version == kept.model_version == f"{tracker._settings.model_name}/1"
    assert champion.fingerprint == "f1"
    assert champion.model.card == model.card
    np.testing.assert_array_equal(champion.model.predict(rows), model.predict(rows))
    assert champion.evaluation == {**_gated(evaluation, True), "model_version": kept.model_version}
    assert tracker.champion_evaluation() == champion.evaluation


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("something was unpickled")


def test_everything_a_reviewer_looks_at_is_in_the_run(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation, store: Path
) -> None:
    kept = tracker.keep(model, _gated(evaluation, True), _lineage())
    with tracker._reading() as client:
        run = client.get_run(kept.run_id)
        files = {f.path for folder in (None, "figures") for f in client.list_artifacts(kept.run_id, folder)}
        signature = (_store_model(tracker) / "MLmodel").read_text()
    assert run.info.status == "FINISHED"
    assert [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs] == [("sends", "version 3")]
    assert run.data.params == {"seed": "7"}
    assert run.data.tags["delta_versions"] == '{"sends": 3}'
    assert run.data.metrics["log_loss/model"] == pytest.approx(evaluation["log_loss"]["model"])
    assert run.data.metrics["intervals/gain_over_user_slot_low"] == pytest.approx(evaluation["gains"][3]["low"])
    names = ("baselines", "calibration", "importance", "slot_lift")
    assert files >= {"evaluation.json", "model_card.md", *(f"figures/{name}.png" for name in names)}
    assert '"name": "local_hour"' in signature
    assert (store / "mlartifacts").is_dir()


def test_a_challenger_that_the_gate_refuses_leaves_the_champion(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation
) -> None:
    first = tracker.keep(model, _gated(evaluation, True), _lineage("f1"))
    second = tracker.keep(model, _gated(evaluation, False), _lineage("f2"))
    assert tracker.champion_version() == first.model_version
    assert not second.promoted
    with tracker._reading() as client:
        challenger = client.get_model_version_by_alias(tracker._settings.model_name, "challenger")
    assert f"{challenger.name}/{challenger.version}" == second.model_version


def test_a_finished_training_is_found_by_its_fingerprint(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation
) -> None:
    assert tracker.trained("f1") is None
    first = tracker.keep(model, _gated(evaluation, True), _lineage("f1"))
    found = tracker.trained("f1")
    assert found is not None
    assert (found.model_version, found.run_id, found.promoted) == (first.model_version, first.run_id, True)
    second = tracker.keep(model, _gated(evaluation, True), _lineage("f2"))
    again = tracker.trained("f1")
    assert again is not None
    assert again.promoted is False
    assert tracker.champion_version() == second.model_version


def test_a_promotion_cut_short_is_made_up_for(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation
) -> None:
    kept = tracker.keep(model, _gated(evaluation, True), _lineage())
    with tracker._reading() as client:
        client.delete_registered_model_alias(tracker._settings.model_name, "champion")
    assert tracker.champion() is None
    assert tracker.champion_version() is None
    found = tracker.trained("f1")
    assert found is not None
    assert found.promoted
    assert tracker.champion_version() == kept.model_version


def test_an_unfinished_training_is_not_used_again(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation
) -> None:
    kept = tracker.keep(model, _gated(evaluation, True), _lineage())
    with tracker._reading() as client:
        client.update_run(kept.run_id, status="RUNNING")
    assert tracker.trained("f1") is None


def test_a_baseline_is_kept_as_a_run_without_a_model(tracker: MlflowTracker, rows: pd.DataFrame) -> None:
    assert tracker.champion_evaluation() is None
    found = assess.evaluate(
        rows, ShrunkBaseline(Shrinkage((1.0,), 0.25, (0.25, 0.25), 20.0, 100.0)), None, SETTINGS, "open"
    )
    kept = tracker.keep(None, found, _lineage())
    assert (kept.model_version, kept.promoted, kept.warnings) == (None, False, ())
    assert tracker.champion() is None
    assert tracker.champion_evaluation() == found
    assert tracker.trained("f1") is not None


def test_what_cannot_be_logged_is_a_warning(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> None:
        raise RuntimeError("no ink\nsecond line")

    monkeypatch.setattr("sendopt.tracking.mlflow.figures", broken)
    kept = tracker.keep(model, _gated(evaluation, True), _lineage())
    assert kept.promoted
    assert kept.warnings == ("MLflow did not keep figures: no ink",)


def test_a_store_that_refuses_fails_no_training(
    tmp_path: Path, model: OpenModel, evaluation: assess.Evaluation
) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be seen as none" * 20)
    tracker = MlflowTracker(Mlflow(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"))
    kept = tracker.keep(model, _gated(evaluation, True), _lineage())
    assert (kept.model_version, kept.promoted) == (None, False)
    assert len(kept.warnings) == 1
    assert kept.warnings[0].startswith("MLflow did not keep this training: ")
    with pytest.raises(InputNotReady, match=r"the model registry at sqlite:///.* cannot be read") as caught:
        tracker.champion()
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"), ("    code: null", "    code: code")],
    ids=["pickle", "code"],
)
def test_a_model_that_would_need_pickle_or_code_is_refused(
    tracker: MlflowTracker, model: OpenModel, evaluation: assess.Evaluation, was: str, becomes: str
) -> None:
    tracker.keep(model, _gated(evaluation, True), _lineage())
    described = _store_model(tracker) / "MLmodel"
    described.write_text(described.read_text().replace(was, becomes))
    with pytest.raises(ModelError, match="never unpickled"):
        tracker.champion()


def test_figures_are_drawn_of_what_is_there(evaluation: assess.Evaluation, rows: pd.DataFrame) -> None:
    assert set(figures(evaluation)) == {
        *("calibration.png", "observed_over_expected.png", "slot_lift.png", "importance.png", "baselines.png")
    }
    nothing = assess.evaluate(
        rows.head(0), ShrunkBaseline(Shrinkage((1.0,), 0.25, (0.25, 0.25), 20.0, 100.0)), None, SETTINGS, "open"
    )
    assert figures(nothing) == {}
