"""Raw logs as the project's tables: one mapping and one reader for all engines and commands; no engine is used here.

`load_mapping` reads a mapping (`conf/sources/NAME.yaml`). `read_table` returns the rows of one table: typed values, and
the reason where a row cannot be used. `sendopt.spark.ingest.ingest` and `sendopt.timing.evaluation` read logs by these
alone.
"""

from sendopt.ingest.mapping import load_mapping
from sendopt.ingest.schema import LOG_TABLES, DerivedUsers, Outcome, SourceMapping, TableMapping

__all__ = ["LOG_TABLES", "DerivedUsers", "Outcome", "SourceMapping", "TableMapping", "load_mapping"]
