"""The uniform_time arm: exact probabilities inside every limit (model ¶15)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from sendopt.config.schema import Arms
from sendopt.domain.keys import unit_interval
from sendopt.domain.limits import CampaignLimits, Cap, CostBudget, Limits, OptOutBudget
from sendopt.domain.rules import Send
from sendopt.experiment.arms import arms_at
from sendopt.experiment.uniform_time import plan_uniform_time


def cells(messages, slots, p_opt_out=0.01, cost=1.0, chosen=None, channel="push"):
    """Return cells of `messages` (user, notification, campaign) in all `slots`.

    The slot that the program chose is the first, or the one in `chosen` by notification.
    """
    return pd.DataFrame(
        [
            {
                "user_id": u,
                "notification_id": n,
                "campaign_id": c,
                "channel": channel,
                "category": "news",
                "slot": s,
                "local_day": 0,
                "p_opt_out": p_opt_out,
                "cost": cost,
                "chosen": s == (chosen or {}).get(n, min(slots)),
            }
            for u, n, c in messages
            for s in slots
        ]
    )


def plan(frame, limits=None, history=None, salt="s", n_slots=24):
    return plan_uniform_time(frame, history or {}, limits or Limits(), 60, n_slots, salt)


def test_a_lone_message_takes_each_slot_equally_often_and_says_so():
    frame = cells([("u", "n", "sale")], [9, 12, 15, 20])
    drawn = [plan(frame, salt=str(i)).drawn.iloc[0] for i in range(200)]
    assert {d["pscore"] for d in drawn} == {0.25}
    counts = Counter(d["slot"] for d in drawn)
    assert set(counts) == {9, 12, 15, 20}
    assert all(abs(n - 50) < 4 * (200 * 0.25 * 0.75) ** 0.5 for n in counts.values())


def test_probability_counts_only_the_slots_that_history_and_earlier_draws_leave():
    limits = Limits(min_gap_minutes=180)
    past = {"u": [Send(-60.0, "push", "news", "sale", -1, False)]}  # an hour before slot 0: slots 0 and 1 are too soon
    frame = cells([("u", "a", "sale"), ("u", "b", "sale")], range(8), chosen={"a": 2, "b": 7})
    for i in range(30):
        first, second = (row for row in plan(frame, limits, past, salt=str(i)).drawn.itertuples())
        # from slots 2, 3 and 4 the other message still has 5 to 7, from 5, 6 and 7 it has 2 to 4
        assert first.slot >= 2
        assert first.pscore == pytest.approx(1 / 6)
        free = [s for s in range(2, 8) if abs(s - first.slot) >= 3]
        assert second.slot in free
        assert second.pscore == pytest.approx(1 / len(free))


def test_no_draw_takes_the_last_slot_of_a_users_other_message():
    """Two messages 4 hours apart in 6 hours: whatever is drawn first, the other can still go."""
    limits = Limits(min_gap_minutes=240)
    frame = cells([("u", "a", "sale"), ("u", "b", "sale")], range(6), chosen={"a": 0, "b": 4})
    seen = set()
    for i in range(60):
        arm = plan(frame, limits, salt=str(i))
        assert len(arm.drawn) == 2
        assert arm.refused.empty
        first = arm.drawn.iloc[0]
        assert first["slot"] in (0, 1, 4, 5)
        assert first["pscore"] == 0.25
        seen.add(tuple(sorted(arm.drawn["slot"])))
    assert seen == {(0, 4), (0, 5), (1, 5)}


def test_the_other_arms_keep_exactly_what_the_draws_do_not_use():
    many = [(f"u{i}", f"n{i}", "sale") for i in range(8)]
    limits = Limits(
        campaigns={"sale": CampaignLimits(max_sends=16, min_sends=12)},
        capacity={"push": 100},
        opt_outs=OptOutBudget(max_expected=0.1),
        cost=CostBudget(max_total=100.0),
    )
    arm = plan(cells(many, [1, 2]), limits)
    assert len(arm.drawn) == 8
    assert arm.rest.campaigns["sale"] == CampaignLimits(max_sends=8, min_sends=4)
    assert arm.rest.opt_outs.max_expected == pytest.approx(0.02)
    assert arm.rest.cost.max_total == pytest.approx(92.0)
    per_slot = Counter(arm.drawn["slot"])
    assert arm.rest.capacity["push"] == {s: 100 - per_slot[s] for s in range(24)}


def test_a_full_slot_is_drawn_no_more_and_the_probability_says_so():
    many = [(f"u{i}", f"n{i}", "sale") for i in range(30)]
    limits = Limits(capacity={"push": {1: 5, 2: 12}})  # slot 3 is without limit
    arm = plan(cells(many, [1, 2, 3], chosen={n: 3 for _, n, _ in many}), limits)
    used: Counter[int] = Counter()
    for draw in arm.drawn.itertuples():
        free = [s for s, most in ((1, 5), (2, 12), (3, 99)) if used[s] < most]
        assert draw.pscore == pytest.approx(1 / len(free))
        assert draw.slot in free
        used[draw.slot] += 1
    assert used[1] == 5, "the world must fill a slot"
    assert arm.refused.empty


def test_committed_sends_take_their_room_first():
    committed = {"someone": [Send(60.0, "push", "news", "old", 0, False)] * 4}
    arm = plan(cells([("u", "n", "sale")], [1, 2], chosen={"n": 2}), Limits(capacity={"push": 4}), committed)
    assert arm.drawn["slot"].tolist() == [2]
    assert arm.drawn["pscore"].tolist() == [1.0]


def test_a_message_whose_slots_are_all_full_is_refused_with_a_reason_of_its_own_and_said():
    many = [(f"u{i}", f"n{i}", "sale") for i in range(10)]
    arm = plan(cells(many, [1, 2]), Limits(capacity={"push": 3}))
    assert len(arm.drawn) == 6
    assert arm.refused["reason"].tolist() == ["uniform_full"] * 4
    (warning,) = arm.warnings
    assert "4 messages found no slot to draw" in warning
    assert arm.rest.capacity["push"][1] == arm.rest.capacity["push"][2] == 0


def test_a_slot_that_costs_more_than_is_left_is_not_drawn():
    frame = pd.concat(
        [cells([("u", "a", "sale")], [1], cost=1.0), cells([("u", "a", "sale")], [2], cost=3.0, chosen={"a": 9})]
    )
    assert plan(frame, Limits(cost=CostBudget(max_total=2.0))).drawn["pscore"].tolist() == [1.0]
    assert plan(frame, Limits(cost=CostBudget(max_total=3.0))).drawn["pscore"].tolist() == [0.5]


def test_row_order_does_not_matter_and_an_empty_arm_is_fine():
    messages = [(f"u{i % 7}", f"n{i}", "sale") for i in range(14)]
    frame = cells(messages, range(10), chosen={f"n{i}": 9 * (i // 7) for i in range(14)})
    limits = Limits(min_gap_minutes=120, caps={"d": Cap(window_minutes=1440, max=2)}, capacity={"push": 2})
    ordered, shuffled = plan(frame, limits), plan(frame.sample(frac=1, random_state=1), limits)
    pd.testing.assert_frame_equal(ordered.drawn, shuffled.drawn)
    pd.testing.assert_frame_equal(ordered.refused, shuffled.refused)
    empty = plan(frame.iloc[:0], limits)
    assert len(empty.drawn) == len(empty.refused) == 0
    assert empty.rest == limits


def test_ten_thousand_replays_of_one_night_match_pscore_within_binomial_error():
    """One person's night under many keys: a draw depends on salt, user and notification only, so a person of another
    id with the same messages and history is another replay."""
    replays, slots, gap = 10_000, range(8), 3
    limits = Limits(min_gap_minutes=60 * gap)
    users = [f"replay-{i}" for i in range(replays)]
    past = {u: [Send(-60.0, "push", "news", "sale", -1, False)] for u in users}  # slots 0 and 1 are too soon
    frame = cells([(u, n, "sale") for u in users for n in "ab"], slots, chosen={"a": 2, "b": 7})
    drawn = plan(frame, limits, past).drawn
    first = drawn.drop_duplicates("user_id")
    second = drawn[drawn["user_id"].duplicated()].set_index("user_id")["slot"]
    pscore = drawn[drawn["user_id"].duplicated()].set_index("user_id")["pscore"]
    assert len(first) == replays

    def matches(slots_drawn: pd.Series, free: list[int]) -> None:
        p, counts = 1 / len(free), Counter(slots_drawn)
        assert set(counts) == set(free)
        error = (len(slots_drawn) * p * (1 - p)) ** 0.5
        assert all(abs(counts[s] - len(slots_drawn) * p) <= 4.5 * error + 1e-9 for s in free)

    matches(first["slot"], list(range(2, 8)))
    assert set(first["pscore"]) == {1 / 6}
    given = first.set_index("user_id")["slot"]
    for taken in range(2, 8):  # the second draw, given the first
        free = [s for s in range(2, 8) if abs(s - taken) >= gap]
        replays_with_first = given.index[given == taken].intersection(second.index)
        if free:
            matches(second.loc[replays_with_first], free)
            assert set(pscore.loc[replays_with_first]) == {1 / len(free)}
        else:
            assert len(replays_with_first) == 0
    # inverse weighting finds how often each slot was free for the second message, without being told
    for s in range(2, 8):
        free = sum((given == t).sum() for t in range(2, 8) if abs(s - t) >= gap)
        weights = (1 / pscore)[second == s]
        assert abs(weights.sum() - free) < 4.5 * ((weights * (weights - 1)).sum() ** 0.5 + 1)


def test_ten_thousand_replays_of_an_arm_that_fills_its_capacity_match_pscore_within_binomial_error():
    """Three people and one send a slot, each replay on a channel of its own. Who draws second and third has what is
    left, by this test's own count; within it every slot is drawn equally often."""
    replays, slots = 10_000, range(4)
    parts = []
    for i in range(replays):
        for k in range(3):
            message = {"user_id": f"r{i}-{k}", "notification_id": f"n{k}", "channel": f"channel-{i}"}
            parts += [{**message, "slot": s, "chosen": s == k} for s in slots if k or s != 3]
    frame = pd.DataFrame(parts)
    frame = frame.assign(campaign_id="sale", category="news", local_day=0, p_opt_out=0.01, cost=0.0)
    arm = plan(frame, Limits(capacity={f"channel-{i}": 1 for i in range(replays)}))
    taken: dict[str, list[int]] = {}
    ranks: dict[int, Counter[int]] = {n: Counter() for n in (1, 2, 3, 4)}
    weights = []
    for draw in arm.drawn.itertuples():
        replay, k = draw.user_id.split("-")
        offered = [s for s in slots if k != "0" or s != 3]
        free = [s for s in offered if s not in taken.setdefault(replay, [])]
        assert draw.pscore == pytest.approx(1 / len(free))
        ranks[len(free)][free.index(draw.slot)] += 1
        taken[replay].append(draw.slot)
        weights.append((draw.slot in (0, 1)) / draw.pscore - sum(s in (0, 1) for s in free))
    assert len(arm.drawn) + len(arm.refused) == 3 * replays
    for n, counts in ranks.items():
        total = sum(counts.values())
        error = (total * (1 / n) * (1 - 1 / n)) ** 0.5
        assert all(abs(counts[r] - total / n) <= 4.5 * error + 1e-9 for r in range(n))
    assert abs(np.sum(weights)) < 4.5 * np.std(weights) * len(weights) ** 0.5, "inverse weighting is unbiased"


def test_the_night_replayed_under_other_salts_draws_anew():
    frame = cells([("u", n, "sale") for n in "ab"], range(6))
    nights = [tuple(plan(frame, salt=f"night-{i}").drawn.sort_values("notification_id")["slot"]) for i in range(150)]
    assert len(set(nights)) > 25
    share = Counter(slot for slot, _ in nights)
    assert all(abs(n - 25) < 4.5 * (150 / 6 * 5 / 6) ** 0.5 for n in share.values())
    assert plan(frame, salt="night-1").drawn.equals(plan(frame, salt="night-1").drawn)


def test_hashed_arms_have_their_share_and_nobody_leaves_one_that_grows():
    users = [f"user-{i}" for i in range(20_000)]
    positions = np.array([unit_interval("arm", "salt", u) for u in users])
    assert positions.min() >= 0
    assert positions.max() < 1
    counts = np.bincount((positions * 20).astype(int), minlength=20)
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi-squared of 19 degrees: 50 is one in 8,000
    held: list[set[str]] = []
    drawn: list[set[str]] = []
    for holdout, uniform in ((0.01, 0.02), (0.02, 0.02), (0.02, 0.1), (0.2, 0.3), (0.5, 0.45)):
        arms = arms_at(positions, Arms(holdout_fraction=holdout, uniform_time_fraction=uniform))
        for arm, share, before in (("holdout", holdout, held), ("uniform_time", uniform, drawn)):
            members = {u for u, a in zip(users, arms, strict=True) if a == arm}
            assert abs(len(members) - 20_000 * share) < 4.5 * (20_000 * share * (1 - share)) ** 0.5
            assert not before or before[-1] <= members
            before.append(members)
    assert not held[-1] & drawn[-1]


def test_an_arm_does_not_depend_on_who_else_is_there_and_another_salt_draws_anew():
    arms = Arms(holdout_fraction=0.3, uniform_time_fraction=0.3)
    few = arms_at(np.array([unit_interval("arm", "a", f"u{i}") for i in range(500)]), arms)
    many = arms_at(np.array([unit_interval("arm", "a", f"u{i}") for i in range(2000)]), arms)
    assert (few == many[:500]).all()
    resalted = arms_at(np.array([unit_interval("arm", "b", f"u{i}") for i in range(2000)]), arms)
    agree = float((resalted == many).mean())  # independent arms of .3, .3 and .4 agree in .34
    assert abs(agree - 0.34) < 4.5 * (0.34 * 0.66 / 2000) ** 0.5


def test_arms_are_nested_and_stable_as_fractions_grow():
    small = Arms(holdout_fraction=0.1, uniform_time_fraction=0.1)
    large = Arms(holdout_fraction=0.2, uniform_time_fraction=0.3)
    positions = np.arange(1000) / 1000
    for arm in ("holdout", "uniform_time"):
        before, after = arms_at(positions, small) == arm, arms_at(positions, large) == arm
        assert (before <= after).all()
        assert (before.sum(), after.sum()) == (100, 200 if arm == "holdout" else 300)
    assert set(arms_at(positions, small, "fallback")) == {"holdout", "uniform_time", "fallback"}
