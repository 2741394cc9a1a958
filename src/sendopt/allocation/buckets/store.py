"""Buckets as files: one row a (user, message), its cells as lists, in keyed-hash order, with a summary in the footer.

A bucket is a range of the keyed hash of user ids, so buckets in order are all users in hash order, and the first of
them are a random sample.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sendopt.allocation.files import (
    CANDIDATES,
    CANDIDATES_MORE,
    HISTORY,
    HISTORY_MORE,
    MOST_SLOTS,
    columns_of,
    history_of,
    messages_of,
    require_rows,
)
from sendopt.allocation.prices.arrange import agreed, arranged
from sendopt.allocation.prices.instance import hash_order, text_hash
from sendopt.allocation.problem import Cells, Ints, Messages, Problem
from sendopt.domain.limits import Limits, SolveLimits
from sendopt.errors import ContractError

_KEY = b"sendopt.bucket"
_TEXTS = ("message_id", "campaign_id", "channel", "category", "exclusive_group")
_LISTS = ("p_opt_out", "cost")
_NAMES = ("channel", "category", "campaign_id")
MOST_BUCKETS = 1000


@dataclass(frozen=True)
class Summary:
    """What a bucket's file says of itself."""

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
    names: dict[str, list[str]]  # channels, categories and campaigns of its candidates; channels of its history
    history: tuple[int, int]  # rows, and those whose user has a candidate
    committed: list[tuple[str, str, float, int, float, float]]  # channel, campaign, minute, sends, Σ p_opt_out, Σ cost


def bucket_of(users: NDArray[Any], buckets: int) -> Ints:
    """(U,) 0 <= bucket < buckets of each user id, by the high bits of its keyed hash."""
    high = text_hash(users) >> np.uint64(32)
    return np.asarray((high * np.uint64(buckets)) >> np.uint64(32)).astype(np.int64)


def path_of(folder: Path, bucket: int) -> Path:
    return folder / f"bucket-{bucket:05d}.parquet"


def _past_of(folder: Path, bucket: int) -> Path:
    return folder / f"history-{bucket:05d}.parquet"


def write_bucket(
    folder: Path, bucket: int, buckets: int, cells: pa.Table, history: pa.Table | None, origin: str
) -> Summary:
    """Writes the bucket of these candidates (long rows as `sendopt solve` takes them) and their history.

    The bytes do not depend on the order of rows. Raises ContractError, naming `origin`, for rows that contradict.
    """
    where = Path(f"{origin} (bucket {bucket + 1} of {buckets})")
    c = columns_of(where, _with_all_days(cells), CANDIDATES, CANDIDATES_MORE)
    require_rows(where, "slot", "negative", c["slot"] < 0)
    require_rows(where, "tier", "below 1", c["tier"] < 1)
    require_rows(where, "p_opt_out", "outside [0, 1]", ~((c["p_opt_out"] >= 0) & (c["p_opt_out"] <= 1)))
    require_rows(where, "cost", "negative", c["cost"] < 0)
    user, users = pd.factorize(c["user_id"])
    message, first = messages_of(where, user, c)
    order, start = arranged(user[first], hash_order(users), text_hash(c["message_id"][first]))
    if int(c["slot"].max(initial=0)) >= MOST_SLOTS:
        raise ContractError(
            f"{where}, column slot: {int(c['slot'].max()):,} is beyond the longest plan of {MOST_SLOTS:,} slots; slots "
            "count from 0 at the start of the plan"
        )
    rows, cell_start = arranged(message, order, c["slot"])
    owner = np.repeat(order, np.diff(cell_start))
    repeated = np.zeros(len(rows), bool)
    repeated[1:] = (owner[1:] == owner[:-1]) & (np.diff(c["slot"][rows]) == 0)
    if repeated.any():
        raise ContractError(
            f"{where}: (user_id, message_id, slot) repeated in {int(repeated.sum())} of {len(rows)} rows; "
            "repair the candidates and solve again"
        )
    lines = first[order]
    lists = pa.array(cell_start.astype(np.int32))
    columns: dict[str, pa.Array] = {"user_id": _dictionary(c["user_id"][lines])}
    columns |= {name: _dictionary(c[name][lines]) for name in _TEXTS}
    columns["tier"] = pa.array(c["tier"][lines].astype(np.int32))
    for name in ("slot", "value", *_LISTS):
        kind = np.int16 if name == "slot" else np.float64
        one = agreed(c[name], rows, cell_start) if name in _LISTS else None
        flat = pa.array(c[name][rows].astype(kind)) if one is None else None
        columns[name] = pa.array(one) if flat is None else pa.ListArray.from_arrays(lists, flat)
    if c["local_day"] is not None:
        columns["local_day"] = pa.ListArray.from_arrays(lists, pa.array(c["local_day"][rows].astype(np.int32)))
    if history is not None:
        history = _with_all_days(history)
        history = history.sort_by([(name, "ascending") for name in sorted(history.column_names)])
    past = None if history is None else columns_of(where, history, HISTORY, HISTORY_MORE)
    summary = _summary(bucket, buckets, len(start) - 1, c, first, past)
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(vars(summary))})
    folder.mkdir(parents=True, exist_ok=True)
    if history is not None and history.num_rows:
        pq.write_table(history, _past_of(folder, bucket))
    dictionaries = [name for name in table.column_names if name not in ("value", *_LISTS)]
    pq.write_table(
        table, path_of(folder, bucket), row_group_size=1 << 26, use_dictionary=dictionaries,
        dictionary_pagesize_limit=1 << 30, write_statistics=False, compression="zstd", compression_level=1,
    )  # fmt: skip
    return summary


def _with_all_days(rows: pa.Table) -> pa.Table:
    """Without the column local_day where it is not told for all."""
    told = "local_day" in rows.column_names and rows["local_day"].null_count == 0
    return rows if told or "local_day" not in rows.column_names else rows.drop_columns(["local_day"])


def _dictionary(texts: NDArray[Any]) -> pa.Array:
    codes, names = pd.factorize(texts)
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def _summary(
    bucket: int, buckets: int, users: int, c: dict[str, Any], first: Ints, past: dict[str, Any] | None
) -> Summary:
    frame = pd.DataFrame({"campaign": c["campaign_id"], "value": c["value"], "tier": c["tier"]})
    by_campaign = frame.groupby("campaign", sort=True)
    committed: list[tuple[str, str, float, int, float, float]] = []
    least = 0.0
    names = {name: sorted(map(str, pd.unique(c[name]))) for name in _NAMES}
    names["history_channel"] = [] if past is None else sorted(map(str, pd.unique(past["channel"])))
    matched = 0 if past is None else int(pd.Series(past["user_id"]).isin(c["user_id"]).sum())
    if past is not None:
        least = float(past["minutes_before"].min(initial=0.0))
        sends = pd.DataFrame({name: past[name] for name in (*HISTORY, *_LISTS)})
        counted = (
            sends[sends["minutes_before"] <= 0]
            .groupby(["channel", "campaign_id", "minutes_before"], sort=True)
            .agg(sends=("cost", "size"), p_opt_out=("p_opt_out", "sum"), cost=("cost", "sum"))
            .reset_index()
        )
        committed = [
            (str(channel), str(campaign), -float(before), int(n), float(p_opt_out), float(cost))
            for channel, campaign, before, n, p_opt_out, cost in counted.itertuples(index=False, name=None)
        ]
    return Summary(
        bucket=bucket,
        buckets=buckets,
        users=users,
        messages=len(first),
        cells=len(c["slot"]),
        last_slot=int(c["slot"].max(initial=-1)),
        least_minutes_before=least,
        days=c["local_day"] is not None and (past is None or past["local_day"] is not None),
        largest={str(k): max(0.0, float(v)) for k, v in by_campaign["value"].max().items()},
        last_tier={str(k): int(v) for k, v in by_campaign["tier"].max().items()},
        tiers=np.unique(c["tier"]).tolist(),
        names=names,
        history=(0 if past is None else len(past["user_id"]), matched),
        committed=committed,
    )


def is_bucketed(folder: Path) -> bool:
    """Was this folder written by `write_bucket`?"""
    path = path_of(folder, 0)
    return path.is_file() and _KEY in (pq.read_schema(path).metadata or {})


def summaries(folder: Path) -> list[Summary]:
    """Those of all buckets, in order; raises ContractError where one is missing or of another number of buckets."""
    found = [_summary_of(path) for path in sorted(folder.glob("bucket-*.parquet"))]
    count = found[0].buckets if found else 0
    if [s.bucket for s in found] != list(range(count)) or any(s.buckets != count for s in found):
        raise ContractError(f"{folder}: {len(found)} buckets where {count} are expected; write the buckets again")
    return found


def _summary_of(path: Path) -> Summary:
    told = json.loads((pq.read_schema(path).metadata or {})[_KEY])
    if told.keys() != {one.name for one in fields(Summary)}:
        raise ContractError(f"{path}: a bucket of another version of sendopt; write the buckets again")
    whole = {"committed": [tuple(one) for one in told["committed"]], "history": tuple(told["history"])}
    return Summary(**{**told, **whole})


def read_buckets(folder: Path, which: list[int], limits: SolveLimits, n_slots: int) -> Problem:
    """The problem of the users of these buckets, under all of `limits`."""
    tables = [pq.read_table(path_of(folder, b)) for b in which]
    table = (pa.concat_tables(tables).unify_dictionaries() if len(tables) > 1 else tables[0]).combine_chunks()
    user = table["user_id"].combine_chunks()
    texts = {name: _texts(table[name].combine_chunks()) for name in _TEXTS}
    slots = _array(table["slot"])
    counts = np.diff(slots.offsets.to_numpy())
    message = np.repeat(np.arange(table.num_rows), counts)
    days = _array(table["local_day"]).values.to_numpy() if "local_day" in table.column_names else None
    numbers = {}
    for name in _LISTS:
        column = _array(table[name])
        if pa.types.is_list(column.type):
            numbers[name] = column.values.to_numpy()
        elif (one := column.to_numpy()).any():
            numbers[name] = np.repeat(one, counts)
        else:
            numbers[name] = np.broadcast_to(0.0, len(message))
    paths = [path for b in which if (path := _past_of(folder, b)).is_file()]
    past = pa.concat_tables([pq.read_table(path) for path in paths]) if paths else None
    known = None if past is None else columns_of(paths[0], past, HISTORY, HISTORY_MORE)
    everyone, before = history_of(known, user.dictionary.to_numpy(zero_copy_only=False).astype(object))
    return Problem(
        slot_minutes=limits.slot_minutes,
        n_slots=n_slots,
        users=everyone,
        messages=Messages(
            user=user.indices.to_numpy().astype(np.int64),
            message_id=texts["message_id"],
            campaign=texts["campaign_id"],
            channel=texts["channel"],
            category=texts["category"],
            exclusive_group=texts["exclusive_group"],
            tier=table["tier"].to_numpy().astype(np.int64),
        ),
        cells=Cells(
            message=message,
            slot=slots.values.to_numpy().astype(np.int64),
            value=np.require(_array(table["value"]).values.to_numpy(), requirements="W"),
            local_day=np.broadcast_to(np.int64(0), len(message)) if days is None else days.astype(np.int64),
            **numbers,
        ),
        limits=Limits(**{name: getattr(limits, name) for name in Limits.model_fields}),
        history=before,
    )


def _array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def _texts(column: pa.DictionaryArray) -> NDArray[Any]:
    return np.asarray(column.dictionary.to_numpy(zero_copy_only=False).astype(object)[column.indices.to_numpy()])
