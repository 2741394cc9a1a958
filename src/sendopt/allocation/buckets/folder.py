"""`sendopt solve` of a folder: split it into buckets unless it holds buckets, then solve a bucket at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from sendopt.allocation.buckets.solve import SAMPLE_USERS, Planned, Run, one_after_the_other, sampled, solve_buckets
from sendopt.allocation.buckets.split import number_of_buckets, split
from sendopt.allocation.buckets.store import Summary, history_ids, is_bucketed, user_ids
from sendopt.allocation.buckets.store import summaries as summaries_of
from sendopt.allocation.control import UNWATCHED, Control
from sendopt.allocation.tables import files, same_ids, unused
from sendopt.allocation.tables.out_folder import require_out
from sendopt.allocation.tables.unused import Expectation, Offered
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError
from sendopt.lake.files import beside

NOTHING_EXPECTED = Expectation()
Split = Callable[[Path, Path | None, Path, int], None]


def solve_folder(
    source: Path,
    history: Path | None,
    limits: SolveLimits,
    out: Path,
    relative_gap: float,
    buckets: int | None,
    splits: Split = split,
    run: Run = one_after_the_other,
    expect: Expectation = NOTHING_EXPECTED,
    control: Control = UNWATCHED,
) -> Planned:
    """Plan the candidates in the files of `source`, write the plan to `out` and return it; see `solve_buckets`.

    Buckets are written beside `out` and removed after the solve; a folder of buckets is used as it is. Input that has
    no effect becomes a warning of the plan, or an error where `expect` takes it for a mistake.
    Raises ConfigError where the arguments contradict the buckets, else the errors of `split` and `solve_buckets`.
    """
    files.require_limits(limits)
    require_out(out, [source, history], in_parts=True)
    if is_bucketed(source):
        if history is not None or buckets is not None:
            raise ConfigError(f"{source} holds buckets already, history included: leave out --buckets and --history")
        warnings = _require_used(source, source, None, limits, expect)
        return solve_buckets(source, limits, out, relative_gap, run, warnings=warnings, control=control)
    warnings = files.require_columns(source, limits, history, expect)
    count = number_of_buckets(source, buckets)
    with beside(out, "buckets") as folder:
        clock = time.perf_counter()
        splits(source, history, folder, count)
        spent = time.perf_counter() - clock
        warnings += _require_used(folder, source, history, limits, expect)
        return solve_buckets(
            folder, limits, out, relative_gap, run, seconds_before={"split": spent}, warnings=warnings, control=control
        )


def _require_used(
    folder: Path, source: Path, history: Path | None, limits: SolveLimits, expect: Expectation
) -> list[str]:
    """Return warnings of limits and history that match no candidate of these buckets.

    `source` and `history` are the inputs of the buckets; messages name them. Raises ConfigError or ContractError where
    `expect` takes such input for a mistake.
    """
    summaries = summaries_of(folder)
    files.require_some(source, sum(s.cells for s in summaries))
    files.require_days(source, limits, all(s.days for s in summaries))
    least = min(s.least_minutes_before for s in summaries)
    files.require_horizon(source, history, limits, max(s.last_slot for s in summaries), least)
    offered = _offered(summaries)
    warnings = unused.require_used(limits, offered, expect)
    warnings += files.require_committed_counted(history, limits, any(s.committed for s in summaries), expect)
    past = source if history is None and offered.history_rows else history
    alike = None
    if offered.history_rows > offered.history_matched:
        alike = same_ids.alike(user_ids(folder, sampled(summaries, SAMPLE_USERS)), history_ids(folder))
    spelt_differently = unused.require_same_form(past, alike, expect)
    return warnings + (spelt_differently or unused.require_history_used(past, offered, expect))


def _offered(summaries: list[Summary]) -> Offered:
    """Return the names and counts of all buckets."""
    names = {name: frozenset(chain.from_iterable(s.names[name] for s in summaries)) for name in summaries[0].names}
    slots: dict[str, set[int]] = {}
    for s in summaries:
        for channel, used in s.slots.items():
            slots.setdefault(channel, set()).update(used)
    return Offered(
        channels=names["channel"],
        categories=names["category"],
        campaigns=names["campaign_id"],
        last_slot=max(s.last_slot for s in summaries),
        history_channels=names["history_channel"],
        history_categories=names["history_category"],
        history_campaigns=names["history_campaign_id"],
        history_rows=sum(s.history[0] for s in summaries),
        history_matched=sum(s.history[1] for s in summaries),
        slots=slots,
        any_worth=any(s.any_worth for s in summaries),
    )
