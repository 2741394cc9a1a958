"""Raw logs into silver tables: every raw row ends in its table or, with one reason, in the quarantine.

Reasons come from the row alone or from keys and times, never from the order of rows or files, so that shuffled input
gives equal tables. Writes merge on keys, so that ingesting twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from sendopt.config.schema import Settings
from sendopt.domain.tables import TABLES
from sendopt.errors import ContractError
from sendopt.ingest import LOG_TABLES, SourceMapping, load_mapping
from sendopt.spark.failures import translated
from sendopt.spark.keys import keyed_hash
from sendopt.spark.raw_logs import RawLog, read_raw, require_keys
from sendopt.spark.raw_rows import typed_rows
from sendopt.spark.stage import Night, StageResult
from sendopt.spark.tables import Lake

MAX_RAW_CHARACTERS = 10_000  # of a row kept in the quarantine; its hash is of the whole row
OUTCOMES = "outcomes"  # rows that come out of accepted sends, counted by themselves


@dataclass(frozen=True)
class Counts:
    """What became of the rows of one table: rows_in = rows_out + the sum of `quarantined`."""

    rows_in: int
    rows_out: int
    quarantined: dict[str, int]
    files: int = 0
    empty_files: int = 0


@dataclass
class _Work:
    """One ingest under way."""

    lake: Lake
    mapping: SourceMapping
    settings: Settings
    received_utc: datetime
    counts: dict[str, Counts] = field(default_factory=dict)
    refused: list[DataFrame] = field(default_factory=list)  # table_name, reason, raw, header
    headers: dict[str, dict[str, int]] = field(default_factory=dict)
    held: list[DataFrame] = field(default_factory=list)


def run(night: Night) -> StageResult:
    """Ingests every source of `settings.sources`; rows are raw rows, `dropped` those in quarantine by reason.

    Raises InputNotReady where a source's input has not arrived, ContractError where a file does not fit its mapping.
    """
    received = datetime.now(UTC)
    total = StageResult(0, 0)
    sources: dict[str, object] = {}
    for name, source in sorted(night.settings.sources.items()):
        one = ingest(night.lake, load_mapping(source.mapping), source.input, night.settings, received)
        dropped = {r: total.dropped.get(r, 0) + one.dropped.get(r, 0) for r in {*total.dropped, *one.dropped}}
        total = StageResult(total.rows_in + one.rows_in, total.rows_out + one.rows_out, dict(sorted(dropped.items())))
        sources[name] = one.facts["tables"]
    return StageResult(total.rows_in, total.rows_out, total.dropped, {"sources": sources})


def ingest(
    lake: Lake, mapping: SourceMapping, source: Path | str, settings: Settings, received_utc: datetime
) -> StageResult:
    """Rows read, accepted and quarantined by reason; `facts["tables"]` says so per table, outcomes of sends apart.

    `source` is the file or folder of raw logs. A time later than `received_utc` + 1 hour is refused.
    Raises InputNotReady naming a missing file, ContractError where a file cannot be read, lacks a mapped column, or
    rows would be lost (in = out + quarantined is checked for each table).
    """
    work = _Work(lake, mapping, settings, received_utc)
    try:
        tables = [name for name in LOG_TABLES if name in mapping.tables]
        logs = {name: read_raw(lake.spark, name, mapping.tables[name], Path(source)) for name in tables}
        outcomes = _sends(work, logs["sends"]) if "sends" in logs else None
        _interactions(work, logs.get("interactions"), outcomes)
        for name in ("sessions", "users", "messages"):
            if name in logs:
                _plain(work, logs[name])
        if mapping.derived_users:
            _derive_users(work)
        _quarantine(work)
    except PySparkException as error:
        if ours := translated(error, "the silver tables"):
            raise ours from error
        reason = str(error).strip().partition("\n")[0][:300]
        raise ContractError(f"the input {source} cannot be ingested: {reason}", source=mapping.source) from error
    finally:
        for rows in work.held:
            rows.unpersist()
    return _result(work)


def _result(work: _Work) -> StageResult:
    dropped: dict[str, int] = {}
    raw = {name: c for name, c in work.counts.items() if name != OUTCOMES}
    for counts in raw.values():
        for reason, number in counts.quarantined.items():
            dropped[reason] = dropped.get(reason, 0) + number
    rows_in, rows_out = (sum(getattr(c, which) for c in raw.values()) for which in ("rows_in", "rows_out"))
    tables = {name: vars(c) for name, c in work.counts.items()}
    return StageResult(
        rows_in, rows_out, dict(sorted(dropped.items())), {"source": work.mapping.source, "tables": tables}
    )


def _plain(work: _Work, log: RawLog) -> None:
    """Sessions, users and messages: of rows with one key the last written (by time) is kept."""
    table = TABLES[log.table]
    rows = typed_rows(log, work.mapping, work.received_utc)
    newest = [F.col("created_at").desc()] if log.table == "users" else []
    reason = f"duplicate_{log.table.removesuffix('s')}"
    _settle(work, log.table, _one_per_key(rows, table.key, newest, reason).withColumn("origin", F.lit(log.table)), log)


def _sends(work: _Work, log: RawLog) -> DataFrame | None:
    """Writes the sends; returns the outcomes that stand in their rows, where the mapping names any."""
    source = work.mapping.source
    rows = typed_rows(log, work.mapping, work.received_utc)
    key = F.coalesce("send_key", keyed_hash("send", source, F.col("notification_id")))
    rows = rows.withColumns({"source": F.lit(source), "send_key": key, "origin": F.lit("sends")})
    order = [F.col("sent_at_utc"), F.col("outcome").desc_nulls_last()]
    rows = _settle(work, "sends", _one_per_key(rows, ("send_key",), order, "duplicate_send"), log)
    return _outcomes(work, rows) if work.mapping.tables["sends"].outcome else None


def _outcomes(work: _Work, sends: DataFrame) -> DataFrame:
    """Outcomes as interactions; a send that was not made keeps its own (the placebo)."""
    outcome = work.mapping.tables["sends"].outcome
    assert outcome is not None
    window = int(work.settings.label.window_hours * 3600)
    imputed = F.timestamp_micros(F.unix_micros("sent_at_utc") + window * 1_000_000)
    early = F.col("outcome_at") < F.col("sent_at_utc")
    given = F.col("outcome") | F.col("outcome_problem").isNotNull()
    return sends.where(F.col("reason").isNull() & given).select(
        F.lit(OUTCOMES).alias("origin"),
        "raw",
        F.lit(False).alias("header"),
        "send_key",
        F.lit(outcome.kind).alias("kind"),
        F.coalesce("outcome_at", imputed).alias("at_utc"),
        F.col("outcome_at").isNull().alias("at_imputed"),
        F.coalesce("outcome_problem", F.when(early, "interaction_before_send")).alias("reason"),
    )


def _interactions(work: _Work, log: RawLog | None, outcomes: DataFrame | None) -> None:
    """Interactions of the log and outcomes of the sends, settled together: they may tell of the same thing."""
    parts = [outcomes] if outcomes is not None else []
    if log is not None:
        rows = _with_send(work, typed_rows(log, work.mapping, work.received_utc))
        early = F.when(F.col("at_utc") < F.col("sent_at"), "interaction_before_send")
        unmatched = F.when(F.col("found_key").isNull(), "interaction_without_send")
        parts.append(
            rows.withColumns(
                {
                    "origin": F.lit("interactions"),
                    "at_imputed": F.lit(False),
                    "reason": F.coalesce("reason", unmatched, early),
                    "send_key": F.col("found_key"),
                }
            )
        )
    if parts:
        rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), parts)
        _settle(work, "interactions", _earliest(work, rows), log)


def _with_send(work: _Work, rows: DataFrame) -> DataFrame:
    """The rows with found_key and sent_at of their send: by its key where they carry one, else by (source, id).

    Where the log names the user, the send must be of that user. An id of several sends finds none.
    """
    by_user = "user_id" in work.mapping.tables["interactions"].columns
    user = [F.col("user_id")] if by_user else []
    sends = work.lake.read("sends")

    def match(kind: str, column: str) -> Column:
        return F.concat_ws("\x1f", F.lit(kind), F.col(column), *user)

    keyed = sends.select(
        match("key", "send_key").alias("match"),
        F.col("send_key").alias("found_key"),
        F.col("sent_at_utc").alias("sent_at"),
    )
    named = (
        sends.where(F.col("source") == work.mapping.source)
        .groupBy(match("id", "notification_id").alias("match"))
        .agg(F.min("send_key").alias("found_key"), F.min("sent_at_utc").alias("sent_at"), F.count("*").alias("n"))
        .where("n = 1")
        .drop("n")
    )
    by_key = F.when(F.col("send_key").isNotNull(), match("key", "send_key"))
    by_id = F.when(F.col("notification_id").isNotNull(), match("id", "notification_id"))
    matched = rows.withColumn("match", F.when(F.col("reason").isNull(), F.coalesce(by_key, by_id)))
    return matched.join(keyed.unionByName(named), "match", "left").drop("match")


def _earliest(work: _Work, rows: DataFrame) -> DataFrame:
    """One interaction a send and kind: a timed one before an imputed one, then the earliest, the lake's included."""
    order = [F.col("at_imputed"), F.col("at_utc")]
    rows = _one_per_key(rows, ("send_key", "kind"), order, "duplicate_interaction")
    if not work.lake.exists("interactions"):
        return rows
    known = work.lake.read("interactions").select(
        "send_key", "kind", F.col("at_utc").alias("old_at"), F.col("at_imputed").alias("old_imputed")
    )
    is_later = F.struct("old_imputed", "old_at") < F.struct("at_imputed", "at_utc")
    later = F.when(F.col("old_at").isNotNull() & is_later, "duplicate_interaction")
    joined = rows.join(known, ["send_key", "kind"], "left")
    return joined.withColumn("reason", F.coalesce("reason", later)).drop("old_at", "old_imputed")


def _one_per_key(rows: DataFrame, key: tuple[str, ...], order: list[Column], reason: str) -> DataFrame:
    """All but the first row of a key get `reason`; ties break by the raw text, so that any order of rows does."""
    sound = F.col("reason").isNull()
    spread = F.when(~sound, F.xxhash64("raw"))  # refused rows share no key: keep them apart
    window = Window.partitionBy(*key, spread).orderBy(*order, "raw")
    rank = F.row_number().over(window)
    return rows.withColumn("rank", rank).withColumn("reason", F.coalesce("reason", F.when(F.col("rank") > 1, reason)))


def _settle(work: _Work, table: str, rows: DataFrame, log: RawLog | None) -> DataFrame:
    """The rows, held: the accepted are written, the refused kept for the quarantine, and none is lost."""
    rows = rows.persist()
    work.held.append(rows)
    seen = [F.max(F.coalesce(F.col(f"seen_{i}"), F.lit(False))) for i in range(len(log.keys))] if log else []
    groups = rows.groupBy("origin", "header", "reason").agg(F.count("*").alias("n"), *seen).collect()
    if log:
        _check_keys(work, log, [g for g in groups if g["reason"] != "malformed_row"])
    accepted = rows.where(F.col("reason").isNull()).select(*TABLES[table].names)
    written = work.lake.merge(table, accepted)
    for origin in sorted({table, *(g["origin"] for g in groups)}):
        if origin in work.mapping.tables or origin == OUTCOMES:
            own = [g for g in groups if g["origin"] == origin]
            work.counts[origin] = _counts(own, log if origin == table else None)
    counted = [
        c for name, c in work.counts.items() if name in (table, *([OUTCOMES] if table == "interactions" else []))
    ]
    rows_in, rows_out = sum(c.rows_in for c in counted), sum(c.rows_out for c in counted)
    refused = sum(sum(c.quarantined.values()) for c in counted)
    if written != rows_out or rows_in != rows_out + refused:
        raise ContractError(
            f"tables.{table}: {rows_in} rows came in, {rows_out} were accepted, {written} written, {refused} refused; "
            "this is a fault of sendopt, please report it",
            table=table,
        )
    if refused:
        reason = F.when(F.col("header"), "malformed_row").otherwise(F.col("reason"))
        bad = rows.where(F.col("reason").isNotNull())
        work.refused.append(bad.select(F.lit(table).alias("table_name"), reason.alias("reason"), "raw", "header"))
        work.headers[table] = log.headers if log else {}
    return rows


def _counts(groups: list[Row], log: RawLog | None) -> Counts:
    """Of one origin: a CSV file's first line is no row, a copy of it further down is a malformed one."""
    first_lines = sum(log.headers.values()) if log else 0
    quarantined: dict[str, int] = {}
    for group in groups:
        if group["reason"] is not None:
            reason = "malformed_row" if group["header"] else group["reason"]
            quarantined[reason] = quarantined.get(reason, 0) + group["n"]
    if first_lines:
        quarantined["malformed_row"] = quarantined.get("malformed_row", 0) - first_lines
    quarantined = {reason: n for reason, n in sorted(quarantined.items()) if n}
    rows_in = sum(g["n"] for g in groups) - first_lines
    rows_out = sum(g["n"] for g in groups if g["reason"] is None)
    return Counts(rows_in, rows_out, quarantined, log.files if log else 0, log.empty_files if log else 0)


def _check_keys(work: _Work, log: RawLog, groups: list[Row]) -> None:
    own = [g for g in groups if g["origin"] == log.table]
    if own:
        empty = [raw for i, raw in enumerate(log.keys) if not any(g[4 + i] for g in own)]
        require_keys(log, work.mapping.tables[log.table], empty)


def _derive_users(work: _Work) -> None:
    derived = work.mapping.derived_users
    assert derived is not None
    zone = F.max_by("timezone", F.when(F.col("timezone").isNotNull(), F.struct("sent_at_utc", "send_key")))
    nothing = F.lit(None).cast("string")
    users = (
        work.lake.read("sends")
        .where(F.col("source") == work.mapping.source)
        .groupBy("user_id")
        .agg(zone.alias("timezone"), F.min("sent_at_utc").alias("created_at"))
        .withColumn("channels", F.array(*map(F.lit, derived.channels)))
        .withColumn("opted_out_categories", F.array().cast("array<string>"))
        .withColumn("quiet_start", nothing)
        .withColumn("quiet_end", nothing)
    )
    work.lake.merge("users", users)


def _quarantine(work: _Work) -> None:
    """Refused rows by reason and text; a CSV header counts only where it stands once more than its files need."""
    if not work.refused:
        return
    found = reduce(DataFrame.unionByName, work.refused)
    needed = [(table, line, n) for table, lines in work.headers.items() for line, n in lines.items()]
    headers = work.lake.spark.createDataFrame(needed, "table_name string, raw string, n bigint")
    grouped = (
        found.groupBy("table_name", "reason", "raw")
        .agg(F.count("*").alias("occurrences"), F.max("header").alias("header"))
        .join(F.broadcast(headers), ["table_name", "raw"], "left")
        .withColumn("occurrences", F.col("occurrences") - F.when(F.col("header"), F.col("n")).otherwise(0))
        .where("occurrences > 0")
        .select(
            F.lit(work.mapping.source).alias("source"),
            "table_name",
            "reason",
            keyed_hash("raw", F.col("raw")).alias("row_hash"),
            F.substring("raw", 1, MAX_RAW_CHARACTERS).alias("raw"),
            "occurrences",
        )
    )
    work.lake.merge("quarantine", grouped)
