"""Every night has a page of its own, and one index shows them all, newest first, without Spark."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import invented
import pandas as pd
import pytest

from sendopt.errors import InputNotReady
from sendopt.night import runtime
from sendopt.report import site
from sendopt.report.data import ReportData
from sendopt.report.night.page import render

DAY = invented.PLAN_DATE


def nights(index: Path) -> list[str]:
    return re.findall(r'href="(\d{4}-\d{2}-\d{2})\.html"', index.read_text())


def rows(index: Path) -> dict[str, list[str]]:
    """The cells of each night's row, without markup."""
    found = {}
    for row in re.findall(r"<tr>(<td.*?)</tr>", index.read_text()):
        cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        found[cells[0].split()[1]] = cells[1:]
    return found


def test_a_night_is_a_page_and_a_line_of_the_index(night: ReportData, tmp_path: Path) -> None:
    page = site.write(night, tmp_path)
    assert page == tmp_path / "reports" / f"{DAY}.html"
    assert re.sub('<meta name="sendopt-night"[^>]*>', "", page.read_text()) == render(night)
    proof = night.certificate.iloc[0]
    sends, candidates, people, value, gap, warnings = rows(page.with_name("index.html"))[str(DAY)]
    assert (sends, candidates) == (f"{len(night.plan):,}", f"{night.candidates:,}")
    assert people == f"{night.plan['user_id'].nunique():,}"
    assert value == f"{proof['value']:,.1f}"
    assert gap == f"{100 * proof['gap']:.2f} %"
    assert warnings
    assert not {u for u in night.plan["user_id"] if str(u) in page.with_name("index.html").read_text()}


def test_the_newest_night_comes_first_whatever_was_written_last(night: ReportData, tmp_path: Path) -> None:
    days = [DAY, DAY + timedelta(days=30), DAY - timedelta(days=1)]
    for day in days:
        index = site.write(replace(night, plan_date=day), tmp_path).with_name("index.html")
    assert nights(index) == [str(day) for day in sorted(days, reverse=True)]


def test_a_night_written_again_stands_once_with_its_new_figures(night: ReportData, tmp_path: Path) -> None:
    site.write(night, tmp_path)
    index = site.write(replace(night, plan=night.plan.head(7)), tmp_path).with_name("index.html")
    assert list(rows(index)) == [str(DAY)]
    assert rows(index)[str(DAY)][0] == "7"


def test_equal_nights_give_equal_bytes_and_no_draft_is_left(night: ReportData, tmp_path: Path) -> None:
    first = {p.name: p.read_bytes() for p in site.write(night, tmp_path).parent.iterdir()}
    again = {p.name: p.read_bytes() for p in site.write(night, tmp_path).parent.iterdir()}
    assert first == again
    assert set(first) == {f"{DAY}.html", "index.html"}


@pytest.mark.parametrize("sentence", ['<script>alert("x")</script>', 'quote " & <b>', "ends with --> and 'x'"])
def test_a_warning_is_text_in_page_and_index(night: ReportData, tmp_path: Path, sentence: str) -> None:
    alert = {"plan_date": DAY, "kind": "drift", "name": "n", "sentence": sentence}
    loud = replace(night, plan=night.plan.iloc[:0], evaluation=None, alerts=pd.DataFrame([alert]))
    index = site.write(loud, tmp_path).with_name("index.html")
    assert "<script>" not in index.read_text() + (tmp_path / f"reports/{DAY}.html").read_text()
    assert "warn" in site._meta(site.line_of(loud))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no page of ours",
        '<meta name="sendopt-night" content="{">',
        "\x00\xff",
        '<meta name="sendopt-night" content="{&quot;sends&quot;: &quot;many&quot;}">',
        '<meta name="sendopt-night" content="{&quot;other&quot;: 1}">',
    ],
)
def test_a_page_that_is_not_ours_is_listed_and_said(night: ReportData, tmp_path: Path, text: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "2026-01-01.html").write_text(text)
    (tmp_path / "reports" / "2026-02-30.html").write_text(text)
    (tmp_path / "reports" / "notes.html").write_text(text)
    index = site.write(night, tmp_path).with_name("index.html")
    assert nights(index) == [str(DAY), "2026-01-01"]
    assert rows(index)["2026-01-01"][-1].startswith("not read")


def test_a_report_needs_no_spark_and_takes_the_last_night(night_root: Path, tmp_path: Path, monkeypatch) -> None:
    from sendopt.config.loader import load

    conf = Path(__file__).resolve().parents[2] / "conf"
    settings = load(conf).model_copy(
        update={"paths": load(conf).paths.model_copy(update={"data": str(night_root), "out": str(tmp_path)})}
    )
    for module in [name for name in sys.modules if name.split(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr("sendopt.tracking.mlflow.champion_evaluation", lambda _: invented.evaluation())
    monkeypatch.setattr("sendopt.tracking.registries.goal_evaluations", lambda *_: {})
    assert runtime.write_report(settings) == tmp_path / "reports" / f"{DAY}.html"
    assert runtime.write_report(settings, DAY) == tmp_path / "reports" / f"{DAY}.html"
    assert not [name for name in sys.modules if name.split(".")[0] == "pyspark"]
    with pytest.raises(InputNotReady, match=r"no plan of 2026-01-01 has been published yet: run `sendopt night"):
        runtime.write_report(settings, date(2026, 1, 1))
    nothing = settings.model_copy(update={"paths": settings.paths.model_copy(update={"data": str(tmp_path / "none")})})
    with pytest.raises(InputNotReady, match="no plan has been published yet"):
        runtime.write_report(nothing)
