"""The contract of candidates and history: their columns, types and ranges, checked on Arrow columns.

Text is kept as codes of a dictionary, so each name is checked, compared and hashed once instead of once a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sendopt.allocation.tables import tabular, unused
from sendopt.allocation.tables.tabular import NUMBER, TEXT, WHOLE, Frame
from sendopt.errors import ContractError
from sendopt.stats.arrays import Ints, Texts

Default = str | int | float | None
More = Mapping[str, tuple[str, Default]]  # column that may be left out -> (kind, default)

_MESSAGE = {"user_id": TEXT, "message_id": TEXT, "campaign_id": TEXT, "channel": TEXT, "category": TEXT}
CANDIDATES = {**_MESSAGE, "slot": WHOLE, "value": NUMBER}
CANDIDATES_MORE: More = {
    "p_opt_out": (NUMBER, 0.0),
    "cost": (NUMBER, 0.0),
    "tier": (WHOLE, 1),
    "exclusive_group": (TEXT, ""),
    "local_day": (WHOLE, None),
}
HISTORY = {"user_id": TEXT, "channel": TEXT, "category": TEXT, "campaign_id": TEXT, "minutes_before": NUMBER}
HISTORY_MORE: More = {"local_day": (WHOLE, None), "p_opt_out": (NUMBER, 0.0), "cost": (NUMBER, 0.0)}

MOST_SLOTS = 32_767  # of a plan: 341 days of 15 minutes
MOST_YEARS = 20  # from a past send to the plan
_MOST_MINUTES = MOST_YEARS * 366 * 24 * 60
_MOST_DAYS = 100_000  # from 1970-01-01: the year 2243
_MOST_TIER = 1000
_MOST_NUMBER = 1e15  # larger numbers are mistakes, in settings too
_IDS = ("user_id", "message_id")  # columns of text that must not be empty
_NO_VALUE = ("nan", "NaN", "NaT", "None", "null", "NULL", "<NA>")  # how programs write a missing value as text
_TYPES = {TEXT: pa.dictionary(pa.int32(), pa.string()), WHOLE: pa.int64(), NUMBER: pa.float64()}


@dataclass(frozen=True)
class Range:
    """The numbers that a column may hold, and what messages say of a number below or above."""

    least: float
    most: float
    below: str  # "negative"
    above: str


_RANGES = {
    "slot": Range(0, MOST_SLOTS - 1, "negative", f"beyond the longest plan of {MOST_SLOTS:,} slots"),
    "tier": Range(1, _MOST_TIER, "below 1", f"above {_MOST_TIER:,}"),
    "value": Range(-_MOST_NUMBER, _MOST_NUMBER, "below -1e15", "above 1e15"),
    "p_opt_out": Range(0, 1, "outside [0, 1]", "outside [0, 1]"),
    "cost": Range(0, _MOST_NUMBER, "negative", "above 1e15"),
    "local_day": Range(-_MOST_DAYS, _MOST_DAYS, *["no number of days since 1970-01-01"] * 2),
    "minutes_before": Range(
        -_MOST_NUMBER, _MOST_MINUTES, "beyond every plan", f"more than {MOST_YEARS} years before the plan"
    ),
}


@dataclass(frozen=True)
class Coded:
    """Text of N rows: row i has the name `names[codes[i]]`. Each of the K names is unique, and some row has it."""

    codes: NDArray[np.int32]  # (N,)
    names: pa.StringArray  # (K,)

    @property
    def texts(self) -> Texts:
        """The names as Python texts, shape (K,)."""
        return np.asarray(self.names.to_numpy(zero_copy_only=False), object)

    def at(self, rows: Ints | slice) -> Texts:
        """Return the texts of `rows`."""
        return np.asarray(self.texts[self.codes[rows]])


def typed(where: Path | Frame, rows: pa.Table, needed: Mapping[str, str], more: More, first_row: int = 0) -> pa.Table:
    """Return `rows` with the columns of the contract in a fixed order, each of its type.

    Text becomes dictionary<int32, string>, whole numbers int64, numbers float64. A column of `more` that is left out
    has its default in every row (None: null). Raises ContractError for columns that are missing, empty, of another
    kind or out of range; it names `where`, column, count and first rows, counted from `first_row`.
    """
    require_there(where, needed, rows.column_names)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    contract: list[tuple[str, str, Default]] = [(name, kind, None) for name, kind in needed.items()]
    contract += [(name, kind, default) for name, (kind, default) in more.items()]
    for name, kind, default in contract:
        if name not in rows.column_names:
            columns[name] = _all_default(kind, default, rows.num_rows)
        elif kind == TEXT:
            for_null = None if default is None else str(default)
            columns[name] = _text(where, rows[name], name, first_row, for_null)
        else:
            columns[name] = _number(where, rows[name], name, kind, first_row)
    return pa.table(columns)


def no_rows(needed: Mapping[str, str], more: More) -> pa.Table:
    """Return a table of no rows with the columns and types of `typed`."""
    no_texts = pa.table({name: pa.array([], pa.string()) for name in needed})
    return typed(Path(), no_texts, needed, more)


def kinds_of(needed: Mapping[str, str], more: More) -> dict[str, str]:
    """Return {column: kind} of a contract."""
    return {**needed, **{name: kind for name, (kind, _) in more.items()}}


def texts_of(needed: Mapping[str, str], more: More) -> list[str]:
    """Return the columns that hold text."""
    return [name for name, kind in kinds_of(needed, more).items() if kind == TEXT]


def with_plain_texts(rows: pa.Table) -> pa.Table:
    """Return rows of `typed` with text as strings: a file of some of them would else hold the names of all."""
    kinds = {field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type for field in rows.schema}
    return rows.cast(pa.schema(list(kinds.items())))


def coded(column: pa.ChunkedArray) -> Coded:
    """Return a text column of `typed` as codes of the names that its rows have."""
    array = _as_one_array(column.unify_dictionaries())
    codes, names = array.indices.to_numpy(), array.dictionary
    used = np.zeros(len(names), bool)
    used[codes] = True
    if not used.all():
        codes = (np.cumsum(used) - 1)[codes].astype(np.int32)
        names = names.filter(pa.array(used))
    unique = names.dictionary_encode()
    if len(unique.dictionary) < len(names):
        codes, names = unique.indices.to_numpy()[codes], unique.dictionary
    return Coded(codes, names)


def numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of numbers of `typed`; where all rows have the same number, its stride is 0."""
    values = _as_one_array(column).to_numpy()
    if len(values) and values[0] == values[-1]:
        ends = pc.min_max(column)
        if ends["min"].as_py() == ends["max"].as_py():
            return np.broadcast_to(values[0], len(values))
    return np.asarray(values)


def days(column: pa.ChunkedArray) -> Ints | None:
    """Return the local days of `typed`; None where some row has none."""
    return None if column.null_count else numbers(column)


def committed(past: pa.Table) -> pa.ChunkedArray:
    """Return flags: True for rows of the history that are sends at the plan's start or later."""
    return pc.less_equal(past["minutes_before"], 0.0)


def is_among(column: pa.ChunkedArray, names: Coded) -> NDArray[np.bool_]:
    """Return flags (N,): True for rows of a text column whose name is among `names`."""
    return np.asarray(pc.is_in(column, value_set=names.names))


def messages_of(where: Path | Frame, columns: Mapping[str, Coded], tier: Ints) -> tuple[Ints, Ints]:
    """Return (message (N,) of each row, first row (M,) of each message).

    Raises ContractError where rows of a message differ in campaign, channel, category, exclusive group or tier.
    """
    user, name = columns["user_id"], columns["message_id"]
    key = user.codes * np.int64(len(name.names)) + name.codes
    starts = np.ones(len(key), bool)  # of runs of rows of one message
    starts[1:] = key[1:] != key[:-1]
    heads = np.flatnonzero(starts)
    code, first_keys = pd.factorize(key[heads])
    first = np.empty(len(first_keys), np.int64)
    first[code[::-1]] = heads[::-1]
    message = np.repeat(code.astype(np.int64), np.diff(heads, append=len(key)))
    for column in ("campaign_id", "channel", "category", "exclusive_group", "tier"):
        values = tier if column == "tier" else columns[column].codes
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        if not starts[changes].all() or (values[heads] != values[first][code]).any():
            require_rows(where, column, "different from the message's first row", values != values[first[message]])
    return message, first


def repeated(message: Ints, slot: Ints) -> NDArray[np.bool_]:
    """Return flags (N,): True for rows whose (message, slot) an earlier row has; an empty array where none has."""
    later = (message[1:] > message[:-1]) | ((message[1:] == message[:-1]) & (slot[1:] > slot[:-1]))
    if later.all():
        return np.zeros(0, bool)
    key = message * np.int64(MOST_SLOTS) + slot
    bad = pd.Series(key).duplicated().to_numpy()
    return bad if bad.any() else np.zeros(0, bool)


def slots_by_channel(channel: Coded, slot: Ints) -> dict[str, list[int]]:
    """Return {channel: the slots of its rows, ascending}."""
    slots = int(slot.max(initial=-1)) + 1
    used = np.zeros((len(channel.names), slots), bool)
    used[channel.codes, slot] = True
    return {name: np.flatnonzero(row).tolist() for name, row in zip(channel.names.to_pylist(), used, strict=True)}


def require_there(where: Path | Frame, needed: Collection[str], columns: Collection[str]) -> None:
    """Raise ContractError where columns of `needed` are missing, naming them and the columns that are there."""
    missing = [name for name in needed if name not in columns]
    if not missing:
        return
    written = tabular.columns(where) if isinstance(where, Frame) or where.is_file() else list(columns)
    if len(missing) == len(needed) and len(needed) > 1:  # perhaps no header: the first line may hold users' ids
        present = f"{len(written)} other columns are there; is the first line one of their names?"
    else:
        near = "".join(f"; did you mean {meant} by {name}?" for name, meant in unused.misspelt(written, needed))
        present = f"found: {', '.join(written)[:500]}{near}"
    raise ContractError(f"{where}: columns {', '.join(missing)} are missing; {present}")


def require_rows(where: Path | Frame, column: str, what: str, bad: NDArray[np.bool_], first_row: int = 0) -> None:
    """Raise ContractError where `bad` (N,) is True in some row, naming count and first rows."""
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ContractError(
            f"{where}, column {column}: {what} in {len(rows)} of {len(bad)} rows (first rows "
            f"{(rows[:3] + first_row).tolist()}); repair the file and solve again"
        )


def _all_default(kind: str, default: Default, rows: int) -> pa.Array:
    """Return a column of `rows` times the default."""
    if default is None:
        return pa.nulls(rows, _TYPES[kind])
    if kind == TEXT:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([default], pa.string()))
    return pa.array(np.full(rows, default), _TYPES[kind])


def _text(
    where: Path | Frame, column: pa.ChunkedArray, name: str, first_row: int, for_null: str | None
) -> pa.ChunkedArray:
    """Return the column as dictionary<int32, string>, with `for_null` in place of nulls; None refuses them."""
    stored = _stored_type(column.type)
    if not _holds_names(stored) and not (for_null is not None and pa.types.is_floating(stored)):
        raise _wrong_kind(where, name, column.type)
    try:
        if pa.types.is_floating(stored):
            column = column.cast(stored)
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, stored), column)
        chunks = [_as_dictionary(chunk) for chunk in _chunks(column)]
    except pa.ArrowException:
        raise ContractError(f"{where}, column {name}: text that is not UTF-8; save the file as UTF-8") from None
    if for_null is None:
        _require_names(where, name, chunks, first_row)
    else:
        chunks = [_without_nulls(chunk, for_null) for chunk in chunks]
    return pa.chunked_array(chunks, _TYPES[TEXT])


def _stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values of a column of type `kind`, which may be a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _holds_names(kind: pa.DataType) -> bool:
    """Return whether text is accepted from values of this type: text, bytes, whole numbers or nulls."""
    t = pa.types
    texts = t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)
    bytes_ = t.is_binary(kind) or t.is_large_binary(kind)
    whole = t.is_integer(kind) or (t.is_decimal(kind) and kind.scale == 0)
    return bool(texts or bytes_ or whole or t.is_null(kind))


def _wrong_kind(where: Path | Frame, name: str, kind: pa.DataType) -> ContractError:
    """Return the error for a column of type `kind` where text is expected."""
    stored = _stored_type(kind)
    points = pa.types.is_floating(stored) or pa.types.is_decimal(stored)
    because = "; as text 12 would be 12.0, another name: convert it" if points else "; convert it"
    return ContractError(
        f"{where}, column {name}: {_type_words(kind)} where text or whole numbers are expected{because}"
    )


def _as_dictionary(chunk: pa.Array) -> pa.DictionaryArray:
    """Return text of any type as dictionary<int32, string>; raise ArrowException for bytes that are not UTF-8."""
    if pa.types.is_null(chunk.type):
        chunk = chunk.cast(pa.string())
    if not pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_encode()
    elif chunk.dictionary.null_count:
        chunk = chunk.cast(chunk.type.value_type).dictionary_encode()
    names = chunk.dictionary.cast(pa.string())
    names.validate(full=True)
    return pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), names)


def _without_nulls(chunk: pa.DictionaryArray, for_null: str) -> pa.DictionaryArray:
    """Return `chunk` with `for_null` in place of nulls."""
    if not chunk.null_count:
        return chunk
    names = pa.concat_arrays([chunk.dictionary, pa.array([for_null], pa.string())])
    return pa.DictionaryArray.from_arrays(chunk.indices.fill_null(len(names) - 1), names)


def _require_names(where: Path | Frame, name: str, chunks: list[pa.DictionaryArray], first_row: int) -> None:
    """Raise ContractError where a row has no name; ids must not be blank or a word for a missing value either."""
    _require_no_nulls(where, name, pa.chunked_array(chunks, _TYPES[TEXT]), first_row)
    if name not in _IDS:
        return
    for what, is_bad in (("empty", _is_blank), ("a word for no value (nan, None, null)", _is_no_value)):
        flags = [is_bad(chunk.dictionary) for chunk in chunks]
        if any(flag.any() for flag in flags):
            rows = [flag[chunk.indices.to_numpy()] for flag, chunk in zip(flags, chunks, strict=True)]
            require_rows(where, name, what, np.concatenate(rows), first_row)


def _is_blank(names: pa.StringArray) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.utf8_trim_whitespace(names), ""), bool)


def _is_no_value(names: pa.StringArray) -> NDArray[np.bool_]:
    return np.asarray(pc.is_in(names, value_set=pa.array(_NO_VALUE)), bool)


def _number(where: Path | Frame, column: pa.ChunkedArray, name: str, kind: str, first_row: int) -> pa.ChunkedArray:
    """Return the column as int64 or float64, checked for nulls and for its range."""
    t, stored = pa.types, _stored_type(column.type)
    texts = t.is_string(stored) or t.is_large_string(stored) or t.is_string_view(stored)
    fits = t.is_integer(stored) or t.is_floating(stored) or t.is_decimal(stored) or texts or t.is_null(stored)
    if not fits:
        raise ContractError(f"{where}, column {name}: {_type_words(column.type)} where {kind} are expected; convert it")
    try:
        column = column.cast(stored) if t.is_dictionary(column.type) else column
        checked = column.cast(_TYPES[kind])
    except pa.ArrowException:
        too_large = "numbers too large" if t.is_integer(stored) else _type_words(column.type)
        raise ContractError(f"{where}, column {name}: {too_large} where {kind} are expected; convert it") from None
    _require_no_nulls(where, name, checked, first_row)
    _require_range(where, name, checked, first_row)
    return checked


def _type_words(kind: pa.DataType) -> str:
    """Return a type's name for messages, cut to 60 characters."""
    text = str(kind)
    return text if len(text) <= 60 else text[:60] + "…"


def _require_no_nulls(where: Path | Frame, name: str, column: pa.ChunkedArray, first_row: int) -> None:
    if column.null_count:
        require_rows(where, name, "empty", np.asarray(column.is_null()), first_row)


def _require_range(where: Path | Frame, name: str, column: pa.ChunkedArray, first_row: int) -> None:
    """Raise ContractError where a number is not finite or outside the range of its column."""
    if pa.types.is_floating(column.type):
        finite = pc.is_finite(column)
        if not pc.all(finite, min_count=0).as_py():
            require_rows(where, name, "not finite", ~np.asarray(finite), first_row)
    allowed, ends = _RANGES[name], pc.min_max(column)
    if not len(column) or (ends["min"].as_py() >= allowed.least and ends["max"].as_py() <= allowed.most):
        return
    values = np.asarray(column)
    if name == "slot" and values.max() > allowed.most:
        require_slot(f"{where}, column slot", int(values.max()))
    for what, bad in ((allowed.below, values < allowed.least), (allowed.above, values > allowed.most)):
        require_rows(where, name, what, bad, first_row)


def require_slot(where: str, last: int) -> None:
    """Raise ContractError where slot `last` is beyond the longest plan."""
    if last >= MOST_SLOTS:
        raise ContractError(
            f"{where}: slot {last:,} is beyond the longest plan of {MOST_SLOTS:,} slots; slots count from 0 at the "
            "start of the plan, slot_minutes apart"
        )


def _as_one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return the column as a single array."""
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def _chunks(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    """Return the column's chunks; text that is not a dictionary yet is encoded over all chunks together."""
    if pa.types.is_dictionary(column.type) or pa.types.is_null(column.type):
        return iter(column.chunks)
    return iter(column.dictionary_encode().chunks)
