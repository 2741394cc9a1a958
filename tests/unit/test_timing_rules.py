"""What an evaluation of timing may say: rules that hold for logs of every shape, each met on a log of the field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sendopt.report.timing import page
from sendopt.timing import gain, overlap, refusals
from sendopt.timing.decisions import Decisions
from sendopt.timing.evaluation import as_json, in_words
from sendopt.timing.log import Log

RNG = np.random.default_rng


def decisions(user, slot, success, pscore, **more) -> Decisions:
    """A log ordered by person; `more` overrides campaign, segment, sent, kind, day and the names of the codes."""
    order = np.argsort(user, kind="stable")
    n, zero = len(user), np.zeros(len(user), np.int64)
    columns = {
        "user": user,
        "slot": slot,
        "success": success,
        "pscore": np.full(n, pscore),
        "segment": zero,
        "campaign": zero,
        "sent": np.ones(n, bool),
        **{k: v for k, v in more.items() if k in ("segment", "campaign", "sent", "day")},
    }
    types = {"success": float, "pscore": float, "sent": bool}
    arrays = {name: np.asarray(a)[order].astype(types.get(name, np.int64)) for name, a in columns.items()}
    slots = tuple(f"{s:02d}:00" for s in range(int(slot.max()) + 1))
    return Decisions(**arrays, kind=more.get("kind", "slot"), slots=slots, segments=more.get("segments", ("all",)))


def result(log: Decisions) -> dict:
    found = as_json(gain.evaluate(log, samples=300, trees=False), Log(log, len(log), {}, "open", "the hour"), "shop")
    assert found["verdict"]["sentence"] in page.render(found).replace("&#x27;", "'")
    return found


def newsletter(seed=0, campaigns=40, people=300, slots=6):
    """(user, campaign, slot, success, rng): each campaign in one slot, with a success rate of its own."""
    rng = RNG(seed)
    campaign, user = np.repeat(np.arange(campaigns), people), np.tile(np.arange(people), campaigns)
    slot = np.r_[np.arange(slots), rng.integers(0, slots, campaigns - slots)][campaign]
    success = rng.random(len(user)) < rng.uniform(0.1, 0.3, campaigns)[campaign]
    return user, campaign, slot, success, rng


# A split can leave an empty part


@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_people_with_few_decisions_each_give_a_verdict(each):
    rng = RNG(each)
    user = np.repeat(np.arange(900), each)
    slot = rng.integers(0, 4, len(user))
    found = gain.evaluate(decisions(user, slot, rng.random(len(user)) < np.where(slot == 1, 0.6, 0.2), 0.25))
    assert found.kind == (gain.Kind.REFUSED if each < 3 else gain.Kind.NOT_SHOWN)
    assert found.common_time.slot == "01:00"
    assert found.common_time.minus_uniform.low > 0


def test_one_send_each_values_the_common_hour_and_says_why_nothing_personal():
    rng = RNG(1)
    user = np.arange(12_000)
    slot = rng.integers(0, 24, len(user))
    found = result(decisions(user, slot, rng.random(len(user)) < np.where(slot == 10, 0.4, 0.23), 1 / 24))
    verdict = found["verdict"]
    assert (verdict["kind"], verdict["reason"]) == ("refused", refusals.Reason.NO_PAST)
    common = verdict["common"]
    assert (common["policy"], common["slot"]) == ("global_best", "10:00")
    assert common["value"]["low"] < 0.4 < common["value"]["high"]
    assert common["uniform"]["low"] < 0.237 < common["uniform"]["high"]
    assert common["minus_uniform"]["low"] > 0
    assert 0.37 * 12_000 < common["people"] == common["sends"] < 0.43 * 12_000
    assert found["data"]["people_without_a_past"] == 12_000
    assert found["data"]["fitted_on"] + found["data"]["evaluated_on"] == 12_000
    assert "12,000 of 12,000 people have fewer than 3 decisions, so no later send has a past" in verdict["sentence"]
    assert "What can be said: the best common slot, 10:00, brings " in verdict["sentence"]
    assert "Groups of people may differ: name a column of them as `decision.segment`" in verdict["sentence"]
    assert [p["policy"] for p in found["policies"]] == ["uniform", "global_best"]


def test_one_send_each_and_segments_values_a_slot_for_each_segment():
    rng = RNG(2)
    user = np.arange(12_000)
    slot, segment = rng.integers(0, 4, len(user)), user % 2
    success = rng.random(len(user)) < np.where(slot == np.where(segment == 0, 1, 3), 0.5, 0.2)
    found = result(decisions(user, slot, success, 0.25, segment=segment, segments=("a", "b")))
    common = found["verdict"]["common"]
    assert common["policy"] == "segment_best"
    assert common["segment_minus_global"]["low"] < 0.15 < common["segment_minus_global"]["high"]
    assert common["segment_minus_global"]["low"] > 0
    assert "A slot for each segment, beside one for all, brings +" in found["verdict"]["sentence"]


def test_without_any_difference_between_hours_a_log_of_one_send_each_hardly_ever_shows_one():
    shown = 0
    for seed in range(40):
        rng = RNG(seed)
        slot = rng.integers(0, 6, 3000)
        log = decisions(np.arange(3000), slot, rng.random(3000) < 0.25, 1 / 6)
        shown += gain.evaluate(log, samples=300, trees=False).common_time.minus_uniform.low > 0
    assert shown <= 4


def test_the_personal_verdict_is_over_people_with_a_past_and_the_common_one_over_all():
    rng = RNG(3)
    user = np.r_[np.arange(5000), np.repeat(np.arange(5000, 5100), 30)]
    slot = rng.integers(0, 6, len(user))
    found = gain.evaluate(
        decisions(user, slot, rng.random(len(user)) < np.where(slot == 2, 0.4, 0.2), 1 / 6), samples=200, trees=False
    )
    assert found.kind == gain.Kind.NOT_SHOWN
    assert (found.users, found.rest, found.whole_people) == (100, 1200, 5000)
    assert 1900 < found.common_time.people < 2300
    assert any("5,000 people have fewer than 3 decisions" in t for t in result_assumptions(found))


def result_assumptions(found):
    return as_json(found, Log(None, 0, {}, "open", "the hour"), "shop")["assumptions"]


# Overlap is a share, not a yes or no


@pytest.mark.parametrize("moved", [0, 1, 30])
@pytest.mark.parametrize("pscore", [1 / 6, 0.5, 0.9, 0.999])
def test_one_slot_a_campaign_is_refused_whatever_was_moved_and_stated(moved, pscore):
    user, campaign, slot, success, rng = newsletter()
    stray = rng.choice(len(user), moved, replace=False)
    slot[stray] = (slot[stray] + 1) % 6
    found = result(decisions(user, slot, success, pscore, campaign=campaign))
    assert (found["verdict"]["kind"], found["verdict"]["reason"]) == ("refused", refusals.Reason.NO_OVERLAP)
    assert "a better time cannot be told from a better message" in found["verdict"]["sentence"]
    assert found["data"]["overlap_share"] == 0
    assert not found["policies"]


def test_a_drawn_sending_makes_no_overlap_of_one_slot_a_campaign():
    user, campaign, slot, success, rng = newsletter()
    slot[7] = (slot[7] + 1) % 6
    sent = rng.random(len(user)) < 0.5
    found = result(decisions(user, slot, success, 0.5, campaign=campaign, sent=sent, kind="send"))
    assert (found["verdict"]["kind"], found["verdict"]["reason"]) == ("refused", refusals.Reason.NO_OVERLAP)


@pytest.mark.parametrize("people", [2, 3, 5, 15, 40])
def test_small_campaigns_of_one_slot_are_judged_together(people):
    campaigns = 6000 // people
    user, campaign, slot, success, rng = newsletter(campaigns=campaigns, people=people)
    user = rng.integers(0, 200, len(user))
    found = result(decisions(user, slot, success, 1 / 6, campaign=campaign))
    assert found["verdict"]["reason"] == refusals.Reason.NO_OVERLAP
    assert f"each of {campaigns:,} campaigns went out in one slot only" in found["verdict"]["sentence"]
    drawn = decisions(user, rng.integers(0, 6, len(user)), success, 1 / 6, campaign=campaign)
    share = float(overlap.overlap(drawn).usable.mean())
    assert share == 1.0 if people < 5 else share > 0.99


def test_without_campaigns_the_day_is_what_goes_out_together():
    user, day, slot, success, _ = newsletter()
    found = result(decisions(user, slot, success, 1 / 6, day=day))
    assert found["verdict"]["reason"] == refusals.Reason.NO_OVERLAP
    assert "each of 40 days went out in one slot only" in found["verdict"]["sentence"]
    own = np.arange(len(user))  # a campaign of its own for every send says nothing either
    assert result(decisions(user, slot, success, 1 / 6, day=day, campaign=own))["verdict"]["kind"] == "refused"


def test_a_campaign_that_goes_out_at_another_time_each_day_has_no_overlap():
    user, day, slot, success, _ = newsletter()
    found = result(decisions(user, slot, success, 1 / 6, day=day, campaign=day % 3))
    assert found["verdict"]["reason"] == refusals.Reason.NO_OVERLAP


@pytest.mark.parametrize("stated", ["slot", "send"])
def test_only_campaigns_with_several_slots_are_used_and_their_share_is_said(stated):
    user, campaign, slot, success, rng = newsletter()
    slot = np.where(campaign < 10, rng.integers(0, 6, len(user)), slot)
    more = {"kind": "send", "sent": rng.random(len(user)) < 0.5} if stated == "send" else {}
    found = result(decisions(user, slot, success, 0.5 if more else 1 / 6, campaign=campaign, **more))
    assert found["verdict"]["kind"] == "not_shown"
    assert found["data"]["overlap_share"] == 0.25
    assert found["data"]["used"] == 3000
    assert found["data"]["dropped"] == {"no_overlap": 9000}
    assert found["verdict"]["used_part"].startswith("Only the 25 % of the drawn decisions whose campaign or day really")
    assert found["verdict"]["used_part"] in list(in_words(found, Path("out")))


def test_a_content_effect_alone_is_never_taken_for_a_better_slot():
    """Half of the campaigns had a drawn slot, the others one slot and a rate of their own: only the drawn count."""
    better = 0
    for seed in range(20):
        user, campaign, slot, _, rng = newsletter(seed, people=100)
        slot = np.where(campaign < 20, rng.integers(0, 6, len(user)), slot)
        success = rng.random(len(user)) < np.where((campaign >= 20) & (slot == 3), 0.6, 0.2)
        log = decisions(user, slot, success, 1 / 6, campaign=campaign)
        found = gain.evaluate(log, samples=200, trees=False)
        assert found.overlap_share == 0.5
        better += found.common_time.minus_uniform.low > 0
    assert better <= 3


def test_strays_from_one_slot_a_campaign_contradict_what_is_stated():
    user, campaign, slot, success, rng = newsletter()
    slot = np.where(rng.random(len(user)) < 0.03, (slot + 1) % 6, slot)
    found = result(decisions(user, slot, success, 0.9, campaign=campaign))
    assert (found["verdict"]["kind"], found["verdict"]["reason"]) == ("refused", refusals.Reason.CONTRADICTED)
    assert (
        "two decisions of one batch (by campaign) are in the same slot in 94 % of cases" in found["verdict"]["refusal"]
    )


def test_a_pscore_of_one_half_where_only_one_slot_was_seen_is_no_overlap():
    rng = RNG(4)
    user, campaign = np.repeat(np.arange(200), 30), np.tile(np.arange(30), 200)
    alike = campaign < 15
    slot = np.where(alike, campaign % 2, rng.integers(0, 2, len(user)))
    seen = overlap.overlap(decisions(user, slot, user < 0, 0.5, campaign=campaign))
    np.testing.assert_array_equal(seen.usable, ~alike)


def test_a_slot_more_frequent_than_stated_costs_its_campaign():
    rng = RNG(5)
    user, campaign = np.repeat(np.arange(400), 10), np.tile(np.arange(10), 400)
    drawn = rng.integers(0, 4, len(user))
    slot = np.where((campaign == 3) & (rng.random(len(user)) < 0.5), 1, drawn)
    seen = overlap.overlap(decisions(user, slot, user < 0, 0.25, campaign=campaign))
    assert seen.several.all()
    np.testing.assert_array_equal(seen.as_stated, campaign != 3)


@pytest.mark.parametrize("explore", [0.05, 0.1, 0.3])
def test_a_little_exploration_that_is_stated_is_overlap(explore):
    rng = RNG(6)
    user, campaign = np.repeat(np.arange(400), 20), np.tile(np.arange(20), 400)
    random = rng.random(len(user)) < explore
    slot = np.where(random, rng.integers(0, 6, len(user)), campaign % 6)
    pscore = np.where(slot == campaign % 6, 1 - explore * 5 / 6, explore / 6)
    assert overlap.overlap(decisions(user, slot, user < 0, pscore, campaign=campaign)).usable.all()


def test_a_slot_that_a_person_keeps_values_common_times_only():
    rng = RNG(7)
    user = np.repeat(np.arange(1000), 10)
    slot, own = rng.integers(0, 2, 1000)[user], np.clip(rng.normal(0.3, 0.2, 1000), 0, 1)[user]
    found = gain.evaluate(decisions(user, slot, rng.random(len(user)) < own, 0.5), samples=200)
    assert (found.kind, found.reason) == (gain.Kind.REFUSED, refusals.Reason.KEPT_SLOTS)
    assert [p.name for p in found.policies] == ["uniform", "global_best"]
    assert found.common_time.minus_uniform.low < 0 < found.common_time.minus_uniform.high


@pytest.mark.parametrize(
    ("pscore", "sent", "words"),
    [
        (1.0, 1.0, "all 12,000 decisions were sent, in 5 slots, with probability 1: what happens without a send"),
        (1.0, 0.5, "of 12,000 decisions of probability 1 were not sent: the probabilities are not those of the draw"),
        (0.5, "by slot", "decisions in slot 00:00 to be sent, but 2,400 were"),
    ],
)
def test_certain_and_contradicted_sends_have_a_sentence_of_their_own(pscore, sent, words):
    rng = RNG(8)
    user, slot = np.repeat(np.arange(40), 300), np.tile(np.arange(5), 2400)
    chance = np.where(slot == 0, 1.0, 0.375) if sent == "by slot" else sent
    log = decisions(user, slot, rng.random(12_000) < 0.3, pscore, sent=rng.random(12_000) < chance, kind="send")
    sentence = result(log)["verdict"]["sentence"]
    assert words in sentence
    assert "no other time was possible" not in sentence


def test_a_tiny_probability_that_was_drawn_is_not_believed():
    rng = RNG(9)
    user = np.repeat(np.arange(60), 50)
    pscore = np.where(np.arange(3000) == 77, 1e-12, 0.25)
    found = gain.evaluate(decisions(user, rng.integers(0, 4, 3000), rng.random(3000) < 0.3, pscore))
    assert found.reason == refusals.Reason.CONTRADICTED
    assert "1e-12" in found.refusal


# An unread outcome is not a failure


@pytest.mark.parametrize(("outcome", "every"), [(0.0, "failures"), (1.0, "successes")])
@pytest.mark.parametrize("pscore", [0.2, 1.0])
def test_a_constant_outcome_gives_no_verdict_and_says_how_many_were_read(outcome, every, pscore):
    rng = RNG(10)
    log = decisions(np.repeat(np.arange(40), 300), rng.integers(0, 5, 12_000), np.full(12_000, outcome), pscore)
    found = result(log)
    assert (found["verdict"]["kind"], found["verdict"]["reason"]) == ("refused", refusals.Reason.CONSTANT)
    assert f"all 12,000 outcomes of sends that were read are {every}" in found["verdict"]["sentence"]
    assert "check the outcome in the mapping" in found["verdict"]["sentence"]
    outcomes = found["data"]["outcomes"]
    assert (outcomes["read"], outcomes["successes"]) == (12_000, int(12_000 * outcome))
    assert "ruled out" not in json.dumps(found)


@pytest.mark.parametrize("rare", [1, 5, 15, 19])
@pytest.mark.parametrize("turned", [False, True])
def test_a_nearly_constant_outcome_gives_no_verdict(rare, turned):
    rng = RNG(11)
    success = rng.permutation(np.arange(12_000) < rare) ^ turned
    found = result(decisions(np.repeat(np.arange(40), 300), rng.integers(0, 5, 12_000), success, 0.2))
    assert (found["verdict"]["kind"], found["verdict"]["reason"]) == ("refused", refusals.Reason.FEW_OUTCOMES)
    assert ("failures" if turned else "successes") in found["verdict"]["sentence"]


@pytest.mark.parametrize("seed", range(6))
def test_rare_outcomes_rule_nothing_out_where_the_policies_differ_in_hardly_any(seed):
    rng = RNG(seed)
    user, slot = np.repeat(np.arange(40), 300), rng.integers(0, 5, 12_000)
    success = rng.random(12_000) < np.where(slot == user % 5, 0.012, 0.002)
    found = gain.evaluate(decisions(user, slot, success, 0.2), samples=200, trees=False)
    sentence = result(decisions(user, slot, success, 0.2))["verdict"]["sentence"]
    assert ("ruled out" in sentence) <= (found.apart is None)
    if found.apart is not None:
        assert found.kind == gain.Kind.NOT_SHOWN
        assert "to measure a gain or to rule one out" in sentence
