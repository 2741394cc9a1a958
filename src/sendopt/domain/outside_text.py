"""Text from outside (settings, logs, files), made safe to show in errors, terminal and pages.

Such text can move the cursor, hide letters or reverse a line. Code that shows it calls `printable`; code that refuses
it calls `unprintable`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

# Controls, formats (directions, zero widths), surrogates, private and unassigned codes, separators but the space.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def printable(text: str, keep: str = "") -> str:
    """Return `text` with every character that cannot be seen as an escape: `\\x1b`, `\\u202e`, `\\U000e0001`.

    Spaces stay, and so do the characters of `keep` (the line ends of a message of several lines, for example).

    >>> printable("a\\tb")
    'a\\\\x09b'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or not _is_hidden(char) else _escaped(char) for char in text)


def unprintable(text: str, keep: str = "") -> str | None:
    """Return the first character of `text` that `printable` would escape, as "U+202E", or None."""
    if text.isascii() and text.isprintable():
        return None
    return next((f"U+{ord(char):04X}" for char in text if char not in keep and _is_hidden(char)), None)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name of `known` that is most like `name`, ignoring case, or None where none is near.

    >>> nearest("Chanel", ["channel", "category"])
    'channel'
    """
    by_lower = {text.casefold(): text for text in sorted(known, reverse=True)}
    close = get_close_matches(name.casefold()[:100], by_lower, n=1)
    return by_lower[close[0]] if close else None


def _is_hidden(char: str) -> bool:
    return char != " " and unicodedata.category(char) in _HIDDEN


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
