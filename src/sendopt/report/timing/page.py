"""The page of `sendopt evaluate`: whether personal timing is worth it, and what the answer rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sendopt.domain import reasons
from sendopt.report.kit import parts, words
from sendopt.report.kit.document import document
from sendopt.report.kit.parts import Notice, Tone
from sendopt.report.kit.rendering import NOTHING, fill
from sendopt.report.timing import figures

TITLE = "Is personal timing worth it?"
Row = Mapping[str, Any]
KINDS = {
    "shown": ("Worth it", Tone.INFO),
    "not_shown": ("Not shown", Tone.INFO),
    "harmful": ("Not worth it", Tone.WARN),
    "refused": ("No claim", Tone.WARN),
}


def render(result: Row) -> str:
    """Return the page of an `evaluation.json`: one document without scripts or requests; equal input, equal text."""
    verdict, sections = result["verdict"], [_data(result), _assumptions(result)]
    if verdict["kind"] != "refused" or result["policies"]:
        shown = (_values, _differences, _sending, _curves, _table, _model)
        sections = [*(section(result) for section in shown), *sections]
    common = verdict["common"] and verdict["kind"] != "refused" and verdict["common"]["sentence"]
    notes = [text for text in (verdict["placebo"], common, verdict["used_part"]) if text]
    body = fill(
        "timing/templates/page.html.jinja",
        title=TITLE,
        tone=KINDS[verdict["kind"]][1],
        verdict=verdict["sentence"],
        notices=parts.callouts([Notice(Tone.INFO, text) for text in notes]),
        tiles=_tiles(result),
        sections=sections,
    )
    return document(TITLE, body)


def _tiles(result: Row) -> Markup:
    verdict, data = result["verdict"], result["data"]
    tiles = [
        parts.tile(KINDS[verdict["kind"]][0], "personal timing", f"source {result['source']}"),
        parts.tile(words.count(data["used"]), "decisions used", f"of {words.plural(data['rows_in'], 'row')}"),
        parts.tile(words.count(data["people"]), "people", _period(data)),
    ]
    gain = verdict["personal_minus_common"] or {}
    if gain.get("value") is not None:
        interval = f"{figures.points(gain['low'])} to {figures.points(gain['high'])}"
        tiles.insert(
            1,
            parts.tile(
                figures.points(gain["value"]),
                "gain in successes per 100 sends",
                f"over the best common slot; 95 %: {interval}",
            ),
        )
        moved, people = data["people_with_a_slot_of_their_own"], data["people_evaluated"]
        tiles.append(
            parts.tile(f"{moved:,} of {people:,}", "people get a time of their own", "the others the common one")
        )
    return parts.tiles(*tiles)


def _period(data: Row) -> str:
    return f"{data['first_day']} to {data['last_day']}" if data["first_day"] else ""


def _values(result: Row) -> Markup:
    rows = [p for p in result["policies"] if p["snips"]["value"] is not None]
    personal = any(p["policy"] == "personal" for p in result["policies"])
    named = {p["policy"]: words.percent(p["snips"]["value"]) for p in rows}
    headline = [
        ("personal", "personal times"),
        (result["verdict"]["common_policy"], "the best common slot"),
        ("uniform", "any time alike"),
    ]
    finding = (
        ", ".join(f"{named[key]} at {name}" for key, name in headline if key in named) or "No policy can be valued"
    )
    entries = [("c0 round", "SNIPS, self-normalised weights"), ("c2 round", "DR, doubly robust")]
    if any(p["not_sent"] for p in rows):
        entries.append(("swatch-hollow", "the same slots where nothing was sent"))
    lead = (
        "Success rate of a send at the time that each policy would choose, "
        + ("on the last 40 % of each person's decisions" if personal else "on the people that it was not fitted on")
        + ". Each policy was fitted on the first 60 %."
    )
    return parts.section(
        "values",
        "What each policy would have brought",
        lead,
        parts.card(
            finding,
            parts.legend(entries),
            figures.values(rows),
            note="Bars are 95 % intervals over people. Two that overlap may still differ: below they are paired.",
        ),
    )


def _differences(result: Row) -> Markup:
    verdict, rows = result["verdict"], result["policies"]
    common = next((p["name"] for p in rows if p["policy"] == verdict["common_policy"]), "the best common slot")
    personal = next((p for p in rows if p["policy"] == "personal"), None)
    if personal is None:
        return NOTHING
    finding = {
        "shown": "Personal beats common",
        "harmful": "Common beats personal",
        "refused": "No difference can be given",
    }.get(verdict["kind"], "The interval holds 0: not shown")
    left = parts.card(
        finding,
        figures.estimators(personal),
        note=f"Personal minus “{common}”, both on the same resampled people. SNIPS decides; the others are checks.",
    )
    compared = [p for p in rows if p["policy"] not in (verdict["common_policy"], "uniform")]
    right = parts.card(
        "The other policies beside the common one",
        figures.against_common(compared),
        note="By SNIPS. Only the personal policy was named beforehand; the others are shown, not claimed.",
    )
    lead = (
        "The verdict is the personal policy minus the best policy that treats all alike, never minus uniform times: "
        "where people do not differ at all, a policy still beats uniform by finding the hour that suits everybody."
    )
    return parts.section("differences", "Is it the person, or just a good hour?", lead, parts.pair(left, right))


def _sending(result: Row) -> Markup:
    rows = [p for p in result["policies"] if p["sent_minus_not_sent"]]
    if not rows:
        return NOTHING
    lead = "At some decisions nothing was sent, by the same draw. There the policies' slots show what people do anyway."
    return parts.section(
        "sending",
        "Effect of sending, or habit?",
        lead,
        parts.card(
            "Sent minus not sent, at each policy's own slots",
            figures.effects(rows),
            note="Right of 0, a send adds something at that time. An interval that holds 0 means that the pattern over "
            "the day may be habit.",
        ),
    )


def _curves(result: Row) -> Markup:
    curves = result["curves"]
    if not curves:
        return NOTHING
    entries = [
        ("c0", "fitted for the person"),
        ("swatch-expected", "fitted for everyone"),
        ("swatch-hollow", "seen among sends of the first part; larger with more"),
    ]
    lead = (
        "Success rate of a send by slot, as fitted on the first part. A person's curve leaves the common one as far as "
        "that person's own data carry; the filled dot is the slot that the policy picks."
    )
    kappa = result["shrinkage"]["kappa"].get("user_slot")
    note = ""
    if kappa is not None:
        note = (
            f"A person with n decisions in a slot keeps n / (n + {words.count(round(kappa))}) of what the slot showed "
            "beyond the person's own rate and the common curve. People are picked from the one whose slot stands out "
            "most to the one whose stands out least, and not named."
        )
    return parts.section(
        "curves",
        "How much people differ",
        lead,
        parts.card(
            "Everyone, and a few people",
            parts.legend(entries),
            figures.curves(curves, result["data"]["slots"]),
            note=note,
        ),
    )


def _table(result: Row) -> Markup:
    head = ("Policy", "SNIPS", "DR", "IPS", "Worth sends", "Takes the common slot")
    rows = [
        [
            p["name"],
            *(_estimate(p[name]) for name in ("snips", "dr", "ips")),
            words.count(round(p["snips"]["effective"])),
            "–" if p["agrees_with_common"] is None else words.percent(p["agrees_with_common"], 0),
        ]
        for p in result["policies"]
    ]
    return parts.section(
        "table",
        "All numbers",
        "",
        parts.card(
            "Success rates with 95 % intervals",
            parts.table(head, rows, numeric=(1, 2, 3, 4, 5), stack=True),
            note="“Worth sends” is the effective sample size: equally weighted sends that would say as much. Under 30 "
            "a value is refused.",
        ),
    )


def _estimate(estimate: Row) -> str:
    if estimate["value"] is None:
        return "refused"
    value, low, high = (words.percent(estimate[key]) for key in ("value", "low", "high"))
    return f"{value} ({low.removesuffix(' %')} to {high.removesuffix(' %')})"


def _model(result: Row) -> Markup:
    losses = {k: v for k, v in result["log_loss"].items() if k != "rows"}
    if not losses:
        return NOTHING
    kappa = result["shrinkage"]["kappa"]
    names = {
        "slot": "Slots",
        "segment": "Segments",
        "segment_slot": "Segment × slot",
        "user": "People",
        "user_slot": "Person × slot",
    }
    rows = [(names[k], f"{v:,.1f} decisions" if v < 20_000 else "no difference found") for k, v in kappa.items()]
    left = parts.card(
        "Log loss of the success model on the rest",
        figures.losses(losses),
        note=f"On {words.plural(result['log_loss']['rows'], 'decision')} that no model saw; left is better.",
    )
    right = parts.card(
        "How strongly groups are shrunk",
        parts.definitions(rows),
        note="κ: the number of decisions at which a group's own deviation counts half. Found by maximum likelihood on "
        "the first part: large where groups differ by no more than chance.",
    )
    return parts.section("model", "The success model behind the policies", "", parts.pair(left, right))


def _data(result: Row) -> Markup:
    data = result["data"]
    rows = [
        ("Rows in", words.count(data["rows_in"])),
        ("Used", f"{words.count(data['used'])} decisions of {words.plural(data['people'], 'person', 'people')}"),
    ]
    if data["evaluated_on"]:
        rows.append(("Fitted on", words.count(data["fitted_on"])))
        rows.append(("Evaluated on", words.count(data["evaluated_on"])))
    kinds = {"send": "sending at a point of time", "slot": "the slot of a send", None: "not known"}
    rows += [
        ("What was drawn", kinds[data["decision_kind"]]),
        ("Success", data["outcome"]),
        ("Outcomes", data["outcomes"]["sentence"].removeprefix("outcomes: ")),
        ("Slots", f"{len(data['slots'])}, from {data['slot_from']}"),
        ("Days", _period(data) or "none"),
    ]
    if data["decision_kind"] == "slot" and data["mean_weight_of_uniform"] is not None:
        weight = f"{data['mean_weight_of_uniform']:.2f}; 1 where every slot was possible at every decision"
        rows.append(("Mean weight of uniform times", weight))
    if len(data["segments"]) > 1:
        rows.append(("Segments", words.count(len(data["segments"]))))
    dropped = [[f"{reasons.name(k)}. {reasons.sentence(k)}", words.count(v)] for k, v in data["dropped"].items()]
    dropped_rows = sum(data["dropped"].values())
    right = parts.card(
        f"{words.plural(dropped_rows, 'row')} left out, by reason" if dropped_rows else "No row was left out",
        parts.table(("Reason", "Rows"), dropped, numeric=(1,))
        if dropped
        else parts.missing("Every row could be used."),
    )
    return parts.section("data", "The data", "", parts.pair(parts.card("What came in", parts.definitions(rows)), right))


def _assumptions(result: Row) -> Markup:
    card = fill("timing/templates/assumptions.html.jinja", assumptions=result["assumptions"])
    return parts.section("assumptions", "What must hold", "", card)
