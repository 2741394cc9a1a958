"""Spark's settings for queries over a few hundred rows.

Such a query takes less time than Java code written and compiled for it, or a plan made anew after each shuffle. The
demo runs with the settings of a night.
"""

FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
