"""The tables of a lake are their user's alone, whoever's umask started the JVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendopt.spark.engine.jars import PRIVATE_CONF

pytestmark = pytest.mark.slow


def test_what_the_jvm_writes_is_private(spark, tmp_path):
    spark.range(3).write.format("delta").save(str(tmp_path / "lake/table"))
    spark.range(3).write.format("delta").mode("append").save(str(tmp_path / "lake/table"))
    written = [tmp_path / "lake", *Path(tmp_path / "lake").rglob("*")]
    assert len(written) > 6
    open_to_others = [str(path) for path in written if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_the_setting_reaches_a_jvm_that_exists_already(spark):
    """spark-submit's JVM reads it from Spark's defaults, which the installation writes."""
    conf = spark.sparkContext.getConf()
    assert {key: conf.get(key) for key in PRIVATE_CONF} == {"spark.hadoop.fs.permissions.umask-mode": "077"}
