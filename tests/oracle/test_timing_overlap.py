"""Overlap, split and what a value rests on, a second time in plain Python, pair by pair and person by person."""

from __future__ import annotations

import math
import random
from itertools import combinations

import numpy as np
import pytest

from sendopt.domain.keys import unit_interval
from sendopt.measurement.off_policy import Weighted
from sendopt.timing import gain, overlap
from sendopt.timing.decisions import Decisions

SLOTS = 4


def log(seed: int, kind: str = "slot", days: bool = False) -> Decisions:
    """Campaigns of 1 to 60 decisions: drawn as stated, in one slot, nearly so, or half of each."""
    rng = random.Random(seed)
    rows = []
    for campaign in range(25):
        habit, main = rng.choice(["drawn", "one", "stray", "half"]), rng.randrange(SLOTS)
        for _ in range(rng.choice([1, 2, 5, 12, 30, 60])):
            fixed = {"drawn": 0.0, "one": 1.0, "stray": 0.98, "half": 0.5}[habit]
            slot = main if rng.random() < fixed else rng.randrange(SLOTS)
            rows.append((rng.randrange(40), slot, campaign, rng.choice([0.25, 0.3]), rng.randrange(2)))
    rows.sort(key=lambda row: row[0])
    user, slot, campaign, pscore, day = (np.array(column) for column in zip(*rows, strict=True))
    zero = np.zeros(len(rows), np.int64)
    return Decisions(
        user, slot, zero, campaign, zero * 1.0, zero == 0, pscore, kind, tuple("abcd"), day=day if days else None
    )


def diversity(slots: list[int]) -> float:
    pairs = list(combinations(slots, 2))
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else 0.0


def plainly(log: Decisions) -> tuple[list[bool], list[bool]]:
    """(several, as stated) of each decision, from the definitions alone."""
    n = len(log)
    shares = [sum(log.slot == s) / n for s in range(SLOTS)]
    of_log = 1 - sum(share**2 for share in shares)
    several, as_stated = [False] * n, [True] * n
    whole_log = [0] * n
    campaign = log.campaign.tolist()
    if log.day is None:
        levels = [(campaign, whole_log), (whole_log, whole_log)]
    else:
        day = log.day.tolist()
        levels = [
            (list(zip(campaign, day, strict=True)), campaign),
            (campaign, whole_log),
            (day, whole_log),
            (whole_log, whole_log),
        ]
    left = list(range(n))
    for number, (key, parent) in enumerate(levels):
        groups: dict = {}
        for i in left:
            groups.setdefault(key[i], []).append(i)
        last = number == len(levels) - 1
        stated = {
            g: 1 - math.fsum(log.pscore[i] for i in rows) / len(rows) if log.kind == "slot" else of_log
            for g, rows in groups.items()
        }
        seen = {g: diversity([int(log.slot[i]) for i in rows]) for g, rows in groups.items()}
        expected = {g: len(rows) * max(stated[g], 0.03) for g, rows in groups.items()}
        alone = {
            g
            for g, rows in groups.items()
            if last or expected[g] >= 20 or (stated[g] >= 0.4 and (1 - stated[g]) ** (len(rows) - 1) < 1e-3)
        }
        done = set(alone)
        for g in alone:
            good = stated[g] >= 0.03 and seen[g] >= max(0.03, stated[g] / 3)
            cells = {}
            for i in groups[g]:
                several[i] = good
                cells.setdefault(int(log.slot[i]), []).append(1 / float(log.pscore[i]))
            if log.kind == "slot":
                size = len(groups[g])
                often = any(sum(w) > size + 5 * math.sqrt(sum(v * (v - 1) for v in w)) + 1 for w in cells.values())
                for i in groups[g]:
                    as_stated[i] = not often
        small = [g for g, rows in groups.items() if g not in alone and len(rows) > 1]
        pools: dict = {}
        for g in small:
            pools.setdefault(parent[groups[g][0]], []).append(g)
        rest = [g for pool in pools.values() if sum(expected[g] for g in pool) < 20 for g in pool]
        judged = [pool for pool in pools.values() if sum(expected[g] for g in pool) >= 20]
        if sum(expected[g] for g in rest) >= 20:
            judged.append(rest)
        for pool in judged:
            size = sum(len(groups[g]) for g in pool)
            mean = sum(len(groups[g]) * seen[g] for g in pool) / size
            claim = sum(len(groups[g]) * stated[g] for g in pool) / size
            excess = [len(groups[g]) * (stated[g] - seen[g]) for g in pool]
            repeats = sum(excess) > max(5 * math.sqrt(sum(e * e for e in excess)), 0.1 * size * claim)
            for g in pool:
                done.add(g)
                for i in groups[g]:
                    several[i] = claim >= 0.03 and mean >= max(0.03, claim / 3) and not repeats
        left = [i for i in left if key[i] not in done]
    return several, as_stated


@pytest.mark.parametrize("days", [False, True])
@pytest.mark.parametrize("kind", ["slot", "send"])
@pytest.mark.parametrize("seed", range(6))
def test_the_overlap_agrees_with_plain_python(seed, kind, days):
    made = log(seed, kind, days)
    seen = overlap.overlap(made)
    several, as_stated = plainly(made)
    np.testing.assert_array_equal(seen.several, several)
    np.testing.assert_array_equal(seen.as_stated, as_stated)
    assert 0 < sum(several) < len(made)


def test_the_split_agrees_with_plain_python():
    rng = random.Random(1)
    counts = [rng.choice([0, 1, 2, 3, 4, 11]) for _ in range(200)]
    user = np.repeat(np.arange(200), counts)
    zero = np.zeros(len(user), np.int64)
    made = Decisions(user, zero, zero, zero, zero * 1.0, zero == 0, zero + 0.5, "slot", ("a", "b"))
    for salt in ("fit", "tuning"):
        expected = []
        for person, count in enumerate(counts):
            if count < 3:
                expected += [unit_interval("split", salt, str(person)) < 0.6] * count
            else:
                expected += [i < math.ceil(0.6 * count) for i in range(count)]
        np.testing.assert_array_equal(made.first_part(salt), expected)


def test_what_a_value_rests_on_agrees_with_plain_python():
    rng = np.random.default_rng(2)
    user, weight = rng.integers(0, 9, 300), np.where(rng.random(300) < 0.4, rng.exponential(2, 300), 0.0)
    success = (rng.random(300) < 0.1).astype(float)
    basis = Weighted(weight, weight, weight, weight).basis(success, user)
    people = [sum(w for w, u in zip(weight, user, strict=True) if u == p) for p in range(9)]
    assert basis.sends == pytest.approx(weight.sum() ** 2 / sum(w * w for w in weight))
    assert basis.people == pytest.approx(sum(people) ** 2 / sum(p * p for p in people))
    outcomes = [y for y, w in zip(success, weight, strict=True) if w > 0]
    assert basis.rarer == min(sum(outcomes), len(outcomes) - sum(outcomes))


@pytest.mark.parametrize("seed", range(3))
def test_the_common_time_of_people_with_one_send_agrees_with_plain_python(seed):
    rng = np.random.default_rng(seed)
    n = 4000
    slot, zero = rng.integers(0, SLOTS, n), np.zeros(n, np.int64)
    success = (rng.random(n) < np.where(slot == 2, 0.4, 0.2)).astype(float)
    made = Decisions(np.arange(n), slot, zero, zero, success, zero == 0, np.full(n, 1 / SLOTS), "slot", tuple("abcd"))
    common_time = gain.evaluate(made, samples=50, trees=False).common_time
    later = [i for i in range(n) if unit_interval("split", "fit", str(i)) >= 0.6]
    at_best = [success[i] for i in later if slot[i] == 2]
    assert (common_time.slot, common_time.people) == ("c", len(later))
    assert common_time.value.value == pytest.approx(sum(at_best) / len(at_best))
    assert common_time.uniform.value == pytest.approx(sum(success[i] for i in later) / len(later))
    assert common_time.minus_uniform.value == pytest.approx(common_time.value.value - common_time.uniform.value)


@pytest.mark.parametrize("each", [1, 2])
def test_intervals_of_common_times_hold_the_truth_where_people_have_few_sends(each):
    """Uniform times among people of different rates: the truth is known whatever slot was chosen."""
    inside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        user = np.repeat(np.arange(2000), each)
        user_rate = rng.choice([0.1, 0.5], 2000)[user]
        slot, zero = rng.integers(0, SLOTS, len(user)), np.zeros(len(user), np.int64)
        success = (rng.random(len(user)) < user_rate).astype(float)
        made = Decisions(
            user, slot, zero, zero, success, zero == 0, np.full(len(user), 1 / SLOTS), "slot", tuple("abcd")
        )
        common_time = gain.evaluate(made, samples=200, trees=False).common_time
        inside += (
            common_time.value.low <= 0.3 <= common_time.value.high
            and common_time.minus_uniform.low <= 0 <= common_time.minus_uniform.high
        )
    assert 84 <= inside <= 99  # both intervals: 90 to 95 are expected
