"""What a run's page says of policies, lift by slot and cost, and that it says nothing of what is not there."""

from __future__ import annotations

from typing import Any

import pytest

from sendopt.tracking import page, qini


def policy(name: str, estimator: str, value: float | None, **differences: float) -> dict[str, Any]:
    around = {"value": value, "low": value and value - 0.03, "high": value and value + 0.03}
    missing = {f"minus_{a}{end}": None for a in ("champion", "uniform") for end in ("", "_low", "_high")}
    return {
        "policy": name,
        "estimator": estimator,
        **around,
        "effective": 900.0,
        "sends": 12401,
        "users": 1939,
        **missing,
        **differences,
    }


EVALUATION: dict[str, Any] = {
    "policies": [
        policy("challenger", "snips", 0.27, minus_champion=0.01, minus_champion_low=-0.01, minus_champion_high=0.03),
        policy("challenger", "ips", 0.28),
        policy("champion", "snips", 0.26),
        policy("uniform", "dr", None),
    ],
    "slot_lift": [
        {"local_hour": 8, "observed": 0.1, "expected": 0.2, "n": 100},
        {"local_hour": 18, "observed": 0.4, "expected": 0.3, "n": 50},
    ],
    "cost": {"train_seconds": 3.79, "score_microseconds_per_row": 9.91, "trees": 72.0},
    "gate": {"log_loss": {"value": -0.001, "low": -0.002, "high": 0.0}},
}


def test_numbers_are_metrics_under_headings() -> None:
    found = page.metrics(EVALUATION)
    assert found["policy/challenger_snips"] == 0.27
    assert found["intervals/policy_challenger_snips_low"] == pytest.approx(0.24)
    assert found["intervals/policy_minus_champion_snips_low"] == -0.01
    assert found["policy/uniform_dr"] is None
    assert not any("ips" in name and "snips" not in name for name in found), "IPS is in the table"
    assert found["cost/train_seconds"] == 3.79
    assert found["intervals/log_loss_minus_champion_high"] == 0.0
    assert found["lift/hour_08"] == pytest.approx(0.5)
    assert found["lift/hour_18"] == pytest.approx(2.0)


def test_tables_hold_every_row() -> None:
    tables = page.tables(EVALUATION)
    assert tables["policies.json"]["estimator"] == ["snips", "ips", "snips", "dr"]
    assert tables["slot_lift.json"]["lift"] == pytest.approx([0.5, 2.0])
    assert tables["slot_lift.json"]["expected_lift"] == pytest.approx([0.2 / (35 / 150), 0.3 / (35 / 150)])


def test_the_card_is_plain_sentences_and_a_table() -> None:
    text = "\n".join(page.card_lines(EVALUATION))
    assert "| this model's best slot | SNIPS | 0.2700 | 0.2400 to 0.3000 | 900 |" in text
    assert "| times drawn uniformly | DR | refused |  | 900 |" in text
    assert "on 12,401 later sends whose time was drawn" in text
    assert "success is 2.00 times the mean at 18:00 and 0.50 times at 08:00" in text
    assert "trained in 3.8 s, 72 trees; scores a row in 9.9 µs" in text


def test_a_figure_where_policies_were_valued() -> None:
    (figure,) = page.figures(EVALUATION).values()
    words = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert words == ["the champion's best slot (SNIPS)", "this model's best slot (SNIPS)"]
    assert len(figure.axes[0].get_title(loc="left")) < 50, "a longer one is cut"


def test_nothing_is_said_of_what_is_not_there() -> None:
    for nothing in ({}, {"policies": [], "cost": None, "slot_lift": [], "gate": {"promoted": False, "reasons": []}}):
        assert page.metrics(nothing) == {}
        assert page.tables(nothing) == {}
        assert page.figures(nothing) == {}
    assert page.card_lines({}) == []
    assert "no policy of timing is valued" in page.card_lines({"policies": []})[0]
    assert page.by_value({"a": None, "b": 0.5, "c": 0.4}) == [("c", 0.4), ("b", 0.5), ("a", None)]


def ranking(name: str, low: float) -> dict[str, Any]:
    around = {"coefficient": low + 0.01, "low": low, "high": low + 0.02}
    effect = {"effect": 0.08, "effect_low": 0.06, "effect_high": 0.1}
    return {"ranking": name, **around, **effect, "curve": [[0.0, 0.0], [0.5, 0.06], [1.0, 0.08]]}


SENDING: dict[str, Any] = {
    "sending": {
        "rankings": [ranking("p_open", -0.01), ranking("incremental", 0.004)],
        "points": 2113,
        "since": "2026-03-21",
        "learner": "t",
        "gate": {"promoted": True, "reasons": ["Both hold."]},
        "runs": {"sent": "r1", "not_sent": "r2"},
    }
}


def test_what_sending_adds_is_shown_with_its_interval_curve_and_runs() -> None:
    found = qini.metrics(SENDING)
    assert found["qini/incremental"] == pytest.approx(0.014)
    assert found["intervals/qini_incremental_low"] == 0.004
    assert found["intervals/qini_p_open_low"] == -0.01
    assert found["intervals/qini_effect_high"] == 0.1
    assert qini.tables(SENDING)["qini.json"]["ranking"] == ["p_open", "incremental"]
    (figure,) = qini.figures(SENDING).values()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("by what sending adds: Qini +0.0140 [+0.0040 to +0.0240]" in w for w in words)
    text = "\n".join(qini.card_lines(SENDING, {"sent": "#/experiments/2/runs/r1"}))
    assert "On 2,113 decision points from 2026-03-21 on" in text
    assert "| by what sending adds | +0.0140 | +0.0040 to +0.0240 | better than chance |" in text
    assert "| by p(success \\| sent) | +0.0000 | -0.0100 to +0.0100 | not shown |" in text
    assert "[sent](#/experiments/2/runs/r1)" in text


def test_a_log_without_unsent_points_says_nothing_of_what_sending_adds() -> None:
    for nothing in ({}, {"sending": None}):
        assert (qini.metrics(nothing), qini.tables(nothing), qini.figures(nothing)) == ({}, {}, {})
        assert qini.card_lines(nothing, {}) == []
