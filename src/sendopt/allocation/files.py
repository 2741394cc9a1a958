"""Candidates and history from files into a problem, and a plan back into files (`sendopt solve`)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.allocation import tabular, unused
from sendopt.allocation.price_check import PriceCheck
from sendopt.allocation.problem import Cells, History, Ints, Messages, Problem, Texts, empty_history
from sendopt.allocation.solution import Solution
from sendopt.allocation.tabular import NUMBER, TEXT, WHOLE, Frame
from sendopt.allocation.unused import Expectation
from sendopt.domain.limits import Limits, SolveLimits
from sendopt.errors import ContractError

_MESSAGE = {"user_id": TEXT, "message_id": TEXT, "campaign_id": TEXT, "channel": TEXT, "category": TEXT}
CANDIDATES = {**_MESSAGE, "slot": WHOLE, "value": NUMBER}
CANDIDATES_MORE = {
    "p_opt_out": (NUMBER, 0.0), "cost": (NUMBER, 0.0), "tier": (WHOLE, 1), "exclusive_group": (TEXT, ""),
    "local_day": (WHOLE, None),
}  # fmt: skip
HISTORY = {"user_id": TEXT, "channel": TEXT, "category": TEXT, "campaign_id": TEXT, "minutes_before": NUMBER}
_IDS = ("user_id", "message_id")  # text that must not be empty
HISTORY_MORE = {"local_day": (WHOLE, None), "p_opt_out": (NUMBER, 0.0), "cost": (NUMBER, 0.0)}
BYTES_PER_CANDIDATE = 400  # of memory at the peak, measured on four million
MOST_SLOTS = 32_767  # of a plan: 341 days of 15 minutes


def read_problem(candidates: Path, limits: SolveLimits, history: Path | None) -> Problem:
    """The problem that the files state.

    Raises InputNotReady for a missing file, ContractError naming file, column, count and first rows of what is wrong,
    or when the candidates would not fit into memory: all before any work.
    """
    return read_checked(candidates, limits, history, Expectation())[0]


def read_checked(
    candidates: Path | Frame, limits: SolveLimits, history: Path | Frame | None, expect: Expectation
) -> tuple[Problem, list[str]]:
    """(the problem of `read_problem`, a warning for each limit, column and history that matches nothing).

    What `expect` takes for a mistake is raised instead: ConfigError for limits, ContractError for data.
    """
    warnings = require_columns(candidates, limits, history, expect)
    problem = _problem(candidates, limits, history)
    offered = unused.offered_by(problem)
    warnings += unused.require_used(problem.limits, offered, expect)
    with_candidate = problem.users[np.unique(problem.messages.user)]
    alike = unused.require_same_form(history, problem.users[problem.history.user], with_candidate, expect)
    return problem, warnings + (alike or unused.require_history_used(history, offered, expect))


def require_columns(
    candidates: Path | Frame, limits: Limits, history: Path | Frame | None, expect: Expectation
) -> list[str]:
    """Warnings of columns that are misspelt or that a budget lacks, by the first file of each; see `unused`."""
    first = tabular.parts_of(candidates)[0]
    known = (*CANDIDATES, *CANDIDATES_MORE)
    warnings = unused.require_columns_used(limits, first, tabular.columns(first), known, expect)
    if history is None:
        return warnings
    first = tabular.parts_of(history)[0]
    return warnings + unused.require_spelt(first, tabular.columns(first), (*HISTORY, *HISTORY_MORE), expect)


def require_horizon(where: object, limits: SolveLimits, last_slot: int) -> None:
    """Nothing, or ContractError (exit 3) for a slot that is later than any plan goes."""
    named = max((s for by_slot in limits.capacity.values() if isinstance(by_slot, dict) for s in by_slot), default=0)
    if max(named, last_slot) >= MOST_SLOTS:
        source = "capacity" if named >= MOST_SLOTS else f"{where}, column slot or minutes_before"
        raise ContractError(
            f"{source}: slot {max(named, last_slot):,} is beyond the longest plan of {MOST_SLOTS:,} slots; slots count "
            f"from 0 at the start of the plan, {limits.slot_minutes} minutes each"
        )


def _problem(candidates: Path | Frame, limits: SolveLimits, history: Path | Frame | None) -> Problem:
    cells = _read(candidates, CANDIDATES, CANDIDATES_MORE)
    if not len(cells["slot"]):
        raise ContractError(f"{candidates}: no row; nothing can be planned, check what wrote it")
    past = None if history is None else _read(history, HISTORY, HISTORY_MORE)
    calendar = [name for name, cap in sorted(limits.caps.items()) if cap.calendar]
    for path, table in ((candidates, cells), (history, past)):
        if calendar and table is not None and len(table["user_id"]) and table["local_day"] is None:
            raise ContractError(
                f"{path}: column local_day is missing; caps.{calendar[0]} counts by local day or "
                "week, so each row needs its user's local day (days since 1970-01-01)"
            )
    require_rows(candidates, "slot", "negative", cells["slot"] < 0)
    require_rows(candidates, "tier", "below 1", cells["tier"] < 1)
    last = _last_slot(limits, cells["slot"], past)
    require_horizon(candidates, limits, last)
    user, users = pd.factorize(cells["user_id"])
    message, first = messages_of(candidates, user, cells)
    days = cells["local_day"]
    slots = int(last) + 1
    key = message * np.int64(slots) + cells["slot"]
    require_rows(candidates, "(user_id, message_id, slot)", "repeated", pd.Series(key).duplicated().to_numpy())
    everyone, before = history_of(past, users)
    return Problem(
        slot_minutes=limits.slot_minutes,
        n_slots=slots,
        users=everyone,
        messages=Messages(
            user=user[first].astype(np.int64),
            message_id=cells["message_id"][first],
            campaign=cells["campaign_id"][first],
            channel=cells["channel"][first],
            category=cells["category"][first],
            exclusive_group=cells["exclusive_group"][first],
            tier=cells["tier"][first].astype(np.int64),
        ),
        cells=Cells(
            message=message,
            slot=cells["slot"].astype(np.int64),
            value=cells["value"],
            p_opt_out=cells["p_opt_out"],
            cost=cells["cost"],
            local_day=np.zeros(len(message), np.int64) if days is None else days.astype(np.int64),
        ),
        limits=Limits(**{name: getattr(limits, name) for name in Limits.model_fields}),
        history=before,
    )


def plan_of(problem: Problem, solution: Solution) -> pa.Table:
    """The sends of a plan: user_id, message_id, slot, in this order of rows' keys: user_id, slot, message_id."""
    message = problem.cells.message[solution.chosen]
    m = problem.messages
    plan = pd.DataFrame(
        {
            "user_id": problem.users[m.user[message]],
            "message_id": m.message_id[message],
            "slot": problem.cells.slot[solution.chosen],
        }
    ).sort_values(["user_id", "slot", "message_id"], ignore_index=True)
    schema = pa.schema([("user_id", pa.string()), ("message_id", pa.string()), ("slot", pa.int32())])
    return pa.Table.from_pandas(plan, schema=schema, preserve_index=False)


def write_solution(folder: Path, tables: Mapping[str, pa.Table], document: Mapping[str, Any]) -> None:
    """`NAME.parquet` of each of `tables` and `solution.json` in `folder`, all or none.

    `reasons.parquet` of an earlier solve goes where this one has none: it would be of another plan.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, table in tables.items():
            pq.write_table(table, beside / f"{name}.parquet")
        (beside / "solution.json").write_text(json.dumps(document, indent=2) + "\n")
        folder.mkdir(exist_ok=True)
        for path in sorted(beside.iterdir()):
            path.replace(folder / path.name)
        if "reasons" not in tables:
            (folder / "reasons.parquet").unlink(missing_ok=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def as_json(
    solution: Solution, seconds: Mapping[str, float], checks: Sequence[PriceCheck] = (), warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """What `solution.json` holds."""
    stated = ("value", "penalty", "objective", "bound", "gap", "method", "termination", "cut_users")
    return {
        **{name: getattr(solution, name) for name in stated},
        "greedy": solution.greedy,
        "sends": len(solution.chosen),
        "tiers": [{"tier": t.tier, **{name: getattr(t, name) for name in stated}} for t in solution.tiers],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "prices": [{**vars(p), "gain_of_10_percent": p.gain_of_10_percent} for p in solution.prices],
        "shortfall": dict(sorted(solution.shortfall.items())),
        "price_checks": [vars(check) for check in checks],
        "warnings": list(warnings),
    }


def _read(path: Path | Frame, needed: dict[str, str], more: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """Columns by name as numpy arrays; those that may be left out get their default, None where they have none."""
    if isinstance(path, Frame) or tabular.source_of(path).format == tabular.PARQUET:
        _require_memory(path, tabular.count(path))
    kinds = {**needed, **{name: kind for name, (kind, _) in more.items()}}
    table = tabular.read(path, kinds)
    require_there(path, needed, table.column_names)
    return columns_of(path, table, needed, more)


def require_there(path: Path | Frame, needed: Collection[str], columns: Collection[str]) -> None:
    """Nothing, or ContractError naming the columns of `needed` that are missing, and those that are there."""
    missing = [name for name in needed if name not in columns]
    if missing:
        written = tabular.columns(path) if isinstance(path, Frame) or path.is_file() else list(columns)
        near = "".join(f"; did you mean {meant} by {name}?" for name, meant in unused.misspelt(written, needed))
        some = ", ".join(written)[:500]
        raise ContractError(f"{path}: columns {', '.join(missing)} are missing; found: {some}{near}")


def columns_of(
    path: Path | Frame, table: pa.Table, needed: dict[str, str], more: dict[str, tuple[str, Any]]
) -> dict[str, Any]:
    """Columns of `table` by name as numpy arrays; those that may be left out get their default, or None without one.

    Raises ContractError naming `path`, column, count and first rows of what is missing, empty or of another kind.
    """
    require_there(path, needed, table.column_names)
    found: dict[str, Any] = {c: _column(path, table, c, kind) for c, kind in needed.items()}
    for name in (c for c in _IDS if c in needed):
        require_rows(path, name, "empty", found[name] == "")
    for c, (kind, default) in more.items():
        if c in table.column_names:
            found[c] = _column(path, table, c, kind, default if kind == TEXT else None)
        else:
            found[c] = None if default is None else np.full(table.num_rows, default, object if kind == TEXT else None)
    return found


def _column(path: Path | Frame, table: pa.Table, name: str, kind: str, for_null: object = None) -> Any:
    column = table[name]
    if for_null is not None and column.null_count:
        column = column.cast(pa.string()).fill_null(for_null)
    require_rows(path, name, "empty", np.asarray(column.is_null()))
    if kind == TEXT and for_null is None:
        require_no_fractions(path, name, column.type)
    try:
        if kind == TEXT:
            kept = pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type)
            codes = (column if kept else column.cast(pa.string())).combine_chunks()
            codes = codes if kept else codes.dictionary_encode()
            return codes.dictionary.to_numpy(zero_copy_only=False)[codes.indices.to_numpy()].astype(object)
        found = column.cast(pa.int64() if kind == WHOLE else pa.float64()).to_numpy()
    except pa.ArrowException:
        raise ContractError(f"{path}, column {name}: {column.type} where {kind} are expected; convert it") from None
    if kind == NUMBER:
        require_rows(path, name, "not finite", ~np.isfinite(found))
    return found


def require_no_fractions(path: Path | Frame, name: str, kind: pa.DataType) -> None:
    """Nothing, or ContractError for a column of names that was written as numbers with a decimal point."""
    if pa.types.is_floating(kind):
        raise ContractError(
            f"{path}, column {name}: {kind} where text or whole numbers are expected; as text 12 would be 12.0, "
            "another name: convert it"
        )


def require_rows(path: Path | Frame, column: str, what: str, bad: Any) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise ContractError(
            f"{path}, column {column}: {what} in {len(rows)} of {len(bad)} rows (first rows {rows[:3].tolist()}); "
            "repair the file and solve again"
        )


def free_memory() -> int:
    """Bytes that may be had: on Linux with what caches of files would give back."""
    told = Path("/proc/meminfo")
    for line in told.read_text().splitlines() if told.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _require_memory(path: Path | Frame, rows: int) -> None:
    free = free_memory()
    if rows * BYTES_PER_CANDIDATE > free:
        raise ContractError(
            f"{path}: {rows:,} candidates need about {rows * BYTES_PER_CANDIDATE / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free; solve parts of the users, each with its share of the limits"
        )


def _last_slot(limits: SolveLimits, slot: Ints, past: dict[str, Any] | None) -> int:
    named = [s for by_slot in limits.capacity.values() if isinstance(by_slot, dict) for s in by_slot]
    committed = 0 if past is None else -np.floor_divide(past["minutes_before"].min(initial=0.0), limits.slot_minutes)
    return int(max([int(slot.max(initial=0)), int(committed), *named]))


def messages_of(path: Path | Frame, user: Ints, cells: dict[str, Any]) -> tuple[Ints, Ints]:
    """(message of each row, first row of each message); a message must be told the same in all its rows."""
    name, names = pd.factorize(cells["message_id"])
    key = user * np.int64(len(names)) + name
    message, first_keys = pd.factorize(key)
    first = np.full(len(first_keys), len(key))
    np.minimum.at(first, message, np.arange(len(key)))
    for column in ("campaign_id", "channel", "category", "exclusive_group", "tier"):
        code = pd.factorize(cells[column])[0]
        require_rows(path, column, "different from the message's first row", code != code[first[message]])
    return message.astype(np.int64), first


def history_of(past: dict[str, Any] | None, users: Texts) -> tuple[Texts, History]:
    """(all users, those of the candidates first, their history): a past of others bounds nothing but shared rows."""
    if past is None:
        return users, empty_history()
    everyone = pd.Index(users).append(pd.Index(past["user_id"])).unique()
    n = len(past["user_id"])
    days = past["local_day"]
    return everyone.to_numpy(object), History(
        user=everyone.get_indexer(past["user_id"]).astype(np.int64),
        channel=past["channel"],
        category=past["category"],
        campaign=past["campaign_id"],
        minutes_before=past["minutes_before"],
        local_day=np.zeros(n, np.int64) if days is None else days.astype(np.int64),
        p_opt_out=past["p_opt_out"],
        cost=past["cost"],
    )
