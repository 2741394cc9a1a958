"""Sections for the growth team: headline, when and what is sent, limits and their prices, who is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from sendopt.domain import reasons
from sendopt.report.data import ReportData
from sendopt.report.kit import parts, reason_words, words
from sendopt.report.kit.parts import Notice, Tone
from sendopt.report.kit.rendering import NOTHING
from sendopt.report.kit.svg import FULL
from sendopt.report.model.evaluation import ModelEvaluation
from sendopt.report.night import goal_parts, plan_figures
from sendopt.report.night.anchors import Anchor
from sendopt.report.night.plan_figures import CampaignState

PRICES_SHOWN = 10


def units(data: ReportData) -> str:
    """Return what the plan's value counts, in the plural."""
    return words.unit(data.model.label if data.model else None)


def absent(data: ReportData, table: str, what: str) -> str:
    """Return why `what` is missing: the table does not exist, or it has no row of this night."""
    stage = words.TABLE_STAGES[table]
    if table in data.missing:
        return f"{what}: the table {table} does not exist yet; {stage} writes it."
    return f"{what}: the table {table} has no row for {data.plan_date.isoformat()}; {stage} wrote none."


def headline(data: ReportData) -> list[str]:
    """Return the sentences that sum up the night."""
    if not data.candidates:
        return [absent(data, "send_plan", "No candidate message was found for this night")]
    sends, people = len(data.plan), int(data.plan["user_id"].nunique())
    first = (
        f"{words.count(sends)} of {words.plural(data.candidates, 'candidate message')} "
        f"{'is' if sends == 1 else 'are'} planned for {words.plural(people, 'person', 'people')}"
    )
    if data.certificate.empty:
        return [first + ".", "Nothing proves how good the plan is: its certificate is missing."]
    gap = max(0.0, float(data.certificate.iloc[0]["gap"]))
    sentences = [f"{first}; proven within {words.gap_words(gap)} of the best possible plan."]
    if sends and data.plan["p_open"].notna().any():
        sentences.append(
            f"They are expected to bring {words.expected(float(data.plan['p_open'].sum()))} "
            f"{', '.join(['goals' if units(data) == 'goals' else 'opens', *goal_parts.expected(data)])} and "
            f"{words.amount(float(data.plan['p_opt_out'].sum()))} opt-outs."
        )
    return sentences


def tiles(data: ReportData) -> Markup:
    """Return the night's main numbers; nothing where there was no candidate."""
    if not data.candidates:
        return NOTHING
    plan, sends = data.plan, len(data.plan)
    people = int(plan["user_id"].nunique())
    everyone = len(set(plan["user_id"]) | set(data.suppressed["user_id"]))
    success = "goals" if units(data) == "goals" else "opens"
    shown = [
        parts.tile(words.count(sends), "planned sends", f"of {words.count(data.candidates)} candidates"),
        parts.tile(words.count(people), "people reached", f"of {words.count(everyone)} people"),
    ]
    if sends:
        opens, opt_outs = float(plan["p_open"].sum()), float(plan["p_opt_out"].sum())
        shown += [
            parts.tile(words.expected(opens), f"expected {success}", f"{words.percent(opens / sends)} of sends"),
            parts.tile(
                words.amount(opt_outs), "expected opt-outs", f"{words.amount(1000 * opt_outs / sends)} in 1,000 sends"
            ),
        ]
    if not data.certificate.empty:
        gap = max(0.0, float(data.certificate.iloc[0]["gap"]))
        shown.append(parts.tile(words.gap_words(gap), "from the best possible", "proven, not estimated"))
    if data.model and data.model.ratio is not None:
        shown.append(parts.tile(f"{data.model.ratio:.2f}", "observed / expected", "1.00 is right"))
    return parts.tiles(*shown)


def notices(data: ReportData) -> list[Notice]:
    """Return what a reader must know before trusting the rest."""
    warnings = [*_plan_warnings(data), *data.alerts["sentence"].astype(str)]
    if data.model is None:
        return [Notice(Tone.WARN, text) for text in warnings]
    warnings += _model_warnings(data.model)
    baseline = data.model.kind == "baseline"
    return [
        *(Notice(Tone.WARN, text) for text in warnings),
        *([Notice(Tone.INFO, "The scores come from a simple baseline, not from a trained model.")] if baseline else []),
    ]


def _plan_warnings(data: ReportData) -> list[str]:
    warnings = []
    fallback = int((data.plan["arm"] == "fallback").sum())
    if fallback:
        warnings.append(f"{words.plural(fallback, 'send')} planned without the model (arm fallback).")
    if not data.certificate.empty:
        ending = str(data.certificate.iloc[0]["termination"])
        if ending in ("work_limit", "time_limit"):
            warnings.append(f"The solver did not finish: {words.TERMINATIONS[ending]}.")
    uses = plan_figures.campaign_use(data.plan, data.suppressed, data.prices)
    short = [use.name for use in uses if use.state == CampaignState.BELOW_MINIMUM]
    if short:
        warnings.append(
            f"Below its minimum: {', '.join(short)}. A minimum is soft: it gives way where it costs too much."
        )
    return warnings


def _model_warnings(model: ModelEvaluation) -> list[str]:
    warnings = []
    if model.ratio is not None and not 0.95 <= model.ratio <= 1.05:
        warnings.append(
            f"The model is off in level: {model.ratio:.2f} observed for each one expected on the test days."
        )
    if model.gate and model.gate.promoted is False:
        warnings.append("The newest model did not pass its gate; see the model's section for the reasons.")
    return warnings


def timing(data: ReportData, channels: Sequence[str]) -> Markup:
    """Return the section about the local hours of the sends."""
    figure = plan_figures.hours(data.plan, channels)
    if data.plan.empty:
        return parts.section(
            Anchor.WHEN, "When messages go out", "", parts.missing(absent(data, "send_plan", "No sends to show"))
        )
    lead, shown = "Hours are each person's own clock.", data.plan[data.plan["send_at_local"].notna()]
    if unknown := len(data.plan) - len(shown):
        lead += (
            f" {words.plural(unknown, 'send')} to people of unknown time zone, legal in every zone they may live in,"
        )
        lead += " cannot be shown by hour."
    if shown.empty:
        return parts.section(Anchor.WHEN, "When messages go out", lead, figure)
    by_hour = Counter(plan_figures.local_hours(shown))
    peak = min(by_hour, key=lambda hour: (-by_hour[hour], hour))
    sends = words.plural(len(shown), "send")
    title = f"Busiest local hour: {peak:02d}:00, with {words.count(by_hour[peak])} of {sends}"
    planned = shown["channel"].value_counts()
    legend = parts.legend(
        [
            (plan_figures.colour(channels, name), f"{name} {words.count(planned[name])}")
            for name in channels
            if name in planned
        ]
    )
    return parts.section(Anchor.WHEN, "When messages go out", lead, parts.card(title, legend, figure))


def campaigns(data: ReportData, channels: Sequence[str]) -> Markup:
    """Return the section about the sends of each campaign and its limits."""
    uses = plan_figures.campaign_use(data.plan, data.suppressed, data.prices)
    if not uses:
        block = parts.missing(absent(data, "send_plan", "No campaigns to show"))
        return parts.section(Anchor.CAMPAIGNS, "What is sent", "", block)
    full = sum(use.state == CampaignState.AT_MAXIMUM for use in uses)
    short = sum(use.state == CampaignState.BELOW_MINIMUM for use in uses)
    verb = "is" if full == 1 else "are"
    title = (
        f"{words.count(full)} of {words.plural(len(uses), 'campaign')} {verb} at the maximum"
        if full
        else "No campaign is at its maximum"
    )
    title += f", {words.count(short)} below the minimum" if short else ""
    entries = [(plan_figures.colour(channels, name), name) for name in channels]
    entries += [("swatch-track", "room up to the maximum")] if any(use.maximum is not None for use in uses) else []
    entries += [("swatch-minimum", "minimum")] if any(use.minimum for use in uses) else []
    card = parts.card(title, parts.legend(entries), plan_figures.campaigns(uses, channels))
    lead = "Sends of each campaign against the limits set for it."
    return parts.section(Anchor.CAMPAIGNS, "What is sent", lead, card)


def capacity(data: ReportData, channels: Sequence[str]) -> Markup:
    """Return the section about each channel's capacity by slot."""
    uses = plan_figures.slot_use(data.prices)
    lead = (
        "What each channel can carry in a slot, what the plan uses, and where one more send would be worth something."
    )
    if not uses:
        what = "No capacity to show"
        block = (
            absent(data, "shadow_prices", what) if data.prices.empty else f"{what}: no channel has a capacity limit."
        )
        return parts.section(Anchor.CAPACITY, "Capacity", lead, parts.missing(block))
    full = {name: sum(use.full for use in rows) for name, rows in uses.items()}
    tightest = max(full, key=lambda name: full[name])
    slots = words.plural(len(uses[tightest]), "slot")
    title = (
        f"Tightest channel: {tightest}, full in {words.count(full[tightest])} of {slots}"
        if full[tightest]
        else "No channel is full in any slot"
    )
    kept = any(use.kept_free >= 0.5 for rows in uses.values() for use in rows)  # by earlier versions
    legend = parts.legend(
        [
            ("swatch-full", "slot is full"),
            ("swatch-slack", "room left"),
            *([("swatch-kept", "kept for random times")] if kept else []),
            ("swatch-limit", "capacity"),
            ("swatch-price", "one more send is worth something; stronger is more"),
        ]
    )
    figure = plan_figures.capacity(uses, channels, data.slot_minutes, units(data))
    return parts.section(Anchor.CAPACITY, "Capacity", lead, parts.card(title, legend, figure))


def prices(data: ReportData) -> Markup:
    """Return the section about the price of each limit."""
    lead = "Read a price as the change in the plan's value if the limit moved by one; it holds for small changes."
    title = "What one more is worth"
    if data.prices.empty:
        why = absent(data, "shadow_prices", "No prices to show")
        return parts.section(Anchor.PRICES, title, lead, parts.missing(why))
    minutes, unit = data.slot_minutes, units(data)
    ordered = data.prices.sort_values(["price", "row"], ascending=[False, True])
    ordered = ordered[ordered["price"] > 0]
    rows = [
        [
            words.price_sentence(str(row["row"]), str(row["kind"]), float(row["price"]), unit, minutes),
            words.use(float(row["used"]), float(row["limit"]), float(row["kept_free"])),
        ]
        for _, row in ordered.iterrows()
    ]
    blocks = []
    if rows:
        head = ("What one more is worth", "Used")
        blocks.append(parts.table(head, rows[:PRICES_SHOWN], numeric=(1,)))
        if len(rows) > PRICES_SHOWN:
            rest = rows[PRICES_SHOWN:]
            blocks.append(
                parts.details(f"{words.plural(len(rest), 'smaller price')}", parts.table(head, rest, numeric=(1,)))
            )
    blocks.append(parts.paragraph(_free_limits(data.prices), "note"))
    finding = (
        f"{words.plural(len(rows), 'limit')} would pay for being moved" if rows else "No limit costs anything tonight"
    )
    return parts.section(Anchor.PRICES, title, lead, parts.card(finding, *blocks))


def _free_limits(prices: pd.DataFrame) -> str:
    free = prices[prices["price"] <= 0]["kind"].value_counts()
    if free.empty:
        return "Every limit has a price above zero."
    names = {
        "capacity": ("slot's capacity", "slots' capacities"),
        "campaign_max": ("campaign maximum", "campaign maxima"),
        "campaign_min": ("campaign minimum", "campaign minima"),
        "opt_outs": ("opt-out budget", "opt-out budgets"),
        "cost": ("money budget", "money budgets"),
    }
    listed = ", ".join(words.plural(n, *names.get(str(kind), (str(kind),))) for kind, n in free.items())
    many = words.plural(int(free.sum()), "limit")
    return f"{many} cost nothing tonight, and moving them a little would change nothing: {listed}."


def suppressed(data: ReportData) -> Markup:
    """Return the section about messages that are not sent, by reason."""
    title = "Why messages were not sent"
    if data.suppressed.empty:
        what = "No message was suppressed" if data.candidates else "No suppressed messages to show"
        return parts.section(Anchor.SUPPRESSED, title, "", parts.missing(absent(data, "suppressed", what)))
    by_reason = data.suppressed["reason"].astype(str).value_counts()
    counts = sorted(((str(code), int(n)) for code, n in by_reason.items()), key=lambda pair: (-pair[1], pair[0]))
    total = len(data.suppressed)
    rows = [(reasons.name(code), float(n), f"{words.count(n)} · {words.share(n, total)}") for code, n in counts]
    top = reasons.name(counts[0][0])
    figure = plan_figures.bars(
        "suppressed-by-reason", "Suppressed messages by reason", rows, "No suppressed messages to show.", "quiet", FULL
    )
    explained = parts.definitions(
        [(f"{reasons.name(code)} ({code})", reasons.sentence(code)) for code, _ in counts], "columns"
    )
    return parts.section(
        Anchor.SUPPRESSED,
        title,
        "Each candidate message is either planned or has exactly one reason here.",
        parts.card(
            f"Most common: {top}, {words.share(counts[0][1], total)} of the {words.count(total)} not sent",
            figure,
            _rules(data),
            explained,
        ),
    )


def _rules(data: ReportData) -> Markup:
    """Return which caps, channels, campaigns and budgets held messages back, with use and price of each."""
    held = [
        (str(code), reason_words.rule(str(code), detail), str(detail.get("rule", "")))
        for code, text in zip(data.suppressed["reason"], data.suppressed["detail"], strict=True)
        if (detail := reasons.from_detail(text)).get("rule")
    ]
    if not held:
        return NOTHING
    counts = Counter((code, rule) for code, rule, _ in held)
    price_rows: dict[tuple[str, str], set[str]] = {}
    for code, rule, row in held:
        price_rows.setdefault((code, rule), set()).add(row)
    rows = [
        [
            f"{reasons.name(code)}: {rule}" if rule else reasons.name(code),
            words.count(n),
            *_use(data, price_rows[code, rule]),
        ]
        for (code, rule), n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    head = ("Rule that held it back", "Messages", "In use", "One more is worth")
    width = 4 if any(row[2] != "–" for row in rows) else 2  # rules of one user only: nothing is in use by all
    return parts.table(head[:width], [row[:width] for row in rows], numeric=range(1, width), stack=True)


def _use(data: ReportData, names: set[str]) -> tuple[str, str]:
    """Return the use of the rows together and the largest price among them; dashes for rules of one user."""
    rows = data.prices[data.prices["row"].isin(names)]
    if rows.empty:
        return "–", "–"
    slots = f" in {words.plural(len(rows), 'slot')}" if len(rows) > 1 else ""
    price = float(rows["price"].max())
    worth = f"{'up to ' if len(rows) > 1 else ''}{words.amount(price)}" if price > 0 else "–"
    return words.use(float(rows["used"].sum()), float(rows["limit"].sum())) + slots, worth


def arms(data: ReportData) -> Markup:
    """Return the section about the arms of the experiment."""
    title = "Arms of the running experiment"
    if not data.candidates:
        return parts.section(Anchor.ARMS, title, "", parts.missing(absent(data, "send_plan", "No arms to show")))
    present = sorted({*data.plan["arm"], *data.suppressed["arm"]}, key=arm_place)
    rows = [_arm_row(data, arm) for arm in present]
    unknown = "an arm this report does not know"
    meanings = parts.definitions([words.ARMS.get(arm, (arm, unknown)) for arm in present], "columns")
    head = ("Arm", "People", "Candidates", "Planned", "Sends a person", "Expected rate", "Mean pscore")
    card = parts.card(
        "Who is treated how",
        parts.table(head, rows, numeric=(1, 2, 3, 4, 5, 6), stack=True),
        meanings,
        note="pscore is the logged probability of the chosen slot; with it, other ways of timing can be judged later. "
        + _cost_of_random_times(data),
    )
    return parts.section(Anchor.ARMS, title, "People are put into arms by a hash that never changes.", card)


def _cost_of_random_times(data: ReportData) -> str:
    cost = data.facts("allocate").get("random_times_cost")
    if not cost:
        return ""
    drawn, displaced = float(cost["drawn"]), float(cost["others"])
    return (
        f"Random times cost this night {words.amount(drawn + displaced)} {units(data)} of value: {words.amount(drawn)} "
        f"in their own messages, {words.amount(displaced)} in the room that they take from other people's."
    )


def arm_place(arm: str) -> tuple[int, str]:
    """Return the sort key of an arm: known arms in their order, then unknown ones by name."""
    known = list(words.ARMS)
    return (known.index(arm) if arm in known else len(known), arm)


def _arm_row(data: ReportData, arm: str) -> list[str]:
    planned = data.plan[data.plan["arm"] == arm]
    refused = data.suppressed[data.suppressed["arm"] == arm]
    name = words.ARMS.get(arm, (arm, ""))[0]
    people, candidates = {*planned["user_id"], *refused["user_id"]}, len(planned) + len(refused)
    row = [name, words.count(len(people)), words.count(candidates), words.count(len(planned))]
    row.append(f"{len(planned) / max(1, len(people)):.2f}")
    if planned.empty:
        return [*row, "–", "–"]
    return [*row, words.percent(float(planned["p_open"].mean())), words.amount(float(planned["pscore"].mean()), 3)]
