"""Rows of text as rows of a table: typed columns and, where a row cannot be used, the first reason why.

Reasons are looked for in a fixed order: malformed_row, missing_value, then each column's own in the contract's order.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.domain.tables import TABLES
from sendopt.ingest import DECISION_KINDS, FILLED, INTERACTION_KINDS, MATCHING, SourceMapping, TableMapping
from sendopt.spark import raw_values as values
from sendopt.spark.raw_logs import RawLog

_LOCAL_TIMES = ("quiet_start", "quiet_end")


def typed_rows(log: RawLog, source: SourceMapping, received_utc: datetime) -> DataFrame:
    """raw, header, reason (NULL: sound), `seen_i` of JSON keys, and every column of the table that the log can give.

    Sends also have outcome (boolean), outcome_at (timestamp) and outcome_problem (the reason an outcome is refused).
    """
    mapping = source.tables[log.table]
    latest = received_utc + (values.PLANNING_AHEAD if log.table == "messages" else values.MAX_SKEW)
    rows = _times(_texts(log, mapping), log.table, mapping, latest)
    parsed = {name: _parse(name, kind, mapping, latest) for name, kind in _columns(log.table).items()}
    reasons = [
        F.when(F.col("header"), "header"),
        F.when(F.col("malformed"), "malformed_row"),
        *_missing(log.table, mapping),
    ]
    if log.table == "sends":
        parsed, more = _pscore_where_available(parsed, mapping)
        reasons += more
    if log.table == "users" and "quiet_start" in mapping.columns:
        reasons += _quiet_pair()
    reasons += [p.problem for p in parsed.values()]
    seen = [f"seen_{i}" for i in range(len(log.keys))]
    extra = [c.alias(n) for n, c in _outcome(mapping, latest).items()] if log.table == "sends" else []
    columns = [p.value.alias(name) for name, p in parsed.items()]
    return rows.select("raw", "header", F.coalesce(*reasons).alias("reason"), *seen, *columns, *extra)


def _columns(table: str) -> dict[str, str]:
    """Columns that the rows get, with their type; those that no one fills are left to the stage."""
    contract = {c.name: c.type for c in TABLES[table].columns if c.name not in ("source", "at_imputed")}
    return {**contract, **{c: "string" for c in MATCHING.get(table, ())}}


def _texts(log: RawLog, mapping: TableMapping) -> DataFrame:
    """The raw columns under `t_<column>`, the zone of local times under `zone`."""
    given = [F.col(log.names[raw]).alias(f"t_{name}") for name, raw in mapping.columns.items()]
    if mapping.zone_column is None:
        given.append(F.lit(mapping.times_in).alias("zone"))
    else:
        given.append(F.col(log.names[mapping.zone_column]).alias("zone"))
    for which in ("column", "at"):
        raw = getattr(mapping.outcome, which) if mapping.outcome else None
        if raw is not None:
            given.append(F.col(log.names[raw]).alias(f"t_outcome_{which}"))
    seen = [F.col(log.names[raw]).isNotNull().alias(f"seen_{i}") for i, raw in enumerate(log.keys)]
    return log.rows.select("raw", "header", "malformed", *given, *seen)


def _times(rows: DataFrame, table: str, mapping: TableMapping, latest: datetime) -> DataFrame:
    """`v_<time>` in UTC and `gap_<time>`, the reason where a local time cannot be placed."""
    names = [c.name for c in TABLES[table].columns if c.type == "timestamp" and c.name in mapping.columns]
    names += ["outcome_at"] if mapping.outcome and mapping.outcome.at else []
    typed = mapping.format == "parquet"
    moments = {name: values.moment(F.col(f"t_{name}"), mapping.time_format, typed) for name in names}
    rows = rows.withColumns({f"v_{name}": m.value for name, m in moments.items()})
    if mapping.times_in == "UTC" or not names:
        return rows.withColumns({f"gap_v_{name}": F.lit(None).cast("string") for name in names}) if names else rows
    rows = rows.withColumns({f"local_{name}": m.is_local for name, m in moments.items()})
    return values.to_utc(rows, {f"v_{name}": f"local_{name}" for name in names}, "zone", latest)


def _parse(name: str, kind: str, mapping: TableMapping, latest: datetime) -> values.Parsed:
    if name in mapping.constants:
        value = mapping.constants[name]
        literal = F.array(*map(F.lit, value)) if isinstance(value, tuple) else F.lit(value)
        return values.string(literal.cast(kind))
    if name not in mapping.columns:
        return values.string(F.lit(None).cast(kind))
    text = F.col(f"t_{name}")
    if kind == "timestamp":
        time = F.col(f"v_{name}")
        zone = F.when(F.col(f"gap_v_{name}").isNotNull(), _zone_fault(name))
        return values.Parsed(time, F.coalesce(zone, values.moment_problem(text, time, name, latest)))
    if kind == "double":
        return values.number(text, name)
    if kind == "boolean":
        return values.boolean(text, name)
    if kind == "date":
        return values.day(text, name)
    if kind == "array<string>":
        return values.names(text, name, mapping.list_separator)
    if name == "timezone":
        return values.zone(f"t_{name}")
    if name == "kind":
        return values.one_of(text, INTERACTION_KINDS, "unknown_kind")
    if name == "decision_kind":
        return values.one_of(text, DECISION_KINDS, "bad_value:decision_kind")
    return values.local_time(text, name) if name in _LOCAL_TIMES else values.string(text)


def _zone_fault(name: str) -> Column:
    """A filled zone that no one knows explains more than a time that it cannot place."""
    return F.coalesce(F.when(F.col("zone").isNotNull(), values.zone("zone").problem), F.col(f"gap_v_{name}"))


def _missing(table: str, mapping: TableMapping) -> list[Column]:
    filled = FILLED.get(table, set())
    required = [
        c.name
        for c in TABLES[table].columns
        if not c.nullable and c.name in mapping.columns and c.name not in filled and c.type != "array<string>"
    ]
    return [F.when(F.col(f"t_{name}").isNull(), f"missing_value:{name}") for name in required]


def _pscore_where_available(
    parsed: dict[str, values.Parsed], mapping: TableMapping
) -> tuple[dict[str, values.Parsed], list[Column]]:
    """A logging probability means something only where the person was available: elsewhere it is NULL."""
    if "pscore" not in mapping.columns:
        return parsed, []
    available = F.coalesce(parsed["available"].value, F.lit(False))
    pscore = parsed["pscore"]
    outside = ~((pscore.value > 0) & (pscore.value <= 1))
    reasons = [
        F.when(available & F.col("t_pscore").isNull(), "missing_value:pscore"),
        F.when(available & outside, "pscore_out_of_range"),
    ]
    known = values.Parsed(F.when(available, pscore.value), F.when(available, pscore.problem))
    return {**parsed, "pscore": known}, reasons


def _quiet_pair() -> list[Column]:
    start, end = F.col("t_quiet_start"), F.col("t_quiet_end")
    return [
        F.when(start.isNull() & end.isNotNull(), "missing_value:quiet_start"),
        F.when(start.isNotNull() & end.isNull(), "missing_value:quiet_end"),
        F.when(start == end, "bad_value:quiet_end"),  # all day, or no quiet hours at all?
    ]


def _outcome(mapping: TableMapping, latest: datetime) -> dict[str, Column]:
    none = F.lit(None).cast("string")
    if mapping.outcome is None:
        return {"outcome": F.lit(False), "outcome_at": F.lit(None).cast("timestamp"), "outcome_problem": none}
    at, late = F.lit(None).cast("timestamp"), none
    if mapping.outcome.at:
        at, text = F.col("v_outcome_at"), F.col("t_outcome_at")
        late = F.coalesce(F.col("gap_v_outcome_at"), values.moment_problem(text, at, "outcome_at", latest))
    if mapping.outcome.column is None:
        return {"outcome": F.col("t_outcome_at").isNotNull(), "outcome_at": at, "outcome_problem": late}
    given = values.boolean(F.col("t_outcome_column"), "outcome")
    happened = F.coalesce(given.value, F.lit(False))
    return {
        "outcome": happened,
        "outcome_at": F.when(happened, at),
        "outcome_problem": F.coalesce(given.problem, F.when(happened, late)),
    }
