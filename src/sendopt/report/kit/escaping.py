"""Text from anywhere as text of a page: no markup, and nothing that hides or turns letters around."""

from __future__ import annotations

from html import escape as without_markup

from sendopt.domain.outside_text import printable


def escape(text: str) -> str:
    """`text` safe inside an element or a quoted attribute; controls and directions are shown as `\\u202e`."""
    return without_markup(printable(text, keep="\n\u00a0\u2009\u202f"))
