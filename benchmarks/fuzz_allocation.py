"""The allocator beside an integer program of its own over random instances with odd rules: `make fuzz-allocation`.

Each instance is planned by one program (exact), by prices, and from a folder of buckets. Of every plan is asked, by
code that shares nothing with the solver or the audit: does it keep every rule, is its objective what it says, is no
bound below the optimum of its tier, given what it sends in the tiers above, and how far from that optimum is it?
Ends with 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.fuzz_oracle import Optimum, best_of_tier, broken_rules, objective_of_tier, tier_numbers
from benchmarks.fuzz_worlds import instance

from sendopt.allocation import Problem, Tier, allocate, check
from sendopt.allocation.buckets import solve_folder
from sendopt.config.schema import Allocation
from sendopt.domain.limits import SolveLimits

METHODS = ("exact", "prices", "folder")
SETTINGS = {
    "exact": Allocation(exact_max_users=10**6, exact_work=1000.0, relative_gap=0.0),
    "prices": Allocation(exact_max_users=0, relative_gap=1e-6),
}
BUCKETS = 2
CLOSE = 2e-6  # relative to the largest number of the sum: both programs stop within a millionth
NEAR = 1e-3  # of the optimum, where a plan by prices counts as good
LEAST_NEAR = 0.99  # share of the plans by prices that must be so near


@dataclass(frozen=True)
class Outcome:
    """One plan: what is wrong with it, how far below the optimum it is, and how far it says it could be (relative)."""

    number: int
    method: str
    faults: tuple[str, ...]
    below: float
    stated: float


@dataclass(frozen=True)
class Plan:
    cells: tuple[int, ...]
    tiers: Sequence[Tier]


def outcomes(number: int, methods: Sequence[str], home: Path) -> Iterator[Outcome]:
    """The plans of one instance by each method; `home` takes files of folders."""
    problem = instance(number)
    optimum = lru_cache(maxsize=None)(lambda tier, above: best_of_tier(problem, tier, above))
    for method in methods:
        if method == "folder" and len(problem.cells.slot) == 0:
            continue  # files without a row are refused
        try:
            plan = _planned(problem, method, home / f"{number}")
        except Exception as error:  # noqa: BLE001 - a crash is what is looked for
            yield Outcome(number, method, (f"{type(error).__name__}: {str(error)[:300]}",), np.inf, np.inf)
            continue
        yield _judged(problem, plan, number, method, optimum)


def _planned(problem: Problem, method: str, home: Path) -> Plan:
    if method in SETTINGS:
        solution = allocate(problem, SETTINGS[method])
        check(problem, solution)
        return Plan(tuple(solution.chosen.tolist()), solution.tiers)
    return planned_from_folder(problem, home, BUCKETS)


def planned_from_folder(problem: Problem, home: Path, buckets: int) -> Plan:
    """The plan of the problem written to files below `home`, in so many buckets."""
    limits = SolveLimits.model_construct(**dict(problem.limits), slot_minutes=problem.slot_minutes)
    candidates, history = written(problem, home)
    out = home / "out"
    planned = solve_folder(candidates, history, limits, out, 1e-6, buckets)
    rows = pq.read_table(out / "plan.parquet").to_pylist()
    return Plan(tuple(sorted(_cells_by_name(problem)[tuple(row.values())] for row in rows)), planned.solution.tiers)


def written(problem: Problem, home: Path) -> tuple[Path, Path | None]:
    """(folder of the candidates, file of the history or None), as `sendopt solve` reads them."""
    m, c, h = problem.messages, problem.cells, problem.history
    cells = {
        "user_id": problem.users[m.user[c.message]],
        "message_id": m.message_id[c.message],
        "campaign_id": m.campaign[c.message],
        **{name: getattr(m, name)[c.message] for name in ("channel", "category", "exclusive_group", "tier")},
        **{name: getattr(c, name) for name in ("slot", "value", "p_opt_out", "cost", "local_day")},
    }
    (home / "candidates").mkdir(parents=True)
    pq.write_table(pa.table(cells), home / "candidates" / "0.parquet")
    if len(h.user) == 0:
        return home / "candidates", None
    past = {
        "user_id": problem.users[h.user],
        "campaign_id": h.campaign,
        **{n: getattr(h, n) for n in ("channel", "category", "minutes_before", "local_day", "p_opt_out", "cost")},
    }
    pq.write_table(pa.table(past), home / "history.parquet")
    return home / "candidates", home / "history.parquet"


def _cells_by_name(problem: Problem) -> dict[tuple[str, str, int], int]:
    m, c = problem.messages, problem.cells
    return {
        (str(problem.users[m.user[i]]), str(m.message_id[i]), int(slot)): cell
        for cell, (i, slot) in enumerate(zip(c.message.tolist(), c.slot.tolist(), strict=True))
    }


def _judged(problem: Problem, plan: Plan, number: int, method: str, optimum: object) -> Outcome:
    faults = [f"breaks {rule}" for rule in broken_rules(problem, plan.cells)]
    tier_of = problem.messages.tier[problem.cells.message]
    stated = {t.tier: t for t in plan.tiers}
    if [t.tier for t in plan.tiers] != tier_numbers(problem):
        faults.append(f"tiers {[t.tier for t in plan.tiers]} where {tier_numbers(problem)} are expected")
    above: tuple[int, ...] = ()
    below, left_open, best_total, size = 0.0, 0.0, 0.0, 0.0
    for tier in tier_numbers(problem):
        cells = tuple(c for c in plan.cells if tier_of[c] == tier)
        best: Optimum = optimum(tier, above)  # type: ignore[operator]
        reached = objective_of_tier(problem, tier, above, cells)
        most = max(
            [*(abs(problem.cells.value[c]) for c in (*cells, *best.cells)), abs(best.objective), abs(reached)],
            default=0.0,
        )
        if tier in stated:
            faults += _misstated(stated[tier], best.objective, reached, CLOSE * most + 1e-15)
            left_open += max(0.0, stated[tier].bound - reached)
        below += best.objective - reached
        best_total += best.objective
        size = max(size, most)
        above = tuple(sorted((*above, *cells)))
    scale = max(abs(best_total), CLOSE * size)
    missed = below / scale if below > CLOSE * size else 0.0
    claims = all(t.termination == "optimal" for t in plan.tiers)
    if method == "exact" and claims and missed > CLOSE:
        faults.append(f"says optimal and is {missed:.2%} below the optimum")
    return Outcome(number, method, tuple(faults), missed, left_open / scale if scale else 0.0)


def _misstated(tier: Tier, best: float, reached: float, close: float) -> Iterator[str]:
    if abs(tier.objective - reached) > close:
        yield f"tier {tier.tier} states objective {tier.objective:.9g}, it is {reached:.9g}"
    if tier.bound < best - close:
        yield f"tier {tier.tier} states bound {tier.bound:.9g} below the optimum {best:.9g}"
    if reached > best + close:
        yield f"tier {tier.tier} reaches {reached:.9g}, above the optimum {best:.9g}"
    if tier.method == "exact" and tier.termination == "optimal" and tier.bound > best + 10 * close:
        yield f"tier {tier.tier} says optimal, with bound {tier.bound:.9g} over the optimum {best:.9g}"


def table(found: Sequence[Outcome], methods: Sequence[str]) -> Iterator[str]:
    """Lines: one a method, then faults, then the instances whose plans by prices are furthest from the optimum."""
    yield "method    plans  wrong  below: median       p99       max  stated: p99    near"
    for method in methods:
        mine = [o for o in found if o.method == method]
        below, stated = (np.array([getattr(o, name) for o in mine] or [0.0]) for name in ("below", "stated"))
        wrong = sum(bool(o.faults) for o in mine)
        p99 = [float(np.quantile(x, 0.99, method="inverted_cdf")) for x in (below, stated)]
        yield (
            f"{method:8} {len(mine):6} {wrong:6} {np.median(below):14.2e} {p99[0]:9.2e} {below.max():9.2e} "
            f"{p99[1]:12.2e} {np.mean(below <= NEAR):7.2%}"
        )
    for o in found:
        for fault in o.faults:
            yield f"WRONG instance {o.number}, {o.method}: {fault}"
    far = sorted((o for o in found if o.method == "prices" and o.below > NEAR), key=lambda o: -o.below)
    if far:
        yield f"prices over {NEAR:.1%} below: " + ", ".join(f"{o.number} ({o.below:.2%})" for o in far)


def right(found: Sequence[Outcome]) -> bool:
    """Is nothing wrong, and are plans by prices as near as they have to be?"""
    near = [o.below <= NEAR for o in found if o.method == "prices"]
    return not any(o.faults for o in found) and (not near or float(np.mean(near)) >= LEAST_NEAR)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=300, help="instances")
    parser.add_argument("--first", type=int, default=0, help="number of the first instance")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--json", type=Path, help="file for one line a plan")
    asked = parser.parse_args()
    started, cpu = time.monotonic(), time.process_time()
    found = []
    with tempfile.TemporaryDirectory() as home:
        for number in range(asked.first, asked.first + asked.count):
            found += outcomes(number, asked.methods, Path(home))
    for line in table(found, asked.methods):
        sys.stdout.write(line + "\n")
    seconds = f"{time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
    sys.stdout.write(f"{asked.count} instances in {seconds}\n")
    if asked.json:
        asked.json.write_text("".join(json.dumps(vars(o)) + "\n" for o in found))
    return 0 if right(found) else 1


if __name__ == "__main__":
    sys.exit(main())
