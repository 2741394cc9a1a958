"""Delta tables with their contracts: read, replace a plan_date, merge on a key. Every write is idempotent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)

from sendopt.domain.tables import TABLES, Table
from sendopt.errors import ContractError, SendoptError
from sendopt.lake import tables
from sendopt.lake.tables import ABSENT
from sendopt.spark.engine.failures import as_ours, lost_race

MAX_EXAMPLES = 3
_NO_TABLE_THERE = ("CREATE_TABLE_WITH_NON_EMPTY_LOCATION", "MISSING_DELTA_TABLE")
_PATIENCE = 15  # polls, one every 0.2 s, while another process may be creating a table
_TYPES: dict[str, DataType] = {
    "string": StringType(),
    "int": IntegerType(),
    "bigint": LongType(),
    "double": DoubleType(),
    "boolean": BooleanType(),
    "timestamp": TimestampType(),
    "date": DateType(),
    "array<string>": ArrayType(StringType()),
    "array<double>": ArrayType(DoubleType()),
    "array<bigint>": ArrayType(LongType()),
    "map<string,double>": MapType(StringType(), DoubleType()),
}


def schema_of(table: Table) -> StructType:
    """Return the contract as a Spark schema."""
    schema = StructType()
    for column in table.columns:
        schema.add(column.name, _TYPES[column.type], column.nullable)
    return schema


@dataclass
class Touched:
    """Delta versions of the tables that were read (at the first read of each) and written (after the last write)."""

    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)


@contextmanager
def _held(rows: DataFrame) -> Iterator[None]:
    """Unpersist `rows` when the block ends."""
    try:
        yield
    finally:
        rows.unpersist()


@dataclass(frozen=True)
class Lake:
    """The project's Delta tables below one folder or URL; `touched` records what this object read and wrote."""

    spark: SparkSession
    root: str
    touched: Touched = field(default_factory=Touched, repr=False, compare=False)

    def recording(self) -> Lake:
        """Return a `Lake` of the same tables with an empty `touched`."""
        return Lake(self.spark, self.root)

    def path(self, name: str) -> str:
        """Return the absolute path or URL of the table."""
        # Delta takes a relative path for a table's name
        root = self.root if "://" in self.root else str(Path(self.root).resolve())
        return f"{root.rstrip('/')}/{TABLES[name].name}"

    def exists(self, name: str) -> bool:
        """Return whether the table exists."""
        return self.version(name) != ABSENT

    def version(self, name: str) -> int:
        """Return the table's present Delta version, or ABSENT if the table does not exist."""
        return tables.version(self.path(name))

    def read(self, name: str, plan_date: date | None = None) -> DataFrame:
        """Return the table's rows (of `plan_date` if given) at its present version; later writes do not change them.

        A table that does not exist has no rows. The version of a table's first read is recorded in `touched`. A table
        that this object wrote before it read it is no input and is not recorded as read.
        """
        rows, version = self._pinned(name)
        if name not in self.touched.written:
            self.touched.read.setdefault(name, version)
        return rows if plan_date is None else rows.where(F.col("plan_date") == F.lit(plan_date))

    def version_used(self, name: str) -> int:
        """Return the version that was read, else the version that was written, else the present version."""
        touched = {**self.touched.written, **self.touched.read}
        return touched[name] if name in touched else self.version(name)

    def _pinned(self, name: str) -> tuple[DataFrame, int]:
        """Return (rows, version). Without a version, Delta reads the newest rows each time the frame is computed."""
        version = self.version(name)
        if version == ABSENT:
            return self.spark.createDataFrame([], schema_of(TABLES[name])), ABSENT
        reader = self.spark.read.format("delta").option("versionAsOf", version)
        rows = reader.load(self.path(name))
        missing = {c.name: F.lit(None).cast(_TYPES[c.type]) for c in TABLES[name].columns if c.name not in rows.columns}
        return rows.withColumns(missing) if missing else rows, version  # columns added to the contract since

    def _wrote(self, name: str) -> None:
        self.touched.written[name] = self.version(name)

    def replace(self, name: str, rows: DataFrame, plan_date: date, only: str | None = None) -> int:
        """Replace the table's rows of `plan_date` by `rows` in one atomic commit; return the number of rows written.

        `only` is an SQL condition that narrows what is replaced. Raise ContractError if a row breaks the table's
        contract or belongs to another date, and LakeBusy if another process committed first; nothing is written then.
        """
        table = TABLES[name]
        rows = conform(rows, table).persist()
        with _held(rows), as_ours(f"table {name}"):
            count = require_contract(rows, table, plan_date)
            self._create(table)
            (
                rows.coalesce(2)
                .write.format("delta")
                .mode("overwrite")
                .option("mergeSchema", "true")  # adds the columns that are new in the contract
                .option("replaceWhere", f"plan_date = '{plan_date}'" + (f" AND {only}" if only else ""))
                .save(self.path(name))
            )
            self._wrote(name)
        return count

    def overwrite(self, name: str, rows: DataFrame) -> int:
        """Replace the whole table by `rows` in one atomic commit; return the number of rows written.

        The files keep the order of the rows. Raise ContractError if a row breaks the table's contract; nothing is
        written then.
        """
        table = TABLES[name]
        rows = conform(rows, table).persist()
        with _held(rows), as_ours(f"table {name}"):
            count = require_contract(rows, table)
            self._create(table)
            rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(self.path(name))
            self._wrote(name)
        return count

    def merge(self, name: str, rows: DataFrame) -> int:
        """Insert rows with new keys and update changed rows; return the number of rows given.

        Equal rows are not written. Raise ContractError if a row breaks the contract or two rows share a key (MERGE
        would insert both).
        """
        table = TABLES[name]
        rows = conform(rows, table).persist()
        with _held(rows), as_ours(f"table {name}"):
            count = require_contract(rows, table)
            self._create(table)
            old, _ = self._pinned(name)
            if old.isEmpty():
                # overwrite, not append: of two first writers at the same time the second fails and doubles no row
                rows.coalesce(2).write.format("delta").mode("overwrite").save(self.path(name))
            else:
                self._upsert(table, rows, old)
            self._wrote(name)
        return count

    def _upsert(self, table: Table, rows: DataFrame, old: DataFrame) -> None:
        """Merge the new and changed rows only; without any, make no commit."""
        same_key = " AND ".join(f"old.{k} <=> new.{k}" for k in table.key)
        rest = [c for c in table.names if c not in table.key]
        changed = " OR ".join(f"NOT (old.{c} <=> new.{c})" for c in rest) or "false"
        existing = old.withColumn("_exists", F.lit(True)).alias("old")
        joined = rows.alias("new").join(existing, F.expr(same_key), "left")
        changes = joined.where(f"old._exists IS NULL OR {changed}").select("new.*").persist()
        try:
            if changes.isEmpty():
                return
            (
                DeltaTable.forPath(self.spark, self.path(table.name))
                .alias("old")
                .merge(changes.alias("new"), same_key)
                .whenMatchedUpdateAll()
                .whenNotMatchedInsertAll()
                .execute()
            )
        finally:
            changes.unpersist()

    def _create(self, table: Table) -> None:
        builder = DeltaTable.createIfNotExists(self.spark).location(self.path(table.name)).addColumns(schema_of(table))
        if table.partition_by:
            builder = builder.partitionedBy(*table.partition_by)
        optional = {c.name for c in table.columns if c.nullable}
        path = self.path(table.name).replace("`", "``")
        try:
            schema = builder.execute().toDF().schema
        except AnalysisException as error:
            if not any(f"DELTA_{name}" in str(error) for name in _NO_TABLE_THERE):
                raise
            raise self._creation_error(table.name) from error
        for new in [f for f in schema_of(table) if f.name not in schema.names]:
            self.spark.sql(f"ALTER TABLE delta.`{path}` ADD COLUMNS (`{new.name}` {new.dataType.simpleString()})")
        for column in schema:
            if column.name in optional and not column.nullable:  # it was required when the table was created
                self.spark.sql(f"ALTER TABLE delta.`{path}` ALTER COLUMN `{column.name}` DROP NOT NULL")

    def _creation_error(self, name: str) -> SendoptError:
        """Return why the table cannot be created: another process is creating it, or its folder holds other files."""
        for _ in range(_PATIENCE):
            if self.exists(name):
                return lost_race(f"table {name}")
            time.sleep(0.2)
        return ContractError(
            f"table {name}: the folder {self.path(name)} holds files and is no Delta table (a first write that was "
            "killed, or another program's files); move that folder away and run the stage again",
            table=name,
        )


def conform(rows: DataFrame, table: Table) -> DataFrame:
    """Return the rows with the contract's columns in its order.

    Raise ContractError if a column is missing or has another type.
    """
    types = {f.name: f.dataType.simpleString() for f in rows.schema.fields}
    wrong = [
        f"{c.name} is {types.get(c.name, 'missing')}, expected {c.type}"
        for c in table.columns
        if types.get(c.name) != c.type
    ]
    if wrong:
        raise ContractError(f"table {table.name}: {'; '.join(wrong)}", table=table.name)
    return rows.select(*table.names)


def require_contract(rows: DataFrame, table: Table, plan_date: date | None = None) -> int:
    """Return the number of rows, after a check of the contract in one pass.

    Raise ContractError naming column, count and example values of the first rule that rows break: a column's type,
    NULL or check, a date other than `plan_date`, or a key that occurs more than once.
    """
    rules = {c.name: _broken(c.name, c.type, c.nullable, c.check) for c in table.columns}
    wrong_date = F.lit(False) if plan_date is None else F.col("plan_date") != F.lit(plan_date)
    key = F.to_json(F.struct(*table.key), {"ignoreNullFields": "false"})
    sums = {**{f"_{name}": rule for name, rule in rules.items()}, "_wrong_dates": wrong_date}
    counted = rows.agg(
        F.count("*").alias("_rows"),
        F.count_distinct(key).alias("_keys"),
        *(F.coalesce(F.sum(rule.cast("int")), F.lit(0)).alias(name) for name, rule in sums.items()),
    ).head()
    assert counted is not None
    for name, rule in rules.items():
        if counted[f"_{name}"]:
            raise _column_error(rows.where(rule), table, name, int(counted[f"_{name}"]), int(counted["_rows"]))
    if wrong_dates := counted["_wrong_dates"]:
        raise ContractError(
            f"table {table.name}: {wrong_dates} rows of another plan_date than {plan_date}, the one replaced",
            table=table.name,
            count=wrong_dates,
        )
    if repeated := int(counted["_rows"] - counted["_keys"]):
        raise ContractError(
            f"table {table.name}: {repeated} rows repeat a key ({', '.join(table.key)}) of another row; expected one "
            "each",
            table=table.name,
            count=repeated,
        )
    return int(counted["_rows"])


def _column_error(broken: DataFrame, table: Table, name: str, count: int, total: int) -> ContractError:
    """Return the error of a column that `count` of `total` rows break; examples of ids and keys are withheld."""
    column = table[name]
    examples = [str(r[0]) for r in broken.select(name).limit(MAX_EXAMPLES).collect()]
    shown = "withheld" if name.endswith(("_id", "_key")) else ", ".join(examples)
    expected = f"{'' if column.nullable else 'not null, '}{column.check or column.type}"
    return ContractError(
        f"table {table.name}, column {name}: {count} of {total} rows break its contract ({expected}); "
        f"examples: {shown}",
        table=table.name,
        column=name,
        count=count,
    )


def _broken(name: str, kind: str, nullable: bool, check: str | None) -> SparkColumn:
    """Return the condition that a row breaks the column's contract; NaN and infinity break that of a double."""
    column = F.col(name)
    rules = [F.lit(False)]
    if not nullable:
        rules.append(column.isNull())
    if kind == "double":
        rules.append(F.coalesce(F.isnan(column) | column.isin(float("inf"), float("-inf")), F.lit(False)))
    if check:
        rules.append(F.coalesce(~F.expr(check), F.lit(False)))
    return reduce(lambda left, right: left | right, rules)
