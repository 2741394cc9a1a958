"""A model store as it may be found: a changed model is refused, and what cannot be read is named without waiting."""

from __future__ import annotations

from pathlib import Path

import pytest
from propensity_rows import world

from sendopt.config.schema import Mlflow, Training
from sendopt.errors import ConfigError, InputNotReady, ModelError
from sendopt.night.runtime import guarded
from sendopt.propensity.model import OpenModel, train
from sendopt.tracking import Lineage, native
from sendopt.tracking.mlflow import MlflowTracker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return train(world(users=100, days=20), Training(bootstrap_samples=50), "open")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory, model: OpenModel) -> MlflowTracker:
    """A store with a champion."""
    tracker = MlflowTracker(Mlflow(tracking_uri=f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"))
    evaluation = {"gate": {"promoted": True, "reasons": ["because"]}, "label": "open"}
    kept = tracker.keep(model, evaluation, Lineage("f1", {"plan_date": "2025-02-01"}, {}))
    assert kept.promoted
    return tracker


def files(tracker: MlflowTracker) -> dict[str, Path]:
    (trees,) = (Path(tracker._settings.tracking_uri.removeprefix("sqlite:///")).parent / "mlartifacts").rglob("*.lgb")
    return {"trees": trees, "card": trees.parent / "extra_files" / "card.json"}


def test_a_model_that_nobody_touched_is_read(tracker: MlflowTracker, model: OpenModel) -> None:
    champion = tracker.champion()
    assert champion is not None
    assert champion.model.card == model.card


@pytest.mark.parametrize("what", ["trees", "card"])
def test_a_model_that_changed_after_it_was_registered_is_refused(tracker: MlflowTracker, what: str) -> None:
    """A change that stays well-formed: another threshold, another label's card."""
    path = files(tracker)[what]
    whole = path.read_bytes()
    changed = {"trees": (b"decision_type=2", b"decision_type=0"), "card": (b'"trees": ', b'"trees": 1')}[what]
    path.write_bytes(whole.replace(*changed, 1))
    try:
        assert path.read_bytes() != whole
        assert len(path.read_bytes()) in (len(whole), len(whole) + 1)
        with pytest.raises(ModelError, match=f"its {what} changed after it was registered") as caught:
            tracker.champion()
        assert caught.value.exit_code == 6
        assert "\n" not in caught.value.message
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("tag", [native.TREES_SUM, native.CARD_SUM])
def test_a_model_without_a_checksum_is_refused(tracker: MlflowTracker, tag: str) -> None:
    with tracker._reading() as client:
        version = tracker._by_alias(client)
        value = version.tags[tag]
        client.delete_model_version_tag(version.name, version.version, tag)
    try:
        with pytest.raises(ModelError, match="the registry has no checksum of its"):
            tracker.champion()
    finally:
        with tracker._reading() as client:
            client.set_model_version_tag(version.name, version.version, tag, value)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own retries would make each of these wait; a test that asks for them fails here."""
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", lambda seconds: pytest.fail("MLflow tries again"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.parametrize(
    "content",
    [b"garbage, and long enough to be taken for one page of a database" * 100, b"SQLite format 3\0" + b"x" * 5000],
)
def test_a_broken_database_is_named_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(InputNotReady, match=r"the model registry at sqlite:///\S+mlflow.db cannot be read"):
        MlflowTracker(Mlflow(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")).champion()


@pytest.mark.parametrize(
    ("uri", "package"), [("postgresql://host/db", "psycopg"), ("mysql+pymysql://host/db", "pymysql")]
)
def test_a_store_without_its_driver_says_which_to_install(
    uri: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: print(MlflowTracker(Mlflow(tracking_uri=uri)).champion())) == 2
    sentence, _ = capsys.readouterr().err.splitlines()
    assert sentence.startswith(
        f"sendopt: the driver {package} of the store's address is not installed here: pip install "
    )


@pytest.mark.parametrize("uri", ["nonsense://host/x", "postgresql+nonsense://host/db", "sqlite+nonsense:///x.db"])
def test_a_store_that_cannot_be_is_a_wrong_setting(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"mlflow.tracking_uri \S+ is no store"):
        MlflowTracker(Mlflow(tracking_uri=uri)).champion()


def test_a_server_that_does_not_answer_may_answer_later() -> None:
    with pytest.raises(InputNotReady, match=r"the model registry at http://127\.0\.0\.1:9 cannot be read"):
        MlflowTracker(Mlflow(tracking_uri="http://127.0.0.1:9")).champion()


def test_a_store_where_a_file_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((InputNotReady, ConfigError), match="file"):
        MlflowTracker(Mlflow(tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db")).champion()
