"""Spark's settings for queries over a few hundred rows.

Such a query takes less time than generating and compiling Java code for it, or than planning again after each
shuffle. The demo uses the settings of a night.
"""

FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    # Delta writes these for readers of large tables.
    "spark.databricks.delta.stats.collect": "false",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    "spark.databricks.delta.history.metricsEnabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
}
