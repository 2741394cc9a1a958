"""The house rules that a reader would otherwise have to trust."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sendopt import compiled, errors
from sendopt.domain.stages import STAGES
from sendopt.night.runtime import REPORT

REPO = Path(__file__).resolve().parents[2]
JOBS = sorted((REPO / "jobs").glob("*.py"))
SOURCES = [p for d in ("src", "jobs", "airflow_dags") for p in sorted((REPO / d).rglob("*.py"))]


def test_jobs_and_stages_have_the_same_names():
    assert {p.stem for p in JOBS} == {*STAGES, REPORT}
    assert all(find_spec(stage.module) for stage in STAGES.values())


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_a_job_is_thin(path):
    assert len(path.read_text().splitlines()) <= 20
    imported = {n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
    assert imported == {"sendopt.night.runtime"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPO)))
def test_files_are_short_and_have_a_purpose(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert not re.search(r"(utils?|helpers?|manager|base|common|misc)$", path.stem)
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "a module says what it is for"


def test_layers_hold():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


PLANTED = {  # by contract, a file and an import that it forbids
    "layers": ("domain/slots.py", "from sendopt.report import render"),
    "engines": ("stats/losses.py", "import pyspark"),
    "mlflow": ("spark/night.py", "import mlflow"),
    "pickle": ("config/places.py", "import pickle"),
    "airflow": ("night/runtime.py", "import airflow"),
    "audit": ("allocation/audit/tiers.py", "from sendopt.allocation.tiers import tier_problem"),
    "spark": ("spark/engine/keys.py", "from sendopt.spark.night import Night"),
    "allocation": ("allocation/solution.py", "from sendopt.allocation.solve import allocate"),
}


@pytest.mark.slow
def test_each_contract_catches_a_planted_import(tmp_path):
    shutil.copytree(REPO / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(REPO / ".importlinter", tmp_path)
    contracts = configparser.ConfigParser()
    contracts.read(REPO / ".importlinter")
    named = {name: contracts[f"importlinter:contract:{name}"]["name"] for name in PLANTED}
    assert {f"importlinter:contract:{name}" for name in PLANTED} == set(contracts.sections()) - {"importlinter"}
    for name, line in PLANTED.values():
        path = tmp_path / "src/sendopt" / name
        path.write_text(path.read_text() + f"\n{line}\n")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "src"), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert {name for name, contract in named.items() if f"{contract} BROKEN" in done.stdout} == set(PLANTED)


def test_every_error_has_the_exit_code_that_the_docs_promise():
    tree = {c.__name__: (c.exit_code, c.retryable) for c in errors.SendoptError.__subclasses__()}
    assert tree == {
        "ConfigError": (2, False),
        "ContractError": (3, False),
        "InfeasibleError": (4, False),
        "SolverError": (5, True),
        "ModelError": (6, False),
        "AuditError": (7, False),
        "InputNotReady": (75, True),
    }


def test_nobody_asks_the_clock_but_the_runtime_and_the_commands():
    """A night is a function of its inputs: `now` is read where stages are run (decision 0011), nowhere else."""
    allowed = {"runtime.py"}
    for path in SOURCES:
        if path.name not in allowed:
            assert not re.search(r"\.(now|today|utcnow)\(", path.read_text()), path


def test_machine_code_is_kept_by_the_hash_of_all_code_that_is_compiled():
    kernels = {p for p in SOURCES if "from sendopt.compiled import" in p.read_text() or p.name == "compiled.py"}
    assert len(kernels) > 5
    assert kernels <= {p.resolve() for p in compiled.compiled_files()}


def test_no_zone_function_of_spark_is_used():
    forbidden = re.compile(r"F\.(from_utc_timestamp|to_utc_timestamp|convert_timezone)|AT TIME ZONE", re.I)
    for path in (REPO / "src" / "sendopt" / "spark").rglob("*.py"):
        assert not forbidden.search(path.read_text()), path


def test_the_lock_pins_every_dependency_and_names_no_address():
    lock = (REPO / "requirements.lock").read_text()
    assert "://" not in lock
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert requirements
    assert all(re.match(r"^[A-Za-z0-9._\[\]-]+==\S+( ;.*)? \\$", line) for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)
