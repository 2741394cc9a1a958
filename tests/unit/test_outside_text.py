"""Text from outside, shown to people: nothing hides in it; and the nearest of known names."""

from __future__ import annotations

import pytest

from sendopt.domain.outside_text import nearest, printable, unprintable
from sendopt.report.kit.escaping import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Täglich – 早安 👋", "Täglich – 早安 👋"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\x9b31m", "\\x9b31m"),
        ("day\u202exam", "day\\u202exam"),
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),
        ("pu\u200bsh", "pu\\u200bsh"),
        ("a\u00a0b", "a\\xa0b"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("\x00", "\\x00"),
    ],
)
def test_nothing_hides_in_text_from_outside(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert (unprintable(text) is None) == (text == shown)
    shown.encode("utf-8")


def test_kept_characters_stay() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_a_page_shows_neither_markup_nor_what_hides() -> None:
    assert escape("<b>\u202e & 'x'\x07") == "&lt;b&gt;\\u202e &amp; &#x27;x&#x27;\\x07"


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("psuh", ["push", "email"], "push"),
        ("PUSH", ["push", "email"], "push"),
        ("Émail", ["email"], "email"),
        ("fax", ["push", "email"], None),
        ("x" * 100_000, ["push"], None),
        ("a", [], None),
    ],
)
def test_the_nearest_name_is_the_one_that_was_meant(name: str, known: list[str], meant: str | None) -> None:
    assert nearest(name, known) == meant
