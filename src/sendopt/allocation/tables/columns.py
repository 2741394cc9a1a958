"""What rows of candidates and history must be: columns, types and ranges, checked on Arrow columns.

Text is kept as codes of a dictionary, so a name is checked, compared and hashed once, not once a row.
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

More = Mapping[str, tuple[str, Any]]  # column that may be left out -> (kind, default)

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
MOST_YEARS = 20  # between a past send and the plan
_MOST_MINUTES = MOST_YEARS * 366 * 24 * 60
_MOST_DAYS = 100_000  # from 1970-01-01: the year 2243
_MOST_TIER = 1000
_MOST_NUMBER = 1e15  # sizes beyond which nobody means a number, in settings too
_IDS = ("user_id", "message_id")  # text that must not be empty
_NO_VALUE = ("nan", "NaN", "NaT", "None", "null", "NULL", "<NA>")  # how programs write a missing value as text
_TYPES = {TEXT: pa.dictionary(pa.int32(), pa.string()), WHOLE: pa.int64(), NUMBER: pa.float64()}


@dataclass(frozen=True)
class Range:
    """What the numbers of a column may be, and what one below or above is."""

    least: float
    most: float
    below: str
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
    """Text of N rows: row i has the name codes[i] of `names`. Each name is there once and some row has it."""

    codes: NDArray[np.int32]  # (N,)
    names: pa.StringArray  # (K,)

    @property
    def texts(self) -> Texts:
        """(K,) the names as Python texts."""
        return np.asarray(self.names.to_numpy(zero_copy_only=False), object)

    def at(self, rows: Any) -> Texts:
        """The texts of `rows` (an index array or a slice)."""
        return np.asarray(self.texts[self.codes[rows]])


def typed(where: Path | Frame, rows: pa.Table, needed: Mapping[str, str], more: More, first_row: int = 0) -> pa.Table:
    """`rows` with the columns of the contract in one order and type; those left out at their default (None: null).

    Text becomes dictionary<int32, string>, whole numbers int64, numbers float64. Raises ContractError naming `where`,
    column, count and first rows (counted from `first_row`) of what is missing, empty, of another kind or out of range.
    """
    require_there(where, needed, rows.column_names)
    columns: dict[str, Any] = {}
    for name, kind, default in [
        *((name, kind, None) for name, kind in needed.items()),
        *((name, kind, default) for name, (kind, default) in more.items()),
    ]:
        if name not in rows.column_names:
            columns[name] = _repeated(kind, default, rows.num_rows)
        elif kind == TEXT:
            columns[name] = _text(where, rows[name], name, first_row, None if name in needed else default)
        else:
            columns[name] = _number(where, rows[name], name, kind, first_row)
    return pa.table(columns)


def no_rows(needed: Mapping[str, str], more: More) -> pa.Table:
    """What `typed` gives for no rows at all."""
    nothing = pa.table({name: pa.array([], pa.string()) for name in needed})
    return typed(Path(), nothing, needed, more)


def kinds_of(needed: Mapping[str, str], more: More) -> dict[str, str]:
    """{column: kind} of a contract."""
    return {**needed, **{name: kind for name, (kind, _) in more.items()}}


def texts_of(needed: Mapping[str, str], more: More) -> list[str]:
    """The columns that hold text."""
    return [name for name, kind in kinds_of(needed, more).items() if kind == TEXT]


def with_plain_texts(rows: pa.Table) -> pa.Table:
    """Rows of `typed` without dictionaries: a file of a part of them would repeat the names of all."""
    kinds = {field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type for field in rows.schema}
    return rows.cast(pa.schema(list(kinds.items())))


def coded(column: pa.ChunkedArray) -> Coded:
    """A text column of `typed`, with the names that its rows have."""
    one = _one(column.unify_dictionaries())
    codes, names = one.indices.to_numpy(), one.dictionary
    seen = np.zeros(len(names), bool)
    seen[codes] = True
    if not seen.all():
        codes = (np.cumsum(seen) - 1)[codes].astype(np.int32)
        names = names.filter(pa.array(seen))
    once = names.dictionary_encode()
    if len(once.dictionary) < len(names):
        codes, names = once.indices.to_numpy()[codes], once.dictionary
    return Coded(codes, names)


def numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers of `typed`; one number told to all rows takes no room (its stride is 0)."""
    values = _one(column).to_numpy()
    if len(values) and values[0] == values[-1]:
        ends = pc.min_max(column)
        if ends["min"].as_py() == ends["max"].as_py():
            return np.broadcast_to(values[0], len(values))
    return np.asarray(values)


def days(column: pa.ChunkedArray) -> Ints | None:
    """The local days of `typed`; None where some row has none."""
    return None if column.null_count else numbers(column)


def committed(past: pa.Table) -> pa.ChunkedArray:
    """Which rows of the history are sends at the plan's start or after it."""
    return pc.less_equal(past["minutes_before"], 0.0)


def is_among(column: pa.ChunkedArray, others: Coded) -> NDArray[np.bool_]:
    """(N,) rows of a column of text whose name `others` has too."""
    return np.asarray(pc.is_in(column, value_set=others.names))


def messages_of(where: Path | Frame, columns: Mapping[str, Coded], tier: Ints) -> tuple[Ints, Ints]:
    """(message of each row, first row of each message); raises ContractError where a message is told in two ways."""
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
    """(N,) rows whose (message, slot) an earlier row has; an empty array where there is none."""
    later = (message[1:] > message[:-1]) | ((message[1:] == message[:-1]) & (slot[1:] > slot[:-1]))
    if later.all():
        return np.zeros(0, bool)
    key = message * np.int64(MOST_SLOTS) + slot
    bad = pd.Series(key).duplicated().to_numpy()
    return bad if bad.any() else np.zeros(0, bool)


def slots_by_channel(channel: Coded, slot: Ints) -> dict[str, list[int]]:
    """{channel: the slots of its rows, ascending}."""
    slots = int(slot.max(initial=-1)) + 1
    there = np.zeros((len(channel.names), slots), bool)
    there[channel.codes, slot] = True
    return {name: np.flatnonzero(row).tolist() for name, row in zip(channel.names.to_pylist(), there, strict=True)}


def require_there(where: Path | Frame, needed: Collection[str], columns: Collection[str]) -> None:
    """Nothing, or ContractError naming the columns of `needed` that are missing, and those that are there."""
    missing = [name for name in needed if name not in columns]
    if not missing:
        return
    written = tabular.columns(where) if isinstance(where, Frame) or where.is_file() else list(columns)
    if len(missing) == len(needed) and len(needed) > 1:  # a file without a header shows rows: they may hold ids
        there = f"{len(written)} other columns are there; is the first line one of their names?"
    else:
        near = "".join(f"; did you mean {meant} by {name}?" for name, meant in unused.misspelt(written, needed))
        there = f"found: {', '.join(written)[:500]}{near}"
    raise ContractError(f"{where}: columns {', '.join(missing)} are missing; {there}")


def require_rows(where: Path | Frame, column: str, what: str, bad: Any, first_row: int = 0) -> None:
    """Nothing, or ContractError naming the rows in which `bad` is true."""
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ContractError(
            f"{where}, column {column}: {what} in {len(rows)} of {len(bad)} rows (first rows "
            f"{(rows[:3] + first_row).tolist()}); repair the file and solve again"
        )


def _repeated(kind: str, default: Any, rows: int) -> pa.Array:
    if default is None:
        return pa.nulls(rows, _TYPES[kind])
    if kind == TEXT:
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([default], pa.string()))
    return pa.array(np.full(rows, default), _TYPES[kind])


def _text(
    where: Path | Frame, column: pa.ChunkedArray, name: str, first_row: int, for_null: str | None
) -> pa.ChunkedArray:
    """The column as dictionary<int32, string>, nulls as `for_null`."""
    stored = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _is_name(stored) and not (for_null is not None and pa.types.is_floating(stored)):
        raise _of_another_kind(where, name, column.type)
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
        chunks = [_filled(chunk, for_null) for chunk in chunks]
    return pa.chunked_array(chunks, _TYPES[TEXT])


def _is_name(kind: pa.DataType) -> bool:
    t = pa.types
    texts = t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)
    bytes_ = t.is_binary(kind) or t.is_large_binary(kind)
    whole = t.is_integer(kind) or (t.is_decimal(kind) and kind.scale == 0)
    return bool(texts or bytes_ or whole or t.is_null(kind))


def _of_another_kind(where: Path | Frame, name: str, kind: pa.DataType) -> ContractError:
    stored = kind.value_type if pa.types.is_dictionary(kind) else kind
    points = pa.types.is_floating(stored) or pa.types.is_decimal(stored)
    because = "; as text 12 would be 12.0, another name: convert it" if points else "; convert it"
    return ContractError(
        f"{where}, column {name}: {_type_words(kind)} where text or whole numbers are expected{because}"
    )


def _as_dictionary(chunk: pa.Array) -> pa.DictionaryArray:
    """dictionary<int32, string>, whatever the text was; raises ArrowException for bytes that are no UTF-8."""
    if pa.types.is_null(chunk.type):
        chunk = chunk.cast(pa.string())
    if not pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_encode()
    elif chunk.dictionary.null_count:
        chunk = chunk.cast(chunk.type.value_type).dictionary_encode()
    names = chunk.dictionary.cast(pa.string())
    names.validate(full=True)
    return pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), names)


def _filled(chunk: pa.DictionaryArray, for_null: str) -> pa.DictionaryArray:
    if not chunk.null_count:
        return chunk
    names = pa.concat_arrays([chunk.dictionary, pa.array([for_null], pa.string())])
    return pa.DictionaryArray.from_arrays(chunk.indices.fill_null(len(names) - 1), names)


def _require_names(where: Path | Frame, name: str, chunks: list[pa.DictionaryArray], first_row: int) -> None:
    _require_told(where, name, pa.chunked_array(chunks, _TYPES[TEXT]), first_row)
    if name not in _IDS:
        return
    for what, word in (("empty", _is_blank), ("a word for no value (nan, None, null)", _is_no_value)):
        flags = [word(chunk.dictionary) for chunk in chunks]
        if any(flag.any() for flag in flags):
            rows = [flag[chunk.indices.to_numpy()] for flag, chunk in zip(flags, chunks, strict=True)]
            require_rows(where, name, what, np.concatenate(rows), first_row)


def _is_blank(names: pa.StringArray) -> NDArray[np.bool_]:
    return np.asarray(pc.equal(pc.utf8_trim_whitespace(names), ""), bool)


def _is_no_value(names: pa.StringArray) -> NDArray[np.bool_]:
    return np.asarray(pc.is_in(names, value_set=pa.array(_NO_VALUE)), bool)


def _number(where: Path | Frame, column: pa.ChunkedArray, name: str, kind: str, first_row: int) -> pa.ChunkedArray:
    t, stored = pa.types, column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = t.is_string(stored) or t.is_large_string(stored) or t.is_string_view(stored)
    fits = t.is_integer(stored) or t.is_floating(stored) or t.is_decimal(stored) or texts or t.is_null(stored)
    if not fits:
        raise ContractError(f"{where}, column {name}: {_type_words(column.type)} where {kind} are expected; convert it")
    try:
        column = column.cast(stored) if t.is_dictionary(column.type) else column
        whole = column.cast(_TYPES[kind])
    except pa.ArrowException:
        too_large = "numbers too large" if t.is_integer(stored) else _type_words(column.type)
        raise ContractError(f"{where}, column {name}: {too_large} where {kind} are expected; convert it") from None
    _require_told(where, name, whole, first_row)
    _require_range(where, name, whole, first_row)
    return whole


def _type_words(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else text[:60] + "…"


def _require_told(where: Path | Frame, name: str, column: pa.ChunkedArray, first_row: int) -> None:
    if column.null_count:
        require_rows(where, name, "empty", np.asarray(column.is_null()), first_row)


def _require_range(where: Path | Frame, name: str, column: pa.ChunkedArray, first_row: int) -> None:
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
    """Nothing, or ContractError for a slot that is later than any plan goes."""
    if last >= MOST_SLOTS:
        raise ContractError(
            f"{where}: slot {last:,} is beyond the longest plan of {MOST_SLOTS:,} slots; slots count from 0 at the "
            "start of the plan, slot_minutes apart"
        )


def _one(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _chunks(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    """Each chunk; of text that is no dictionary yet, encoded together."""
    if pa.types.is_dictionary(column.type) or pa.types.is_null(column.type):
        return iter(column.chunks)
    return iter(column.dictionary_encode().chunks)
