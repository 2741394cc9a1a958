"""The page of `sendopt evaluate`: says what the JSON holds, names nobody, asks nothing of the network."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmarks.decision_worlds import world
from playwright.sync_api import sync_playwright
from test_browser import ARGS, LOOK  # the same look as at the report of a night

from sendopt.report.timing import page as timing_page
from sendopt.timing import gain as measured
from sendopt.timing.evaluation import as_json
from sendopt.timing.log import Log

FIGURES = {
    "policy-values",
    "personal-minus-common",
    "policies-minus-common",
    "sent-minus-not-sent",
    "slot-curves",
    "timing-log-loss",
}


def result(kind: str = "send", **settings: Any) -> dict[str, Any]:
    decisions = world(2, kind=kind, users=40, days=50, personal_sd=0.8, **settings).log
    dropped = {"not_available": 9, "bad_time:sent_at_utc": 2}
    log = Log(decisions, len(decisions) + 11, dropped, "open <b>", "the column part", 40, "2026-01-05", "2026-02-20")
    return as_json(measured.evaluate(decisions, samples=200), log, "shop & co")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return result()


def figures(page: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r'data-figure="([^"]+)" data-marks="(\d+)"', page)}


def test_verdict_first_then_every_figure(found: dict[str, Any]) -> None:
    page = timing_page.render(found)
    assert page.index(found["verdict"]["sentence"][:60]) < page.index("data-figure")
    assert set(figures(page)) == FIGURES
    assert min(figures(page).values()) > 0
    assert "open &lt;b&gt;" in page
    assert "shop &amp; co" in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)[^\"]*\"|url\(|@import|<script|https?:", page)
    assert timing_page.render(found) == page


def test_without_a_not_sent_arm_there_is_no_word_of_it() -> None:
    page = timing_page.render(result("slot"))
    assert set(figures(page)) == FIGURES - {"sent-minus-not-sent"}
    assert "Mean weight of uniform times" in page
    assert "nothing was sent" not in page


def test_a_refusal_shows_the_reason_and_the_data_and_no_empty_figure() -> None:
    log = Log(None, 10, {"malformed_row": 10}, "open", "the local hour")
    page = timing_page.render(as_json(measured.Evaluation(measured.Kind.REFUSED, "there is no overlap"), log, "shop"))
    assert "No claim about personal timing can be made: there is no overlap." in page
    assert "no row that can be read" in page
    assert figures(page) == {}


@pytest.mark.slow
def test_the_page_in_a_browser(found: dict[str, Any], tmp_path: Path) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium: install it or set CHROMIUM to its path to look at the page")
    path = tmp_path / "evaluation.html"
    path.write_text(timing_page.render(found))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        for width, scheme in ((1280, "light"), (800, "dark"), (390, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            noise: list[str] = []
            page.on("console", lambda message, noise=noise: noise.append(message.text))  # type: ignore[misc]
            page.on("request", lambda request, noise=noise: noise.append(request.url))  # type: ignore[misc]
            page.goto(path.as_uri())
            wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            looked = page.evaluate(LOOK)
            page.close()
            assert noise in ([], [path.as_uri()])
            assert wide <= room
            assert {figure["name"] for figure in looked} == FIGURES
            for figure in looked:
                assert figure["drawings"] == 1, figure
                assert figure["drawn"] == figure["said"] > 0, figure
                assert figure["outside"] == figure["cut"] == 0, figure
                assert figure["smallest"] >= 11, figure
                assert figure["label"], figure
        browser.close()
