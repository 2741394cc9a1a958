"""Text of a raw log as typed values, by column expressions: each gives the value and the reason it cannot be read.

No expression raises, whatever the text. Local times become UTC by offset periods that Python's zoneinfo worked out;
Spark's own zone rules are never used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.ingest import FALSE, FIRST_TIME, ISO_TIME, NUMBER, TRUE, known_zones, local_periods, time_pattern

MAX_SKEW = timedelta(hours=1)  # a clock ahead of ours
PLANNING_AHEAD = timedelta(days=731)  # messages are for later

_ISO_OFFSET = r":[0-9.:]+(Z|[+-][0-9:]+)$"
_NOT_A_NUMBER = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity")
_END_OF_TIME = 253_402_300_800.0  # year 10000, in epoch seconds
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"


@dataclass(frozen=True)
class Parsed:
    """A value (NULL where it cannot be read or is empty) and the reason why not (NULL where it can)."""

    value: Column
    problem: Column


def string(text: Column) -> Parsed:
    return Parsed(text, F.lit(None).cast("string"))


def number(text: Column, name: str) -> Parsed:
    plain = F.btrim(text, F.lit('"'))  # JSON's NaN arrives in quotes
    value = F.when(plain.rlike(NUMBER), plain.try_cast("double"))
    finite = F.when(value.between(-1.7e308, 1.7e308), value)
    nan = F.lower(plain).isin(*_NOT_A_NUMBER) | (value.isNotNull() & finite.isNull())
    problem = F.when(nan, f"not_a_number:{name}").when(text.isNotNull() & value.isNull(), f"bad_number:{name}")
    return Parsed(finite, problem)


def boolean(text: Column, name: str) -> Parsed:
    lower = F.lower(text)
    value = F.when(lower.isin(*TRUE), True).when(lower.isin(*FALSE), False)
    return Parsed(value, F.when(text.isNotNull() & value.isNull(), f"bad_boolean:{name}"))


def day(text: Column, name: str) -> Parsed:
    value = F.when(text.rlike("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), text.try_cast("date"))
    return Parsed(value, F.when(text.isNotNull() & value.isNull(), f"bad_date:{name}"))


def names(text: Column, name: str, separator: str) -> Parsed:
    """A list: a JSON array, else parts between separators; empty text is the empty list, doubles count once."""
    is_json = text.startswith("[")
    listed = F.when(is_json, F.from_json(text, "array<string>"))
    parts = F.coalesce(listed, F.split(F.coalesce(text, F.lit("")), f"\\Q{separator}\\E"))
    trimmed = F.transform(parts, lambda part: F.trim(F.coalesce(part, F.lit(""))))
    value = F.array_distinct(F.filter(trimmed, lambda part: part != ""))
    return Parsed(value, F.when(is_json & listed.isNull(), f"bad_list:{name}"))


def local_time(text: Column, name: str) -> Parsed:
    """HH:MM as text."""
    value = F.when(text.rlike("^([01][0-9]|2[0-3]):[0-5][0-9](:00)?$"), F.substring(text, 1, 5))
    return Parsed(value, F.when(text.isNotNull() & value.isNull(), f"bad_local_time:{name}"))


def zone(column: str) -> Parsed:
    """Of a named column, for its condition is one SQL text: 600 literals would be 600 calls into the JVM."""
    listed = ",".join(f"'{name}'" for name in sorted(known_zones()))
    return Parsed(F.col(column), F.when(~F.expr(f"{column} IN ({listed})"), "unknown_zone"))


def one_of(text: Column, allowed: Iterable[str], reason: str) -> Parsed:
    return Parsed(text, F.when(text.isNotNull() & ~text.isin(*allowed), reason))


@dataclass(frozen=True)
class Moment:
    """A time: `value` is UTC, or wall clock written as if UTC where `is_local`."""

    value: Column
    is_local: Column


def moment(text: Column, time_format: str, typed: bool) -> Moment:
    """`typed`: Parquet may hold a real timestamp, which was written out as ISO 8601."""
    seconds_added = F.regexp_replace(text, "^(.{16})([Z+-])", "$1:00$2")  # 09:30Z is no time to Spark
    iso = Moment(
        F.when(text.rlike(ISO_TIME), F.coalesce(text.try_cast("timestamp"), seconds_added.try_cast("timestamp"))),
        ~F.coalesce(text.rlike(_ISO_OFFSET), F.lit(False)),
    )
    if time_format == "iso8601":
        return iso
    if time_format in ("epoch_seconds", "epoch_millis"):
        stated = Moment(_epoch(text, 1e3 if time_format == "epoch_millis" else 1.0), F.lit(False))
    else:
        stated = _by_pattern(text, time_format)
    if not typed:
        return stated
    is_iso = F.coalesce(text.rlike(ISO_TIME), F.lit(False))
    return Moment(
        F.when(is_iso, iso.value).otherwise(stated.value), F.when(is_iso, iso.is_local).otherwise(stated.is_local)
    )


def _epoch(text: Column, per_second: float) -> Column:
    seconds = F.when(text.rlike(NUMBER), text.try_cast("double")) / per_second
    micros = F.round(F.when(seconds.between(0.0, _END_OF_TIME), seconds) * 1e6).try_cast("bigint")
    return F.timestamp_micros(micros)


def _by_pattern(text: Column, pattern: str) -> Moment:
    compiled = time_pattern(pattern)

    def part(letter: str) -> Column:
        return F.nullif(F.regexp_extract(text, compiled.regex, compiled.fields.index(letter) + 1), F.lit(""))

    def whole(letter: str) -> Column:
        return part(letter).try_cast("int") if letter in compiled.fields else F.lit(0)

    century = F.when(whole("y") >= 69, 1900).otherwise(2000)  # as strptime does
    year = whole("Y") if "Y" in compiled.fields else whole("y") + century
    if "m" in compiled.fields:
        month = whole("m")
    else:
        short = F.substring(F.lower(part("b" if "b" in compiled.fields else "B")), 1, 3)
        month = ((F.instr(F.lit(_MONTHS), short) + 2) / 3).cast("int")
    hour = whole("H")
    if "I" in compiled.fields:
        hour = whole("I") % 12 + F.when(F.lower(part("p")) == "pm", 12).otherwise(0)
    at = F.try_make_timestamp(year, month, whole("d"), hour, whole("M"), whole("S").cast("decimal(16,6)"))
    micros = F.rpad(part("f"), 6, "0").try_cast("bigint") if "f" in compiled.fields else F.lit(0)
    shift = _offset_seconds(part("z")) if "z" in compiled.fields else F.lit(0)
    value = F.timestamp_micros(F.unix_micros(at) - shift.cast("bigint") * 1_000_000 + micros)
    return Moment(F.when(text.rlike(compiled.regex), value), F.lit("z" not in compiled.fields))


def _offset_seconds(offset: Column) -> Column:
    digits = F.replace(F.substring(offset, 2, 5), F.lit(":"), F.lit(""))
    size = F.substring(digits, 1, 2).try_cast("int") * 3600 + F.substring(digits, 3, 2).try_cast("int") * 60
    return F.when(F.lower(offset) == "z", 0).when(offset.startswith("-"), -size).otherwise(size)


def moment_problem(text: Column, value: Column, name: str, latest: datetime) -> Column:
    return (
        F.when(text.isNotNull() & value.isNull(), f"bad_time:{name}")
        .when(value < F.lit(FIRST_TIME), "time_before_2000")
        .when(value > F.lit(latest), "time_in_future")
    )


def to_utc(rows: DataFrame, times: dict[str, str], zone_column: str, latest: datetime) -> DataFrame:
    """The rows with local times made UTC; `times`: a time column -> the boolean column that says it is local.

    Adds `gap_<time>`: a reason where the local time cannot be (its zone's clock jumped over it) or has no zone. A time
    that was read twice is its first occurrence. Times outside FIRST_TIME to `latest` are left as they are.
    """
    limits = [F.when(F.col(local) & _within(time, latest), F.col(time)) for time, local in times.items()]
    found = rows.agg(
        F.collect_set(zone_column), F.min(F.least(*limits, F.lit(None))), F.max(F.greatest(*limits, F.lit(None)))
    ).head()
    assert found is not None
    periods: list[tuple[str, datetime, datetime, int]] = []
    if found[1] is not None:
        start, end = (at.replace(tzinfo=UTC) for at in (found[1], found[2]))
        for name in sorted(known_zones() & set(found[0])):
            shifts = local_periods(name, start - timedelta(days=2), end + timedelta(days=2))
            periods += [(name, *period) for period in shifts]
    table = rows.sparkSession.createDataFrame(
        periods, "_zone string, _from timestamp, _to timestamp, _offset int"
    ).persist()
    for time, local in times.items():
        at, is_local = F.col(time), F.col(local) & _within(time, latest)
        shifted = F.timestamp_micros(F.unix_micros(at) - F.col("_offset").cast("bigint") * 60_000_000)
        here = (F.col(zone_column) == F.col("_zone")) & (at >= F.col("_from")) & (at < F.col("_to"))
        unplaced = F.when(F.col(zone_column).isNull(), "local_time_without_zone").otherwise("nonexistent_local_time")
        rows = (
            rows.join(F.broadcast(table), here, "left")
            .withColumn(f"gap_{time}", F.when(is_local & F.col("_offset").isNull(), unplaced))
            .withColumn(time, F.when(is_local, shifted).otherwise(at))
            .drop("_zone", "_from", "_to", "_offset")
        )
    return rows


def _within(time: str, latest: datetime) -> Column:
    at = F.col(time)
    return F.coalesce(
        (at >= F.lit(FIRST_TIME - timedelta(days=1))) & (at <= F.lit(latest + timedelta(days=1))), F.lit(False)
    )
