"""Sections about how the night ran: the certificate of the plan, refused rows, stages and versions."""

from __future__ import annotations

import json

from markupsafe import Markup

from sendopt.domain import reasons
from sendopt.domain.clock import in_words
from sendopt.domain.stages import NAMES
from sendopt.report.data import ReportData
from sendopt.report.kit import parts, words
from sendopt.report.night.anchors import Anchor
from sendopt.report.night.plan_sections import absent, units


def certificate(data: ReportData) -> Markup:
    """Return the section that says how far the plan can be from the best one."""
    title = "How good the plan is: the certificate"
    if data.certificate.empty:
        return parts.section(
            Anchor.CERTIFICATE, title, "", parts.missing(absent(data, "certificate", "No certificate to show"))
        )
    row, unit = data.certificate.iloc[0], units(data)
    gap = max(0.0, float(row["gap"]))
    method, ending = str(row["method"]), str(row["termination"])
    sizes = [
        words.plural(int(row["users"]), "person", "people"),
        words.plural(int(row["messages"]), "message"),
        words.plural(int(row["cells"]), "possible time"),
        f"{words.plural(int(row['sends']), 'send')} chosen",
    ]
    facts = [
        ("Value", f"{float(row['value']):,.2f} {unit}, the sum over the planned sends, those at random times apart"),
        ("Penalty", f"{words.amount(float(row['penalty']), 3)} {unit} for sends missing from campaign minimums"),
        ("Objective", f"{float(row['objective']):,.2f} {unit}, value minus penalty"),
        ("Upper bound", f"{float(row['bound']):,.2f} {unit}; no plan within these limits can reach more"),
        ("Gap", f"{words.gap_words(gap)} of the value lies between objective and bound"),
        ("Method", f"{method}: {words.METHODS.get(method, 'a method this report does not know')}"),
        ("Termination", f"{ending}: {words.TERMINATIONS.get(ending, 'an ending this report does not know')}"),
        ("Size", ", ".join(sizes)),
    ]
    finding = f"At most {words.gap_words(gap)} could still be gained"
    lead = "The bound comes from a relaxed problem that can only be better than any real plan, so the gap is proven."
    return parts.section(Anchor.CERTIFICATE, title, lead, parts.card(finding, parts.definitions(facts)))


def quarantine(data: ReportData) -> Markup:
    """Return the section that counts refused rows by source, table and reason."""
    title = "Rows that were refused"
    if data.quarantine.empty:
        why = (
            absent(data, "quarantine", "No refused rows")
            if "quarantine" in data.missing
            else "No refused rows: every row that came in kept its contract."
        )
        return parts.section(Anchor.QUARANTINE, title, "", parts.missing(why))
    keys = ["source", "table_name", "reason"]
    grouped = data.quarantine.groupby(keys)["occurrences"].sum().reset_index()
    ordered = grouped.sort_values("occurrences", ascending=False, kind="stable")
    rows = [
        [*(str(row[key]) for key in keys), reasons.sentence(str(row["reason"])), words.count(row["occurrences"])]
        for _, row in ordered.iterrows()
    ]
    finding = f"{words.plural(int(grouped['occurrences'].sum()), 'row')} in quarantine since the start"
    card = parts.card(finding, parts.table(("Source", "Table", "Reason", "Meaning", "Rows"), rows, numeric=(4,)))
    return parts.section(Anchor.QUARANTINE, title, "Refused rows are kept with a reason, never dropped silently.", card)


def lineage(data: ReportData) -> Markup:
    """Return the section about versions, clock and stages of the night."""
    title = "Where this comes from"
    blocks = []
    versions = data.versions
    if versions:
        names = {"plan_version": "Plan version", "config_hash": "Config hash", "model_version": "Model version"}
        blocks.append(parts.card("Versions", parts.definitions([(names[key], text) for key, text in versions.items()])))
    else:
        blocks.append(parts.missing(absent(data, "certificate", "No versions to show")))
    if clock := data.facts("publish_schedule").get("clock"):
        blocks.append(parts.card("Clock", parts.definitions([("Published as of", in_words(clock))])))
    if data.runs.empty:
        blocks.append(parts.missing(absent(data, "runs", "No runs to show")))
    else:
        blocks.append(_runs(data))
    return parts.section(
        Anchor.LINEAGE, title, "The stages of this night in their order, and the versions they worked with.", *blocks
    )


def _runs(data: ReportData) -> Markup:
    order = {name: i for i, name in enumerate(NAMES)}
    records = sorted(
        data.runs.to_dict("records"), key=lambda run: (order.get(str(run["stage"]), 99), str(run["stage"]))
    )
    rows = [
        [
            str(run["stage"]),
            words.count(run["rows_in"]),
            words.count(run["rows_out"]),
            _dropped(str(run["dropped_by_reason"])),
            f"{run['seconds']:.1f}",
        ]
        for run in records
    ]
    seconds = float(data.runs["seconds"].sum())
    read = parts.definitions([(str(run["stage"]), _pairs(str(run["delta_versions"]))) for run in records])
    return parts.card(
        f"{words.plural(len(rows), 'stage')} in {words.count(round(seconds))} seconds",
        parts.table(("Stage", "Rows in", "Rows out", "Dropped", "Seconds"), rows, numeric=(1, 2, 4), stack=True),
        parts.details("Table versions each stage read", read),
    )


def _dropped(text: str) -> str:
    dropped = _json(text)
    if dropped is None:
        return text or "–"
    counts = [f"{code} {words.count(n)}" for code, n in dropped.items() if isinstance(n, int | float) and n]
    return ", ".join(counts) or "none"


def _pairs(text: str) -> str:
    pairs = _json(text)
    return text if pairs is None else ", ".join(f"{name} {version}" for name, version in pairs.items()) or "none"


def _json(text: str) -> dict[str, object] | None:
    """Return the JSON object in `text`; None where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
