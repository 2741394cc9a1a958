"""`sendopt explain`: which rule, how full, why the better-looking slot lost; honest for every arm."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from invented import VERSIONS, put

from sendopt.domain import reasons
from sendopt.errors import ConfigError, InputNotReady
from sendopt.report.explain import explain

DAY = date(2026, 3, 5)
OFFERED = {"price_drop": ("push", 0.30), "digest": ("email", 0.20), "flash": ("sms", 0.10)}


def cells(user, arm, slots=(9, 11, 14)):
    for campaign, (channel, best) in OFFERED.items():
        for slot in range(8, 16):
            worth = best - 0.01 * abs(slot - 11)
            row = {
                "plan_date": DAY,
                "user_id": user,
                "notification_id": f"{user}-{campaign}",
                "slot": slot,
                "campaign_id": campaign,
                "channel": channel,
                "category": "deals",
                "arm": arm,
                **VERSIONS,
            }
            scores = {"p_open": worth, "p_opt_out": 0.001, "value": worth}
            yield (
                {**row, "eligible": True, **scores} if slot in slots else {**row, "eligible": False, "reason": "window"}
            )


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("explain")
    arms = {"ann": "treatment", "uma": "uniform_time", "hal": "holdout"}
    put(root, "candidates", [row for user, arm in arms.items() for row in cells(user, arm)])
    gap = {
        "reason": "min_gap",
        "rule": "min_gap",
        "minutes": 240,
        "to_campaign": "price_drop",
        "to_minute": 660.0,
        "planned": True,
        "slot": 11,
        "value": 0.2,
    }
    full = {
        "rule": "capacity:sms:11",
        "used": 10.0,
        "limit": 10.0,
        "price": 0.12,
        "needs": 0.12,
        "slot": 11,
        "value": 0.1,
    }
    cap = {
        "rule": "cap:weekly_sms",
        "scope": "channel:sms",
        "window_minutes": 10080,
        "used": 1,
        "limit": 1,
        "planned": 0,
        "slot": 11,
        "value": 0.1,
    }

    def sent(user, campaign, slot, pscore=1.0, detail=None):
        row = {"plan_date": DAY, "user_id": user, "notification_id": f"{user}-{campaign}", "slot": slot, **VERSIONS}
        return {**row, "arm": arms[user], "pscore": pscore, "planned": True, "detail": reasons.as_detail(detail or {})}

    def held(user, campaign, reason, detail):
        row = {"plan_date": DAY, "user_id": user, "notification_id": f"{user}-{campaign}", "campaign_id": campaign}
        return {**row, **VERSIONS, "arm": arms[user], "reason": reason, "detail": reasons.as_detail(detail)}

    put(
        root,
        "allocation",
        [sent("ann", "price_drop", 11), sent("ann", "digest", 14, detail=gap), sent("uma", "price_drop", 9, 1 / 3)],
    )
    put(
        root,
        "suppressed",
        [
            held("ann", "flash", "capacity", full),
            held("uma", "flash", "user_cap", cap),
            *(held("hal", c, "holdout", {"slots": {"holdout": 8}}) for c in OFFERED),
            held("uma", "digest", "displaced", {"slot": 11, "value": 0.2}),
        ],
    )
    prices = [
        ("capacity:sms:11", "capacity", 10.0, 10.0, 0.12),
        ("opt_outs", "opt_outs", 3.0, 3.0, 0.5),
        ("cost", "cost", 9.0, 9.0, 2.0),
    ]
    put(
        root,
        "shadow_prices",
        [
            {
                "plan_date": DAY,
                "row": row,
                "kind": kind,
                "limit": limit,
                "used": used,
                "kept_free": 0.0,
                "price": price,
                **VERSIONS,
            }
            for row, kind, limit, used, price in prices
        ],
    )
    put(
        root,
        "certificate",
        [
            {
                "plan_date": DAY,
                "value": 1.0,
                "penalty": 0.0,
                "objective": 1.0,
                "bound": 1.0,
                "gap": 0.0,
                "method": "exact",
                "termination": "optimal",
                "users": 3,
                "messages": 9,
                "cells": 27,
                "sends": 3,
                **VERSIONS,
            }
        ],
    )
    put(
        root,
        "users",
        [
            {
                "user_id": u,
                "timezone": "Europe/Berlin",
                "channels": ["push"],
                "opted_out_categories": [],
                "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            }
            for u in (*arms, "new")
        ],
    )
    return root


def text(lake, user, message=None):
    costs = {"sms": 0.01, "push": 0.0, "email": 0.0}
    return "\n".join(explain(str(lake), user, message, DAY, 60, costs).lines())


def test_a_better_looking_slot_says_why_it_lost(lake):
    told = text(lake, "ann")
    assert "at 12:00 local it would be worth 0.200, but price_drop is planned at 12:00 local and the gap is 4 h" in told
    assert "sent at 15:00 local" in told


def test_a_message_that_is_not_sent_names_the_limit_how_full_it_is_and_its_price(lake):
    told = text(lake, "ann")
    assert "not sent: channel full." in told
    assert "Sms at 12:00 local has 10 of 10 in use at a price of 0.12 for one more; the message needs 0.12." in told
    told = text(lake, "uma")
    assert "The cap weekly_sms allows 1 send by sms in 7 days, 1 of them taken before." in told
    assert "slots refused before the plan: 5 outside the campaign's hours" in told


def test_prices_of_every_shared_limit_count_money_too(lake):
    (flash,) = explain(str(lake), "ann", "ann-flash", DAY, 60, {"sms": 0.01}).messages
    assert flash.best is not None
    assert flash.best.net == pytest.approx(0.1 - 0.12 - 0.5 * 0.001 - 2.0 * 0.01)


def test_people_of_the_random_and_the_hold_out_group_are_told_so(lake):
    told = text(lake, "uma")
    assert "random-time group" in told
    assert "sent at 10:00 local, drawn by lot among 3 slots" in told
    assert "without the lot, the slot of most value after prices is at 12:00 local" in told
    told = text(lake, "hal")
    assert "hold-out group: nothing is sent" in told
    assert "drawn" not in told


def test_the_document_holds_what_the_lines_say(lake):
    found = json.loads(json.dumps(explain(str(lake), "ann", None, DAY, 60).as_json()))
    assert (found["user"], found["plan_date"], found["timezone"], found["arm"]) == (
        "ann",
        "2026-03-05",
        "Europe/Berlin",
        "treatment",
    )
    by_campaign = {m["campaign"]: m for m in found["messages"]}
    assert by_campaign["digest"]["sent"]["slot"] == 14
    assert by_campaign["digest"]["better"]["slot"] == 11
    assert by_campaign["digest"]["better_lost"]["code"] == "min_gap"
    assert by_campaign["flash"]["reason"]["detail"]["rule"] == "capacity:sms:11"
    assert by_campaign["flash"]["sent"] is None


def test_mistakes_are_said_and_no_other_user_is_named(lake):
    with pytest.raises(ConfigError, match="the tables hold no such user id") as refused:
        text(lake, "anne")
    assert "ann" not in refused.value.message.replace("anne", "").split()
    with pytest.raises(ConfigError, match="no candidate message of that id on 2026-03-05"):
        text(lake, "ann", "other")
    with pytest.raises(InputNotReady, match="2026-04-01 has not been planned"):
        explain(str(lake), "ann", None, date(2026, 4, 1), 60)
    assert "No campaign offered this person a message" in text(lake, "new")


def test_tables_of_earlier_versions_without_details_are_explained_in_general_words(tmp_path):
    import pyarrow as pa
    from deltalake import write_deltalake

    row = next(iter(cells("ann", "treatment", slots=range(8, 16))))
    put(tmp_path, "candidates", [row])
    held = {"plan_date": [DAY], "user_id": ["ann"], "notification_id": ["ann-price_drop"], "reason": ["user_cap"]}
    write_deltalake(str(tmp_path / "suppressed"), pa.table(held))
    put(tmp_path, "users", [])
    told = "\n".join(explain(str(tmp_path), "ann", None, DAY, 60).lines())
    assert "not sent: frequency cap. With this message the person would get more than a cap allows." in told
