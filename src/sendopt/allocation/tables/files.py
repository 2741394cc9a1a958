"""Read candidates and history from files into a problem, and write a plan to files (`sendopt solve`)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sendopt.allocation.build import CellColumns, HistoryColumns, MessageColumns, build_history, build_problem
from sendopt.allocation.contract import require_feasible
from sendopt.allocation.price_check import PriceCheck
from sendopt.allocation.problem import History, Problem, empty_history
from sendopt.allocation.solution import Solution
from sendopt.allocation.tables import columns, same_ids, tabular, unused
from sendopt.allocation.tables.columns import CANDIDATES, CANDIDATES_MORE, HISTORY, HISTORY_MORE, Coded, More
from sendopt.allocation.tables.out_folder import MANIFEST, OUTPUT
from sendopt.allocation.tables.tabular import Frame
from sendopt.allocation.tables.unused import Expectation, Offered
from sendopt.domain.limits import Limits, SolveLimits
from sendopt.errors import ContractError
from sendopt.lake.files import both_or_neither
from sendopt.stats.arrays import Ints, Texts

BYTES_PER_CANDIDATE = 400  # of memory at the peak, measured on four million
BYTES_PER_PAIR_OF_LIMITS = 25  # across users, at the peak, measured on six thousand
_SHORTEST_ROW = 14  # bytes of a candidate as text
_MOST_ZIPPED = 1032  # largest ratio of a text to its gzip file


def read_problem(candidates: Path, limits: SolveLimits, history: Path | None) -> Problem:
    """Return the problem that the files state.

    Raises InputNotReady for a missing file, ContractError naming file, column, count and first rows of a fault, or
    where the candidates would not fit into memory: all before any work.
    """
    return read_checked(candidates, limits, history, Expectation())[0]


def read_checked(
    candidates: Path | Frame, limits: SolveLimits, history: Path | Frame | None, expect: Expectation
) -> tuple[Problem, list[str]]:
    """Return (the problem of `read_problem`, a warning for each limit, column and history that matches nothing).

    A mistake according to `expect` is raised instead: ConfigError for limits, ContractError for data.
    """
    require_limits(limits)
    warnings = require_columns(candidates, limits, history, expect)
    cells = _read(candidates, CANDIDATES, CANDIDATES_MORE)
    past = None if history is None else _read(history, HISTORY, HISTORY_MORE)
    problem, more = problem_of(candidates, cells, limits, history, past, expect)
    committed = bool(problem.history.committed.any())
    return problem, warnings + more + require_committed_counted(history, limits, committed, expect)


def problem_of(
    candidates: Path | Frame,
    cells: pa.Table,
    limits: SolveLimits,
    history: Path | Frame | None,
    past: pa.Table | None,
    expect: Expectation,
) -> tuple[Problem, list[str]]:
    """Return (the problem of these rows as `columns.typed` gives them, its warnings); messages name the paths.

    Raises what `read_checked` raises.
    """
    require_some(candidates, cells.num_rows)
    text = _texts(cells)
    slot, tier, value = (columns.numbers(cells[name]) for name in ("slot", "tier", "value"))
    days = columns.days(cells["local_day"])
    message, first = columns.messages_of(candidates, text, tier)
    if len(bad := columns.repeated(message, slot)):
        columns.require_rows(candidates, "(user_id, message_id, slot)", "repeated", bad)
    all_users, past_sends = history_of(past, text["user_id"])
    require_days(candidates, limits, days is not None)
    require_days(history, limits, past is None or columns.days(past["local_day"]) is not None)
    least = float(past_sends.minutes_before.min(initial=0.0))
    problem = build_problem(
        limits=limits,
        slot_minutes=limits.slot_minutes,
        n_slots=1 + require_horizon(candidates, history, limits, int(slot.max()), least),
        users=all_users,
        messages=MessageColumns(
            user=text["user_id"].codes[first],
            texts={name: coded.at(first) for name, coded in text.items() if name != "user_id"},
            tier=tier[first],
        ),
        cells=CellColumns(
            message=message,
            slot=slot,
            value=value,
            p_opt_out=columns.numbers(cells["p_opt_out"]),
            cost=columns.numbers(cells["cost"]),
            local_day=days,
        ),
        history=past_sends,
    )
    offered = _offered(text, slot, bool((value > 0).any()), past, past_sends)
    return problem, _unused_warnings(problem.limits, offered, text["user_id"], history, past, expect)


def _unused_warnings(
    limits: Limits,
    offered: Offered,
    users: Coded,
    history: Path | Frame | None,
    past: pa.Table | None,
    expect: Expectation,
) -> list[str]:
    """Return a warning for each limit that matches no candidate and for a history that does; see `unused`."""
    warnings = unused.require_used(limits, offered, expect)
    alike = None if past is None else same_ids.alike(users.names, columns.coded(past["user_id"]).names)
    spelt_differently = unused.require_same_form(history, alike, expect)
    return warnings + (spelt_differently or unused.require_history_used(history, offered, expect))


def _texts(rows: pa.Table) -> dict[str, Coded]:
    return {name: columns.coded(rows[name]) for name in rows.column_names if pa.types.is_dictionary(rows[name].type)}


def _offered(text: dict[str, Coded], slot: Ints, any_worth: bool, past: pa.Table | None, history: History) -> Offered:
    names = {name: frozenset(text[name].names.to_pylist()) for name in ("channel", "category", "campaign_id")}
    past_names = (
        {} if past is None else {name: frozenset(codes.names.to_pylist()) for name, codes in _texts(past).items()}
    )
    none: frozenset[str] = frozenset()
    return Offered(
        channels=names["channel"],
        categories=names["category"],
        campaigns=names["campaign_id"],
        last_slot=int(slot.max()),
        history_channels=past_names.get("channel", none),
        history_categories=past_names.get("category", none),
        history_campaigns=past_names.get("campaign_id", none),
        history_rows=len(history.user),
        history_matched=int((history.user < len(text["user_id"].names)).sum()),
        slots=columns.slots_by_channel(text["channel"], slot),
        any_worth=any_worth,
    )


def require_limits(limits: SolveLimits) -> None:
    """Raise an error where the limits are wrong for any candidates.

    That is InfeasibleError (exit 4) for a contradiction, ContractError (exit 3) for a slot beyond the longest plan.
    """
    require_feasible(limits)
    for channel, by_slot in limits.capacity.items():
        if isinstance(by_slot, dict):
            columns.require_slot(f"capacity.{channel}", max(by_slot, default=0))


def require_some(candidates: Path | Frame, rows: int) -> None:
    """Raise ContractError (exit 3) where there is no candidate."""
    if not rows:
        raise ContractError(f"{candidates}: no row; nothing can be planned, check what wrote it")


def require_columns(
    candidates: Path | Frame, limits: Limits, history: Path | Frame | None, expect: Expectation
) -> list[str]:
    """Return warnings of files that are not read, misspelt columns and budgets without a column; see `unused`."""
    warnings = []
    for source, known in ((candidates, (*CANDIDATES, *CANDIDATES_MORE)), (history, (*HISTORY, *HISTORY_MORE))):
        if source is not None:
            warnings += unused.files_not_read(source, tabular.not_read(source))
            warnings += unused.require_spelt(_written(source), known, expect)
    return warnings + unused.require_budgets_counted(limits, _written(candidates), expect)


def require_committed_counted(
    history: Path | Frame | None, limits: Limits, committed: bool, expect: Expectation
) -> list[str]:
    """Return a warning for each budget that cannot count committed sends because the history lacks its column."""
    if history is None or not committed:
        return []
    return unused.require_budgets_counted(limits, _written(history), expect, "committed sends")


def _written(source: Path | Frame) -> dict[Path | Frame, list[str]]:
    return {path: tabular.columns(path) for path in tabular.parts_of(source)}


def require_days(where: Path | Frame | None, limits: Limits, known: bool) -> None:
    """Raise ContractError where a cap counts by local days and they are not `known` for all rows."""
    calendar = [name for name, cap in sorted(limits.caps.items()) if cap.calendar]
    if calendar and not known:
        raise ContractError(
            f"{where}: column local_day is missing; caps.{calendar[0]} counts by local day or "
            "week, so each row needs its user's local day (days since 1970-01-01)"
        )


def require_horizon(
    candidates: Path | Frame,
    history: Path | Frame | None,
    limits: SolveLimits,
    last_slot: int,
    least_minutes_before: float,
) -> int:
    """Return the last slot that candidates, committed sends or the limits name.

    Raises ContractError (exit 3) for a slot beyond the longest plan, and where the prices would not fit into memory.
    """
    require_limits(limits)
    columns.require_slot(f"{candidates}, column slot", last_slot)
    committed = max(0, math.floor(-least_minutes_before / limits.slot_minutes))
    columns.require_slot(f"{history or candidates}, column minutes_before", committed)
    named = [s for by_slot in limits.capacity.values() if isinstance(by_slot, dict) for s in by_slot]
    last = max([last_slot, committed, *named])
    rows = sum(len(by_slot) if isinstance(by_slot, dict) else last + 1 for by_slot in limits.capacity.values())
    rows += 2 * len(limits.campaigns)
    needed, free = rows * rows * BYTES_PER_PAIR_OF_LIMITS, free_memory()
    if needed > free:
        raise ContractError(
            f"{candidates}: to slot {last:,}, the last, {rows:,} limits of channel and slot or campaign need about "
            f"{needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free; slots count from 0 at the start of "
            "the plan: check the last ones, or solve fewer days"
        )
    return last


def plan_of(problem: Problem, solution: Solution) -> pa.Table:
    """Return the sends of a plan: user_id, message_id, slot; sorted by user_id, slot, message_id."""
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
    """Write `NAME.parquet` for each of `tables` and `solution.json`, all or none; remove those of an earlier solve."""
    with both_or_neither(folder, MANIFEST, OUTPUT) as staged:
        for name, table in tables.items():
            pq.write_table(table, staged / f"{name}.parquet")
        (staged / MANIFEST).write_text(json.dumps(document, indent=2) + "\n")


def as_json(
    solution: Solution, seconds: Mapping[str, float], checks: Sequence[PriceCheck] = (), warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the document of `solution.json`."""
    stated = (
        "value",
        "penalty",
        "objective",
        "bound",
        "bound_by_prices",
        "proof",
        "gap",
        "method",
        "termination",
        "cut_users",
    )
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


def history_of(past: pa.Table | None, users: Coded) -> tuple[Texts, History]:
    """Return (all users, those of the candidates first; their history). `past` is as `columns.typed` gives it.

    Sends to users without a candidate count for the limits across users only.
    """
    if past is None:
        return users.texts, empty_history()
    text = _texts(past)
    past_users = text["user_id"]
    index = pc.index_in(past_users.names, value_set=users.names)
    is_new = np.asarray(index.is_null())
    number = np.where(is_new, len(users.names) + np.cumsum(is_new) - 1, index.fill_null(0).to_numpy())
    all_users = pa.concat_arrays([users.names, past_users.names.filter(pa.array(is_new))])
    history = build_history(
        HistoryColumns(
            user=number.astype(np.int64)[past_users.codes],
            texts={name: coded.at(slice(None)) for name, coded in text.items() if name != "user_id"},
            minutes_before=columns.numbers(past["minutes_before"]),
            local_day=columns.days(past["local_day"]),
            p_opt_out=columns.numbers(past["p_opt_out"]),
            cost=columns.numbers(past["cost"]),
        )
    )
    return all_users.to_numpy(zero_copy_only=False).astype(object), history


def _read(path: Path | Frame, needed: dict[str, str], more: More) -> pa.Table:
    """Return the rows of a file as `columns.typed` gives them."""
    _require_memory(path)
    return columns.typed(path, tabular.read(path, columns.kinds_of(needed, more)), needed, more)


def free_memory() -> int:
    """Return the bytes of memory that are free, on Linux with file caches that can be given back."""
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _require_memory(path: Path | Frame) -> None:
    free = free_memory()
    if not isinstance(path, Frame) and (source := tabular.source_of(path)).format != tabular.PARQUET:
        most = path.stat().st_size * (_MOST_ZIPPED if source.zipped else 1) // _SHORTEST_ROW
        if most * BYTES_PER_CANDIDATE <= free:
            return
    rows = tabular.count(path)
    if rows * BYTES_PER_CANDIDATE > free:
        raise ContractError(
            f"{path}: {rows:,} candidates need about {rows * BYTES_PER_CANDIDATE / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free; solve a folder, whose buckets need less, or parts of the users"
        )
