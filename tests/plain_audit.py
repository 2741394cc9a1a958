"""The audit in plain Python, one user and one send at a time. The audit's kernels must agree with it.

Rules of ¶9a to ¶9d for one user's sends, rows of ¶9e to ¶9h by counting, tiers as ¶9 plans them, and D(λ) of ¶11 by
trying every plan of a user that keeps the rules. Nothing is imported from the package but the problem's columns.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sendopt.allocation import Problem
from sendopt.domain.limits import Cap, Fatigue, Limits

POINTS_TOLERANCE = 1e-6
EQUAL = 1e-6


class Send(NamedTuple):
    """One send of one user, planned now or made or committed before."""

    minute: float  # after plan start; negative: before it
    channel: str
    category: str
    campaign: str
    local_day: int
    planned: bool


def planned_send(problem: Problem, cell: int, *, planned: bool = True) -> Send:
    """Return the send of a cell; `planned=False` makes it a committed send."""
    cells, messages = problem.cells, problem.messages
    m = cells.message[cell]
    minute = float(cells.slot[cell] * problem.slot_minutes)
    day = int(cells.local_day[cell])
    return Send(minute, messages.channel[m], messages.category[m], messages.campaign[m], day, planned)


def past_sends(problem: Problem) -> dict[int, list[Send]]:
    """Return past and committed sends by user index."""
    h = problem.history
    sends: dict[int, list[Send]] = defaultdict(list)
    for i in range(len(h.user)):
        minute = -float(h.minutes_before[i])
        sends[int(h.user[i])].append(
            Send(minute, h.channel[i], h.category[i], h.campaign[i], int(h.local_day[i]), False)
        )
    return sends


def broken_user_rules(limits: Limits, sends: Sequence[Send]) -> list[str]:
    """Return the names of the rules that one user's sends break. A window without a planned send breaks none."""
    broken = [f"caps.{name}" for name, cap in limits.caps.items() if _cap_broken(cap, sends)]
    if limits.min_gap_minutes and _crowded(sends, limits.min_gap_minutes, 1):
        broken.append("min_gap_minutes")
    if limits.fatigue is not None and _too_tired(limits.fatigue, sends):
        broken.append("fatigue")
    return broken


def _cap_broken(cap: Cap, sends: Sequence[Send]) -> bool:
    counted = [s for s in sends if in_scope(cap.scope, s)]
    if cap.window_minutes is not None:
        return _crowded(counted, cap.window_minutes, cap.max)
    periods: dict[int, list[Send]] = defaultdict(list)
    for s in counted:
        periods[s.local_day if cap.calendar == "day" else iso_week(s.local_day)].append(s)
    return any(len(group) > cap.max and any(s.planned for s in group) for group in periods.values())


def _crowded(sends: Sequence[Send], window: int, most: int) -> bool:
    """Return whether a half-open window with a planned send holds more than `most` sends.

    Windows that start at a send are enough.
    """
    for first in sends:
        within = [s for s in sends if first.minute <= s.minute < first.minute + window]
        if len(within) > most and any(s.planned for s in within):
            return True
    return False


def _too_tired(fatigue: Fatigue, sends: Sequence[Send]) -> bool:
    """Return whether the state exceeds the limit after a planned send or a committed send that follows it (¶9d)."""
    planned = [s.minute for s in sends if s.planned]
    if not planned:
        return False
    moments = {s.minute for s in sends if s.planned or s.minute >= max(0.0, min(planned))}
    return any(fatigue_state(fatigue, sends, t) > fatigue.max_points + POINTS_TOLERANCE for t in moments)


def fatigue_state(fatigue: Fatigue, sends: Sequence[Send], minute: float) -> float:
    """Return the fatigue points at a minute, the sends of that minute included (¶9d)."""
    half_life = fatigue.half_life_hours * 60
    return math.fsum(
        fatigue.points_per_send.get(s.channel, 0.0) * 2.0 ** ((s.minute - minute) / half_life)
        for s in sends
        if s.minute <= minute
    )


def in_scope(scope: str, send: Send) -> bool:
    """Return whether a cap of this scope counts the send."""
    kind, _, name = scope.partition(":")
    return kind == "all" or name == {"channel": send.channel, "category": send.category}.get(kind, send.campaign)


def iso_week(local_day: int) -> int:
    """Return a number for the ISO week (Monday to Sunday) of a day counted from Thursday 1970-01-01."""
    return (local_day + 3) // 7


def user_violations(problem: Problem, chosen: Sequence[int]) -> tuple[str, ...]:
    """Return the audit's sentences about the rules of ¶9a to ¶9d that the cells break."""
    m = problem.messages
    sent = [int(problem.cells.message[c]) for c in chosen]
    repeated = sum(n > 1 for n in Counter(sent).values())
    sentences = [f"once: {repeated} messages are planned more than once (¶9a)"] if repeated else []
    groups = Counter((int(m.user[i]), m.exclusive_group[i]) for i in sent if m.exclusive_group[i])
    used_again = sum(n > 1 for n in groups.values())
    if used_again:
        sentences.append(f"exclusive_group: {used_again} groups of a user are sent more than once (¶9a)")
    planned: dict[int, list[Send]] = defaultdict(list)
    for c in chosen:
        planned[int(m.user[problem.cells.message[c]])].append(planned_send(problem, c))
    past = past_sends(problem)
    broken: Counter[str] = Counter()
    for user, sends in planned.items():
        broken.update(broken_user_rules(problem.limits, [*past.get(user, []), *sends]))
    return (*sentences, *(f"{rule}: broken for {count} users" for rule, count in sorted(broken.items())))


def is_feasible(problem: Problem, chosen: Sequence[int]) -> bool:
    """Return whether the cells keep every rule of ¶9, those across users included."""
    if user_violations(problem, chosen):
        return False
    committed, planned = committed_uses(problem), uses_of_cells(problem, chosen)
    return all(planned[name] <= max(0.0, limit - committed[name]) + EQUAL for name, limit in maximums(problem).items())


def maximums(problem: Problem) -> dict[str, float]:
    """Return the limit of every maximum, by row."""
    limits = problem.limits
    rows: dict[str, float] = {}
    for channel, capacity in limits.capacity.items():
        by_slot = capacity if isinstance(capacity, dict) else dict.fromkeys(range(problem.n_slots), capacity)
        rows |= {f"capacity:{channel}:{s}": most for s, most in by_slot.items() if s < problem.n_slots}
    rows |= {f"campaign_max:{n}": c.max_sends for n, c in limits.campaigns.items() if c.max_sends is not None}
    if limits.opt_outs is not None:
        rows["opt_outs"] = limits.opt_outs.max_expected
    if limits.cost is not None:
        rows["cost"] = limits.cost.max_total
    return rows


def _uses(channel: str, slot: int, campaign: str, p_opt_out: float, cost: float) -> dict[str, float]:
    """Return the uses of one send by row."""
    counted = (f"capacity:{channel}:{slot}", f"campaign_max:{campaign}", f"campaign_min:{campaign}")
    return {**dict.fromkeys(counted, 1.0), "opt_outs": float(p_opt_out), "cost": float(cost)}


def uses_of_cells(problem: Problem, cells: Sequence[int]) -> Counter[str]:
    """Return the uses of the cells by row."""
    c, m = problem.cells, problem.messages
    used: Counter[str] = Counter()
    for i in cells:
        j = c.message[i]
        used.update(_uses(m.channel[j], int(c.slot[i]), m.campaign[j], c.p_opt_out[i], c.cost[i]))
    return used


def committed_uses(problem: Problem) -> Counter[str]:
    """Return the uses by row of committed sends: those inside the horizon, which begins with minute 0."""
    h = problem.history
    used: Counter[str] = Counter()
    for i in range(len(h.user)):
        if h.minutes_before[i] <= 0:
            slot = int(-h.minutes_before[i] // problem.slot_minutes)
            used.update(_uses(h.channel[i], slot, h.campaign[i], h.p_opt_out[i], h.cost[i]))
    return used


def tiers(problem: Problem) -> list[int]:
    """Return the tiers of the messages in ascending order."""
    return sorted({int(t) for t in problem.messages.tier}) or [1]


def bound_of_tier(problem: Problem, tier: int, above: Sequence[int], prices: Mapping[str, float]) -> float:
    """Return D(λ) of one tier after the cells `above` of higher tiers are planned, by every plan of every user.

    `prices` are legal: >= 0, and of a minimum at most its shortfall price.
    """
    c, m = problem.cells, problem.messages
    counted = {n for n in problem.limits.campaigns if _counts(problem, n, tier)}
    paid = {row: price for row, price in prices.items() if _named(row) is None or _named(row) in counted}
    used = committed_uses(problem) + uses_of_cells(problem, above)
    gone = {(int(m.user[i]), m.exclusive_group[i]) for i in c.message[list(above)] if m.exclusive_group[i]}
    past = past_sends(problem)
    for i in above:
        past[int(m.user[c.message[i]])].append(planned_send(problem, i, planned=False))
    options: dict[int, dict[object, list[tuple[float, Send]]]] = defaultdict(lambda: defaultdict(list))
    for i, message in enumerate(c.message.tolist()):
        user, group = int(m.user[message]), m.exclusive_group[message]
        if m.tier[message] != tier or (user, group) in gone or not c.value[i] > 0:
            continue
        uses = _uses(m.channel[message], int(c.slot[i]), m.campaign[message], c.p_opt_out[i], c.cost[i])
        pays = sum((-1.0 if _named(row) else 1.0) * paid.get(row, 0.0) * use for row, use in uses.items())
        if c.value[i] - pays > 0:
            options[user][group or message].append((float(c.value[i] - pays), planned_send(problem, i)))
    best = [max(_plans(problem.limits, past[user], list(kinds.values()))) for user, kinds in options.items()]
    rent = [paid.get(row, 0.0) * max(0.0, limit - used[row]) for row, limit in maximums(problem).items()]
    missing = [
        -paid.get(f"campaign_min:{n}", 0.0)
        * max(0.0, problem.limits.campaigns[n].min_sends - used[f"campaign_min:{n}"])
        for n in counted
    ]
    return math.fsum([*best, *rent, *missing])


def _named(row: str) -> str | None:
    """Return the campaign whose minimum the row is, or None."""
    return row.removeprefix("campaign_min:") if row.startswith("campaign_min:") else None


def _counts(problem: Problem, campaign: str, tier: int) -> bool:
    """Return whether the campaign's minimum counts in this tier: the last tier with messages of the campaign."""
    m = problem.messages
    return tier == max(
        (int(t) for t, n in zip(m.tier, m.campaign, strict=True) if n == campaign), default=tiers(problem)[-1]
    )


def _plans(limits: Limits, past: list[Send], options: list[list[tuple[float, Send]]]) -> Iterator[float]:
    """Yield the worth of each plan of one user that keeps the rules. A plan with more sends breaks no fewer rules."""

    def extend(i: int, worth: float, sends: list[Send]) -> Iterator[float]:
        yield worth
        for j in range(i, len(options)):
            for adjusted, send in options[j]:
                if not broken_user_rules(limits, [*past, *sends, send]):
                    yield from extend(j + 1, worth + adjusted, [*sends, send])

    return extend(0, 0.0, [])
