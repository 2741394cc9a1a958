"""Raw files as rows of text: one row a line (or Parquet row), so that nothing malformed can vanish.

A row has `raw` (its text), `header` (a CSV file's first line, or a copy of it), `malformed`, and each raw column of
the mapping as text under a safe name; empty text is NULL. All files of one format and header are one read.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from sendopt.errors import ContractError
from sendopt.ingest import TableMapping
from sendopt.ingest.files import find_files, first_line, require_columns

MAX_DELIMITERS = 20_000  # the CSV parser refuses longer rows with an error instead of marking them
_CORRUPT = "_corrupt"


@dataclass(frozen=True)
class RawLog:
    """Rows of one table's files; `names` maps a raw column to its column in `rows`."""

    table: str
    rows: DataFrame
    names: dict[str, str]
    files: int
    empty_files: int
    headers: dict[str, int] = field(default_factory=dict)  # header line -> files that start with it
    keys: tuple[str, ...] = ()  # JSON: raw columns whose presence only the rows can tell


def _visible(path: Path) -> Path:
    if path.name.startswith(("_", ".")):
        raise ContractError(f"input {path}: Spark never reads a file whose name starts with _ or . ; rename it")
    return path


def read_raw(spark: SparkSession, table: str, mapping: TableMapping, source: Path) -> RawLog:
    """The raw rows of a table, not yet evaluated.

    Raises InputNotReady where no file is there, ContractError where a file cannot be read or lacks a raw column.
    """
    files = find_files(table, mapping, source)
    if mapping.files is None:
        files = [_visible(files[0])]
    filled = [f for f in files if f.stat().st_size > 0]
    names = {raw: f"raw_{i}" for i, raw in enumerate(mapping.raw_columns)}
    reader = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[mapping.format]
    rows, headers, keys, blank = reader(spark, table, mapping, filled, names)
    empty = len(files) - len(filled) + blank
    return RawLog(table, rows, names, len(files), empty, headers, keys)


_Read = tuple[DataFrame, dict[str, int], tuple[str, ...], int]


def _csv(spark: SparkSession, table: str, mapping: TableMapping, files: list[Path], names: dict[str, str]) -> _Read:
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[first_line(file)].append(file)
    blank = len(groups.pop("", []))
    parts = []
    for header, members in sorted(groups.items()):
        found = [c.strip() for c in next(csv.reader([header], delimiter=mapping.delimiter))]
        require_columns(table, mapping.raw_columns, members[0], found)
        parts.append(_csv_rows(_lines(spark, members), header, found, mapping.delimiter, names))
    headers = {header: len(members) for header, members in groups.items()}
    return _union(spark, parts, names), headers, (), blank


def _csv_rows(lines: DataFrame, header: str, found: list[str], delimiter: str, names: dict[str, str]) -> DataFrame:
    schema = StructType()
    for i in range(len(found)):
        schema.add(f"c{i}", StringType())
    schema.add(_CORRUPT, StringType())
    line = F.col("raw")
    options = {"sep": delimiter, "quote": '"', "escape": '"', "columnNameOfCorruptRecord": _CORRUPT}
    # A row ends with its line: an open quote would swallow the rest of it.
    sound = (_count(line, delimiter) < MAX_DELIMITERS) & (_count(line, '"') % 2 == 0) & F.col("valid")
    parsed = lines.withColumn("header", line == F.lit(header)).withColumn(
        "p", F.from_csv(F.when(sound, line), schema.simpleString(), options)
    )
    bad = F.col("p").isNull() | F.col(f"p.{_CORRUPT}").isNotNull() | ~_at_least(line, delimiter, len(found) - 1)
    values = [_text(F.col(f"p.c{found.index(raw)}")).alias(name) for raw, name in names.items()]
    return parsed.select("raw", "header", F.coalesce(bad, F.lit(True)).alias("malformed"), *values)


def _count(text: Column, character: str) -> Column:
    return F.length(text) - F.length(F.replace(text, F.lit(character), F.lit("")))


def _at_least(text: Column, character: str, count: int) -> Column:
    return _count(text, character) >= count


def _jsonl(spark: SparkSession, _table: str, _mapping: TableMapping, files: list[Path], names: dict[str, str]) -> _Read:
    schema = StructType()
    for raw in names:
        schema.add(raw, StringType())
    schema.add(_CORRUPT, StringType())
    line = F.trim("raw")
    options = {"columnNameOfCorruptRecord": _CORRUPT, "allowSingleQuotes": "false"}
    # The parser stops after the first object and would not see what follows it on the line.
    outside = F.regexp_replace(
        F.replace(F.replace(line, F.lit("\\\\"), F.lit("")), F.lit('\\"'), F.lit("")), '"[^"]*"', ""
    )
    one_object = line.startswith("{") & line.endswith("}") & F.col("valid")
    is_flat = F.instr(line, "}") == F.length(line)  # tells most rows cheaply
    nothing_after = is_flat | ((_count(outside, "{") == _count(outside, "}")) & ~outside.rlike(r"\}\s*\{"))
    parsed = _lines(spark, files).withColumn(
        "p", F.from_json(F.when(one_object & nothing_after, line), schema, options)
    )
    bad = F.col("p").isNull() | F.col("p").getField(_CORRUPT).isNotNull()
    values = [_text(F.col("p").getField(raw)).alias(name) for raw, name in names.items()]
    rows = parsed.select("raw", F.lit(False).alias("header"), F.coalesce(bad, F.lit(True)).alias("malformed"), *values)
    return (rows if files else _union(spark, [], names)), {}, tuple(names), 0


def _parquet(spark: SparkSession, table: str, mapping: TableMapping, files: list[Path], names: dict[str, str]) -> _Read:
    groups: dict[pa.Schema, list[Path]] = defaultdict(list)
    for file in files:
        try:
            schema = pq.read_schema(file).remove_metadata()
        except (pa.ArrowException, OSError):
            raise ContractError(f"{file} (tables.{table}) is no readable Parquet file; write it again") from None
        require_columns(table, mapping.raw_columns, file, schema.names)
        groups[schema].append(file)
    # pandas writes nanoseconds by default, which Spark reads only as whole numbers.
    spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")
    parts = []
    for schema, members in groups.items():
        rows = spark.read.parquet(*map(_literal, members))
        values = [_parquet_text(raw, schema.field(raw).type).alias(name) for raw, name in names.items()]
        everything = F.to_json(F.struct(*(F.col(_quoted(c)) for c in rows.columns)), {"ignoreNullFields": "false"})
        parts.append(
            rows.select(
                F.make_valid_utf8(everything).alias("raw"),
                F.lit(False).alias("header"),
                F.lit(False).alias("malformed"),
                *values,
            )
        )
    return _union(spark, parts, names), {}, (), 0


def _parquet_text(raw: str, kind: pa.DataType) -> Column:
    """The value as the text that a CSV would hold: instants with a Z, lists and structures as JSON."""
    column = F.col(_quoted(raw))
    if pa.types.is_timestamp(kind):
        at = F.timestamp_micros(F.floor(column / 1000).cast("bigint")) if kind.unit == "ns" else column
        return F.concat(at.cast("string"), F.lit("Z")) if kind.tz else at.cast("string")
    if pa.types.is_nested(kind):
        return F.to_json(column)
    return _text(F.make_valid_utf8(column.cast("string")))


def _lines(spark: SparkSession, files: list[Path]) -> DataFrame:
    """raw, valid (is it UTF-8?): the lines of all files; a line without text is no row."""
    lines = spark.read.text([_literal(f) for f in files]) if files else spark.createDataFrame([], "value string")
    value = F.col("value")
    return lines.where(F.trim(value) != "").select(
        F.make_valid_utf8(value).alias("raw"), F.is_valid_utf8(value).alias("valid")
    )


def _literal(file: Path) -> str:
    """The path with Spark's pattern characters escaped."""
    return "".join(f"\\{c}" if c in "[]{}*?\\" else c for c in str(file))


def require_keys(log: RawLog, mapping: TableMapping, empty: list[str]) -> None:
    """Raise ContractError for a raw column of JSON lines, empty in every row, that is a key of none."""
    for raw in empty:
        has_key = F.array_contains(F.json_object_keys("raw"), raw)
        if not log.rows.where(~F.col("malformed") & has_key).select(F.lit(1)).take(1):
            keys = (
                log.rows.where(~F.col("malformed"))
                .select(F.explode(F.json_object_keys("raw")))
                .limit(10_000)
                .distinct()
            )
            found = sorted(row[0] for row in keys.take(100))
            key = mapping.raw_columns[raw]
            raise ContractError(
                f"tables.{log.table}.{key}: no row of {log.files} files has the key {raw!r}; found: "
                f"{', '.join(found)[:500]}; correct the mapping, or take the column out of it",
                table=log.table, column=raw,
            )  # fmt: skip


def _union(spark: SparkSession, parts: list[DataFrame], names: dict[str, str]) -> DataFrame:
    if parts:
        return reduce(DataFrame.unionByName, parts)
    texts = ", ".join(f"{name} string" for name in names.values())
    return spark.createDataFrame([], f"raw string, header boolean, malformed boolean, {texts}")


def _text(value: Column) -> Column:
    return F.nullif(F.trim(value), F.lit(""))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
