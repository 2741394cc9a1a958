"""Statements of consent in a log: opt-outs and opt-ins of interactions, and the consents in people's rows.

In doubt a statement withdraws consent. An opt-out is applied whenever its person is known: without a send, before its
send, or without a time (then as of its ingestion). An opt-in counts only if its row is sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.domain.consent import ALL, CATEGORY, CHANNEL, EVERY_CATEGORY
from sendopt.domain.tables import TABLES
from sendopt.ingest import SourceMapping
from sendopt.ingest.times import FIRST_TIME
from sendopt.ingest.typed import Known
from sendopt.spark.engine.keys import keyed_hash
from sendopt.spark.engine.lake import Lake

_COLUMNS = TABLES["consents"].names


def _user() -> Column:
    return F.coalesce("user_id", "send_user")


def applied(rows: DataFrame) -> DataFrame:
    """Return the interactions (with their send) plus `_allowed` and `_consent_only`, and `reason` updated.

    `_allowed` is the consent that a row states, NULL if it states none that can be applied. `_consent_only` marks
    statements that are no interaction of a send; they are accepted, so their reason is cleared.
    """
    out = (F.col("kind") == "opt_out") & _user().isNotNull()
    back = (F.col("kind") == "opt_in") & _user().isNotNull() & F.col("at_utc").isNotNull()
    reason = F.col("reason")
    sound_back = back & (reason.isNull() | reason.isin("interaction_without_send", "interaction_before_send"))
    out, sound_back = F.coalesce(out, F.lit(False)), F.coalesce(sound_back, F.lit(False))
    return (
        rows.withColumn("_allowed", F.when(out, False).when(sound_back, True))
        .withColumn("_consent_only", sound_back | (out & reason.isNotNull()))
        .withColumn("reason", F.when(F.col("_allowed").isNull(), reason).when(~out & ~sound_back, reason))
    )


def of_interactions(rows: DataFrame, source: str, received_utc: datetime, known: Known) -> DataFrame:
    """Return the statements of the rows that `applied` marked, for the person and the channel or category they name.

    If no setting knows the name, an opt-out applies to everything and an opt-in grants nothing.
    """
    at = F.col("at_utc")
    dated = F.coalesce((at >= F.lit(FIRST_TIME)) & (at <= F.lit(received_utc)), F.lit(False))
    channel = F.coalesce("channel", F.when(F.col("category").isNull(), F.col("send_channel")))
    category = F.col("category")
    scopes = F.filter(
        F.array(
            _scope(CHANNEL, channel, known.channels, _struct(ALL, F.lit(""))),
            _scope(CATEGORY, category, known.categories, _struct(CATEGORY, F.lit(EVERY_CATEGORY))),
        ),
        lambda scope: scope.isNotNull(),
    )
    everything = F.array(_struct(ALL, F.lit("")))
    named = channel.isNotNull() | category.isNotNull()
    return (
        rows.where(F.col("_allowed").isNotNull())
        .select(
            _user().alias("user_id"),
            F.explode(F.when(named, scopes).otherwise(everything)).alias("s"),
            F.when(dated, F.concat(at.cast("string"), F.lit(" "), F.col("_allowed").cast("string")))
            .otherwise(keyed_hash("raw", F.col("raw")))
            .alias("statement"),
            F.col("_allowed").alias("allowed"),
            F.when(dated, at).otherwise(F.lit(received_utc)).alias("at_utc"),
            (~dated).alias("at_imputed"),
            F.lit(source).alias("source"),
        )
        .select("user_id", "s.scope", "s.name", "statement", "allowed", "at_utc", "at_imputed", "source")
    )


def _scope(scope: str, name: Column, known: tuple[str, ...], everything: Column) -> Column:
    """Return the scope and name that a row's `name` makes a statement about; NULL if it makes none.

    The case of letters does not matter. An opt-out of a name that is not in `known` has the scope `everything`.
    """
    if not known:
        return F.when(name.isNotNull(), _struct(scope, name))
    known_name = F.create_map(*(F.lit(text) for k in known for text in (k.lower(), k)))[F.lower(name)]
    return F.when(known_name.isNotNull(), _struct(scope, known_name)).when(
        name.isNotNull() & ~F.col("_allowed"), everything
    )


def _struct(scope: str, name: Column) -> Column:
    return F.struct(F.lit(scope).alias("scope"), name.alias("name"))


def of_users(
    lake: Lake, mapping: SourceMapping, rows: DataFrame, received_utc: datetime, known: Known
) -> Iterator[DataFrame]:
    """Yield the statements of people's rows that the table `users` does not hold.

    A refused row still withdraws the configured channels that it does not list and the categories that it opts out of.
    A row without a time is dated by this ingestion; it states the differences from the person's previous row.
    """
    for part in (*_of_refused(mapping, rows, known), *_of_undated(lake, rows, received_utc)):
        yield part.rows.select(
            "user_id",
            F.lit(part.scope).alias("scope"),
            F.explode(part.names).alias("name"),
            part.statement.alias("statement"),
            F.lit(part.allowed).alias("allowed"),
            F.lit(received_utc).alias("at_utc"),
            F.lit(True).alias("at_imputed"),
            F.lit(mapping.source).alias("source"),
        )


class _Part(NamedTuple):
    """Statements of one scope: each of `names` (an array per row) is allowed or not; `statement` is their key."""

    scope: str
    names: Column
    allowed: bool
    rows: DataFrame
    statement: Column


def _of_refused(mapping: SourceMapping, rows: DataFrame, known: Known) -> list[_Part]:
    """Return the withdrawals of consent in the refused rows."""
    refused = rows.where(
        F.col("reason").isNotNull() & (F.col("reason") != "duplicate_user") & F.col("user_id").isNotNull()
    )
    statement = keyed_hash("raw", F.col("raw"), F.coalesce(F.col("file_date").cast("string"), F.lit("")))
    parts = [_Part(CATEGORY, F.coalesce("opted_out_categories", _none()), False, refused, statement)]
    if "channels" in mapping.tables["users"].columns and known.channels:
        configured = F.array(*map(F.lit, known.channels)).cast("array<string>")
        withheld = F.array_except(configured, F.coalesce("channels", _none()))
        parts.append(_Part(CHANNEL, withheld, False, refused, statement))
    return parts


def _of_undated(lake: Lake, rows: DataFrame, received_utc: datetime) -> list[_Part]:
    """Return the differences between the accepted rows without a time and the lake's rows."""
    old = lake.read("users").select(
        "user_id", F.col("channels").alias("_channels"), F.col("opted_out_categories").alias("_categories")
    )
    undated = F.col("updated_at").isNull() & F.col("file_date").isNull()
    changed = rows.where(F.col("reason").isNull() & undated).join(old, "user_id")
    statement = keyed_hash("anew", F.col("raw"), F.lit(received_utc).cast("string"))
    return [
        _Part(CHANNEL, F.array_except("channels", "_channels"), True, changed, statement),
        _Part(CHANNEL, F.array_except("_channels", "channels"), False, changed, statement),
        _Part(CATEGORY, F.array_except("_categories", "opted_out_categories"), True, changed, statement),
        _Part(CATEGORY, F.array_except("opted_out_categories", "_categories"), False, changed, statement),
    ]


def _none() -> Column:
    return F.array().cast("array<string>")


def with_leavers(lake: Lake, mapping: SourceMapping, rows: DataFrame, accepted: DataFrame) -> DataFrame:
    """Return the accepted rows of a full snapshot, plus the lake's people of this source who are missing in it.

    The missing people are marked as left. Of files of several dates, those of the newest date are the snapshot. Files
    without a date are parts of one snapshot.
    """
    newest = F.broadcast(rows.agg(F.max("file_date").alias("_newest")))
    is_newest = F.coalesce(F.col("file_date") == F.col("_newest"), F.lit(True))
    present = rows.crossJoin(newest).where(is_newest).select("user_id").distinct()
    present = present.withColumn("_present", F.lit(True))
    old = lake.read("users").where((F.col("source") == mapping.source) & ~F.coalesce("left", F.lit(False)))
    missing = old.join(accepted.select("user_id"), "user_id", "left_anti").join(present, "user_id", "left_anti")
    has_left = F.when(F.col("_present").isNull(), F.lit(True))
    marked = accepted.join(present, "user_id", "left").withColumn("left", has_left)
    names = TABLES["users"].names
    return marked.select(*names).unionByName(missing.withColumn("left", F.lit(True)).select(*names))


def write(lake: Lake, statements: DataFrame) -> int:
    """Write the new statements and return their number; a known statement keeps its time."""
    key = list(TABLES["consents"].key)
    distinct = (
        statements.select(*_COLUMNS)
        .groupBy(*key)
        .agg(
            F.min("allowed").alias("allowed"),
            F.min("at_utc").alias("at_utc"),
            F.max("at_imputed").alias("at_imputed"),
            F.min("source").alias("source"),
        )
    )
    new = distinct.join(lake.read("consents").select(*key), key, "left_anti")
    return lake.merge("consents", new.select(*_COLUMNS))
