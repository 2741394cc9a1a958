"""Numbers and prices read as people would say them, and never round to a false zero."""

from __future__ import annotations

import pytest

from sendopt.report.kit import words


@pytest.mark.parametrize(
    ("gap", "said"), [(0.0, "less than 0.01 %"), (0.0002, "0.02 %"), (0.031, "3.10 %"), (0.25, "25 %")]
)
def test_gap(gap: float, said: str) -> None:
    assert words.gap_words(gap) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (0.0312, "0.031"), (2.14, "2.1"), (140.2, "140"), (0.00071, "0.00071"), (2e-6, "2.0e-06")],
)
def test_amount(value: float, said: str) -> None:
    assert words.amount(value) == said


@pytest.mark.parametrize(("value", "said"), [(2013, "2,013"), (2.6, "2.6"), (1, "1"), (0, "0")])
def test_count(value: float, said: str) -> None:
    assert words.count(value) == said


def test_share_is_never_a_false_zero() -> None:
    assert words.share(1, 5000) == "<1 %"
    assert words.share(0, 5000) == "0 %"


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        ("capacity:push:17", "capacity", "One more push send at 08:30 UTC is worth 0.031 opens."),
        ("campaign_max:weekend_sale", "campaign_max", "One more send of weekend_sale is worth 0.031 opens."),
        ("campaign_min:digest", "campaign_min", "Asking for one more send of digest costs 0.031 opens."),
        ("opt_outs", "opt_outs", "One more expected opt-out in the budget is worth 0.031 opens."),
        ("cost", "cost", "One more unit of money in the budget is worth 0.031 opens."),
        ("mystery", "new_kind", "One more unit of mystery is worth 0.031 opens."),
    ],
)
def test_price_sentence(row: str, kind: str, said: str) -> None:
    assert words.price_sentence(row, kind, 0.0312, "opens", 30) == said


def test_a_slot_of_unknown_length_keeps_its_index() -> None:
    said = words.price_sentence("capacity:push:17", "capacity", 0.5, "goals", None)
    assert said == "One more push send in slot 17 is worth 0.50 goals."
