"""Everyone wants two hours of three channels that hold few: instances that an integer program has a hard time with.

    python -m benchmarks.peak_hours    # `auto` beside prices alone: seconds of CPU, objective, gap

A minute on one core.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from sendopt.allocation import Cells, Messages, Problem, allocate
from sendopt.config.schema import Allocation
from sendopt.domain.limits import CampaignLimits, Cap, Fatigue, Limits, OptOutBudget

CHANNELS = ("push", "sms", "mail")
PEAKS = (8, 19)  # hours


def instance(
    users: int, *, seed: int = 0, per_user: int = 3, slot_minutes: int = 60, tired: bool = False, equal: float = 0.0
) -> Problem:
    """A day of `users` with `per_user` messages each, in turn on the three channels.

    Each channel holds an eighth of the users in a peak hour, a sixteenth in any other; 2 sends a day, 4 h apart.
    `tired` adds fatigue, `equal` rounds values to so much, so that many are worth the same.
    """
    draw = np.random.default_rng(seed)
    slots, rows = 1440 // slot_minutes, users * per_user
    hour = np.arange(slots) * slot_minutes / 60
    shape = sum(np.exp(-(((hour - peak) / 1.5) ** 2)) for peak in PEAKS)
    level = draw.beta(2, 10, (rows, 1)) * (0.25 + shape[None, :]) * draw.gamma(20, 1 / 20, (rows, slots))
    value = np.round(level / equal) * equal if equal else level
    message, slot = np.nonzero(np.broadcast_to((hour >= 7) & (hour < 23), value.shape))
    turn = np.tile(np.arange(per_user), users)
    campaign = np.array([f"c{i}" for i in draw.integers(0, 12, rows)], object)
    at_peak = np.isin(np.arange(slots) * slot_minutes // 60, PEAKS)
    by_slot = {s: max(1, int(users * slot_minutes / 60 / (8 if at_peak[s] else 16))) for s in range(slots)}
    fatigue = Fatigue(half_life_hours=24, points_per_send={"push": 1.0, "sms": 2.0, "mail": 0.7}, max_points=2.4)
    return Problem(
        slot_minutes=slot_minutes,
        n_slots=slots,
        users=np.array([f"u{i:05d}" for i in range(users)], object),
        messages=Messages(
            user=np.repeat(np.arange(users), per_user),
            message_id=np.array([f"m{k}" for k in turn], object),
            campaign=campaign,
            channel=np.array([CHANNELS[k % 3] for k in turn], object),
            category=np.array([f"k{k % 2}" for k in turn], object),
            exclusive_group=np.full(rows, "", object),
            tier=np.ones(rows, np.int64),
        ),
        cells=Cells(
            message=message,
            slot=slot,
            value=value[message, slot],
            p_opt_out=np.round(draw.beta(1, 300, rows), 5)[message],
            cost=np.zeros(len(message)),
            local_day=np.zeros(len(message), np.int64),
        ),
        limits=Limits(
            caps={"day": Cap(window_minutes=1440, max=2), "kind": Cap(scope="category:k1", window_minutes=1440, max=1)},
            min_gap_minutes=240,
            fatigue=fatigue if tired else None,
            capacity=dict.fromkeys(CHANNELS, by_slot),
            campaigns={f"c{i}": CampaignLimits(max_sends=max(1, users // 8)) for i in range(12)},
            opt_outs=OptOutBudget(max_expected=users * 0.004),
        ),
    )


def main() -> None:
    sys.stdout.write("users  seed  kind    method   CPU s   objective      gap  termination\n")
    kinds = {"plain": {}, "tired": {"tired": True}, "equal": {"equal": 0.02}, "half h": {"slot_minutes": 30}}
    for users, seed, kind in [(u, s, k) for u in (100, 200, 400) for s in (1, 2) for k in kinds]:
        problem = instance(users, seed=seed, **kinds[kind])  # type: ignore[arg-type]
        for method, settings in (("prices", Allocation(exact_max_users=0)), ("auto", Allocation())):
            before = time.process_time()
            found = allocate(problem, settings)
            spent = time.process_time() - before
            sys.stdout.write(
                f"{users:5}  {seed:4}  {kind:6}  {method:7} {spent:6.2f}  {found.objective:10.4f}  {found.gap:7.1e}  "
                f"{found.method}, {found.termination}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
