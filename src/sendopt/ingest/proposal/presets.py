"""Which product wrote a log, seen from its telling columns, and that product's mapping cut to the columns there."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from sendopt.config.presets import PREFIX, mapping_file
from sendopt.errors import ContractError
from sendopt.ingest.proposal.draft import scalar
from sendopt.ingest.proposal.sample import Sample
from sendopt.ingest.schema import FILLED

_TELLING: dict[str, tuple[tuple[str, ...], tuple[str, str] | None]] = {
    "sendgrid": (("sg_event_id", "sg_message_id", "event"), None),
    "braze": (("event_type", "dispatch_id"), ("event_type", "users.messages.")),
    "customerio": (("metric", "object_type", "data.delivery_id"), None),
    "onesignal": (("event.kind", "message.id"), ("event.kind", "message.")),
    "iterable": (("eventName", "dataFields.messageId"), None),
    "firebase": (("event_name", "event_timestamp", "event_params.message_id"), None),
    "segment": (("type", "event", "messageId", "userId"), ("type", "track")),
}
_OPTIONAL = ("machine", "timezone", "category", "channel", "pscore", "arm")


def product_of(sample: Sample) -> tuple[str, str] | None:
    """(the preset's name, the columns that tell it); None where no product is known by its columns."""
    for name, (columns, value) in _TELLING.items():
        if all(c in sample.columns for c in columns):
            if value and not sample.rows[value[0]].dropna().str.startswith(value[1]).any():
                continue
            return name, ", ".join(columns)
    return None


def mapping_of_preset(name: str, sample: Sample, source: str, zone: str | None) -> tuple[str, list[str], list[str]]:
    """The preset's text for this log, what of it the log does not hold, and what is assumed in its place.

    Raises ContractError naming the columns that the preset cannot do without.
    """
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(mapping_file(f"{PREFIX}{name}").read_text())
    tree["source"] = source
    missing: list[str] = []
    for table, of in tree["tables"].items():
        if "format" not in of:
            continue
        of["format"] = sample.format
        of.pop("files", None)
        for place, (key, value) in enumerate(sample.head().items()):
            if key != "format":
                of.insert(place, key, value)
        for column in list(of["columns"]):
            missing += _cut(of, table, column, sample)
    assumed = []
    sends = tree["tables"]["sends"]
    if zone is not None or "timezone" not in sends["columns"]:
        for section in ("columns", "values"):
            sends.get(section, {}).pop("timezone", None)
        sends.setdefault("constants", {})["timezone"] = zone or "UTC"
        if zone is None:
            assumed.append("everybody lives in UTC: no column holds a zone; give --zone where that is wrong")
    return _text(yaml, tree), missing, assumed


def _cut(of: Any, table: str, column: str, sample: Sample) -> list[str]:
    """Takes out an optional column that the log does not have, and says so."""
    given = of["columns"][column]
    raws = given["first"] if isinstance(given, dict) else [given] if isinstance(given, str) else given
    there = [r for r in raws if r in sample.columns]
    if there and (isinstance(given, dict) or len(there) == len(raws)):
        return []
    default = of.get("defaults", {}).get(column)
    if column not in _OPTIONAL and default is None and column not in FILLED.get(table, set()):
        raise ContractError(
            f"{sample.source}: tables.{table}.columns.{column} of this preset is {', '.join(raws)}, which the log does "
            f"not have; it has: {sample.listed}. Export those fields too, or map the log by hand "
            "(docs/how-to/bring-your-own-log.md)"
        )
    del of["columns"][column]
    for section in ("values", "defaults"):
        of.get(section, {}).pop(column, None)
        if section in of and not of[section]:
            del of[section]
    if default is not None and column in ("campaign_id", "category"):
        of.setdefault("constants", {})[column] = default
    return [f"{', '.join(raws)} ({table}.{column}): the log has no such column"]


def _text(yaml: YAML, tree: Any) -> str:
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue().replace("source: " + str(tree["source"]), "source: " + scalar(tree["source"]), 1)
