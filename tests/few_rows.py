"""Spark's settings for queries over a few hundred rows.

Such a query takes less time than Java code written and compiled for it, or a plan made anew after each shuffle. The
demo runs with the settings of a night.
"""

FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    # what Delta writes for readers of large tables
    "spark.databricks.delta.stats.collect": "false",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    "spark.databricks.delta.history.metricsEnabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
}
