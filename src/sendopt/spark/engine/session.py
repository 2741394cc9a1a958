"""A Spark session with Delta: embedded by default, or the session that spark-submit prepared."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from sendopt.config.schema import SparkSettings
from sendopt.errors import ConfigError
from sendopt.process import jvm_log
from sendopt.spark.engine.jars import DELTA_CONF, JVM_OPTIONS, PRIVATE_CONF, checked_jars, require_java


def open_session(settings: SparkSettings, jvm_output: int | None = None) -> SparkSession:
    """Return this process's session, in UTC, with Delta.

    A JVM that is started for it writes its output to the file descriptor `jvm_output`, by default to standard error.
    Raise ConfigError, before the JVM starts, if Java or a jar is missing or wrong.
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
        "spark.databricks.delta.stats.skipping": "false",  # partitions prune plan dates; other tables are read whole
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.adaptive.coalescePartitions.initialPartitionNum": str(settings.shuffle_partitions),
        "spark.sql.codegen.cache.maxEntries": "1000",  # a night needs more than the default 100; the next reuses them
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **DELTA_CONF,
        **PRIVATE_CONF,
        **settings.conf,
    }
    builder = SparkSession.builder.appName("sendopt").master(settings.master)
    for key, value in conf.items():
        builder = builder.config(key, value)
    start_conf = {"spark.app.name": "sendopt", "spark.master": settings.master, **conf}
    start_jvm(start_conf, jvm_output)
    _start(start_conf)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _require_delta(spark)
    return spark


def _start(conf: dict[str, str]) -> None:
    """Start Spark and keep this process's handler of Ctrl-C, if any: Spark's handler calls a JVM that may be gone."""
    handler = signal.getsignal(signal.SIGINT)
    SparkContext.getOrCreate(SparkConf().setAll(list(conf.items())))
    if callable(handler) and handler is not signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)


def start_jvm(conf: dict[str, str], output: int | None) -> None:
    """Start this process's JVM, if it has none yet, with its output going to the file descriptor `output`.

    Raise ConfigError if it does not start.
    """
    if SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        return
    settings = SparkConf(loadDefaults=False)
    for key, value in conf.items():
        settings.set(key, value)
    streams = {} if output is None else {"stdout": output, "stderr": output}
    try:
        gateway = launch_gateway(settings, streams)  # type: ignore[no-untyped-call]
        SparkContext._ensure_initialized(gateway=gateway, conf=settings)
    except (Py4JError, PySparkException, OSError) as error:
        reasons = [line.strip() for line in jvm_log.lines(1)[1:]] or str(error).strip().splitlines()
        raise ConfigError(
            f"Spark's JVM did not start ({(reasons or [type(error).__name__])[0]:.200}): look at spark.conf and "
            "spark.driver_memory, and whether the temporary folder can be written"
        ) from None


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
