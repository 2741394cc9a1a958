"""A lake with features, built once; a module that writes works on a copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from propensity_rows import world
from pyspark.sql import SparkSession

from sendopt.config.schema import Mlflow
from sendopt.spark.engine.lake import Lake
from sendopt.spark.features import build_features


@pytest.fixture(scope="session")
def lake_of_features(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 users of three zones and one of none, a send a day, opens, opt-outs, unsent points; features built."""
    from test_model_stages import DAYS, USERS, _fill, _night

    lake = Lake(spark, str(tmp_path_factory.mktemp("features") / "lake"))
    _fill(lake, world(users=USERS, days=DAYS, timing=2.0, seed=2))
    build_features.run(_night(lake, Mlflow()))
    return Path(lake.root)
