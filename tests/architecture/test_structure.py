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
FOLDERS = ("src", "jobs", "airflow_dags")
JOBS = sorted((REPO / "jobs").rglob("*.py"))
SOURCES = [p for d in FOLDERS for p in sorted((REPO / d).rglob("*.py"))]
CLOCK = re.compile(r"\.(now|today|utcnow)\(")
CLOCK_READERS = {"src/sendopt/night/runtime.py"}
ZONE_FUNCTION = re.compile(r"F\.(from_utc_timestamp|to_utc_timestamp|convert_timezone)|AT TIME ZONE", re.I)


def clock_violations(repo: Path) -> set[str]:
    """Return the files at any depth that read the clock and may not."""
    return _files_with(CLOCK, repo, FOLDERS) - CLOCK_READERS


def zone_violations(repo: Path) -> set[str]:
    """Return the Spark files at any depth that call a zone function of Spark."""
    return _files_with(ZONE_FUNCTION, repo, ("src/sendopt/spark",))


def thick_jobs(repo: Path) -> set[str]:
    """Return the jobs at any depth that are over 20 lines or import anything but the runtime."""
    return {str(p.relative_to(repo)) for p in (repo / "jobs").rglob("*.py") if not _is_thin(p.read_text())}


def _is_thin(job: str) -> bool:
    imports = [n for n in ast.walk(ast.parse(job)) if isinstance(n, ast.ImportFrom)]
    return len(job.splitlines()) <= 20 and {n.module for n in imports} == {"sendopt.night.runtime"}


def _files_with(pattern: re.Pattern[str], repo: Path, folders: tuple[str, ...]) -> set[str]:
    paths = [p for folder in folders for p in (repo / folder).rglob("*.py")]
    return {str(p.relative_to(repo)) for p in paths if pattern.search(p.read_text())}


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
    assert clock_violations(REPO) == set()


def test_machine_code_is_kept_by_the_hash_of_all_code_that_is_compiled():
    kernels = {p for p in SOURCES if "from sendopt.compiled import" in p.read_text() or p.name == "compiled.py"}
    assert len(kernels) > 5
    assert kernels <= {p.resolve() for p in compiled.compiled_files()}


def test_no_zone_function_of_spark_is_used():
    assert zone_violations(REPO) == set()


PLANTED_LINES = {  # by case: the guard, a file below a folder of a folder, and a line that the guard forbids
    "clock in a package": (clock_violations, "src/sendopt/spark/deep/er/stage.py", "t = datetime.now(UTC)"),
    "clock in a DAG": (clock_violations, "airflow_dags/deep/er/dag.py", "day = date.today()"),
    "clock in a job": (clock_violations, "jobs/deep/er/job.py", "t = datetime.utcnow()"),
    "clock in another runtime": (clock_violations, "src/sendopt/spark/runtime.py", "t = datetime.now(UTC)"),
    "zone function": (zone_violations, "src/sendopt/spark/deep/er/stage.py", "F.from_utc_timestamp(at, zone)"),
    "zone in SQL": (zone_violations, "src/sendopt/spark/deep/er/stage.py", "sql = 'SELECT at at time zone z'"),
    "import in a job": (thick_jobs, "jobs/deep/er/job.py", "from sendopt.spark.night import Night"),
    "long job": (thick_jobs, "jobs/deep/er/job.py", "from sendopt.night.runtime import main\n" + "x = 1\n" * 20),
}


@pytest.mark.parametrize("case", PLANTED_LINES)
def test_each_guard_of_files_catches_a_planted_line_at_any_depth(case, tmp_path):
    violations, name, line = PLANTED_LINES[case]
    assert violations(tmp_path) == set()
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert violations(tmp_path) == {name}


def test_a_job_of_one_import_is_thin(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/job.py").write_text("from sendopt.night.runtime import main\n")
    assert thick_jobs(tmp_path) == set()


def test_the_lock_pins_every_dependency_and_names_no_address():
    lock = (REPO / "requirements.lock").read_text()
    assert "://" not in lock
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert requirements
    assert all(re.match(r"^[A-Za-z0-9._\[\]-]+==\S+( ;.*)? \\$", line) for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)
