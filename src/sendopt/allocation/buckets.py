"""Plans above the size of one integer program (docs/adr/0004): buckets guided by the relaxation of the whole.

Users go in hash order into buckets. Each is an integer program over the cells that the relaxation would regret least,
with a share of every row across users in proportion to what the relaxation used there. A bucket without an answer in
time is halved, at last left to the filling pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.coupling import Coupling
from sendopt.allocation.lp import CouplingRow, Program, Status, solve
from sendopt.allocation.problem import Floats, Ints, Problem
from sendopt.allocation.user_rows import Row, UserRows
from sendopt.config.schema import Allocation
from sendopt.domain.keys import keyed_hash

CORE_REGRET = 0.25  # of an average send's value; cells that the relaxation regrets more were never chosen, measured
SMALLEST_BUCKET = 20  # users; below this a bucket without an answer is left to the filling pass


@dataclass(frozen=True)
class Work:
    """A problem in its canonical order with its rows: what every program is cut from."""

    problem: Problem
    rows: UserRows
    coupling: Coupling
    cell_user: Ints  # (C,) user of each cell

    def program(self, users: Ints, room: Floats) -> Program:
        """The program of some users with `room` (R,) on the rows across users."""
        member = np.zeros(len(self.problem.users), dtype=bool)
        member[users] = True
        cells = np.flatnonzero(self.rows.allowed & member[self.cell_user]).astype(np.int64)
        part = self.coupling.use[:, cells]
        coupling = []
        for r, price in enumerate(self.coupling.shortfall_price.tolist()):
            span = slice(part.indptr[r], part.indptr[r + 1])
            wish = price if self.coupling.kinds[r] == "campaign_min" else None
            coupling.append(CouplingRow(cells[part.indices[span]], part.data[span], float(room[r]), wish))
        rows = [row for user in users.tolist() for row in self.rows.rows[user]]
        return Program(cells, self.problem.cells.value[cells], rows, coupling)

    def core(self, cells: NDArray[np.bool_]) -> Work:
        """The same work with only these cells (C,) allowed."""

        def part(row: Row) -> Row:
            kept = [i for i, c in enumerate(row.cells) if cells[c]]
            weights = None if row.coefficients is None else tuple(row.coefficients[i] for i in kept)
            return Row(tuple(row.cells[i] for i in kept), row.limit, weights)

        rows = [[row for row in map(part, mine) if row.cells] for mine in self.rows.rows]
        return replace(self, rows=UserRows(rows, self.rows.allowed & cells))

    def left(self, chosen: NDArray[np.bool_]) -> Floats:
        """(R,) what committed sends and the chosen cells leave of each row; >= 0."""
        return np.asarray(np.maximum(0.0, self.coupling.room - self.coupling.use @ chosen.astype(np.float64)))


@dataclass(frozen=True)
class Guide:
    """The relaxation's answer over all cells: `use` (C,) in [0, 1] and `regret` (C,) >= 0."""

    use: Floats
    regret: Floats


def plan(work: Work, guide: Guide | None, settings: Allocation) -> tuple[NDArray[np.bool_], str]:
    """(chosen cells (C,), worst termination). Without a guide every cell counts alike."""
    users = np.unique(work.cell_user[work.rows.allowed])
    use = np.ones(len(work.cell_user))
    if guide is not None:
        use = guide.use
        sent = max(float(use.sum()), 1.0)
        work = work.core(guide.regret <= CORE_REGRET * float(use @ work.problem.cells.value) / sent)
    order = np.array(sorted(users.tolist(), key=lambda u: keyed_hash("bucket", str(work.problem.users[u]))), np.int64)
    buckets = np.array_split(order, max(1, -(-len(order) // settings.bucket_users)))
    chosen = np.zeros(len(work.cell_user), dtype=bool)
    worst = "optimal"
    for bucket, room in zip(buckets, _shares(work, buckets, work.coupling.room, use), strict=True):
        worst = worse(worst, _solve_bucket(work, bucket, room, use, settings, chosen))
    return chosen, worst


def worse(one: str, other: str) -> str:
    """The worse of two terminations."""
    return max(one, other, key=("optimal", "gap_reached", "time_limit", "greedy").index)


def _solve_bucket(
    work: Work, users: Ints, room: Floats, use: Floats, settings: Allocation, chosen: NDArray[np.bool_]
) -> str:
    """Marks the bucket's sends in `chosen`; the worst termination met."""
    if len(users) == 0:
        return "optimal"
    program = work.program(users, room)
    answer = solve(
        program,
        integer=True,
        relative_gap=settings.relative_gap,
        time_limit_seconds=settings.time_limit_seconds,
    )
    status: Status = answer.status
    if status != "no_plan":
        chosen[program.cells[answer.x > 0.5]] = True
        return status
    if len(users) <= SMALLEST_BUCKET:
        return "greedy"
    halves = np.array_split(users, 2)
    worst = "time_limit"
    for half, share in zip(halves, _shares(work, halves, room, use), strict=True):
        worst = worse(worst, _solve_bucket(work, half, share, use, settings, chosen))
    return worst


def _shares(work: Work, buckets: list[Ints], room: Floats, use: Floats) -> list[Floats]:
    """Each bucket's share of `room`, by what the relaxation used there."""
    weights = np.zeros((len(room), len(buckets)))
    for b, users in enumerate(buckets):
        mine = np.where(np.isin(work.cell_user, users), use, 0.0)
        weights[:, b] = work.coupling.use @ mine
    table = quotas(room, weights, work.coupling.counts_sends, work.coupling.names)
    return [table[:, b] for b in range(len(buckets))]


def quotas(room: Floats, weights: Floats, whole: NDArray[np.bool_], names: tuple[str, ...]) -> Floats:
    """(R, B) shares >= 0 of `room` (R,), proportional to `weights` (R, B), that sum to at most `room`.

    Rows that are `whole` are shared in integers by largest remainder; equal remainders are rotated by a hash of the
    row's name, so that no bucket is favoured in every row.
    """
    n = weights.shape[1]
    total = weights.sum(axis=1, keepdims=True)
    share = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / n)
    exact = share * room[:, None]
    table = np.where(whole[:, None], np.floor(exact + 1e-9), exact)
    for r in np.flatnonzero(whole).tolist():
        first = int(keyed_hash("quota", names[r]), 16) % n
        remainder = np.round(exact[r] - table[r], 9)
        order = sorted(range(n), key=lambda b: (-remainder[b], (b - first) % n))
        table[r, order[: max(0, int(np.floor(room[r] + 1e-9) - table[r].sum()))]] += 1
    return table
