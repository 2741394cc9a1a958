"""The tracker on MLflow. MLflow is imported where it is used, because its import takes seconds.

Models are read as text and JSON and never through MLflow's loaders, so nothing in a store is unpickled or run as code.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sendopt.config.schema import Mlflow
from sendopt.errors import ModelError
from sendopt.propensity.model import OpenModel
from sendopt.tracking import REFERENCE, Kept, Lineage, Registered, native, page, qini, rollback, store
from sendopt.tracking.card import model_card
from sendopt.tracking.figures import figures

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION, CHALLENGER = rollback.CHAMPION, "challenger"
MOST_TAG_LETTERS = 4000
CARD, EVALUATION, MODEL_CARD = "card.json", "evaluation.json", "model_card.md"
CALIBRATION = "calibration.json"  # observed over expected by group, as MLflow shows tables
_FINGERPRINT, _VERSION = "sendopt.fingerprint", "sendopt.model_version"
_ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def champion_evaluation(settings: Mlflow) -> dict[str, Any] | None:
    """Return the evaluation of the champion, else of the last finished training, else None, for a report."""
    return MlflowTracker(settings).champion_evaluation()


class MlflowTracker:
    """`sendopt.tracking.Tracker` on a store or server."""

    def __init__(self, settings: Mlflow) -> None:
        self._settings = settings

    def champion_version(self) -> str | None:
        with self._reading() as client:
            champion = self._by_alias(client)
            return None if champion is None else f"{champion.name}/{champion.version}"

    def champion(self) -> Registered | None:
        with self._reading() as client:
            version = self._by_alias(client)
            return None if version is None else self._load(client, version)

    def trained(self, fingerprint: str) -> Kept | None:
        with self._reading() as client:
            run = self._finished_run(client, f"tags.`{_FINGERPRINT}` = '{fingerprint}'")
            if run is None:
                return None
            version = run.data.tags.get(_VERSION)
            if version is None:
                return Kept(None, run.info.run_id, promoted=False)
            if not self._exists(client, version):
                return None
            passed = bool(self._evaluation(client, run.info.run_id)["gate"]["promoted"])
            return Kept(version, run.info.run_id, promoted=passed and self._promote(client, version))

    def champion_evaluation(self, **tags: str) -> dict[str, Any] | None:
        """Return the evaluation of the champion, else of the last finished training with these tags, else None.

        The tags tell apart models that share an experiment.
        """
        with self._reading() as client:
            champion = self._by_alias(client)
            if champion is not None:
                return self._evaluation(client, champion.run_id)
            where = [f"tags.`{_FINGERPRINT}` != ''", *(f"tags.`{key}` = '{value}'" for key, value in tags.items())]
            run = self._finished_run(client, " and ".join(where))
            return None if run is None else self._evaluation(client, run.info.run_id)

    def keep(
        self,
        model: OpenModel | None,
        evaluation: dict[str, Any],
        lineage: Lineage,
        documents: Mapping[str, Any] = MappingProxyType({}),
    ) -> Kept:
        run_id = version = None
        lost: list[str] = []
        try:
            with _quiet():
                client = self._client()
                run_id = client.create_run(
                    self._experiment(client), run_name=f"train {lineage.tags['plan_date']}"
                ).info.run_id
                if model is not None:
                    version = self._register(client, run_id, model)
                evaluation = {**evaluation, "model_version": version}
                for name, content in {**documents, EVALUATION: evaluation}.items():
                    client.log_dict(run_id, content, name)
                for key, value in {**lineage.tags, _FINGERPRINT: lineage.fingerprint, _VERSION: version}.items():
                    if value is not None:
                        client.set_tag(run_id, key, value)
                lost += _Description(client, run_id, evaluation, lineage).store()
                promoted = self._alias(client, version, bool(evaluation["gate"]["promoted"]))
                client.set_terminated(run_id)  # last: only a finished run is ever used again
            return Kept(version, run_id, promoted, tuple(lost))
        except Exception as error:  # noqa: BLE001  a tracking failure never fails a job
            return Kept(None, run_id, False, (*lost, f"MLflow did not keep this training: {store.sentence(error)}"))

    def note(self, run_id: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        try:
            with _quiet():
                client = self._client()
                for key, value in tags.items():
                    client.set_tag(run_id, key, value[:MOST_TAG_LETTERS])
            return ()
        except Exception as error:  # noqa: BLE001  a tracking failure never fails a job
            return (f"MLflow did not keep a note: {store.sentence(error)}",)

    def roll_back(self, to: str | None = None) -> tuple[str, str]:
        with self._reading() as client:
            champion, passed = self._by_alias(client), self._gate_of(client)
            return rollback.roll_back(client, self._settings.model_name, champion, to, passed)

    def way_back(self, to: str | None = None) -> tuple[str, str]:
        """Return ("name/version" that `roll_back` would make champion, its fingerprint); raise as `roll_back` does."""
        with self._reading() as client:
            champion, passed = self._by_alias(client), self._gate_of(client)
            target = rollback.way_back(client, self._settings.model_name, champion, to, passed)
            fingerprint = client.get_run(target.run_id).data.tags.get(_FINGERPRINT, "")
            return f"{target.name}/{target.version}", fingerprint

    def version_of(self, fingerprint: str) -> str | None:
        """Return the "name/version" of a finished training of this fingerprint, None where it was deleted."""
        with self._reading() as client:
            run = self._finished_run(client, f"tags.`{_FINGERPRINT}` = '{fingerprint}'")
            version = None if run is None else run.data.tags.get(_VERSION)
            return version if version is not None and self._exists(client, version) else None

    def _gate_of(self, client: MlflowClient) -> Callable[[ModelVersion], bool]:
        return lambda version: bool(self._evaluation(client, version.run_id)["gate"]["promoted"])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[MlflowClient]:
        """Give a client; raise as `store.reading` does."""
        with _quiet(), store.reading(self._settings.tracking_uri):
            yield self._client()

    def _client(self) -> MlflowClient:
        import mlflow
        from mlflow.tracking import MlflowClient

        uri = self._settings.tracking_uri
        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)  # log_model has no argument for it
        mlflow.set_registry_uri(uri)
        return MlflowClient(uri, uri)

    def _experiment(self, client: MlflowClient) -> str:
        name, uri = self._settings.experiment, self._settings.tracking_uri
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        artifacts = None
        if uri.startswith("sqlite:///"):  # else MLflow would put artifacts into the working directory
            artifacts = (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").resolve().as_uri()
        kind = {"mlflow.experimentKind": "custom_model_development"}  # opens on training runs, with charts of metrics
        return str(client.create_experiment(name, artifact_location=artifacts, tags=kind))

    def _register(self, client: MlflowClient, run_id: str, model: OpenModel) -> str:
        import mlflow.lightgbm
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        inputs = Schema([ColSpec("double", name, required=False) for name in model.card.features])
        with tempfile.TemporaryDirectory() as folder:
            card = Path(folder) / CARD
            card.write_text(model.card.to_json(), encoding="utf-8")
            model.booster.save_model(str(trees := Path(folder) / "trees.txt"))  # the bytes that MLflow is to keep
            sums = native.checksums(trees.read_bytes(), card.read_bytes())
            with mlflow.start_run(run_id=run_id):
                logged = mlflow.lightgbm.log_model(
                    model.booster,
                    name="model",
                    signature=ModelSignature(inputs, Schema([ColSpec("double", "raw_score")])),
                    pip_requirements=[f"{name}=={installed(name)}" for name in ("lightgbm", "numpy", "scipy")],
                    registered_model_name=self._settings.model_name,
                    extra_files=[str(card)],
                )
            client.update_run(run_id, status="RUNNING")
        name, number = self._settings.model_name, str(logged.registered_model_version)
        for tag, value in sums.items():
            client.set_model_version_tag(name, number, tag, value)
        return f"{name}/{number}"

    def _alias(self, client: MlflowClient, version: str | None, passed: bool) -> bool:
        if version is None:
            return False
        client.set_registered_model_alias(self._settings.model_name, CHALLENGER, version.rpartition("/")[2])
        return passed and self._promote(client, version)

    def _promote(self, client: MlflowClient, version: str) -> bool:
        number = int(version.rpartition("/")[2])
        return rollback.promote(client, self._settings.model_name, number, self._by_alias(client))

    def _by_alias(self, client: MlflowClient) -> ModelVersion | None:
        from mlflow.exceptions import MlflowException

        try:
            return client.get_model_version_by_alias(self._settings.model_name, CHAMPION)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or f"alias {CHAMPION} not found" in str(error):
                return None
            raise

    def _exists(self, client: MlflowClient, version: str) -> bool:
        number = version.rpartition("/")[2]
        versions = client.search_model_versions(f"name = '{self._settings.model_name}'")
        return any(str(v.version) == number for v in versions)

    def _finished_run(self, client: MlflowClient, where: str) -> Run | None:
        experiment = client.get_experiment_by_name(self._settings.experiment)
        if experiment is None:
            return None
        condition = f"{where} and attributes.status = 'FINISHED'"
        runs = client.search_runs([experiment.experiment_id], condition, order_by=["start_time DESC"], max_results=1)
        return runs[0] if runs else None

    def _load(self, client: MlflowClient, version: ModelVersion) -> Registered:
        from mlflow.artifacts import download_artifacts
        from mlflow.models import Model

        name = f"{version.name}/{version.version}"
        with tempfile.TemporaryDirectory() as folder:
            root = Path(download_artifacts(artifact_uri=f"models:/{name}", dst_path=folder))
            flavor = Model.load(str(root)).flavors.get("lightgbm", {})
            if flavor.get("model_class") != "lightgbm.basic.Booster" or flavor.get("code"):
                raise ModelError(
                    f"model {name} is not a LightGBM booster in text form without code (found class "
                    f"{flavor.get('model_class')}); models are never unpickled: train again with --train"
                )
            text, card = root / str(flavor["data"]), root / "extra_files" / CARD
            if not text.is_file() or not card.is_file():
                raise ModelError(f"model {name} lacks its trees or its {CARD}; train again with --train")
            files = text.read_bytes(), card.read_bytes()
            native.require_unchanged(name, *files, version.tags)
            model = native.model_of(name, *files)
        run = client.get_run(version.run_id)
        fingerprint = run.data.tags.get(_FINGERPRINT, "")
        evaluation = self._evaluation(client, version.run_id)
        has_reference = any(file.path == REFERENCE for file in client.list_artifacts(version.run_id))
        reference = self._document(client, version.run_id, REFERENCE) if has_reference else None
        return Registered(name, fingerprint, version.run_id, model, evaluation, reference)

    def _evaluation(self, client: MlflowClient, run_id: str) -> dict[str, Any]:
        return self._document(client, run_id, EVALUATION)

    def _document(self, client: MlflowClient, run_id: str, name: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            document: dict[str, Any] = json.loads(Path(client.download_artifacts(run_id, name, folder)).read_text())
            return document


@dataclass(frozen=True)
class _Description:
    """What a person reads on the page of a run; each method stores one part of it."""

    client: MlflowClient
    run_id: str
    evaluation: dict[str, Any]
    lineage: Lineage

    def store(self) -> list[str]:
        """Store every part, and return a warning for each that could not be stored."""
        steps: dict[str, Callable[[], None]] = {
            "the versions of its data": self.inputs,
            "tables": self.tables,
            "metrics": self.metrics,
            "parameters": self.parameters,
            "figures": self.figures,
            "the calibration table": self.calibration_groups,
            "the model card": self.model_card,
        }
        lost = []
        for part, step in steps.items():
            try:
                step()
            except Exception as error:  # noqa: BLE001  a tracking failure never fails a job
                lost.append(f"MLflow did not keep {part}: {store.sentence(error)}")
        return lost

    def inputs(self) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        context = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(
            self.run_id,
            datasets=[
                DatasetInput(Dataset(name, f"version {version}", "delta", json.dumps({"table": name})), context)
                for name, version in sorted(json.loads(self.lineage.tags.get("delta_versions", "{}")).items())
            ],
        )

    def tables(self) -> None:
        for name, columns in (page.tables(self.evaluation) | qini.tables(self.evaluation)).items():
            self.client.log_table(self.run_id, columns, name)

    def metrics(self) -> None:
        for name, value in _metrics(self.evaluation).items():
            self.client.log_metric(self.run_id, name, value)

    def parameters(self) -> None:
        for name, value in self.lineage.parameters.items():
            self.client.log_param(self.run_id, name, value)

    def figures(self) -> None:
        drawings = {**figures(self.evaluation), **page.figures(self.evaluation), **qini.figures(self.evaluation)}
        for name, figure in drawings.items():
            self.client.log_figure(self.run_id, figure, f"figures/{name}")

    def calibration_groups(self) -> None:
        rows = self.evaluation["calibration_groups"]
        if rows:
            self.client.log_table(self.run_id, {key: [row[key] for row in rows] for key in rows[0]}, CALIBRATION)

    def model_card(self) -> None:
        text = model_card(self.evaluation, self.lineage, _links(self.client, self.evaluation))
        self.client.log_text(self.run_id, text, MODEL_CARD)
        self.client.set_tag(self.run_id, "mlflow.note.content", text)  # the run's description
        self.client.set_tag(self.run_id, "mlflow.source.name", "sendopt train_propensity")


def _metrics(evaluation: dict[str, Any]) -> dict[str, float]:
    """Return the metrics by name; MLflow groups their charts by the part before the slash."""
    values = {f"log_loss/{name}": value for name, value in evaluation["log_loss"].items()}
    values["calibration/observed_over_expected"] = evaluation["observed_over_expected"]
    for row in evaluation["calibration_groups"]:
        if row["by"] in ("overall", "channel"):
            name = "observed_over_expected" if row["by"] == "overall" else row["name"]
            values |= page.with_interval(f"calibration/{name}", row["ratio"], row["low"], row["high"])
    for row in evaluation["gains"]:
        values |= page.with_interval(f"gain_over/{row['baseline']}", row["gain"], row["low"], row["high"])
    values |= qini.metrics(evaluation) | page.metrics(evaluation)
    cold = {key: value for key, value in (evaluation["cold_start"] or {}).items() if not isinstance(value, list)}
    values |= page.with_interval("cold_start/gain_over_cohort", *(cold.pop(k, None) for k in ("gain", "low", "high")))
    values |= {f"cold_start/{_COLD.get(name, name)}": value for name, value in cold.items()}
    for name, value in (evaluation["machine_opens"] or {}).items():
        values |= {f"with_machine_opens/{name}": value}
    values |= {f"rows/{part}": evaluation["split"][part] for part in ("train", "test")}
    return {name: float(value) for name, value in values.items() if value is not None}


_COLD = {"n": "sends", "model": "log_loss_model", "cohort": "log_loss_cohort", "overall": "rate_of_everyone"}


def _links(client: MlflowClient, evaluation: dict[str, Any]) -> dict[str, str]:
    """Return by arm the address, in MLflow's pages, of the run of the uplift learner."""
    runs = (evaluation.get("sending") or {}).get("runs") or {}
    return {
        arm: f"#/experiments/{client.get_run(run_id).info.experiment_id}/runs/{run_id}"
        for arm, run_id in runs.items()
        if run_id is not None
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off MLflow's telemetry, progress bars, log messages below errors, and warnings."""
    os.environ.update(_ENVIRONMENT)
    store.be_patient()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
        warnings.simplefilter("ignore")
        yield
