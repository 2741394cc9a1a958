"""Text from anywhere as text of a page: no markup, and no character that hides or reverses letters."""

from __future__ import annotations

from html import escape as without_markup

from markupsafe import Markup

from sendopt.domain.outside_text import printable


def escape(text: str) -> Markup:
    r"""Return `text` safe inside an element or a quoted attribute; controls and directions are shown as `\u202e`.

    >>> print(escape('<b>"sale"</b> \u202e'))
    &lt;b&gt;&quot;sale&quot;&lt;/b&gt; \u202e
    """
    return Markup(without_markup(printable(text, keep="\n\u00a0\u2009\u202f")))
