"""The best plan of a tier by an integer program of its own, and a checker of plans, from docs/model.md ¶2, ¶6 and ¶9.

Nothing of the solver or the audit is used. Rules are written out one constraint a pair, window or moment, as large as
that gets: this is for small instances.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from sendopt.allocation import Problem

CLOSE = 1e-6  # relative; what sums and a solver's tolerance may differ by
POINTS = 1e-6  # of fatigue


@dataclass(frozen=True)
class Send:
    """One send of a user. `cell` is its row where the plan makes it, -1 where it is made or committed already."""

    minute: float
    channel: str
    category: str
    campaign: str
    day: int
    opt_out: float
    cost: float
    cell: int = -1

    @property
    def committed(self) -> bool:
        return self.cell < 0 and self.minute >= 0


@dataclass(frozen=True)
class Optimum:
    """The best objective of a tier, and the cells of a plan that reaches it."""

    objective: float
    cells: tuple[int, ...]


Term = tuple[dict[int, float], float]  # Σ coefficient · x[cell] <= limit


def tier_numbers(problem: Problem) -> list[int]:
    return sorted({int(t) for t in problem.messages.tier}) or [1]


def best_of_tier(problem: Problem, tier: int, above: Sequence[int]) -> Optimum:
    """The optimum of one tier, the cells `above` of the tiers before it being committed."""
    cells = _free_cells(problem, tier, above)
    past = _past(problem, above)
    by_user: dict[int, list[Send]] = defaultdict(list)
    for c in cells:
        by_user[_user(problem, c)].append(send_of(problem, c))
    terms = _at_most_once(problem, cells)
    for user, sends in by_user.items():
        terms += _rules_of_user(problem, sends, past[user])
    terms += _maxima(problem, [s for sends in by_user.values() for s in sends], past)
    return _solved(problem, cells, terms, _minimums(problem, tier, past))


def objective_of_tier(problem: Problem, tier: int, above: Sequence[int], cells: Sequence[int]) -> float:
    """Value less the price of what minimums lack, counted anew."""
    total = math.fsum(float(problem.cells.value[c]) for c in cells)
    sent = Counter(_campaign(problem, c) for c in cells)
    for name, (least, price) in _minimums(problem, tier, _past(problem, above)).items():
        total -= price * max(0, least - sent[name])
    return total


def broken_rules(problem: Problem, cells: Sequence[int]) -> list[str]:
    """What a whole plan (all tiers) breaks of ¶6 and ¶9; empty where it keeps everything."""
    broken = []
    if len(set(cells)) < len(cells) or any(not problem.cells.value[c] > 0 for c in cells):
        broken.append("a cell twice, or one worth nothing")
    once = Counter(int(problem.cells.message[c]) for c in cells)
    groups = Counter((_user(problem, c), g) for c in cells if (g := _group(problem, c)))
    if max([*once.values(), *groups.values()], default=1) > 1:
        broken.append("a message or a group more than once")
    past = _past(problem, ())
    planned: dict[int, list[Send]] = defaultdict(list)
    for c in cells:
        planned[_user(problem, c)].append(send_of(problem, c))
    for user, sends in planned.items():
        broken += _broken_by_user(problem, sends, past[user])
    everyone = [s for sends in planned.values() for s in sends]
    for name, used, room in _use(problem, everyone, past):
        if used > room + CLOSE * room + 1e-12:
            broken.append(f"{name}: {used:.9g} of {room:.9g}")
    return broken


def send_of(problem: Problem, cell: int) -> Send:
    c, m = problem.cells, problem.messages
    i = int(c.message[cell])
    return Send(
        float(c.slot[cell]) * problem.slot_minutes,
        str(m.channel[i]),
        str(m.category[i]),
        str(m.campaign[i]),
        int(c.local_day[cell]),
        float(c.p_opt_out[cell]),
        float(c.cost[cell]),
        cell,
    )


def _user(problem: Problem, cell: int) -> int:
    return int(problem.messages.user[problem.cells.message[cell]])


def _group(problem: Problem, cell: int) -> str:
    return str(problem.messages.exclusive_group[problem.cells.message[cell]])


def _campaign(problem: Problem, cell: int) -> str:
    return str(problem.messages.campaign[problem.cells.message[cell]])


def _free_cells(problem: Problem, tier: int, above: Sequence[int]) -> list[int]:
    """Cells of the tier that are worth something and not of a group that is sent already."""
    sent = {(_user(problem, c), g) for c in above if (g := _group(problem, c))}
    return [
        c
        for c in range(len(problem.cells.slot))
        if problem.messages.tier[problem.cells.message[c]] == tier
        and problem.cells.value[c] > 0
        and (_user(problem, c), _group(problem, c)) not in sent
    ]


def _past(problem: Problem, above: Sequence[int]) -> dict[int, list[Send]]:
    """Sends of each user that the plan cannot change: history, committed ones, and those of the tiers above."""
    h = problem.history
    past: dict[int, list[Send]] = defaultdict(list)
    for i, user in enumerate(h.user.tolist()):
        past[user].append(
            Send(
                -float(h.minutes_before[i]),
                str(h.channel[i]),
                str(h.category[i]),
                str(h.campaign[i]),
                int(h.local_day[i]),
                float(h.p_opt_out[i]),
                float(h.cost[i]),
            )
        )
    for c in above:
        planned = vars(send_of(problem, c))
        past[_user(problem, c)].append(Send(**{**planned, "cell": -1}))
    return past


def _at_most_once(problem: Problem, cells: list[int]) -> list[Term]:
    """¶9a: a message, and a group of a user, once."""
    sets: dict[tuple[object, ...], dict[int, float]] = defaultdict(dict)
    for c in cells:
        sets["message", int(problem.cells.message[c])][c] = 1.0
        if group := _group(problem, c):
            sets["group", _user(problem, c), group][c] = 1.0
    return [(terms, 1.0) for terms in sets.values()]


def _rules_of_user(problem: Problem, sends: list[Send], past: list[Send]) -> list[Term]:
    """¶9b to ¶9d of one user: `sends` are those that the plan may make."""
    limits, terms = problem.limits, []
    for cap in limits.caps.values():
        may, made = ([s for s in some if _in_scope(cap.scope, s)] for some in (sends, past))
        if cap.window_minutes is not None:
            # windows that end with a send: (end - window, end]
            windows = [
                [[s for s in some if end - cap.window_minutes < s.minute <= end] for some in (may, made)]
                for end in {s.minute for s in (*may, *made)}
            ]
        else:
            week = cap.calendar == "week"
            windows = [
                [[s for s in some if _period(s, week) == period] for some in (may, made)]
                for period in {_period(s, week) for s in may}
            ]
        terms += [({s.cell: 1.0 for s in inside}, float(max(0, cap.max - len(used)))) for inside, used in windows]
    if limits.min_gap_minutes:
        for i, one in enumerate(sends):
            if any(abs(one.minute - s.minute) < limits.min_gap_minutes for s in past):
                terms.append(({one.cell: 1.0}, 0.0))
            terms += [
                ({one.cell: 1.0, two.cell: 1.0}, 1.0)
                for two in sends[i + 1 :]
                if abs(one.minute - two.minute) < limits.min_gap_minutes
            ]
    return terms + list(_fatigue(problem, sends, past))


def _fatigue(problem: Problem, sends: list[Send], past: list[Send]) -> Iterator[Term]:
    """¶9d: the state is within the limit at each planned send, and at each committed one that is not before one.

    Where a send is not made its moment asks nothing: the limit is then as large as the state can be.
    """
    fatigue = problem.limits.fatigue
    if fatigue is None:
        return
    for one in sends:
        moments = {one.minute} | {s.minute for s in past if s.committed and s.minute >= one.minute}
        for at in moments:
            before = math.fsum(_points(problem, s, at) for s in past if s.minute <= at)
            use = {s.cell: p for s in sends if s.minute <= at and (p := _points(problem, s, at)) > 0}
            over = before + math.fsum(use.values()) - fatigue.max_points
            if over > 0:
                use[one.cell] = use.get(one.cell, 0.0) + over
                yield use, fatigue.max_points + over - before + POINTS / 10


def _points(problem: Problem, send: Send, at: float) -> float:
    fatigue = problem.limits.fatigue
    assert fatigue is not None
    halvings = (at - send.minute) / (60.0 * fatigue.half_life_hours)
    return fatigue.points_per_send.get(send.channel, 0.0) * 0.5**halvings


def _in_scope(scope: str, send: Send) -> bool:
    kind, _, name = scope.partition(":")
    return (
        kind == "all" or {"channel": send.channel, "category": send.category, "campaign": send.campaign}[kind] == name
    )


def _period(send: Send, week: bool) -> int:
    """The day, or the number of the week from Monday: 1970-01-01 was a Thursday."""
    return (send.day - 4) // 7 if week else send.day


def _rows(problem: Problem, send: Send) -> Iterator[tuple[str, float]]:
    """Names of the maxima of ¶9e to ¶9h that a send inside the horizon uses, and how much."""
    limits = problem.limits
    slot = math.floor(send.minute / problem.slot_minutes)
    by_slot = limits.capacity.get(send.channel)
    if (by_slot.get(slot) if isinstance(by_slot, dict) else by_slot) is not None:
        yield f"capacity of {send.channel} in slot {slot}", 1.0
    campaign = limits.campaigns.get(send.campaign)
    if campaign is not None and campaign.max_sends is not None:
        yield f"sends of {send.campaign}", 1.0
    if limits.opt_outs is not None:
        yield "opt-outs", send.opt_out
    if limits.cost is not None:
        yield "cost", send.cost


def _most(problem: Problem) -> dict[str, float]:
    limits, most = problem.limits, {}
    for channel, by_slot in limits.capacity.items():
        for slot in range(problem.n_slots):
            one = by_slot.get(slot) if isinstance(by_slot, dict) else by_slot
            if one is not None:
                most[f"capacity of {channel} in slot {slot}"] = float(one)
    for name, campaign in limits.campaigns.items():
        if campaign.max_sends is not None:
            most[f"sends of {name}"] = float(campaign.max_sends)
    if limits.opt_outs is not None:
        most["opt-outs"] = limits.opt_outs.max_expected
    if limits.cost is not None:
        most["cost"] = limits.cost.max_total
    return most


def _room(problem: Problem, past: dict[int, list[Send]]) -> dict[str, float]:
    """What committed sends leave of each maximum."""
    used: dict[str, list[float]] = defaultdict(list)
    for sends in past.values():
        for send in sends:
            for name, use in _rows(problem, send) if send.committed else ():
                used[name].append(use)
    return {name: max(0.0, most - math.fsum(used[name])) for name, most in _most(problem).items()}


def _maxima(problem: Problem, sends: list[Send], past: dict[int, list[Send]]) -> list[Term]:
    terms: dict[str, dict[int, float]] = defaultdict(dict)
    for send in sends:
        for name, use in _rows(problem, send):
            terms[name][send.cell] = use
    room = _room(problem, past)
    found: list[Term] = []
    for name, use in terms.items():
        fits = room[name] * (1 + CLOSE / 10)
        found += [({c: 1.0}, 0.0) for c, u in use.items() if u > fits]  # by itself too much, to the last digit
        found.append(({c: u for c, u in use.items() if u <= fits}, fits))
    return found


def _use(problem: Problem, sends: list[Send], past: dict[int, list[Send]]) -> Iterator[tuple[str, float, float]]:
    used: dict[str, list[float]] = defaultdict(list)
    for send in sends:
        for name, use in _rows(problem, send):
            used[name].append(use)
    for name, room in _room(problem, past).items():
        yield name, math.fsum(used[name]), room


def _minimums(problem: Problem, tier: int, past: dict[int, list[Send]]) -> dict[str, tuple[int, float]]:
    """campaign -> (sends that committed ones leave missing, price of one) of the minimums that count in this tier."""
    m, c = problem.messages, problem.cells
    found = {}
    for name, campaign in problem.limits.campaigns.items():
        tiers = [int(t) for t, of in zip(m.tier, m.campaign, strict=True) if of == name]
        if campaign.min_sends == 0 or max(tiers, default=tier_numbers(problem)[-1]) != tier:
            continue
        price = campaign.shortfall_price
        if price is None:
            price = max([0.0, *(float(v) for v, i in zip(c.value, c.message, strict=True) if m.campaign[i] == name)])
        made = sum(s.committed and s.campaign == name for sends in past.values() for s in sends)
        found[name] = (max(0, campaign.min_sends - made), price)
    return found


def _solved(problem: Problem, cells: list[int], terms: list[Term], minimums: dict[str, tuple[int, float]]) -> Optimum:
    """Most value less the price of what is missing, under Σ coefficient · x <= limit for every term."""
    missing = list(minimums.values())
    if not cells:
        return Optimum(-math.fsum(least * price for least, price in missing), ())
    column = {c: i for i, c in enumerate(cells)}
    value = problem.cells.value[cells]
    size = float(value.max()) / 1e3  # tolerances of the solver are absolute
    gain = np.concatenate([value, [-price for _, price in missing]]) / size
    rows: list[Term] = [(use, limit) for use, limit in terms if use]
    entries = [(r, column[c], a / max(use.values())) for r, (use, _) in enumerate(rows) for c, a in use.items() if a]
    upper = [limit / max(1e-300, *use.values()) for use, limit in rows]
    for k, (name, (least, _)) in enumerate(minimums.items()):
        r = len(upper)
        entries += [(r, column[c], -1.0) for c in cells if _campaign(problem, c) == name] + [(r, len(cells) + k, -1.0)]
        upper.append(-float(least))
    matrix = csr_matrix(
        ([a for _, _, a in entries], ([r for r, _, _ in entries], [i for _, i, _ in entries])),
        shape=(len(upper), len(gain)),
    )
    whole = np.r_[np.ones(len(cells)), np.zeros(len(missing))]
    most = np.r_[np.ones(len(cells)), np.full(len(missing), np.inf)]
    answer = milp(
        -gain,
        integrality=whole,
        bounds=Bounds(np.zeros(len(gain)), most),
        constraints=LinearConstraint(matrix, -np.inf, np.array(upper)) if len(upper) else (),
        options={"mip_rel_gap": 0.0},
    )
    assert answer.x is not None, answer.message
    chosen = tuple(c for c, x in zip(cells, answer.x, strict=False) if x > 0.5)
    sent = Counter(_campaign(problem, c) for c in chosen)
    penalty = math.fsum(price * max(0, least - sent[name]) for name, (least, price) in minimums.items())
    return Optimum(math.fsum(value[column[c]] for c in chosen) - penalty, chosen)


def _broken_by_user(problem: Problem, sends: list[Send], past: list[Send]) -> list[str]:
    limits, broken = problem.limits, []
    everyone = [*past, *sends]
    for name, cap in limits.caps.items():
        counted = [s for s in everyone if _in_scope(cap.scope, s)]
        if cap.window_minutes is not None:
            windows = [[s for s in counted if at.minute <= s.minute < at.minute + cap.window_minutes] for at in counted]
        else:
            week = cap.calendar == "week"
            windows = [[s for s in counted if _period(s, week) == _period(at, week)] for at in counted]
        if any(len(window) > cap.max and any(s.cell >= 0 for s in window) for window in windows):
            broken.append(f"caps.{name}")
    if any(
        one.cell >= 0 and one is not two and abs(one.minute - two.minute) < limits.min_gap_minutes
        for one in everyone
        for two in everyone
    ):
        broken.append("min_gap_minutes")
    if limits.fatigue is not None:
        first = min(s.minute for s in sends)
        for at in {s.minute for s in sends} | {s.minute for s in past if s.committed and s.minute >= first}:
            state = math.fsum(_points(problem, s, at) for s in everyone if s.minute <= at)
            if state > limits.fatigue.max_points + POINTS:
                broken.append("fatigue")
                break
    return broken
