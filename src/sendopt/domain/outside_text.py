"""Text from outside, as people may see it: names and values of settings, logs and files in errors, terminal and page.

Such text can move the cursor, hide letters or turn a line around. What shows text that it did not write itself passes
it through `printable`; what refuses such text asks `unprintable`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

# Controls, formats (directions, zero widths), surrogates, private and unassigned codes, separators but the space.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def printable(text: str, keep: str = "") -> str:
    """`text` with every character that is not seen as itself as an escape: `\\x1b`, `\\u202e`, `\\U000e0001`.

    Spaces stay, and so do the characters of `keep`, as line ends of a message of several lines do.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or not _is_hidden(char) else _escaped(char) for char in text)


def unprintable(text: str, keep: str = "") -> str | None:
    """The first character of `text` that `printable` would escape, as U+202E; None where there is none."""
    if text.isascii() and text.isprintable():
        return None
    return next((f"U+{ord(char):04X}" for char in text if char not in keep and _is_hidden(char)), None)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was probably meant by `name`, whatever its case; None where none is near."""
    by_lower = {text.casefold(): text for text in sorted(known, reverse=True)}
    close = get_close_matches(name.casefold()[:100], by_lower, n=1)
    return by_lower[close[0]] if close else None


def _is_hidden(char: str) -> bool:
    return char != " " and unicodedata.category(char) in _HIDDEN


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
