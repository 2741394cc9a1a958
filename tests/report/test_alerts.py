"""Alerts stand at the top of the night's page, those of the night and the gate's refusals of the week before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import invented

from sendopt.report import data, render


def alert(days_ago: int, kind: str, sentence: str) -> dict[str, object]:
    return {
        "plan_date": invented.PLAN_DATE - timedelta(days=days_ago),
        "kind": kind,
        "name": sentence[:6],
        "value": 0.5,
        "bound": 0.3,
        "sentence": sentence,
    }


def test_alerts_of_the_night_are_callouts(tmp_path: Path) -> None:
    shown = [
        alert(0, "inputs", "Input sends_7d has moved <far>."),
        alert(0, "prices", "The price of cost is 2.000."),
        alert(3, "gate", "m/4 was not promoted, m/3 stays."),
    ]
    invented.put(
        tmp_path, "alerts", [*shown, alert(1, "inputs", "Yesterday's input."), alert(8, "gate", "An old refusal.")]
    )
    night = data.load(tmp_path, invented.PLAN_DATE, None)
    assert night.alerts["sentence"].tolist() == [shown[2]["sentence"], shown[0]["sentence"], shown[1]["sentence"]]
    page = render(night)
    assert '<li class="warn">Input sends_7d has moved &lt;far&gt;.</li>' in page
    assert "m/4 was not promoted" in page
    assert "Yesterday" not in page
    assert "An old refusal" not in page


def test_a_night_without_alerts_shows_none(tmp_path: Path) -> None:
    night = data.load(tmp_path, invented.PLAN_DATE, None)
    assert night.alerts.empty
    assert "alerts" not in night.missing
    assert "has moved" not in render(night)
