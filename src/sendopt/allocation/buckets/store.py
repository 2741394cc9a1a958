"""Buckets as files: one row a (user, message), its cells as lists, in keyed-hash order, with a summary in the footer.

A bucket is a range of the keyed hash of user ids, so buckets in order are all users in hash order, and the first of
them are a random sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sendopt.allocation.build import CellColumns, MessageColumns, build_problem
from sendopt.allocation.prices.arrange import arranged
from sendopt.allocation.prices.instance import hash_order, text_hash
from sendopt.allocation.problem import Problem
from sendopt.allocation.tables import columns, tabular
from sendopt.allocation.tables.columns import Coded
from sendopt.allocation.tables.files import history_of
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ContractError
from sendopt.stats.arrays import Ints

_KEY = b"sendopt.bucket"
_TEXTS = ("message_id", "campaign_id", "channel", "category", "exclusive_group")
_LISTS = ("p_opt_out", "cost")
_NAMES = ("channel", "category", "campaign_id")
_PAST_TEXTS = columns.texts_of(columns.HISTORY, columns.HISTORY_MORE)
_CODED = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(  # of every bucket, whatever its cells
    [
        ("user_id", _CODED),
        *((name, _CODED) for name in _TEXTS),
        ("tier", pa.int32()),
        ("slot", pa.list_(pa.int16())),  # columns.MOST_SLOTS is its largest
        ("value", pa.list_(pa.float64())),
        *((name, pa.list_(pa.float64())) for name in _LISTS),  # one number where all cells of the message have it
        ("local_day", pa.list_(pa.int32())),  # null where it is not known for all
    ]
)
MOST_BUCKETS = 1000


@dataclass(frozen=True)
class Summary:
    """Sizes and names of a bucket, stored in the footer of its file."""

    bucket: int
    buckets: int
    users: int
    messages: int
    cells: int
    last_slot: int  # -1: no cell
    least_minutes_before: float  # of history, 0 at most; negative: a committed send after the plan's start
    days: bool  # all rows have a local day
    largest: dict[str, float]  # the largest value of each campaign
    last_tier: dict[str, int]  # of each campaign
    tiers: list[int]
    names: dict[str, list[str]]  # channels, categories and campaigns of its candidates, history_… those of its history
    slots: dict[str, list[int]]  # of the candidates of each channel
    any_worth: bool  # some value is above 0
    history: tuple[int, int]  # rows, and those whose user has a candidate
    committed: list[tuple[str, str, float, int, float, float]]  # channel, campaign, minute, sends, Σ p_opt_out, Σ cost


def bucket_of(users: NDArray[Any], buckets: int) -> Ints:
    """Return the bucket (U,) of each user id, 0 to `buckets` - 1, by the high bits of its keyed hash."""
    high = text_hash(users) >> np.uint64(32)
    return np.asarray((high * np.uint64(buckets)) >> np.uint64(32)).astype(np.int64)


def path_of(folder: Path, bucket: int) -> Path:
    """Return the path of a bucket's candidates."""
    return folder / f"bucket-{bucket:05d}.parquet"


def _past_of(folder: Path, bucket: int) -> Path:
    return folder / f"history-{bucket:05d}.parquet"


def write_bucket(
    folder: Path, bucket: int, buckets: int, cells: pa.Table, history: pa.Table | None, origin: str
) -> Summary:
    """Write the bucket of these candidates and their history, both as `columns.typed` gives them.

    The bytes do not depend on the order of rows. Raises ContractError, naming `origin`, for rows of a message that
    contradict each other and for a repeated slot.
    """
    where = Path(f"{origin} (bucket {bucket + 1} of {buckets})")
    text = {name: columns.coded(cells[name]) for name in ("user_id", *_TEXTS)}
    message, first = columns.messages_of(where, text, columns.numbers(cells["tier"]))
    order = _in_hash_order(where, text, message, first, columns.numbers(cells["slot"]))
    if history is not None:
        history = columns.with_plain_texts(history)
        history = history.sort_by([(name, "ascending") for name in sorted(history.column_names)])
    summary = _summary(bucket, buckets, cells, text, first, history)
    table = _table(cells, text, order).replace_schema_metadata({_KEY: json.dumps(vars(summary))})
    folder.mkdir(parents=True, exist_ok=True)
    if history is not None and history.num_rows:
        pq.write_table(history, _past_of(folder, bucket))
    pq.write_table(
        table,
        path_of(folder, bucket),
        row_group_size=1 << 26,
        use_dictionary=[name for name in table.column_names if name not in ("value", *_LISTS)],
        dictionary_pagesize_limit=1 << 30,
        write_statistics=False,
        compression="zstd",
        compression_level=1,
    )
    return summary


@dataclass(frozen=True)
class _Order:
    """The rows of a bucket's candidates by hash of user and message, then by slot. M messages, C cells."""

    message_rows: Ints  # (M,) first row of each message
    cell_rows: Ints  # (C,) row of each cell
    cell_start: Ints  # (M + 1,) first cell of each message


def _in_hash_order(where: Path, text: Mapping[str, Coded], message: Ints, first: Ints, slot: Ints) -> _Order:
    """Return the order in which rows are written; raise ContractError where a slot of a message is repeated.

    `message` is the message of each row, `first` the first row of each message.
    """
    user = text["user_id"]
    order, _ = arranged(
        user.codes[first].astype(np.int64), hash_order(user.texts), text_hash(text["message_id"].at(first))
    )
    cell_rows, cell_start = arranged(message, order, slot)
    owner = np.repeat(order, np.diff(cell_start))
    repeated = np.zeros(len(cell_rows), bool)
    repeated[1:] = (owner[1:] == owner[:-1]) & (np.diff(slot[cell_rows]) == 0)
    if repeated.any():
        raise ContractError(
            f"{where}: (user_id, message_id, slot) repeated in {int(repeated.sum())} of {len(cell_rows)} rows; "
            "repair the candidates and solve again"
        )
    return _Order(first[order], cell_rows, cell_start)


def _table(cells: pa.Table, text: Mapping[str, Coded], order: _Order) -> pa.Table:
    """Return one row a message with its cells as lists, in the columns of `_SCHEMA`."""
    rows, lines, days = order.cell_rows, order.message_rows, columns.days(cells["local_day"])
    offsets = pa.array(order.cell_start.astype(np.int32))

    def lists(values: NDArray[Any]) -> pa.ListArray:
        return pa.ListArray.from_arrays(offsets, pa.array(values))

    arrays: dict[str, pa.Array] = {name: _in_order(text[name], lines) for name in ("user_id", *_TEXTS)}
    arrays["tier"] = pa.array(columns.numbers(cells["tier"])[lines].astype(np.int32))
    arrays["slot"] = lists(columns.numbers(cells["slot"])[rows].astype(np.int16))
    arrays["value"] = lists(columns.numbers(cells["value"])[rows])
    arrays |= {name: _agreed(columns.numbers(cells[name])[rows], order.cell_start) for name in _LISTS}
    unknown = pa.nulls(len(lines), _SCHEMA.field("local_day").type)
    arrays["local_day"] = unknown if days is None else lists(days[rows].astype(np.int32))
    return pa.table([arrays[name] for name in _SCHEMA.names], schema=_SCHEMA)


def _in_order(text: Coded, lines: Ints) -> pa.DictionaryArray:
    """Return the names of these rows, coded by first appearance, so that the codes before do not matter."""
    codes, names = pd.factorize(text.codes[lines])
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), text.names.take(pa.array(names)))


def _agreed(values: NDArray[Any], start: Ints) -> pa.ListArray:
    """Return the numbers of each message's cells as a list, of one number where all are equal."""
    counts = np.diff(start)
    if not len(counts):
        return pa.array([], pa.list_(pa.float64()))
    heads = start[:-1]
    same = np.minimum.reduceat(values, heads) == np.maximum.reduceat(values, heads)
    keep = np.repeat(~same, counts)
    keep[heads] = True
    ends = np.concatenate([[0], np.cumsum(np.where(same, 1, counts))])
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), pa.array(values[keep]))


def _summary(
    bucket: int, buckets: int, cells: pa.Table, text: Mapping[str, Coded], first: Ints, past: pa.Table | None
) -> Summary:
    campaign, value, tier = text["campaign_id"], columns.numbers(cells["value"]), columns.numbers(cells["tier"])
    slot = columns.numbers(cells["slot"])
    largest, last_tier = np.zeros(len(campaign.names)), np.zeros(len(campaign.names), np.int64)
    np.maximum.at(largest, campaign.codes, value)
    np.maximum.at(last_tier, campaign.codes, tier)
    names = {name: sorted(text[name].names.to_pylist()) for name in _NAMES}
    names |= {f"history_{name}": [] if past is None else sorted(past[name].unique().to_pylist()) for name in _NAMES}
    least, matched = 0.0, 0
    if past is not None:
        least = float(columns.numbers(past["minutes_before"]).min(initial=0.0))
        matched = int(columns.is_among(past["user_id"], text["user_id"]).sum())
    by_name = sorted(zip(campaign.names.to_pylist(), largest.tolist(), last_tier.tolist(), strict=True))
    return Summary(
        bucket=bucket,
        buckets=buckets,
        users=len(text["user_id"].names),
        messages=len(first),
        cells=len(slot),
        last_slot=int(slot.max(initial=-1)),
        least_minutes_before=least,
        days=cells["local_day"].null_count == 0 and (past is None or past["local_day"].null_count == 0),
        largest={name: most for name, most, _ in by_name},
        last_tier={name: last for name, _, last in by_name},
        tiers=np.unique(tier).tolist(),
        names=names,
        slots=dict(sorted(columns.slots_by_channel(text["channel"], slot).items())),
        any_worth=bool((value > 0).any()),
        history=(0 if past is None else past.num_rows, matched),
        committed=[] if past is None else _committed(past),
    )


def _committed(past: pa.Table) -> list[tuple[str, str, float, int, float, float]]:
    """Return the committed sends of `past` as `Summary.committed` holds them."""
    wanted = ("channel", "campaign_id", "minutes_before", *_LISTS)
    sends = past.filter(columns.committed(past)).select(wanted).to_pandas()
    counted = (
        sends.groupby(["channel", "campaign_id", "minutes_before"], sort=True)
        .agg(sends=("cost", "size"), p_opt_out=("p_opt_out", "sum"), cost=("cost", "sum"))
        .reset_index()
    )
    return [
        (str(channel), str(campaign), 0.0 - float(before), int(n), float(p_opt_out), float(cost))
        for channel, campaign, before, n, p_opt_out, cost in counted.itertuples(index=False, name=None)
    ]


def user_ids(folder: Path, buckets: list[int]) -> pa.StringArray:
    """Return the users of these buckets that have a candidate, each once."""
    return _ids([path_of(folder, bucket) for bucket in buckets])


def history_ids(folder: Path) -> pa.StringArray:
    """Return the users of all buckets that have a history, each once."""
    return _ids(sorted(folder.glob("history-*.parquet")))


def _ids(paths: list[Path]) -> pa.StringArray:
    names = [columns.coded(_read(path, ["user_id"], ["user_id"])["user_id"]).names for path in paths]
    return pa.concat_arrays(names).unique() if names else pa.array([], pa.string())


def is_bucketed(folder: Path) -> bool:
    """Return whether `write_bucket` wrote this folder."""
    path = next(iter(sorted(folder.glob("bucket-*.parquet"))), None)
    if path is None or not path.is_file():
        return False
    try:
        return _KEY in (pq.read_schema(path).metadata or {})
    except tabular.FAILURES as error:
        raise tabular.unreadable(path, error) from None


def summaries(folder: Path) -> list[Summary]:
    """Return the summaries of all buckets, in order; raise ContractError where the files are not those of one split."""
    of_buckets = [_summary_of(path) for path in sorted(folder.glob("bucket-*.parquet"))]
    count = of_buckets[0].buckets if of_buckets else 0
    if [s.bucket for s in of_buckets] != list(range(count)) or any(s.buckets != count for s in of_buckets):
        raise ContractError(f"{folder}: {len(of_buckets)} buckets where {count} are expected; write the buckets again")
    return of_buckets


def _summary_of(path: Path) -> Summary:
    try:
        stored = json.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}"))
    except tabular.FAILURES as error:
        raise tabular.unreadable(path, error) from None
    if stored.keys() != {field.name for field in fields(Summary)}:
        raise ContractError(f"{path}: a bucket of another version of sendopt; write the buckets again")
    tuples = {"committed": [tuple(sends) for sends in stored["committed"]], "history": tuple(stored["history"])}
    return Summary(**{**stored, **tuples})


def _read(path: Path, names: list[str] | None = None, texts: list[str] | None = None) -> pa.Table:
    """Return columns of a file, those of `texts` as dictionaries."""
    try:
        return pq.read_table(path, columns=names, read_dictionary=texts)
    except tabular.FAILURES as error:
        raise tabular.unreadable(path, error) from None


def read_buckets(folder: Path, which: list[int], limits: SolveLimits, n_slots: int) -> Problem:
    """Return the problem of the users of these buckets, under all of `limits`."""
    tables = [_read(path_of(folder, b)) for b in which]
    table = (pa.concat_tables(tables).unify_dictionaries() if len(tables) > 1 else tables[0]).combine_chunks()
    user = table["user_id"].combine_chunks()
    slots = _array(table["slot"])
    counts = np.diff(slots.offsets.to_numpy())
    paths = [path for b in which if (path := _past_of(folder, b)).is_file()]
    past = pa.concat_tables([_read(path, None, _PAST_TEXTS) for path in paths]) if paths else None
    all_users, history = history_of(past, Coded(user.indices.to_numpy(), user.dictionary))
    return build_problem(
        limits=limits,
        slot_minutes=limits.slot_minutes,
        n_slots=n_slots,
        users=all_users,
        messages=MessageColumns(
            user=user.indices.to_numpy(),
            texts={name: _texts(table[name].combine_chunks()) for name in _TEXTS},
            tier=table["tier"].to_numpy(),
        ),
        cells=CellColumns(
            message=np.repeat(np.arange(table.num_rows), counts),
            slot=slots.values.to_numpy(),
            value=_array(table["value"]).values.to_numpy(),
            p_opt_out=_by_cell(_array(table["p_opt_out"]), counts),
            cost=_by_cell(_array(table["cost"]), counts),
            local_day=None if table["local_day"].null_count else _array(table["local_day"]).values.to_numpy(),
        ),
        history=history,
    )


def _by_cell(lists: pa.ListArray, counts: Ints) -> NDArray[Any]:
    """Return the number of each cell (C,), from lists as `_agreed` makes them."""
    values, sizes = lists.values.to_numpy(), np.diff(lists.offsets.to_numpy())
    if not values.any():
        return np.broadcast_to(0.0, int(counts.sum()))
    return np.repeat(values, np.where(sizes == counts, 1, counts).repeat(sizes))


def _array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column of one chunk as an array."""
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _texts(column: pa.DictionaryArray) -> NDArray[Any]:
    return np.asarray(column.dictionary.to_numpy(zero_copy_only=False).astype(object)[column.indices.to_numpy()])
