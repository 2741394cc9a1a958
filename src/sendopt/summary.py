"""What a terminal shows of a night: plain sentences for a person, from the tables that the night wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sendopt.allocation.price_check import PriceCheck
from sendopt.allocation.solution import Solution
from sendopt.config.schema import Settings
from sendopt.domain import reasons
from sendopt.domain.clock import in_words
from sendopt.experiment.arms import BASELINE
from sendopt.ingest import summary as ingest_summary
from sendopt.night.runtime import StageReport
from sendopt.report.data import ReportData, load
from sendopt.report.kit.words import amount, gap_words
from sendopt.report.night.goal_parts import expected as expected_goals

LITTLE = 1e-9  # of a plan's worth: a limit whose room is worth no more has no price to speak of


def stage_line(done: StageReport) -> str:
    """One line a stage: rows in and out, what was left out and why, seconds; one more for each warning."""
    dropped = ", ".join(
        f"{count:,} {reason}" for reason, count in sorted(done.dropped.items(), key=lambda i: -i[1])[:3]
    )
    note = done.facts.get("note")
    parts = [f"{done.rows_in:,} in, {done.rows_out:,} out"] + ([f"left out: {dropped}"] if dropped else [])
    warnings = done.facts.get("warnings") or []
    assert isinstance(warnings, list)
    line = f"  {done.stage:<17} {done.seconds:6.1f} s   {note or '; '.join(parts)}"
    sources = done.facts.get("sources") or {}
    assert isinstance(sources, dict)
    read = [f"    {text}" for tables in sources.values() for text in ingest_summary.in_words(tables)]
    return "\n".join([line, *read, *(f"    warning: {w}" for w in warnings)])


def of_ingest(rows_in: int, rows_out: int, tables: Any) -> Iterator[str]:
    """What an ingest read and refused, table by table, outcomes by themselves."""
    yield f"{rows_in:,} rows in, {rows_out:,} kept, {rows_in - rows_out:,} in quarantine"
    yield from (f"  {line}" for line in ingest_summary.in_words(tables))


def of_night(data_root: str, day: date, report: Path) -> Iterator[str]:
    """The night in a few sentences."""
    night = load(data_root, day, None)
    plan, people = night.plan, night.plan["user_id"].nunique()
    yield ""
    yield f"[bold]{day}: {len(plan):,} of {night.candidates:,} messages planned for {people:,} people.[/bold]"
    yield from _proof(night)
    if len(plan):
        arms = ", ".join(f"{count:,} {arm}" for arm, count in plan["arm"].value_counts().items())
        opens, outs = plan["p_open"].sum(), plan["p_opt_out"].sum()
        brings = ", ".join([f"{opens:,.0f} successes", *expected_goals(night), f"{outs:.1f} opt-outs"])
        yield f"  Expected: {brings}. Arms: {arms}."
    top = night.suppressed["reason"].value_counts().head(4)
    held = "; ".join(f"{reasons.name(str(r)).lower()} {n:,}" for r, n in top.items())
    if held:
        yield f"  Held back: {held}."
    yield from _prices(night)
    yield from _clock(night)
    if len(night.certificate) and BASELINE in str(night.certificate.iloc[0]["model_version"]).split("+"):
        yield (
            "  No model: fallback. No trained model is champion, so everyone's shrunk rates stood in for it; times are "
            "hardly personal. `--train` trains one where the log is large enough."
        )
    yield f"  Report: {report}"


def _proof(night: ReportData) -> Iterator[str]:
    if night.certificate.empty:
        return
    proof = night.certificate.iloc[0]
    yield (
        f"  The plan is worth {proof['value']:.1f} and proven within {gap_words(float(proof['gap']))} of the best "
        f"possible ({proof['method']}, {proof['termination']})."
    )


def _clock(night: ReportData) -> Iterator[str]:
    """What the night took for now: a plan made under a stated clock says so."""
    if clock := night.facts("publish_schedule").get("clock"):
        yield f"  Now was {in_words(clock)}."


def _prices(night: ReportData) -> Iterator[str]:
    rows = night.prices
    least = LITTLE * float(night.certificate["value"].abs().max()) if len(night.certificate) else 0.0
    priced = rows[rows["price"] * rows["limit"].clip(lower=1.0) > least].sort_values("price", ascending=False)
    budgets = priced[priced["kind"] != "capacity"].head(3)
    words = "; ".join(_price_words(str(r["kind"]), str(r["row"]), float(r["price"])) for _, r in budgets.iterrows())
    full = int((priced["kind"] == "capacity").sum())
    if words:
        yield f"  Budgets: {words}."
    if full:
        yield f"  {full} channel hours are full; their prices are in the report."


def _price_words(kind: str, row: str, price: float) -> str:
    if kind == "campaign_min":
        return f"one more demanded by {row} costs {amount(price, 3)}"
    return f"one more of {row} is worth {amount(price, 3)}"


def _worth(value: float) -> str:
    """Four decimals, or more digits where a plan is worth less than 1."""
    return f"{value:,.4f}" if abs(value) >= 1 or value == 0 else amount(value, 5)


def of_solution(solution: Solution, sends: int, out: Path) -> Iterator[str]:
    """The outcome of `sendopt solve` in a few sentences."""
    yield (
        f"{sends:,} sends worth {_worth(solution.objective)}, proven within "
        f"{gap_words(solution.gap)} of the best possible ({solution.method}, {solution.termination})."
    )
    yield from _beside_greedy(solution)
    for name, missing in sorted(solution.shortfall.items()):
        yield f"  {name} lacks {missing:,} sends of its minimum."
    least = LITTLE * max(abs(solution.value), solution.penalty)
    priced = sorted((p for p in solution.prices if p.price * max(p.limit, 1.0) > least), key=lambda p: -p.price)
    for p in priced[:5]:
        yield f"  {_price_words(p.kind, p.row, p.price)}."
    if len(priced) > 5:
        yield f"  {len(priced) - 5:,} more prices are in {out / 'solution.json'}."
    yield f"  Plan: {out / 'plan.parquet'}"


def _beside_greedy(solution: Solution) -> Iterator[str]:
    """What planning adds to taking sends by value."""
    if solution.greedy is None:
        return
    gain = solution.objective - solution.greedy
    share = f" ({100 * gain / abs(solution.greedy):+.2f} %)" if solution.greedy else ""
    yield (
        f"  Taking sends by value, the largest first, under the same rules comes to {solution.greedy:,.4f}: planning "
        f"adds {gain:,.4f}{share}."
    )


def of_left_out(counts: Mapping[str, int], out: Path) -> Iterator[str]:
    """How many messages are not sent, and why."""
    if counts:
        words = "; ".join(f"{reasons.name(reason).lower()} {count:,}" for reason, count in counts.items())
        yield f"  Left out: {words}; each message with its reason is in {out / 'reasons.parquet'}."


def of_checks(checks: Sequence[PriceCheck]) -> Iterator[str]:
    """What moving limits and solving again said of their prices."""
    for c in checks:
        yield (
            f"  {c.row} from {c.limit:g} to {c.moved_to:g}: forecast {c.forecast:+.4g}, solved again {c.gain:+.4g} "
            f"(surely between {c.least:.4g} and {c.most:.4g})."
        )
        if c.warning:
            yield f"    {c.warning}."


def of_warnings(warnings: Sequence[str]) -> Iterator[str]:
    """What of the input of `sendopt solve` matched nothing, or which method was due and is not the plan's."""
    for warning in warnings:
        yield f"  warning: {warning}."


def where_next(settings: Settings, conf: Path, env: str, day: date) -> Iterator[str]:
    """The commands to look further, with a person of this night."""
    night = load(settings.paths.data, day, None)
    user = str(night.plan["user_id"].iloc[0]) if len(night.plan) else "USER"
    options = ("" if str(conf) == "conf" else f" --conf {conf}") + ("" if env == "local" else f" --env {env}")
    yield "\nLook further:"
    yield f"  open {settings.paths.out}/report.html"
    yield f"  .venv/bin/sendopt explain --user {user}{options}"
    yield f"  .venv/bin/mlflow ui --backend-store-uri {settings.mlflow.tracking_uri} --host 127.0.0.1   # the model"
    yield "  make airflow                                            # the nightly DAG, on 127.0.0.1:8080"
    yield "  .venv/bin/sendopt demo --nights 3                       # the next nights of the same world"
