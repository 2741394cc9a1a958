"""`from sendopt import solve`: frames of any kind in and out, limits in any form, the command line's sentences."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import threading
import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import sendopt
from sendopt import Progress, Result, api, solve
from sendopt.config.limits_file import load_limits
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError, ContractError, InfeasibleError, InputNotReady, SendoptError

ROWS = {
    "user_id": ["ann", "ann", "ann", "bob", "bob", "cid"],
    "message_id": ["m1", "m1", "m2", "m3", "m3", "m4"],
    "campaign_id": ["sale", "sale", "news", "sale", "sale", "news"],
    "channel": ["push"] * 6,
    "category": ["shop", "shop", "info", "shop", "shop", "info"],
    "slot": [9, 10, 10, 9, 10, 9],
    "value": [0.5, 0.4, 0.3, 0.6, 0.45, -0.1],
}
PAST = {"user_id": ["bob"], "channel": ["push"], "category": ["shop"], "campaign_id": ["old"], "minutes_before": [60.0]}
LIMITS = {"slot_minutes": 60, "min_gap_minutes": 120, "capacity": {"push": 1}}
YAML = "slot_minutes: 60\nmin_gap_minutes: 120\ncapacity: {push: 1}\n"
PLAN = [{"user_id": "ann", "message_id": "m1", "slot": 10}, {"user_id": "bob", "message_id": "m3", "slot": 9}]


class Stream:
    """A frame of a library that sendopt does not know, with Arrow's C stream and nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def views(table: pa.Table) -> pa.Table:
    """The table with its text as polars hands it over."""
    fields = [field.with_type(pa.string_view()) if field.type == pa.string() else field for field in table.schema]
    return table.cast(pa.schema(fields))


def records(frame: object) -> list[dict[str, object]]:
    return frame.to_dict("records") if isinstance(frame, pd.DataFrame) else frame.to_pylist()


FRAMES = {
    "pandas": lambda rows: pd.DataFrame(rows),
    "pandas with an index of its own": lambda rows: pd.DataFrame(rows, index=list("zyxwvu")[: len(rows["user_id"])]),
    "pandas with strings of Arrow": lambda rows: pd.DataFrame(rows).convert_dtypes(dtype_backend="pyarrow"),
    "pandas with categories": lambda rows: pd.DataFrame(rows).astype({"user_id": "category", "channel": "category"}),
    "Arrow": lambda rows: pa.table(rows),
    "a record batch": lambda rows: pa.RecordBatch.from_pydict(rows),
    "Arrow in pieces": lambda rows: pa.concat_tables([pa.table(rows).slice(0, 1), pa.table(rows).slice(1)]),
    "a stream": lambda rows: Stream(pa.table(rows)),
    "a stream of views": lambda rows: Stream(views(pa.table(rows))),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("method", ["exact", "prices"])
def test_frames_of_every_kind_give_the_same_plan(kind, method):
    result = solve(FRAMES[kind](ROWS), LIMITS, FRAMES[kind](PAST), method=method)
    assert records(result.plan) == PLAN
    assert isinstance(result.plan, pd.DataFrame if kind.startswith("pandas") else pa.Table)
    assert isinstance(result.prices, type(result.plan))
    assert isinstance(result.reasons, type(result.plan))
    assert result.certificate.objective == pytest.approx(1.0)
    assert result.certificate.method == method
    assert result.audit.ok


def test_polars_comes_back_as_polars(monkeypatch):
    """polars is not installed here: a module of its name stands in, with the two things that are asked of it."""

    class DataFrame(Stream):
        def rows(self) -> list[dict[str, object]]:
            return self._table.to_pylist()

    polars = types.ModuleType("polars")
    polars.DataFrame, polars.from_arrow = DataFrame, DataFrame
    monkeypatch.setitem(sys.modules, "polars", polars)
    result = solve(DataFrame(views(pa.table(ROWS))), LIMITS)
    assert isinstance(result.plan, DataFrame)
    assert result.plan.rows() == PLAN
    assert {row["reason"] for row in result.reasons.rows()} == {"capacity", "negative_value"}


def test_a_file_gives_what_its_frame_gives(tmp_path):
    pd.DataFrame(ROWS).to_parquet(tmp_path / "candidates.parquet")
    pd.DataFrame(PAST).to_csv(tmp_path / "history.csv", index=False)
    (tmp_path / "limits.yaml").write_text(YAML)
    by_file = solve(tmp_path / "candidates.parquet", tmp_path / "limits.yaml", str(tmp_path / "history.csv"))
    by_frame = solve(pd.DataFrame(ROWS), LIMITS, pa.table(PAST))
    assert by_file.plan.to_pandas().equals(by_frame.plan)
    assert by_file.certificate == by_frame.certificate


@pytest.mark.parametrize(
    "limits",
    [LIMITS, SolveLimits(min_gap_minutes=120, capacity={"push": 1}), {**LIMITS, "capacity": {"push": np.int64(1)}}],
)
def test_limits_are_a_dict_or_the_type(limits):
    assert records(solve(pd.DataFrame(ROWS), limits).plan) == PLAN


def test_a_dict_of_limits_counts_as_its_file(tmp_path):
    text = "caps: {d: {scope: 'channel:push', window_minutes: 60, max: 1}}\ncapacity: {push: {9: 1, 10: 2}}\n"
    (tmp_path / "limits.yaml").write_text(text)
    as_dict = {
        "caps": {"d": {"scope": "channel:push", "window_minutes": 60, "max": 1}},
        "capacity": {"push": {9: 1, 10: 2}},
    }
    assert api.limits_of(as_dict) == load_limits(tmp_path / "limits.yaml")


def column(name: str, values: list[object]) -> pd.DataFrame:
    return pd.DataFrame({**ROWS, name: values})


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (
            {"candidates": column("value", [np.nan, *ROWS["value"][1:]])},
            ContractError,
            "candidates, column value: empty in 1 of 6 rows (first rows [0])",
        ),
        (
            {"candidates": column("slot", [-1, *ROWS["slot"][1:]])},
            ContractError,
            "candidates, column slot: negative in 1 of 6",
        ),
        (
            {"candidates": column("user_id", [1.0, 2, 3, 4, 5, 6])},
            ContractError,
            "candidates, column user_id: double where",
        ),
        (
            {"candidates": column("value", ["much"] * 6)},
            ContractError,
            "candidates, column value: string where numbers",
        ),
        ({"candidates": column("value", [0.1, "b", 3, 4, 5, 6])}, ContractError, "candidates, column value"),
        (
            {"candidates": pd.DataFrame(ROWS).drop(columns="slot")},
            ContractError,
            "candidates: columns slot are missing",
        ),
        ({"candidates": pd.DataFrame(ROWS).assign(VALUE=1.0)}, ContractError, "column value is there more than once"),
        ({"candidates": pd.DataFrame(ROWS).head(0)}, ContractError, "candidates: no row"),
        (
            {"candidates": ROWS},
            ContractError,
            "candidates: got dict, expected a frame of pandas, polars or Arrow, or a",
        ),
        ({"candidates": pd.DataFrame}, ContractError, "candidates: got type"),
        ({"candidates": None}, ContractError, "candidates: got NoneType"),
        ({"candidates": "gone.parquet"}, InputNotReady, "gone.parquet: no such file"),
        (
            {"history": pd.DataFrame(PAST).drop(columns="channel")},
            ContractError,
            "history: columns channel are missing",
        ),
        ({"history": [1]}, ContractError, "history: got list"),
        (
            {"limits": {**LIMITS, "min_gap": 3}},
            ConfigError,
            "limits: min_gap: unknown key, did you mean min_gap_minutes",
        ),
        ({"limits": {"capacity": {"push": -4}}}, ConfigError, "limits: capacity.push: out of range; got -4"),
        ({"limits": {"capacity": {"pusch": 4}}}, ConfigError, "did you mean push?"),
        ({"limits": {"campaigns": {"sale": {"min_sends": 3, "max_sends": 2}}}}, InfeasibleError, "campaigns.sale"),
        ({"limits": None}, ConfigError, "limits: got NoneType"),
        ({"limits": "gone.yaml"}, ConfigError, "gone.yaml: no such file"),
        ({"method": "best"}, ConfigError, "--method: got 'best', expected exact, prices or auto"),
        ({"gap": 2}, ConfigError, "--gap: got 2, expected a share of the objective from 0 to 0.1"),
        ({"gap": float("nan")}, ConfigError, "--gap: got nan"),
        ({"gap": True}, ConfigError, "--gap: got True"),
        ({"min_history_match": 2}, ConfigError, "min_history_match: got 2"),
        (
            {"history": pd.DataFrame({**PAST, "user_id": ["eve"]}), "min_history_match": 0.5},
            ContractError,
            "history: 0 of 1 rows are of a user with a candidate",
        ),
        ({"start_prices": {"capacity:push:9": -1}}, ContractError, "start_prices: the price of capacity:push:9 is -1"),
        (
            {"start_prices": {"capacity:push:9": None}},
            ContractError,
            "start_prices: the price of capacity:push:9 is None",
        ),
        ({"start_prices": pd.DataFrame({"row": ["a"]})}, ContractError, "start_prices: columns price are missing"),
        ({"start_prices": "gone.json"}, InputNotReady, "gone.json: no such file"),
        ({"start_prices": 3}, ContractError, "start_prices: got int"),
    ],
)
def test_bad_input_is_the_sentence_of_the_command_line(call, kind, sentence):
    with pytest.raises(kind) as caught:
        solve(**{"candidates": pd.DataFrame(ROWS), "limits": LIMITS, **call})
    assert isinstance(caught.value, SendoptError)
    assert sentence in str(caught.value)


def test_what_matches_nothing_is_a_warning_where_that_is_allowed():
    limits = {**LIMITS, "campaigns": {"spring": {"max_sends": 1}}}
    with pytest.raises(ConfigError, match=r"campaigns\.spring: no candidate has the campaign spring"):
        solve(pd.DataFrame(ROWS), limits)
    result = solve(pd.DataFrame(ROWS), limits, allow_unused=True)
    assert [w.partition(":")[0] for w in result.warnings] == ["campaigns.spring"]


def test_a_result_cannot_be_changed_and_says_what_it_is():
    result = solve(pd.DataFrame(ROWS), LIMITS)
    with pytest.raises(AttributeError):
        result.plan = None
    assert repr(result).startswith("<2 sends worth 1, gap ")
    assert list(result.prices.columns) == ["row", "kind", "limit", "used", "price", "gain_of_10_percent"]
    assert result.certificate.greedy == pytest.approx(1.0)
    assert result.certificate.bound >= result.certificate.objective
    assert [t.tier for t in result.certificate.tiers] == [1]


def test_a_result_is_written_as_the_command_line_writes_it(tmp_path):
    result = solve(pd.DataFrame(ROWS), LIMITS)
    result.write(tmp_path / "plan", reasons=True)
    assert sorted(p.name for p in (tmp_path / "plan").iterdir()) == ["plan.parquet", "reasons.parquet", "solution.json"]
    document = json.loads((tmp_path / "plan/solution.json").read_text())
    assert document["left_out"] == {"capacity": 1, "negative_value": 1}
    assert document["greedy"] == result.certificate.greedy
    assert pd.read_parquet(tmp_path / "plan/reasons.parquet").equals(result.reasons)
    result.write(tmp_path / "plan")
    assert sorted(p.name for p in (tmp_path / "plan").iterdir()) == ["plan.parquet", "solution.json"]


def test_progress_is_told_and_a_result_is_no_other_for_it():
    heard: list[Progress] = []
    watched = solve(pd.DataFrame(ROWS), LIMITS, method="prices", progress=heard.append)
    assert {p.phase for p in heard} >= {"prices", "plan"}
    assert heard[-1].bound >= heard[-1].objective == pytest.approx(1.0)
    assert [p.passes for p in heard] == sorted(p.passes for p in heard)
    alone = solve(pd.DataFrame(ROWS), LIMITS, method="prices")
    assert watched.plan.equals(alone.plan)
    assert watched.certificate == alone.certificate


@pytest.mark.parametrize("method", ["exact", "prices", "auto"])
def test_a_cancelled_solve_has_an_audited_plan(method):
    stop = threading.Event()
    stop.set()
    result = solve(pd.DataFrame(ROWS), LIMITS, method=method, cancel=stop)
    assert result.certificate.termination == "cancelled"
    assert result.audit.ok
    assert result.certificate.objective <= 1.0 <= result.certificate.bound


def test_start_prices_come_in_every_form(tmp_path):
    first = solve(pd.DataFrame(ROWS), LIMITS, method="prices")
    first.write(tmp_path / "plan")
    forms = [
        first,
        first.prices,
        pa.Table.from_pandas(first.prices),
        dict(zip(first.prices.row, first.prices.price, strict=True)),
        tmp_path / "plan/solution.json",
        str(tmp_path / "plan"),
    ]
    for form in forms:
        again = solve(pd.DataFrame(ROWS), LIMITS, method="prices", start_prices=form)
        assert again.certificate.objective == pytest.approx(1.0)
        assert again.warnings == ()
    strange = solve(pd.DataFrame(ROWS), LIMITS, start_prices={"capacity:sms:1": 1.0, "cost": 2.0})
    assert strange.warnings == ("start prices: 2 of 2 are of no row of these limits (capacity:sms:1, cost)",)


def test_importing_sendopt_loads_nothing():
    code = "import sys, sendopt; print(sorted({'numba', 'pandas', 'pyarrow', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_names_its_api():
    assert {"solve", "Result", "Certificate", "Progress"} <= set(dir(sendopt))
    assert sendopt.Result is Result
    with pytest.raises(AttributeError, match="has no attribute 'solv'"):
        sendopt.solv  # noqa: B018


def test_the_examples_of_the_docstrings_run():
    done = doctest.testmod(api, optionflags=doctest.ELLIPSIS)
    assert done.attempted > 0
    assert done.failed == 0
