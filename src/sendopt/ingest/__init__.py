"""Raw logs as the project's tables: one mapping, one reader, whatever engine or command asks; no engine here.

`load_mapping` reads a mapping (`conf/sources/NAME.yaml`), `read_table` gives one table's rows with typed values and the
reason where a row cannot be used. `sendopt.spark.ingest.ingest` and `sendopt.timing.evaluation` both read logs by it
and nothing else.
"""

from sendopt.ingest.mapping import load_mapping
from sendopt.ingest.schema import LOG_TABLES, DerivedUsers, Outcome, SourceMapping, TableMapping

__all__ = ["LOG_TABLES", "DerivedUsers", "Outcome", "SourceMapping", "TableMapping", "load_mapping"]
