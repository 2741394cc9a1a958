"""One registry of reasons: what code writes is in it, and docs, report and explanations read it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from allocation_worlds import EXACT, Cell, Message, problem

from sendopt import candidates
from sendopt.allocation import allocate
from sendopt.allocation.reasons.one_message import why_lost, why_unplanned
from sendopt.domain import reasons
from sendopt.domain.tables import TABLES
from sendopt.ingest import LOG_TABLES
from sendopt.ingest.refusals import Refusal
from sendopt.report.kit import reason_words

REPO = Path(__file__).resolve().parents[2]
SOURCES = sorted((REPO / "src" / "sendopt").rglob("*.py"))
# Where a reason stands in a call, by the function's name: the place of the argument.
PLACES = {"when": 1, "otherwise": 0, "_flag": 1, "flag": 1, "one_of": 2, "Broken": 0, "Why": 0, "_one_per_key": 3}


def literals(path: Path) -> Iterator[str]:
    """Yield text constants, and the constant heads of f-strings, in the places where code writes a reason."""
    for node in ast.walk(ast.parse(path.read_text())):
        written: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = PLACES.get(name)
            written = node.args[place : place + 1] if place is not None else []
        elif isinstance(node, ast.Assign):
            names = {getattr(t, "id", "") for t in node.targets}
            if "reason" in names:
                written = [node.value]
            elif "_REASON_OF_KIND" in names:
                written = node.value.values
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and getattr(node.elts[0], "value", "") is None:
            written = [node.elts[1]]
        for expression in written:
            if isinstance(expression, ast.JoinedStr) and isinstance(expression.values[0], ast.Constant):
                yield str(expression.values[0].value) + "…"
            elif isinstance(expression, ast.Constant) and isinstance(expression.value, str):
                yield expression.value


def written_reasons() -> dict[str, str]:
    """Return reason literals with the file that writes them."""
    shape = re.compile(r"^[a-z0-9]+(_[a-z0-9]*)+(:.*)?…?$")
    return {text: path.name for path in SOURCES for text in literals(path) if shape.match(text)}


def test_every_reason_that_code_can_write_is_in_the_registry():
    written = written_reasons()
    assert {"user_cap", "uniform_full", "duplicate_send", "duplicate_…"} <= set(written), "the search works"
    known = set(reasons.REASONS)
    unknown = {
        text: file
        for text, file in written.items()
        if not (text.rstrip("…").partition(":")[0] in known or (text.endswith("_…") and text != "…"))
    }
    assert not unknown
    assert set(candidates.REASONS) <= known
    assert {f"duplicate_{name.removesuffix('s')}" for name in LOG_TABLES} <= known


def test_the_reasons_of_ingest_are_its_refusals_and_duplicates():
    registered = {code for code, reason in reasons.REASONS.items() if "ingest" in reason.stages}
    assert registered == {refusal.value for refusal in Refusal} | {
        f"duplicate_{t.removesuffix('s')}" for t in LOG_TABLES
    }


def test_each_entry_has_words_of_its_own_and_says_where_it_arises():
    names = [r.name for r in reasons.REASONS.values()]
    assert len(set(names)) == len(names)
    for r in reasons.REASONS.values():
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", r.code)
        assert r.sentence.endswith(".")
        assert r.stages
        assert not r.name.endswith(".")


def test_the_table_of_the_docs_is_the_registry():
    page = (REPO / "docs/reasons.md").read_text()
    assert reasons.as_markdown() in page, (
        "paste the output of sendopt.domain.reasons.as_markdown() into docs/reasons.md"
    )


def test_a_code_with_a_place_has_the_words_of_its_kind():
    assert reasons.name("bad_time:sent_at_utc") == "No time: sent_at_utc"
    assert reasons.sentence("bad_time:sent_at_utc") == reasons.REASONS["bad_time"].sentence
    assert reasons.name("moon_phase") == "moon_phase"
    assert "no explanation" in reasons.sentence("moon_phase")
    assert reasons.unknown(["window", "bad_list:channels", "moon_phase"]) == ["moon_phase"]


def test_detail_is_stable_text_and_a_column_of_both_tables():
    facts = {"used": np.float64(2.0), "rule": "cap:daily", "price": 0.1234567891, "planned": np.bool_(True)}
    text = '{"planned":true,"price":0.123457,"rule":"cap:daily","used":2}'
    assert reasons.as_detail(facts) == text
    assert reasons.as_detail(dict(reversed(facts.items()))) == text
    assert reasons.from_detail(text) == json.loads(text)
    assert reasons.as_detail({}) is None
    assert reasons.from_detail(None) == reasons.from_detail(float("nan")) == {}
    for table in ("suppressed", "allocation"):
        assert TABLES[table]["detail"].nullable


A1 = Message("ann", "a1", campaign="sale", channel="push", category="shop")
A2 = Message("ann", "a2", campaign="news", channel="sms", category="info")
B1 = Message("bob", "b1", campaign="sale", channel="push", category="shop")
CAP = {"scope": "channel:push", "window_minutes": 1440, "max": 1}
TIRED = {"half_life_hours": 24, "points_per_send": {"sms": 1, "push": 1}, "max_points": 1.5}


class Case(NamedTuple):
    """A problem whose last message is not sent, with the reason's code and the start of its clause."""

    messages: list[Message]
    cells: list[tuple]  # (message, slot, value) or `Cell`
    code: str
    clause: str | None = None  # None: it names a past or committed send and the gap
    limits: Mapping[str, object] = {}
    history: Sequence[tuple] = ()  # (user, minutes_before)


def reason_and_clause(case):
    """Return the code and clause of the message that is not sent. Times are hours of the plan."""
    p = problem(case.messages, case.cells, case.limits, case.history)
    (why,) = why_unplanned(p, allocate(p, EXACT), np.ones(len(case.messages), bool)).values()
    stored = reasons.from_detail(reasons.as_detail(why.detail))
    return why.reason, reason_words.facts(why.reason, stored, lambda minute: f"at {minute / 60:g}", 60)


@pytest.mark.parametrize(
    "case",
    [
        Case(
            messages=[A1],
            cells=[(0, 0, 0.9)],
            limits={"caps": {"weekly_push": {**CAP, "window_minutes": 10080}}},
            history=[("ann", 600)],
            code="user_cap",
            clause="the cap weekly_push allows 1 send by push in 7 days, 1 of them taken",
        ),
        Case(
            messages=[A2, A1],
            cells=[(0, 0, 0.9), (1, 0, 0.2)],
            limits={"caps": {"loose": {**CAP, "max": 9}, "daily": {**CAP, "scope": "all"}}},
            code="user_cap",
            clause="the cap daily allows 1 send in 24 h, 1 of them taken by this plan",
        ),
        Case(
            messages=[A2, A1],
            cells=[(0, 2, 0.9), (1, 1, 0.2)],
            limits={"min_gap_minutes": 240},
            code="min_gap",
            clause="news is planned at 2 and the gap is 4 h",
        ),
        Case(
            messages=[A1],
            cells=[(0, 1, 0.2)],
            limits={"min_gap_minutes": 90},
            history=[("ann", 10)],
            code="min_gap",
        ),
        Case(
            messages=[A2, A1],
            cells=[(0, 0, 0.9), (1, 1, 0.2)],
            limits={"fatigue": TIRED},
            code="fatigue",
            clause="it would bring the person to 2.0 points of at most 1.5",
        ),
        Case(
            messages=[B1, A1],
            cells=[(0, 0, 0.9), (1, 0, 0.2)],
            limits={"capacity": {"push": 1}},
            code="capacity",
            clause="push at 0 has 1 of 1 in use at a price of",
        ),
        Case(
            messages=[B1, A1],
            cells=[(0, 0, 0.9), (1, 0, 0.2)],
            limits={"campaigns": {"sale": {"max_sends": 1}}},
            code="campaign_budget",
            clause="the maximum of sale has 1 of 1 in use at a price of",
        ),
        Case(
            messages=[B1, A1],
            cells=[
                Cell(message=0, slot=0, value=0.9, p_opt_out=0.2),
                Cell(message=1, slot=0, value=0.2, p_opt_out=0.2),
            ],
            limits={"opt_outs": {"max_expected": 0.3}},
            code="opt_out_budget",
            clause="the opt-out budget has 0.200 of 0.300 in use at a price of 1.0 for one more; "
            "the message needs 0.20",
        ),
        Case(
            messages=[B1, A1],
            cells=[Cell(message=0, slot=0, value=0.9, cost=1.0), Cell(message=1, slot=0, value=0.2, cost=1.0)],
            limits={"cost": {"max_total": 1.0}},
            code="cost_budget",
            clause="the money budget has 1 of 1 in use",
        ),
        Case(
            messages=[A1], cells=[(0, 0, -0.2), (0, 1, -0.1)], code="negative_value", clause="it is worth -0.10 at best"
        ),
    ],
)
def test_a_reason_says_which_rule_and_how_full(case):
    reason, sentence = reason_and_clause(case)
    assert reason == case.code
    if case.clause is None:
        assert "old went out or is committed" in sentence
        assert "the gap is 90 min" in sentence
    else:
        assert sentence.startswith(case.clause)


def test_a_sent_message_says_why_its_better_looking_slot_lost():
    """ann's sale is worth most at 2, where the news holds the gap; bob's news at 3, where ann's fills the channel."""
    cells = [(0, 3, 0.9), (1, 2, 0.5), (1, 0, 0.3), (2, 3, 0.4), (2, 1, 0.1)]
    p = problem(
        [A2, A1, Message("bob", "b1", campaign="news", channel="sms", category="info")],
        cells,
        {"min_gap_minutes": 120, "capacity": {"sms": 1}},
    )
    lost = why_lost(p, allocate(p, EXACT))
    by_message = {str(p.messages.message_id[p.cells.message[c]]): (int(p.cells.slot[c]), w) for c, w in lost.items()}
    assert set(by_message) == {"a1", "b1"}
    slot, why = by_message["a1"]
    assert (slot, why.reason, why.detail["slot"], why.detail["to_campaign"]) == (0, "min_gap", 2, "news")
    slot, why = by_message["b1"]
    assert (slot, why.reason, why.detail["rule"], why.detail["used"]) == (1, "capacity", "capacity:sms:3", 1.0)
