"""The document around a page's body: head, style and title."""

from __future__ import annotations

from importlib.resources import files

from markupsafe import Markup

from sendopt.report.kit.rendering import NOTHING, fill


def document(title: str, body: Markup, head: Markup = NOTHING) -> str:
    """Return a self-contained HTML document around `body`, with the report's style and no script.

    `head` is markup for the document's head.
    """
    css = Markup(files("sendopt.report.kit").joinpath("style.css").read_text("utf-8"))
    return str(fill("kit/templates/document.html.jinja", title=title, body=body, head=head, css=css))
