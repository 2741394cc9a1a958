"""A night in Delta tables, written once, and its page."""

from __future__ import annotations

from pathlib import Path

import invented
import pytest

from sendopt.report import data, render
from sendopt.report.data import ReportData


@pytest.fixture(scope="session")
def night_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("night")
    invented.write_night(root)
    return root


@pytest.fixture(scope="session")
def night(night_root: Path) -> ReportData:
    return data.load(night_root, invented.PLAN_DATE, invented.evaluation(placebo=True))


@pytest.fixture(scope="session")
def page(night: ReportData) -> str:
    return render(night)
