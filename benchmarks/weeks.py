"""Several weeks of nights in a simulated world: false alerts, verdicts, calibration, and breaches made on purpose.

`make bench-weeks` runs --nights nights with every real stage, trains every seventh, and delivers each plan into the
world. Nothing changes in these nights, so every alert of drift is false. Then each breach goes on from the last
night on a copy: on which night is it an alert, of which kind, does the champion stay, is the night green?

O/E is what was observed over what published plans expected (p_open), on nights from the second week on. The world's own
probability of each send is known, so O/E is also shown without the luck of the draw: truth / expected.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scoring import say
from weeks_loop import (
    START,
    Loop,
    Loss,
    base_settings,
    days,
    without_half_of_the_opens,
    without_sessions_of_some,
)

from sendopt.lake.tables import read_table
from sendopt.night.runtime import StageReport
from sendopt.propensity.calibration import HIGH, LOW, ratio_interval, ratios
from sendopt.spark.engine.session import open_session

WEEK = 7
Reports = dict[str, StageReport]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nights", type=int, default=21)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--breaches", default=",".join(BREACHES), help="names, or nothing")
    parser.add_argument("--breach-nights", type=int, default=4, help="nights that each breach lasts; the last trains")
    parser.add_argument("--home", type=Path, help="folder to keep what the nights wrote; default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        settings = base_settings()
        spark = open_session(settings.spark)
        try:
            loop = Loop.new(home / "normal", given.users, given.seed, spark, settings)
            say(f"{given.users:,} people, seed {given.seed}, {given.nights} nights, trained every seventh\n")
            planned = normal(loop, given.nights)
            calibration(planned[planned["day"] >= START + timedelta(days=WEEK)])
            first = START + timedelta(days=given.nights)
            for name in filter(None, given.breaches.split(",")):
                breach(loop.branch(home / name.replace(" ", "_")), first, name, given.breach_nights)
        finally:
            spark.stop()


def normal(loop: Loop, nights: int) -> pd.DataFrame:
    """Nights in which nothing changes, told one a line; every delivered send with p_open, success and the truth."""
    say("| night | sends | alerts | gate | seconds |\n|---|---|---|---|---|")
    truths, false = [], Counter()
    for number, day in enumerate(days(START, nights)):
        clock = time.monotonic()
        reports = loop.night(day, train=number % WEEK == 0 and number > 0)
        truths.append(loop.play(day))
        found = alerts(loop, day)
        false.update(kind for kind, *_ in found)
        say(
            f"| {day} | {reports['publish_schedule'].rows_out:,} | {'; '.join(text for *_, text in found) or '–'} | "
            f"{gate(reports)} | {time.monotonic() - clock:.0f} |"
        )
    drift = sum(n for kind, n in false.items() if kind != "gate")
    say(f"\nFalse alerts of drift in {nights} nights: {drift} {dict(false) or ''}\n")
    loop.night(START + timedelta(days=nights), train=False)  # so that the last delivered nights are in the log
    return delivered(loop, pd.concat(truths))


def delivered(loop: Loop, truth: pd.Series) -> pd.DataFrame:
    """Sends that were planned and went: day, user_id, channel, local_hour, arm, p_open, success, truth."""
    data = loop.settings.paths.data
    window = pd.Timedelta(hours=loop.settings.label.window_hours)
    plan = read_table(data, "send_plan")
    log = read_table(data, "sends")[["send_key", "sent_at_utc", "sent"]]
    reactions = read_table(data, "interactions")
    opens = reactions[reactions["kind"] == loop.settings.label.kind][["send_key", "at_utc"]]
    rows = plan.merge(log[log["sent"]], on="send_key").merge(opens, on="send_key", how="left")
    late = rows["at_utc"] - rows["sent_at_utc"]
    last = rows["plan_date"].max()
    rows = rows.assign(
        day=rows["plan_date"],
        local_hour=rows["send_at_local"].str[11:13].astype(int),
        success=((late >= pd.Timedelta(0)) & (late <= window)).astype(float),
        truth=truth.reindex(rows["send_key"]).to_numpy(),
    )
    return rows[rows["day"] < last]  # the last night's sends are not over


def calibration(rows: pd.DataFrame) -> None:
    """The table of O/E, by group."""
    user = pd.factorize(rows["user_id"])[0].astype(np.int64)
    say(f"O/E of published plans, {len(rows):,} delivered sends of {rows['day'].nunique()} nights, trained or not\n")
    say("| group | sends | observed / expected, 95 % over users | truth / expected |\n|---|---|---|---|")
    expected = rows["p_open"].to_numpy(float)
    seen, known = (ratios(rows, rows[c].to_numpy(float), expected) for c in ("success", "truth"))
    missed = Counter()
    for one, true in zip(seen, known, strict=True):
        outside = not one["calibrated"]
        missed[one["by"]] += outside
        say(
            f"| {one['by']} {one['name']} | {one['n']:,} | {one['ratio']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
            f"{' **misses**' if outside else ''} | {true['ratio']:.3f} |"
        )
    for by in ("arm", "day"):
        for name, at in rows.groupby(by).indices.items():
            ratio, low, high = ratio_interval(rows["success"].to_numpy(float)[at], expected[at], user[at])
            true = rows["truth"].to_numpy(float)[at].sum() / expected[at].sum()
            say(f"| {by} {name} | {len(at):,} | {ratio:.3f} [{low:.3f}, {high:.3f}] | {true:.3f} |")
    sure = sum(LOW <= t["ratio"] <= HIGH for t in known)
    say(
        f"\nGroups whose interval misses {LOW:g} to {HIGH:g}: {sum(missed.values())} of {len(seen)} "
        f"{dict(+missed) or ''}; groups whose truth / expected is inside: {sure} of {len(known)}\n"
    )


BREACHES: dict[str, tuple[Loss | None, float]] = {
    "half of the opens lost": (without_half_of_the_opens, 1.0),
    "sessions of 40 % of people lost": (without_sessions_of_some, 1.0),
    "capacity cut to a tenth": (None, 0.1),
}


def breach(loop: Loop, first: date, name: str, nights: int) -> None:
    """Nights with the breach from the plan of `first` on, told one a line; the last one trains."""
    loss, capacity = BREACHES[name]
    loop = loop.with_capacity(capacity)
    say(
        f"\n{name}, from the night of {first} on\n\n| night | alerts | champion | gate | green |\n|---|---|---|---|---|"
    )
    for number, day in enumerate(days(first, nights)):
        try:
            reports = loop.night(day, train=number == nights - 1)
        except Exception as error:  # noqa: BLE001  what the bench is to show
            say(f"| {day} | | | | no: {type(error).__name__} {str(error)[:200]} |")
            return
        loop.play(day, loss)
        said = "; ".join(text for *_, text in alerts(loop, day)) or "–"
        say(f"| {day} | {said} | {reports['score_slots'].facts['model_version']} | {gate(reports)} | yes |")


def alerts(loop: Loop, day: date) -> list[tuple[str, str]]:
    """(kind, short text) of the night's alerts; those of the gate stand in a column of their own."""
    rows = read_table(loop.settings.paths.data, "alerts", day).sort_values(["kind", "name"])
    return [
        (r.kind, f"{r.kind} {r.name_} {r.value:.2f} (bound {r.bound:.2f})")
        for r in rows.rename(columns={"name": "name_"}).itertuples()
        if r.kind != "gate"
    ]


def gate(reports: Reports) -> str:
    facts = reports["train_propensity"].facts
    verdict = facts.get("gate")
    if verdict is None:
        return ""
    return f"{'promoted' if verdict['promoted'] else 'kept the champion'}: {' '.join(verdict['reasons'])}"


if __name__ == "__main__":
    main()
