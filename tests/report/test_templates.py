"""Templates escape every value, refuse a name that is not given, and are part of the installed package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from sendopt.report.kit import parts
from sendopt.report.kit.document import document
from sendopt.report.kit.rendering import fill

REPO = Path(__file__).resolve().parents[2]
PACKAGE = REPO / "src" / "sendopt"
HOSTILE = "<script>alert('1')</script>\" \u202eelas"
ESCAPED = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&quot; \\u202eelas"


@pytest.mark.parametrize(
    "markup",
    [
        parts.paragraph(HOSTILE),
        parts.section("id", HOSTILE, HOSTILE, parts.card(HOSTILE, note=HOSTILE)),
        parts.tile(HOSTILE, HOSTILE, HOSTILE),
        parts.legend([("c0", HOSTILE)]),
        parts.table([HOSTILE], [[HOSTILE]]),
        parts.definitions([(HOSTILE, HOSTILE)]),
        parts.details(HOSTILE),
        parts.callouts([parts.Notice(parts.Tone.WARN, HOSTILE)]),
        parts.figure(HOSTILE, 1, []),
        document(HOSTILE, Markup("<p>body</p>")),
    ],
)
def test_every_text_is_escaped_once(markup: str) -> None:
    assert ESCAPED in markup
    assert "<script" not in markup
    assert "\u202e" not in markup
    assert "&amp;" not in markup


def test_markup_is_not_escaped_again() -> None:
    assert parts.paragraph("5 < 7") in parts.card("title", parts.paragraph("5 < 7"))


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        fill("kit/templates/document.html.jinja", body=Markup(), head=Markup(), css=Markup())


def test_templates_and_style_are_package_data() -> None:
    patterns = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["sendopt"]
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    needed = {path for path in (PACKAGE / "report").rglob("*") if path.suffix in (".jinja", ".css")}
    assert len(needed) > 5
    assert needed <= packaged


def test_modules_of_the_report_hold_no_markup() -> None:
    """Markup is in templates; only the SVG builder writes elements."""
    for path in (PACKAGE / "report").rglob("*.py"):
        code = re.sub(r'"""(.*?)"""', "", path.read_text(), flags=re.S)
        if path.name not in ("svg.py", "site.py"):  # the index reads the meta element back
            assert not re.search(r"</?[a-z][a-z0-9]*[ >]", code), path
