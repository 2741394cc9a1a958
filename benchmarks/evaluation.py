"""How often `sendopt evaluate` claims personal timing where the truth is known (`make bench-evaluation`).

No personal timing: a claim is false, and at most 16 of 200 may be. Personal timing: the share of claims is the power.
Every line has seeds of its own, so the table is the same on every run of one machine type.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from decision_worlds import DecisionWorld, campaigns, kept, shuffled, world

from sendopt.timing import gain, policies, policy_values
from sendopt.timing.decisions import Decisions

MOST_FALSE = 16 / 200
SAMPLES = 1000
Made = Callable[[int], Decisions]


def claims(make: Made, runs: int) -> dict[str, int]:
    """Verdicts by kind over `runs` seeds, and how often personal beat uniform, which proves nothing."""
    found = dict.fromkeys(("shown", "not_shown", "harmful", "refused", "beats_uniform"), 0)
    for seed in range(runs):
        result = gain.evaluate(make(seed), samples=SAMPLES, trees=False)
        found[result.kind] += 1
        personal = [p for p in result.policies if p.name == policies.PERSONAL]
        found["beats_uniform"] += bool(personal) and (personal[0].minus_uniform["snips"].low or 0) > 0
    return found


def coverage(runs: int, samples: int = SAMPLES, **settings: object) -> dict[str, int]:
    """How many of `runs` logs have the true value of the fitted personal policy inside its interval, by estimator.

    `difference` is personal minus common by SNIPS.
    """
    found = dict.fromkeys(("ips", "snips", "dr", "difference"), 0)
    for seed in range(runs):
        made: DecisionWorld = world(10_000 + seed, **settings)
        log = made.log
        first, rest = log.rows(log.in_first_part), log.rows(~log.in_first_part)
        learned = policies.fit(first, rest, log.supported, len(made.if_sent), 7, trees=False)
        values, _ = policy_values.policy_values(rest, learned, ["uniform", *learned.choices], 7, samples)
        personal = next(v for v in values if v.name == policies.PERSONAL)
        truth = {name: _truth(made, rest, learned.choices[name]) for name in (policies.PERSONAL, learned.common)}
        estimates = {**personal.by, "difference": personal.minus_common["snips"]}
        for name, estimate in estimates.items():
            true = truth[policies.PERSONAL] - (truth[learned.common] if name == "difference" else 0.0)
            found[name] += estimate.low is not None and estimate.low - 1e-12 <= true <= estimate.high + 1e-12
    return found


def _truth(made: DecisionWorld, rest: Decisions, choice: np.ndarray) -> float:
    """Mean success of a send in each decision's chosen slot, each person counted as often as it is decided."""
    return float(made.if_sent[rest.user, choice].mean())


def common_claims(runs: int, samples: int = SAMPLES, **settings: object) -> dict[str, int]:
    """How often the best common slot beats uniform times, and its interval holds the truth, with few sends each."""
    found = dict.fromkeys(("claimed", "inside"), 0)
    for seed in range(runs):
        made: DecisionWorld = world(20_000 + seed, free=1.0, **settings)
        result = gain.evaluate(made.log, samples=samples, trees=False)
        time_of_day = result.common_time
        assert time_of_day is not None
        assert result.kind == gain.Kind.REFUSED
        true = float(made.if_sent[:, made.log.slots.index(time_of_day.slot)].mean())
        found["claimed"] += time_of_day.minus_uniform.low > 0
        found["inside"] += time_of_day.value.low <= true <= time_of_day.value.high
    return found


def lines(log: Decisions | None) -> Iterator[tuple[str, Made, bool]]:
    """(name, log of a seed, is there personal timing?)."""
    if log is not None:
        yield "the log, outcomes shuffled within each person", lambda s: shuffled(log, s), False
    strong = world(1, users=120, personal_sd=0.9).log
    yield "a world of strong personal timing, shuffled", lambda s: shuffled(strong, s), False
    yield "user and slot effects, slots drawn", lambda s: world(s).log, False
    yield "user effects only, slots drawn", lambda s: world(s, slot_sd=0.0).log, False
    trial = {"kind": "send", "users": 37, "slots": 5, "days": 35}
    yield "user and slot effects, sends drawn, as small as HeartSteps", lambda s: world(s, **trial).log, False
    uneven = {"kind": "send", "days": 30, "availability_sd": 1.5}
    yield "the same, availability differs by person and slot", lambda s: world(s, **uneven).log, False
    few = {"slot_sd": 0.0, "free": 1.0, "users": 1000}
    yield "user effects only, three sends each, 1,000 people", lambda s: world(s, **few, days=3).log, False
    yield "content effects, one slot a campaign", campaigns, False
    yield "content effects, a third of the campaigns drawn", lambda s: campaigns(s, 1 / 3), False
    yield "user effects only, a slot kept by each person", lambda s: kept(world(s, **few, days=20).log, s), False
    for users in (60, 300):
        for sd in (0.4, 0.7, 1.0):
            name = f"personal timing of {sd} on the logit scale, {users} people"
            yield name, lambda s, u=users, sd=sd: world(s, users=u, personal_sd=sd).log, True
    yield "personal timing of 0.7, sends drawn, 37 people", lambda s: world(s, **trial, personal_sd=0.7).log, True


def main() -> None:
    """Print both tables as they grow; exit 1 where more claims are false than allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--log", type=Path, help="a real log to shuffle as well")
    parser.add_argument("--source", type=Path, help="its mapping")
    given = parser.parse_args()
    log = _read(given.log, given.source) if given.log else None
    say("| world | claimed | not shown | harmful | beats uniform | |\n|---|---|---|---|---|---|")
    failed = False
    for name, make, real in lines(log):
        clock = time.perf_counter()
        found = claims(make, given.runs)
        bad = not real and found["shown"] > MOST_FALSE * given.runs
        failed |= bad
        what = "power" if real else "TOO MANY" if bad else "false"
        say(
            f"| {name} | {found['shown']} of {given.runs} | {found['not_shown']} | {found['harmful']} | "
            f"{found['beats_uniform']} | {what}, {(time.perf_counter() - clock) / given.runs * 1e3:.0f} ms each |"
        )
    say("\n| truth inside the 95 % interval | IPS | SNIPS | DR | personal − common |\n|---|---|---|---|---|")
    for name, settings in (
        ("slots drawn, always free, personal timing 0.7", {"personal_sd": 0.7, "free": 1.0}),
        ("sends drawn, personal timing 0.7", {"personal_sd": 0.7, "kind": "send", "days": 30}),
    ):
        found = coverage(given.runs, **settings)
        cells = " | ".join(f"{found[key]} of {given.runs}" for key in ("ips", "snips", "dr", "difference"))
        say(f"| {name} | {cells} |")
    say("\n| people with few sends | best common slot beats uniform | truth inside | |\n|---|---|---|---|")
    for people, each in ((3000, 1), (1500, 2)):
        for sd in (0.0, 0.2, 0.4):
            found = common_claims(given.runs, users=people, days=each, slot_sd=sd)
            bad = sd == 0 and found["claimed"] > MOST_FALSE * given.runs
            failed |= bad
            what = "power" if sd else "TOO MANY" if bad else "false"
            say(
                f"| {people:,} people, {each} each, hours differ by {sd} on the logit scale | {found['claimed']} of "
                f"{given.runs} | {found['inside']} of {given.runs} | {what} |"
            )
    sys.exit(1 if failed else 0)


def _read(log: Path, source: Path) -> Decisions:
    from sendopt.ingest import load_mapping
    from sendopt.timing.log import read_log

    found = read_log(log, load_mapping(source), "open", 24.0).decisions
    if found is None:
        raise SystemExit("the mapping names no pscore")
    return found


def say(text: str) -> None:
    """One line of a table, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
