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
from sendopt.measurement.experiment import arms_at
from sendopt.measurement.uniform_time import plan_uniform_time


def cells(messages, slots, value=0.5, p_opt_out=0.01, cost=1.0):
    """Cells of `messages`, (user, notification, campaign) each, in all `slots`."""
    return pd.DataFrame(
        [
            {
                "user_id": u, "notification_id": n, "campaign_id": c, "channel": "push", "category": "news", "slot": s,
                "local_day": 0, "value": value, "p_opt_out": p_opt_out, "cost": cost,
            }
            for u, n, c in messages
            for s in slots
        ]
    )  # fmt: skip


def plan(frame, limits=None, history=None, share=1.0, salt="s", n_slots=24):
    return plan_uniform_time(frame, history or {}, limits or Limits(), share, 60, n_slots, salt)


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
    frame = cells([("u", "a", "sale"), ("u", "b", "sale")], range(8))
    for i in range(30):
        first, second = (row for row in plan(frame, limits, past, salt=str(i)).drawn.itertuples())
        assert first.slot >= 2
        assert first.pscore == pytest.approx(1 / 6)
        free = [s for s in range(2, 8) if abs(s - first.slot) >= 3]
        assert second.slot in free
        assert second.pscore == pytest.approx(1 / len(free))


def test_a_message_without_a_feasible_slot_is_refused_with_the_rule_that_blocks_it():
    limits = Limits(caps={"daily": Cap(window_minutes=1440, max=1)})
    arm = plan(cells([("u", "a", "sale"), ("u", "b", "sale")], [3, 4]), limits)
    assert len(arm.drawn) == 1
    assert arm.refused["reason"].tolist() == ["user_cap"]


def test_admission_takes_its_share_of_every_budget_and_leaves_the_rest():
    many = [(f"u{i}", f"n{i}", "sale") for i in range(20)]
    limits = Limits(campaigns={"sale": CampaignLimits(max_sends=16, min_sends=12)}, capacity={"push": 100})
    arm = plan(cells(many, [1, 2]), limits, share=0.5)
    assert len(arm.drawn) == 8
    assert set(arm.refused["reason"]) == {"campaign_budget"}
    assert arm.rest.campaigns["sale"] == CampaignLimits(max_sends=8, min_sends=4)
    budgets = Limits(opt_outs=OptOutBudget(max_expected=0.1), cost=CostBudget(max_total=100.0))
    arm = plan(cells(many, [1, 2]), budgets, share=0.5)
    assert len(arm.drawn) == 5
    assert arm.rest.opt_outs.max_expected == pytest.approx(0.05)
    assert arm.rest.cost.max_total == pytest.approx(95.0)


def test_capacity_is_set_aside_before_the_draw_and_what_exceeds_it_stays_on_record_unsent():
    many = [(f"u{i}", f"n{i}", "sale") for i in range(400)]
    arm = plan(cells(many, [1, 2, 3, 4]), Limits(capacity={"push": 200}))
    reserved = 135  # 100 expected + 4 sigma, sigma = sqrt(400 / 4 * 3 / 4)
    assert arm.rest.capacity["push"] == {s: 200 - (reserved if 1 <= s <= 4 else 0) for s in range(24)}
    assert arm.drawn["planned"].all()
    tight = plan(cells(many[:1] * 1, [1]), Limits(capacity={"push": 1}))
    assert tight.rest.capacity["push"][1] == 0


def test_draws_above_the_reservation_are_kept_unsent_never_moved():
    # each user's second draw has fewer slots than reckoned, so slot use can exceed what was expected
    frame = cells([(f"u{i}", f"n{i}{k}", "sale") for i in range(30) for k in "ab"], [1, 2])
    limits = Limits(min_gap_minutes=60, capacity={"push": 1000})
    unsent = planned = 0
    for i in range(8):
        arm = plan(frame, limits, salt=str(i))
        per_slot = arm.drawn[arm.drawn["planned"]]["slot"].value_counts()
        room = {s: 1000 - n for s, n in arm.rest.capacity["push"].items()}
        assert all(n <= room[s] for s, n in per_slot.items())
        kept = arm.drawn[~arm.drawn["planned"]]
        assert set(kept["reason"]) <= {"planned_unsent"}
        assert kept["pscore"].notna().all()
        unsent, planned = unsent + len(kept), planned + len(arm.drawn)
    assert planned == 8 * 60
    assert unsent < planned / 100


def test_what_a_slot_cannot_hold_stays_planned_and_unsent_and_is_said():
    many = [(f"u{i}", f"n{i}", "sale") for i in range(100)]
    arm = plan(cells(many, [1, 2]), Limits(capacity={"push": {1: 30}}))
    (warning,) = arm.warnings
    assert "wants 70 of capacity.push in slot 1, which is 30" in warning
    drawn = arm.drawn[arm.drawn["slot"] == 1]
    assert drawn["planned"].sum() == 30 < len(drawn)
    assert (arm.drawn["pscore"] == 0.5).all()
    assert arm.rest.capacity["push"][1] == 0


def test_row_order_does_not_matter_and_an_empty_arm_is_fine():
    frame = cells([(f"u{i % 7}", f"n{i}", "sale") for i in range(20)], range(10))
    limits = Limits(min_gap_minutes=120, caps={"d": Cap(window_minutes=1440, max=2)})
    one, other = plan(frame, limits), plan(frame.sample(frac=1, random_state=1), limits)
    pd.testing.assert_frame_equal(one.drawn, other.drawn)
    pd.testing.assert_frame_equal(one.refused, other.refused)
    empty = plan(frame.iloc[:0], limits)
    assert len(empty.drawn) == len(empty.refused) == 0
    assert empty.rest == limits


def test_negative_values_are_never_drawn():
    arm = plan(cells([("u", "n", "sale")], [1, 2], value=-0.1))
    assert arm.refused["reason"].tolist() == ["negative_value"]


def test_ten_thousand_replays_of_one_night_match_pscore_within_binomial_error():
    """One person's night under many keys: a draw depends on salt, user and notification only, so a person of another
    id with the same messages and history is another replay."""
    replays, slots, gap = 10_000, range(8), 3
    limits = Limits(min_gap_minutes=60 * gap)
    users = [f"replay-{i}" for i in range(replays)]
    past = {u: [Send(-60.0, "push", "news", "sale", -1, False)] for u in users}  # slots 0 and 1 are too soon
    frame = cells([(u, n, "sale") for u in users for n in "ab"], slots)
    drawn = plan(frame, limits, past).drawn
    first = drawn.drop_duplicates("user_id")
    second = drawn[drawn["user_id"].duplicated()].set_index("user_id")["slot"]
    pscore = drawn[drawn["user_id"].duplicated()].set_index("user_id")["pscore"]
    assert len(first) == replays

    def matches(found: pd.Series, free: list[int]) -> None:
        p, counts = 1 / len(free), Counter(found)
        assert set(counts) == set(free)
        error = (len(found) * p * (1 - p)) ** 0.5
        assert all(abs(counts[s] - len(found) * p) <= 4.5 * error + 1e-9 for s in free)

    matches(first["slot"], list(range(2, 8)))
    assert set(first["pscore"]) == {1 / 6}
    given = first.set_index("user_id")["slot"]
    for taken in range(2, 8):  # the second draw, given the first
        free = [s for s in range(2, 8) if abs(s - taken) >= gap]
        mine = given.index[given == taken].intersection(second.index)
        if free:
            matches(second.loc[mine], free)
            assert set(pscore.loc[mine]) == {1 / len(free)}
        else:
            assert len(mine) == 0
    # inverse weighting finds how often each slot was free for the second message, without being told
    for s in range(2, 8):
        free = sum((given == t).sum() for t in range(2, 8) if abs(s - t) >= gap)
        weights = (1 / pscore)[second == s]
        assert abs(weights.sum() - free) < 4.5 * ((weights * (weights - 1)).sum() ** 0.5 + 1)


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
    other = arms_at(np.array([unit_interval("arm", "b", f"u{i}") for i in range(2000)]), arms)
    agree = float((other == many).mean())  # independent arms of .3, .3 and .4 agree in .34
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
