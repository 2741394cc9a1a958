"""An Airflow of its own for these tests: a temporary home, migrated once, and nothing of it left in the other tests."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.sdk import DAG

REPO = Path(__file__).resolve().parents[2]
DAG_FOLDER = REPO / "airflow_dags"

# Airflow 3.3.2 under the locked starlette and pydantic; each line names one message and nothing wider.
NOT_OURS = ("ignore:Using `httpx` with `starlette.testclient` is deprecated",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for warning in NOT_OURS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def _leave_no_trace() -> Iterator[None]:
    """Airflow replaces root log handlers, showwarning and signal handlers of the process that imports or runs it."""
    root = logging.getLogger()
    handlers, level, showwarning = list(root.handlers), root.level, warnings.showwarning
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    warnings.showwarning = showwarning
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def airflow_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a migrated, empty Airflow; set before this process imports airflow for the first time."""
    assert "airflow" not in sys.modules, "airflow was imported before its home was set; import it inside tests only"
    home = tmp_path_factory.mktemp("airflow")
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAG_FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS": "True",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AIRFLOW", "SENDOPT"))]:
            patch.delenv(name)
        for name, value in settings.items():
            patch.setenv(name, value)
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(migrate, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield settings


@pytest.fixture(scope="session")
def bag(airflow_env: dict[str, str]) -> BundleDagBag:
    from airflow.dag_processing.dagbag import BundleDagBag

    return BundleDagBag(dag_folder=DAG_FOLDER, bundle_path=DAG_FOLDER, bundle_name="dags-folder")


@pytest.fixture
def fake_job(bag: BundleDagBag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DAG]:
    """Gives the body of `jobs/measure.py` in a project of its own; returns daily_measurement, with one quick retry."""
    from datetime import timedelta

    def install(body: str, **task_settings: Any) -> DAG:
        (tmp_path / "jobs").mkdir(exist_ok=True)
        (tmp_path / "jobs" / "measure.py").write_text(body)
        dag = bag.dags["daily_measurement"]
        quick = {"retries": 1, "retry_delay": timedelta(milliseconds=1), "retry_exponential_backoff": 0}
        for name, value in {**quick, **task_settings}.items():
            monkeypatch.setattr(dag.get_task("measure"), name, value)
        return dag

    monkeypatch.setenv("SENDOPT_HOME", str(tmp_path))
    return install
