"""A Spark session with Delta: embedded by default, or the one that spark-submit prepared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from sendopt.config.schema import SparkSettings
from sendopt.errors import ConfigError
from sendopt.spark.jars import DELTA_CONF, JVM_OPTIONS, checked_jars, require_java


def open_session(settings: SparkSettings) -> SparkSession:
    """The session of this process, in UTC, with Delta.

    Raises ConfigError before the JVM starts where Java or a jar is missing or wrong.
    """
    require_java()
    jars = checked_jars()
    os.environ["TZ"] = "UTC"  # collect() reads the process's zone
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    log4j = Path(__file__).with_name("log4j2.properties")
    conf = {
        "spark.jars": ",".join(jars),
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.extraJavaOptions": f"{JVM_OPTIONS} -Dlog4j.configurationFile={log4j}",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.databricks.delta.merge.repartitionBeforeWrite.enabled": "true",
        "spark.databricks.delta.stats.skipping": "false",  # plan dates prune by partition; the rest is read whole
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.adaptive.coalescePartitions.initialPartitionNum": str(settings.shuffle_partitions),
        "spark.sql.codegen.cache.maxEntries": "1000",  # a night needs more than the usual 100, the next one the same
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **DELTA_CONF,
        **settings.conf,
    }
    builder = SparkSession.builder.appName("sendopt").master(settings.master)
    for key, value in conf.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _require_delta(spark)
    return spark


def _require_delta(spark: SparkSession) -> None:
    try:
        spark.sparkContext._jvm.java.lang.Class.forName(  # type: ignore[union-attr]
            DELTA_CONF["spark.sql.extensions"],
            True,
            spark.sparkContext._jvm.java.lang.Thread.currentThread().getContextClassLoader(),  # type: ignore[union-attr]
        )
    except Py4JJavaError:
        raise ConfigError(
            "this Spark session has no Delta on its class path: start the job with the project's own spark-submit "
            "(.venv/bin/spark-submit), or give --jars the files below share/sendopt/jars"
        ) from None
