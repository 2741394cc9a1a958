"""The model card: one page of Markdown on what a model is, what it was tested on, and why it is deployed or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sendopt.tracking import Lineage, page, qini

MOST_FEATURES = 5
RULES = {
    "model": "**this model**",
    "model_shuffled_slots": "the same trees, each send with the time of another of the user's sends",
    "global_rate": "one rate for everyone",
    "slot": "the hour's popularity",
    "user": "the user's own rate",
    "user_slot": "the user's rate and the hour's",
    "shrunk": "the user's rate, shrunk to the segment's and everyone's",
}


def model_card(evaluation: dict[str, Any], lineage: Lineage, links: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the card as Markdown; `links` gives, by arm, the address of the uplift learner's run."""
    gate = evaluation["gate"]
    window = lineage.parameters.get("window_hours")
    within = "" if window is None else f" within {float(window):g} hours"
    lines = [
        f"# {evaluation['model_version'] or 'Baseline, not registered'}",
        "",
        f"The chance that one send brings a success: {evaluation['label']}{within}. Kind: {evaluation['kind']}.",
        "",
        f"**{'Promoted to champion' if gate['promoted'] else 'Not promoted'}.** {_summary(evaluation)}",
        "",
        "The gate said:",
        "",
        *(f"- {reason}" for reason in gate["reasons"]),
        "",
        *_section("Data and split", _split(evaluation) + _data(lineage)),
        *_section("Against simple rules", _losses(evaluation)),
        *_section("Calibration", _calibration(evaluation)),
        *_section("Timing and cost", page.card_lines(evaluation)),
        *_section("What sending adds", qini.card_lines(evaluation, links)),
        *_section("What it looks at", _importance(evaluation)),
        "## Limits",
        "",
        "- A pattern over hours is what people do, not what sending causes, unless unsent points in the log show more.",
        "- Messages are taken to go to whom the log sent them: what depends on things that no feature holds is unseen.",
        f"- Fingerprint of data, settings and code: `{lineage.fingerprint}`; the same one gives the same model.",
    ]
    return "\n".join(lines) + "\n"


def _summary(evaluation: dict[str, Any]) -> str:
    """Return the summary that stays visible when the card is folded."""
    loss, ratio = evaluation["log_loss"], evaluation["observed_over_expected"]
    if loss["model"] is None or ratio is None:
        return "Too few sends to be tested on later days."
    return (
        f"Log loss {loss['model']:.5f} on later days, {loss['global_rate']:.5f} by one rate for everyone; observed / "
        f"expected {ratio:.3f}."
    )


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines] if lines else []


def _split(evaluation: dict[str, Any]) -> list[str]:
    split = evaluation["split"]
    if not split["test"]:
        return ["There were too few sends to test on later days.", ""]
    return [
        "| part | sends | days | |",
        "|---|---|---|---|",
        f"| learned from | {split['train']:,} | from {split['train_from']} on | each scored by trees that had not seen "
        "its user, which says when to stop and calibrates |",
        f"| tested on | {split['test']:,} | {split['test_from']} to {split['test_to']} | all later; it is deployed as "
        "it was tested |",
        "",
    ]


def _data(lineage: Lineage) -> list[str]:
    tags = dict(lineage.tags)
    try:
        versions: dict[str, Any] = json.loads(tags.pop("delta_versions", "{}"))
    except ValueError:
        versions = {}
    read = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    rest = [f"- {key.replace('_', ' ')}: {value}" for key, value in sorted(tags.items())]
    return [*rest, *([f"- versions of the Delta tables read: {read}"] if read else []), ""]


def _losses(evaluation: dict[str, Any]) -> list[str]:
    gains = {row["baseline"]: row for row in evaluation["gains"]}
    if not gains:
        return []

    def gain(name: str) -> str:
        row = gains.get(name)
        return "| |" if row is None else f"| {row['gain']:+.5f} | {row['low']:+.5f} to {row['high']:+.5f} |"

    return [
        "| on the test days | log loss | saved by the model | 95 % interval |",
        "|---|---|---|---|",
        *(
            f"| {RULES.get(name, name)} | {'' if v is None else f'{v:.5f}'} {gain(name)}"
            for name, v in page.by_value(evaluation["log_loss"])
        ),
        "",
    ]


def _calibration(evaluation: dict[str, Any]) -> list[str]:
    groups = evaluation["calibration_groups"]
    if not groups:
        return []
    miscalibrated = [row for row in groups if not row["calibrated"]]
    names = f": {', '.join(_name(row) for row in miscalibrated)}" if miscalibrated else ""
    return [
        "| test days | observed / expected | 95 % interval | sends |",
        "|---|---|---|---|",
        *(
            f"| {_name(row)} | {row['ratio']:.3f} | {row['low']:.3f} to {row['high']:.3f} | {row['n']:,} |"
            for row in groups
            if row["by"] in ("overall", "channel")
        ),
        "",
        f"Of {len(groups)} groups (overall, by local hour, decile and channel) {len(miscalibrated) or 'none'} "
        f"{'has' if len(miscalibrated) == 1 else 'have'} an interval wholly outside 0.95 to 1.05{names} "
        "(figures/observed_over_expected.png, calibration.json).",
        "",
    ]


def _name(row: dict[str, Any]) -> str:
    by = {"overall": "overall", "decile": f"decile {row['name']}"}
    return by.get(row["by"], str(row["name"]))


def _importance(evaluation: dict[str, Any]) -> list[str]:
    first = ", ".join(f"{row['feature']} {row['share']:.0%}" for row in evaluation["importance"][:MOST_FEATURES])
    return [f"Share of what moves the log-odds: {first} (figures/importance.png).", ""] if first else []
