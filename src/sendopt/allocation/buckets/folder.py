"""`sendopt solve` of a folder: split into buckets unless it is, then solved a bucket at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from sendopt.allocation import files, unused
from sendopt.allocation.buckets.solve import Planned, Run, one_after_the_other, solve_buckets
from sendopt.allocation.buckets.split import number_of_buckets, split
from sendopt.allocation.buckets.store import is_bucketed
from sendopt.allocation.buckets.store import summaries as summaries_of
from sendopt.allocation.contract import require_feasible
from sendopt.allocation.control import UNWATCHED, Control
from sendopt.allocation.unused import Expectation, Offered
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError

NOTHING_EXPECTED = Expectation()
Split = Callable[[Path, Path | None, Path, int], None]


def solve_folder(
    source: Path, history: Path | None, limits: SolveLimits, out: Path, relative_gap: float, buckets: int | None,
    splits: Split = split, run: Run = one_after_the_other, expect: Expectation = NOTHING_EXPECTED,
    control: Control = UNWATCHED,
) -> Planned:  # fmt: skip
    """Plans the candidates in the files of `source` and writes `out`; see `solve_buckets`.

    Buckets are written beside `out` and go away with the solve; a folder of buckets is used as it is. What matches
    nothing is a warning of the plan, or raised where `expect` takes it for a mistake.
    Raises ConfigError where the call contradicts the buckets, else what `split` and `solve_buckets` raise.
    """
    if is_bucketed(source):
        if history is not None or buckets is not None:
            raise ConfigError(f"{source} holds buckets already, history included: leave out --buckets and --history")
        warnings = _require_used(source, source, limits, expect)
        return solve_buckets(source, limits, out, relative_gap, run, warnings=warnings, control=control)
    warnings = files.require_columns(source, limits, history, expect)
    count = number_of_buckets(source, buckets)
    with _beside(out) as folder:
        clock = time.perf_counter()
        splits(source, history, folder, count)
        spent = time.perf_counter() - clock
        warnings += _require_used(folder, history or source, limits, expect)
        return solve_buckets(
            folder, limits, out, relative_gap, run, seconds_before={"split": spent}, warnings=warnings, control=control
        )


def _require_used(folder: Path, history: Path, limits: SolveLimits, expect: Expectation) -> list[str]:
    """Warnings of limits and history that match no candidate of these buckets, or what `unused` raises."""
    summaries = summaries_of(folder)
    require_feasible(limits)
    names = {name: frozenset(chain.from_iterable(s.names[name] for s in summaries)) for name in summaries[0].names}
    offered = Offered(
        channels=names["channel"],
        categories=names["category"],
        campaigns=names["campaign_id"],
        last_slot=max(s.last_slot for s in summaries),
        history_channels=names["history_channel"],
        history_rows=sum(s.history[0] for s in summaries),
        history_matched=sum(s.history[1] for s in summaries),
    )
    return [
        *unused.require_used(limits, offered, expect),
        *unused.require_history_used(history, offered, expect),
    ]


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder that workers on this file system can read, until the block ends."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-buckets-", dir=out.parent.resolve()) as name:
        Path(name).chmod(0o755)
        yield Path(name)
