"""Drift: the index against a second implementation, its false alarms, and what trips each alert."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from sendopt.config.schema import Drift
from sendopt.measurement import drift

SETTINGS = Drift()


def columns(n: int, seed: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    days = rng.exponential(5.0, n)
    days[rng.random(n) < 0.1] = np.nan
    return {"rate": rng.beta(2, 8, n) + shift, "sends": rng.poisson(3.0, n).astype(float), "days": days}


def test_the_index_equals_plain_python_on_bins_counted_by_hand() -> None:
    was, now = columns(3000, 1), columns(2000, 2, shift=0.05)
    reference = json.loads(json.dumps(drift.describe(was, ["rate", "days"])))
    for name in ("rate", "days"):
        edges = reference[name]["edges"]

        def counted(values, edges=edges):
            cells = [0] * (len(edges) + 2)
            for v in values:
                cells[-1 if math.isnan(v) else sum(v > e for e in edges)] += 1
            return cells

        a, b = counted(was[name]), counted(now[name])
        assert reference[name]["counts"] == a
        plain = sum(
            (max(x, 0.5) / 3000 - max(y, 0.5) / 2000) * math.log((max(x, 0.5) / 3000) / (max(y, 0.5) / 2000))
            for x, y in zip(a, b, strict=True)
            if x or y
        )
        found, _ = drift.stability(np.array(a, float), np.array(b, float))
        assert found == pytest.approx(plain)


def test_chance_alone_sets_off_nothing_even_in_a_small_log() -> None:
    tight = Drift(max_psi=1e-9)  # only what chance explains is taken off
    alarms = 0
    for seed in range(300):
        reference = drift.describe(columns(150, seed), ["rate", "sends", "days"])
        alarms += len(drift.inputs(reference, columns(120, 1000 + seed), tight))
    assert alarms <= 6, "900 looks at 1 in 1,000"


def test_a_shift_sets_off_its_feature_and_no_other() -> None:
    reference = drift.describe(columns(2000, 1), ["rate", "sends", "days"])
    alerts = drift.inputs(reference, columns(2000, 2, shift=0.1), SETTINGS)
    assert [a.name for a in alerts] == ["rate"]
    assert alerts[0].value > alerts[0].bound > SETTINGS.max_psi
    assert "Input rate has moved since the champion was trained" in alerts[0].sentence
    gone = {**columns(2000, 2), "days": np.full(2000, np.nan)}
    assert [a.name for a in drift.inputs(reference, gone, SETTINGS)] == ["days"]
    assert drift.inputs(reference, {}, SETTINGS) == []


def delivered(ratios: dict[tuple[int, str], float], sends: int, seed: int = 5) -> drift.Delivered:
    """So many sends of each (night, channel), whose opens are `ratios` times as many as expected."""
    rng = np.random.default_rng(seed)
    cells = list(ratios)
    at = np.repeat(np.arange(len(cells)), sends)
    p = rng.uniform(0.05, 0.4, len(at))
    names = tuple(sorted({channel for _, channel in cells}))
    return drift.Delivered(
        success=(rng.random(len(at)) < np.array([ratios[c] for c in cells])[at] * p).astype(float),
        expected=p,
        user=rng.integers(0, 800, len(at)),
        night=np.array([night for night, _ in cells])[at],
        channel=np.array([names.index(channel) for _, channel in cells])[at],
        channels=names,
    )


@pytest.mark.parametrize(("ratio", "alarm"), [(1.0, False), (0.85, False), (0.5, True), (1.7, True)])
def test_labels_are_held_against_what_plans_expected(ratio: float, alarm: bool) -> None:
    alerts = drift.labels(delivered({(0, "push"): ratio}, 4000), SETTINGS)
    assert bool(alerts) is alarm
    assert all("Delivered plans brought" in a.sentence for a in alerts)


def test_half_of_the_labels_lost_shows_on_the_first_night() -> None:
    nights = {(night, "push"): 1.0 for night in range(7)}
    (alert,) = drift.labels(delivered({**nights, (7, "push"): 0.5}, 500), SETTINGS)
    assert alert.sentence.startswith("The last delivered plan that is mature brought 0.")
    assert alert.value < SETTINGS.min_label_ratio
    assert drift.labels(delivered({**nights, (7, "push"): 1.0}, 500), SETTINGS) == []


def test_labels_of_one_channel_lost_show_by_its_name() -> None:
    cells = {(night, c): 0.4 if c == "sms" else 1.0 for night in range(4) for c in ("email", "push", "sms")}
    sizes = delivered(cells, 250)
    (alert,) = drift.labels(sizes, SETTINGS)
    assert alert.name == "observed_over_expected:sms"
    assert alert.sentence.startswith("Delivered plans by sms brought 0.")


def test_labels_as_expected_set_off_nothing_night_after_night() -> None:
    cells = {(night, c): 1.0 for night in range(8) for c in ("email", "push", "sms")}
    false = sum(bool(drift.labels(delivered(cells, 150, seed), SETTINGS)) for seed in range(25))
    assert false == 0, "of 200 looks"


def test_a_few_labels_say_nothing() -> None:
    assert drift.labels(delivered({(0, "push"): 0.0}, 60), SETTINGS) == []
    assert drift.labels(delivered({(0, "push"): 1.0}, 0), SETTINGS) == []


def test_prices_are_held_against_their_median() -> None:
    before = {"capacity:push": [0.1, 0.2, 0.15], "cost": [0.5, 0.4, 0.6], "new": [0.1], "calm": [0.0, 0.001, 0.0]}
    calm = {"capacity:push": 0.3, "cost": 0.12, "new": 9.0, "calm": 0.04}
    assert drift.prices(calm, before, SETTINGS) == []
    wild = {"capacity:push": 0.9, "cost": 0.0, "new": 9.0, "calm": 0.3}
    assert [a.name for a in drift.prices(wild, before, SETTINGS)] == ["calm", "capacity:push", "cost"]
