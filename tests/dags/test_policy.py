"""Every DAG keeps the rules of this project, and parsing one stays cheap."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sendopt.domain.stages import NAMES

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.sdk import DAG

REPO = Path(__file__).resolve().parents[2]
FILES = sorted((REPO / "airflow_dags").glob("*.py"))
DAG_FILES = [path for path in FILES if not path.name.startswith("_")]
EXPECTED = {
    "nightly_schedule": [*NAMES[: NAMES.index("publish_schedule") + 1], "report"],
    "weekly_training": ["build_features", "train_propensity"],
    "daily_measurement": ["measure"],
}
SHELLS = {"BashOperator", "skip_on_exit_code", "shell", "system", "popen"}
CLOCKS = {"now", "today", "utcnow"}
STORES = {"Variable", "Connection"}
# Each run in a process of its own: what this one has imported already would hide what a DAG file pulls in.
PARSE = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
folder = Path(sys.argv[1])
bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
heavy = {"pyspark", "sendopt", "mlflow", "lightgbm", "pandas", "numpy", "delta", "deltalake", "pulp"}
found = sorted(heavy & {name.split(".")[0] for name in sys.modules})
print(json.dumps([found, {Path(k).name: v for k, v in bag.import_errors.items()}, sorted(bag.dags)]))
"""

pytestmark = pytest.mark.slow


def words(path: Path) -> set[str]:
    """Every name, attribute and keyword that a file's code uses; docstrings and comments may say what they like."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    return (
        {node.id for node in nodes if isinstance(node, ast.Name)}
        | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        | {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg}
        | {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    )


def roots(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.fixture(params=sorted(EXPECTED))
def dag(request: pytest.FixtureRequest, bag: BundleDagBag) -> DAG:
    dag: DAG = bag.dags[request.param]
    return dag


def test_parsing_imports_no_engine_and_meets_no_error(airflow_env: dict[str, str]) -> None:
    command = [sys.executable, "-W", "error", "-c", PARSE, str(REPO / "airflow_dags")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], {}, sorted(EXPECTED)]


def test_the_dags_are_these_and_run_their_stages_in_this_order(dag: DAG) -> None:
    from _jobs import JobOperator

    tasks: list[Any] = list(dag.topological_sort())
    assert [task.stage for task in tasks] == EXPECTED[dag.dag_id]
    assert [task.task_id for task in tasks] == EXPECTED[dag.dag_id]
    assert {type(task) for task in tasks} == {JobOperator}
    for before, after in pairwise(tasks):
        assert before.downstream_task_ids == {after.task_id}


def test_every_dag_is_described_and_bounded(dag: DAG) -> None:
    assert dag.doc_md
    assert "sendopt" in dag.tags
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.dagrun_timeout is not None
    assert dag.dagrun_timeout > timedelta(0)


def test_every_task_has_an_owner_retries_and_a_timeout(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.owner not in ("", "airflow")
        assert task.retries > 0
        assert task.retry_exponential_backoff > 1
        assert task.max_retry_delay is not None
        assert task.execution_timeout is not None
        assert task.execution_timeout < dag.dagrun_timeout
        assert task.trigger_rule == "all_success"


def test_every_job_is_there(dag: DAG) -> None:
    for task in dag.tasks:
        assert (REPO / "jobs" / f"{task.stage}.py").is_file()


def test_params_have_a_schema_and_defaults_that_keep_it(dag: DAG) -> None:
    assert dag.params.validate() == {"plan_date": None, "now": None, "conf": "conf", "env": "local"}


def test_assets_link_the_dags(bag: BundleDagBag) -> None:
    from _jobs import MODEL, SEND_PLAN

    nightly, weekly = bag.dags["nightly_schedule"], bag.dags["weekly_training"]
    assert nightly.get_task("publish_schedule").outlets == [SEND_PLAN]
    assert list(bag.dags["daily_measurement"].timetable.asset_condition.objects) == [SEND_PLAN]
    assert weekly.get_task("train_propensity").outlets == [MODEL]
    assert nightly.get_task("score_slots").inlets == [MODEL]


def test_only_a_training_is_forced(bag: BundleDagBag) -> None:
    flags = {(dag.dag_id, task.stage): task.flags for dag in bag.dags.values() for task in dag.tasks if task.flags}
    assert flags == {("weekly_training", "train_propensity"): ("--train",)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_shell_no_clock_no_store(path: Path) -> None:
    assert words(path) & (SHELLS | CLOCKS | STORES) == set()


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_a_dag_file_imports_airflow_and_jobs_only(path: Path) -> None:
    assert roots(path) <= {"__future__", "datetime", "airflow", "_jobs"}
    assert not {word for word in words(path) if word.endswith("Operator")} - {"JobOperator"}
