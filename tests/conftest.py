"""Fixtures of the whole suite: one Spark session with Delta, a fresh lake for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from few_rows import FEW_ROWS
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from sendopt.spark.engine.lake import Lake

REPO = Path(__file__).resolve().parents[1]
HEARTSTEPS = REPO.parent / "shared" / "data" / "heartsteps_v1" / "decisions.csv"
os.environ["TZ"] = "UTC"
# The time of an example depends on the machine and fails no test. Examples are the same in every run, unless
# HYPOTHESIS_PROFILE=explore asks for new ones.
EXAMPLES = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, **EXAMPLES)
settings.register_profile("explore", **EXAMPLES)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Yield the one Spark session of the suite."""
    from sendopt.config.schema import SparkSettings
    from sendopt.spark.engine.session import open_session

    session = open_session(SparkSettings(master="local[2]", shuffle_partitions=2, conf=FEW_ROWS))
    yield session
    session.stop()


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """Return an empty lake."""
    from sendopt.spark.engine.lake import Lake

    return Lake(spark, str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def heartsteps() -> Path:
    """Return the path of the real trial's log. Skip the test where the log is absent."""
    if not HEARTSTEPS.is_file():
        pytest.skip("the HeartSteps log is not beside the project")
    return HEARTSTEPS
