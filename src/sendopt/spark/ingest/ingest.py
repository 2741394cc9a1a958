"""Stage ingest: raw logs into silver tables; every raw row ends in its table or, with one reason, in the quarantine.

Reasons depend on the row, on keys and on times, never on the order of rows or files, so that shuffled input gives equal
tables; only people's rows of equal time are ordered by file and line. Every table is checked before the first is
written. Writes merge on keys, so that ingesting twice changes nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from sendopt.config.schema import Settings
from sendopt.domain.tables import TABLES
from sendopt.errors import ContractError
from sendopt.ingest import LOG_TABLES, SourceMapping, load_mapping
from sendopt.ingest.counts import OUTCOMES, Counts, require_readable
from sendopt.ingest.reader import Reading
from sendopt.ingest.typed import Known, known_of
from sendopt.spark.engine.failures import translated
from sendopt.spark.engine.keys import keyed_hash
from sendopt.spark.engine.lake import Lake
from sendopt.spark.ingest import consents
from sendopt.spark.ingest.matching import with_send
from sendopt.spark.ingest.raw_logs import RawLog, read_raw
from sendopt.spark.night import Night, StageResult

MAX_RAW_CHARACTERS = 10_000  # of a row that the quarantine keeps; row_hash covers the whole row


@dataclass
class _Settled:
    """A table's rows, each with its reason, and the `accepted` rows, which are to be written."""

    rows: DataFrame
    accepted: DataFrame


@dataclass
class _Work:
    """State of one ingest: its inputs, its counts, and the frames to write (`settled`, `statements`)."""

    lake: Lake
    mapping: SourceMapping
    settings: Settings
    received_utc: datetime
    known: Known
    counts: dict[str, Counts] = field(default_factory=dict)
    settled: dict[str, _Settled] = field(default_factory=dict)
    statements: list[DataFrame] = field(default_factory=list)  # of consent
    held: list[DataFrame] = field(default_factory=list)  # persisted frames, unpersisted at the end

    @property
    def tolerance(self) -> int:
        """How far a reaction may precede its send, in microseconds."""
        return round(self.settings.label.clock_tolerance_seconds * 1_000_000)


def run(night: Night) -> StageResult:
    """Ingest every source of `settings.sources`; return the counts of raw rows, with `dropped` = quarantined by reason.

    Raise InputNotReady if a source's input has not arrived, and ContractError if a file does not fit its mapping or too
    much of it cannot be read.
    """
    total = StageResult(0, 0)
    sources: dict[str, object] = {}
    for name, source in sorted(night.settings.sources.items()):
        result = ingest(
            night.lake, load_mapping(source.mapping), source.input, night.settings, night.stated_clock.received_utc
        )
        reasons = sorted({*total.dropped, *result.dropped})
        dropped = {r: total.dropped.get(r, 0) + result.dropped.get(r, 0) for r in reasons}
        total = StageResult(total.rows_in + result.rows_in, total.rows_out + result.rows_out, dropped)
        sources[name] = result.facts["tables"]
    return StageResult(total.rows_in, total.rows_out, total.dropped, {"sources": sources})


def ingest(
    lake: Lake, mapping: SourceMapping, source: Path | str, settings: Settings, received_utc: datetime
) -> StageResult:
    """Ingest one source; return the counts of rows read, accepted and quarantined by reason.

    `facts["tables"]` holds the counts per table, with outcomes of sends apart. `source` is the file or folder of raw
    logs. A time later than `received_utc` + 1 hour is refused.
    Raise InputNotReady naming a missing file. Raise ContractError if a file cannot be read or lacks a mapped column, if
    more rows or outcomes are refused than `settings.ingest` allows (only the quarantine is written then), or if rows
    would be lost (in = out + quarantined is checked for each table).
    """
    work = _Work(lake, mapping, settings, received_utc, known_of(settings))
    try:
        tables = [name for name in LOG_TABLES if name in mapping.tables]
        logs = {name: _read(work, name, Path(source)) for name in tables}
        outcomes = _sends(work, logs["sends"]) if "sends" in logs else None
        _interactions(work, logs.get("interactions"), outcomes)
        for name in ("sessions", "messages"):
            if name in logs:
                _plain(work, logs[name])
        if "users" in logs:
            _users(work, logs["users"])
        _quarantine(work)
        kept = "no table but the quarantine was written"
        require_readable(mapping.source, work.counts, settings.ingest, kept)
        _write(work)
    except PySparkException as error:
        if translation := translated(error, "the silver tables"):
            raise translation from error
        reason = str(error).strip().partition("\n")[0][:300]
        raise ContractError(f"the input {source} cannot be ingested: {reason}", source=mapping.source) from error
    finally:
        for rows in work.held:
            rows.unpersist()
    return _result(work)


def _read(work: _Work, table: str, source: Path) -> RawLog:
    reading = Reading(table, work.mapping, work.received_utc, work.known)
    log = read_raw(work.lake.spark, reading, source)
    work.held.append(log.rows)
    return log


def _result(work: _Work) -> StageResult:
    dropped: Counter[str] = Counter()
    raw = {name: c for name, c in work.counts.items() if name != OUTCOMES}
    for counts in raw.values():
        dropped.update(counts.quarantined)
    rows_in, rows_out = sum(c.rows_in for c in raw.values()), sum(c.rows_out for c in raw.values())
    tables = {name: vars(c) for name, c in work.counts.items()}
    facts: dict[str, object] = {"source": work.mapping.source, "tables": tables}
    return StageResult(rows_in, rows_out, dict(sorted(dropped.items())), facts)


def _plain(work: _Work, log: RawLog) -> None:
    """Settle sessions or messages: of several rows with one key, one row is kept."""
    reason = f"duplicate_{log.table.removesuffix('s')}"
    _settle(work, log.table, _one_per_key(log.rows, TABLES[log.table].key, [], reason), log)


def _users(work: _Work, log: RawLog) -> None:
    """Settle people's rows: of a person's rows the latest is kept, of equal times the last by file and line.

    A row's time is updated_at, else the later of its file's date and created_at. A row older than the lake's row of the
    person is refused. The age of a row without updated_at and file date is unknown, so it is kept.
    """
    stated = F.coalesce("updated_at", F.greatest("file_date", "created_at"))
    rows = log.rows.withColumns({"stated_at": stated, "source": F.lit(work.mapping.source)})
    rows = _one_per_key(rows, ("user_id",), [F.col("stated_at").desc(), F.col("place").desc()], "duplicate_user")
    dated = F.col("updated_at").isNotNull() | F.col("file_date").isNotNull()
    known = work.lake.read("users").select("user_id", F.coalesce("stated_at", "created_at").alias("_known_at"))
    rows = rows.join(known, "user_id", "left").withColumn(
        "reason", F.coalesce("reason", F.when(dated & (F.col("stated_at") < F.col("_known_at")), "duplicate_user"))
    )
    rows = _settle(work, "users", rows.drop("_known_at"), log)
    work.statements += consents.of_users(work.lake, work.mapping, rows, work.received_utc, work.known)
    if work.mapping.tables["users"].snapshot == "full":
        settled = work.settled["users"]
        settled.accepted = consents.with_leavers(work.lake, work.mapping, rows, settled.accepted).persist()
        work.held.append(settled.accepted)
        _count_leavers(work, settled.accepted)


def _count_leavers(work: _Work, accepted: DataFrame) -> None:
    """Count the people that left; raise ContractError if they are so many that the snapshot is probably cut."""
    left = accepted.where("left").count()
    work.counts["users"].left = accepted.count() - work.counts["users"].rows_out
    people = work.lake.read("users").where((F.col("source") == work.mapping.source) & ~F.coalesce("left", F.lit(False)))
    number, limit = people.count(), work.settings.ingest.max_left_fraction
    if number and left > limit * number:
        raise ContractError(
            f"source {work.mapping.source}: tables.users is a full snapshot, and {left:,} of {number:,} people known "
            f"before are not in it ({left / number:.1%}; at most {limit:.1%}, ingest.max_left_fraction); nothing was "
            "written. Ingest the whole snapshot, say `snapshot: changes`, or raise the setting",
            source=work.mapping.source,
        )


def _sends(work: _Work, log: RawLog) -> DataFrame | None:
    """Settle the sends; return the outcomes in their rows, or None if the mapping names none."""
    unknown = F.when(F.col("outcome").isNull(), F.lit(False))  # NULL: known
    rows = log.rows.withColumns({"source": F.lit(work.mapping.source), "outcome_known": unknown})
    # "not sent" (bounced) comes before "sent": it is the later report
    # at equal times: a positive outcome, then an unreadable one (it may be positive), then a negative one
    order = [
        F.col("sent"),
        F.col("sent_at_utc"),
        F.coalesce("outcome", F.lit(False)).desc(),
        F.col("outcome").isNotNull(),
    ]
    rows = _settle(work, "sends", _one_per_key(rows, ("send_key",), order, "duplicate_send"), log)
    return _outcomes(work, rows) if work.mapping.tables["sends"].outcome else None


def _outcomes(work: _Work, sends: DataFrame) -> DataFrame:
    """Return the outcomes of sends as interactions, those of sends that were not made (placebo) included."""
    outcome = work.mapping.tables["sends"].outcome
    assert outcome is not None
    window = int(work.settings.label.window_hours * 3600)
    imputed = F.timestamp_micros(F.unix_micros("sent_at_utc") + window * 1_000_000)
    early = F.unix_micros("outcome_at") < F.unix_micros("sent_at_utc") - work.tolerance
    given = F.coalesce("outcome", F.lit(False)) | F.col("outcome_problem").isNotNull()
    return sends.where(F.col("reason").isNull() & given).select(
        F.lit(OUTCOMES).alias("_origin"),
        "raw",
        "send_key",
        F.lit(outcome.kind).alias("kind"),
        F.coalesce("outcome_at", imputed).alias("at_utc"),
        F.col("outcome_at").isNull().alias("at_imputed"),
        F.lit(None).cast("boolean").alias("machine"),
        F.lit(False).alias("_consent_only"),
        F.coalesce("outcome_problem", F.when(early, "interaction_before_send")).alias("reason"),
        (F.col("outcome_at") < F.col("sent_at_utc")).alias("_tolerated"),
    )


def _interactions(work: _Work, log: RawLog | None, outcomes: DataFrame | None) -> None:
    """Settle the log's interactions together with the sends' outcomes: both may report the same event."""
    parts = [outcomes] if outcomes is not None else []
    if log is not None:
        rows = with_send(work.mapping, log.rows, _sends_known(work), work.tolerance)
        early = F.unix_micros("at_utc") < F.unix_micros("sent_at") - work.tolerance
        unmatched = F.when(F.col("found_key").isNull(), "interaction_without_send")
        reason = F.coalesce("reason", unmatched, F.when(early, "interaction_before_send"))
        rows = rows.withColumns(
            {
                "_origin": F.lit("interactions"),
                "at_imputed": F.lit(False),
                "reason": reason,
                "send_key": F.col("found_key"),
                "_tolerated": F.col("at_utc") < F.col("sent_at"),
            }
        )
        rows = consents.applied(rows).persist()
        work.held.append(rows)
        work.statements.append(consents.of_interactions(rows, work.mapping.source, work.received_utc, work.known))
        parts.append(rows)
    if parts:
        rows = reduce(lambda left, right: left.unionByName(right, allowMissingColumns=True), parts)
        _settle(work, "interactions", _earliest(work, rows), log)


def _sends_known(work: _Work) -> DataFrame:
    """Return the lake's sends, replaced by this ingest's where both have the key, plus this ingest's new sends."""
    columns = ["send_key", "source", "user_id", "notification_id", "campaign_id", "channel", "sent_at_utc"]
    old = work.lake.read("sends").select(*columns)
    if "sends" not in work.settled:
        return old
    new = work.settled["sends"].accepted.select(*columns)
    return old.join(new.select("send_key"), "send_key", "left_anti").unionByName(new)


def _earliest(work: _Work, rows: DataFrame) -> DataFrame:
    """Refuse all interactions of a send and kind but one, the lake's included: the earliest, imputed times last."""
    order = [F.col("at_imputed"), F.col("at_utc")]
    rows = _one_per_key(rows, ("send_key", "kind"), order, "duplicate_interaction", ~F.col("_consent_only"))
    if not work.lake.exists("interactions"):
        return rows
    known = work.lake.read("interactions").select(
        "send_key", "kind", F.col("at_utc").alias("old_at"), F.col("at_imputed").alias("old_imputed")
    )
    is_later = F.struct("old_imputed", "old_at") < F.struct("at_imputed", "at_utc")
    later = F.when(F.col("old_at").isNotNull() & is_later & ~F.col("_consent_only"), "duplicate_interaction")
    joined = rows.join(known, ["send_key", "kind"], "left")
    return joined.withColumn("reason", F.coalesce("reason", later)).drop("old_at", "old_imputed")


def _one_per_key(
    rows: DataFrame, key: tuple[str, ...], order: list[Column], reason: str, concerned: Column | None = None
) -> DataFrame:
    """Give all sound, `concerned` rows of a key but the first by `order` the reason `reason`; `raw` breaks ties."""
    sound = F.col("reason").isNull() if concerned is None else F.col("reason").isNull() & concerned
    spread = F.when(~sound, F.xxhash64("raw"))  # refused rows share no key: keep them apart
    window = Window.partitionBy(*key, spread).orderBy(*order, "raw")
    again = sound & (F.row_number().over(window) > 1)
    return rows.withColumn("reason", F.coalesce("reason", F.when(again, reason)))


def _settle(work: _Work, table: str, rows: DataFrame, log: RawLog | None) -> DataFrame:
    """Persist the rows of `table`, count them by reason, and note them in `work.settled`; return them."""
    for name, value in (("_origin", F.lit(table)), ("_consent_only", F.lit(False)), ("_tolerated", F.lit(False))):
        if name not in rows.columns:
            rows = rows.withColumn(name, value)
    if "lost" not in rows.columns:
        rows = rows.withColumn("lost", F.lit(None).cast("string"))
    rows = rows.persist()
    work.held.append(rows)
    sound = F.col("reason").isNull()
    tolerated = F.sum(F.coalesce(F.col("_tolerated") & sound, F.lit(False)).cast("int")).alias("tolerated")
    only = F.sum(F.col("_consent_only").cast("int")).alias("consent_only")
    groups = rows.groupBy("_origin", "reason", "lost").agg(F.count("*").alias("n"), tolerated, only).collect()
    for origin in sorted({table, *(g["_origin"] for g in groups)}):
        if origin in work.mapping.tables or origin == OUTCOMES:
            of_origin = [g for g in groups if g["_origin"] == origin]
            work.counts[origin] = _counts(of_origin, log if origin == table else None)
    table_columns = TABLES[table].names
    filled = {c: F.lit(None) for c in table_columns if c not in rows.columns}
    typed = {c.name: c.type for c in TABLES[table].columns}
    accepted = rows.where(sound & ~F.col("_consent_only")).withColumns({c: v.cast(typed[c]) for c, v in filled.items()})
    work.settled[table] = _Settled(rows, accepted.select(*table_columns))
    return rows


def _counts(groups: list[Row], log: RawLog | None) -> Counts:
    quarantined: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for group in groups:
        if group["reason"] is not None:
            quarantined[group["reason"]] += group["n"]
        else:
            for reason in filter(None, (group["lost"] or "").split(",")):
                lost[reason] += group["n"]
    return Counts(
        rows_in=sum(g["n"] for g in groups),
        rows_out=sum(g["n"] for g in groups if g["reason"] is None),
        quarantined=dict(sorted(quarantined.items())),
        files=log.files if log else 0,
        empty_files=log.empty_files if log else 0,
        lost=dict(sorted(lost.items())),
        elsewhere=log.tally.elsewhere if log else 0,
        tolerated=sum(g["tolerated"] for g in groups),
        consent_only=sum(g["consent_only"] for g in groups),
        examples=dict(log.tally.examples) if log else {},
    )


def _write(work: _Work) -> None:
    """Write the settled tables, statements and derived users; raise ContractError if a row is lost on the way."""
    for table in [t for t in LOG_TABLES if t in work.settled]:
        written = work.lake.merge(table, work.settled[table].accepted)
        counted = [
            c for name, c in work.counts.items() if name in (table, *([OUTCOMES] if table == "interactions" else []))
        ]
        rows_in, rows_out = sum(c.rows_in for c in counted), sum(c.rows_out for c in counted)
        refused = sum(sum(c.quarantined.values()) for c in counted)
        expected = rows_out - sum(c.consent_only for c in counted) + sum(c.left for c in counted)
        if written != expected or rows_in != rows_out + refused:
            raise ContractError(
                f"tables.{table}: {rows_in} rows came in, {rows_out} were accepted, {written} written, {refused} "
                "refused; this is a fault of sendopt, please report it",
                table=table,
            )
    if work.statements:
        consents.write(work.lake, reduce(DataFrame.unionByName, work.statements))
    if work.mapping.derived_users:
        _derive_users(work)


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
        .withColumn("updated_at", F.lit(None).cast("timestamp"))
        .withColumn("stated_at", F.col("created_at"))
        .withColumn("source", F.lit(work.mapping.source))
        .withColumn("left", F.lit(None).cast("boolean"))
    )
    work.lake.merge("users", users)


def _quarantine(work: _Work) -> None:
    """Write the refused rows, grouped by reason and text, to the quarantine."""
    refused = [
        settled.rows.where(F.col("reason").isNotNull()).select(F.lit(table).alias("table_name"), "reason", "raw")
        for table, settled in work.settled.items()
        if any(c.quarantined for name, c in work.counts.items() if name == table or table == "interactions")
    ]
    if not refused:
        return
    grouped = (
        reduce(DataFrame.unionByName, refused)
        .groupBy("table_name", "reason", "raw")
        .agg(F.count("*").alias("occurrences"))
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
