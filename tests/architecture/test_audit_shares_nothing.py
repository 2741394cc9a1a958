"""The audit is worth something only as long as it repeats no mistake of the solver: it imports none of its code."""

from __future__ import annotations

import ast
import configparser
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ALLOCATION = REPO / "src" / "sendopt" / "allocation"
AUDIT = sorted((ALLOCATION / "audit").rglob("*.py"))
CONTRACT = "importlinter:contract:audit"
SHARED = {  # the inputs, the plan to be audited, and how code is compiled
    "sendopt.allocation.problem",
    "sendopt.allocation.solution",
    "sendopt.allocation.statuses",
    "sendopt.compiled",
    "sendopt.domain.limits",
    "sendopt.errors",
    "sendopt.stats.arrays",
}
LIBRARIES = {"numpy", "pandas", "numba"}


def strangers(source: str) -> set[str]:
    """Return what an audit module imports beside the audit, the problem, arrays and the standard library."""
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    known = {_module_name(path) for path in AUDIT} | SHARED
    return {name for name in imported - known if name.split(".")[0] not in LIBRARIES | set(sys.stdlib_module_names)}


@pytest.mark.parametrize("path", AUDIT, ids=lambda p: p.stem)
def test_the_audit_imports_no_code_of_the_solver(path: Path) -> None:
    assert strangers(path.read_text()) == set()


@pytest.mark.parametrize(
    "line",
    [
        "from sendopt.allocation.tiers import tier_problem",
        "from sendopt.allocation.prices.engine import prepare",
        "from sendopt.allocation import allocate",
        "import sendopt.allocation.coupling",
        "from .user_rows import past_sends",
        "import highspy",
    ],
)
def test_an_import_of_the_solver_would_be_seen(line: str) -> None:
    assert strangers((ALLOCATION / "audit/tiers.py").read_text() + "\n" + line) != set()


def test_the_contract_names_every_module_of_the_audit_and_of_the_solver() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(REPO / ".importlinter")
    listed = {name: set(contracts[CONTRACT][name].split()) for name in ("source_modules", "forbidden_modules")}
    modules = {f"sendopt.allocation.{p.stem}" for p in ALLOCATION.iterdir() if p.stem != "__init__" and _is_module(p)}
    known = {f"sendopt.allocation.{name}" for name in ("audit", "problem", "solution", "statuses")}
    assert listed["source_modules"] == {"sendopt.allocation.audit"}
    assert modules - known <= listed["forbidden_modules"]


def _module_name(path: Path) -> str:
    return ".".join(("sendopt", "allocation", *path.relative_to(ALLOCATION).with_suffix("").parts))


def _is_module(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").is_file()
