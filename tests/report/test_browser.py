"""The page in headless Chromium: quiet console, no request but the file, no empty figure, no sideways scroll."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import invented
import pytest
from playwright.sync_api import Browser, sync_playwright

from sendopt.report import data, write
from sendopt.report.data import ReportData

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOK = """() => [...document.querySelectorAll('[data-figure]')].map(figure => {
  const box = figure.getBoundingClientRect();
  const shown = [...figure.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0);
  const marks = shown.flatMap(svg => [...svg.querySelectorAll('.mark')]).map(mark => mark.getBoundingClientRect());
  const texts = shown.flatMap(svg => [...svg.querySelectorAll('text')]);
  return {
    name: figure.dataset.figure, said: Number(figure.dataset.marks), width: box.width, height: box.height,
    drawings: shown.length, drawn: marks.filter(m => m.width > 0 && m.height > 0).length,
    outside: marks.filter(m => m.left < box.left - 2 || m.right > box.right + 2 || m.bottom > box.bottom + 2).length,
    smallest: Math.min(...texts.map(t => t.getBoundingClientRect().height)),
    cut: texts.filter(t => t.getBoundingClientRect().right > document.documentElement.clientWidth).length,
    label: shown.map(svg => svg.getAttribute('aria-label') || '').join('')
  };
})"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        if os.environ.get("SENDOPT_REQUIRE_BROWSER") == "1":
            pytest.fail("SENDOPT_REQUIRE_BROWSER=1, but no chromium was found: install it or set CHROMIUM to its path")
        pytest.skip("no chromium: install it or set CHROMIUM to its path to look at the report")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(night: ReportData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    empty = data.load(folder / "nothing", invented.PLAN_DATE, None)
    return {"full": write(night, folder / "full.html"), "empty": write(empty, folder / "empty.html")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("name", ["full", "empty"])
def test_the_page_in_a_browser(browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    noise: list[str] = []
    page.on("console", lambda message: noise.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: noise.append(f"error: {error}"))
    page.on("request", lambda request: noise.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(pages[name].as_uri())

    assert noise == []
    wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= room
    found = page.evaluate(LOOK)
    assert len(found) == (11 if name == "full" else 0)
    for figure in found:
        assert figure["width"] > 200, figure
        assert figure["height"] > 80, figure
        assert figure["drawings"] == 1, figure
        assert figure["said"] > 0, figure
        assert figure["drawn"] == figure["said"], figure
        assert figure["outside"] == 0, figure
        assert figure["smallest"] >= 11, figure
        assert figure["cut"] == 0, figure
        assert figure["label"], figure
    page.close()
