"""The product that wrote a log, recognised by its columns, and its mapping reduced to the columns of the log."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from sendopt.config.presets import PREFIX, mapping_file
from sendopt.errors import ContractError
from sendopt.ingest.proposal.draft import scalar
from sendopt.ingest.proposal.sample import Sample
from sendopt.ingest.schema import FILLED

# product -> columns that only it has; and a column with the start of its values, where names are not enough
_COLUMNS_OF_PRODUCTS: dict[str, tuple[tuple[str, ...], tuple[str, str] | None]] = {
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
    """Return (the preset's name, the columns that show it); None where no product is recognised."""
    for name, (columns, value) in _COLUMNS_OF_PRODUCTS.items():
        if all(c in sample.columns for c in columns):
            if value and not sample.rows[value[0]].dropna().str.startswith(value[1]).any():
                continue
            return name, ", ".join(columns)
    return None


def mapping_of_preset(name: str, sample: Sample, source: str, zone: str | None) -> tuple[str, list[str], list[str]]:
    """Return the preset's text for this log, the columns that the log lacks, and what is assumed for them.

    Raises ContractError naming the columns that the preset needs.
    """
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(mapping_file(f"{PREFIX}{name}").read_text())
    tree["source"] = source
    missing: list[str] = []
    for name_of_table, table in tree["tables"].items():
        if "format" not in table:
            continue
        table["format"] = sample.format
        table.pop("files", None)
        for place, (key, value) in enumerate(sample.head().items()):
            if key != "format":
                table.insert(place, key, value)
        for column in list(table["columns"]):
            missing += _cut(table, name_of_table, column, sample)
    assumed = []
    sends = tree["tables"]["sends"]
    if zone is not None or "timezone" not in sends["columns"]:
        for section in ("columns", "values"):
            sends.get(section, {}).pop("timezone", None)
        sends.setdefault("constants", {})["timezone"] = zone or "UTC"
        if zone is None:
            assumed.append("everybody lives in UTC: no column holds a zone; give --zone where that is wrong")
    return _text(yaml, tree), missing, assumed


def _cut(table: Any, name: str, column: str, sample: Sample) -> list[str]:
    """Remove an optional column that the log lacks from a table, and return a sentence for it."""
    given = table["columns"][column]
    raws = given["first"] if isinstance(given, dict) else [given] if isinstance(given, str) else given
    present = [raw for raw in raws if raw in sample.columns]
    if present and (isinstance(given, dict) or len(present) == len(raws)):
        return []
    default = table.get("defaults", {}).get(column)
    if column not in _OPTIONAL and default is None and column not in FILLED.get(name, set()):
        raise ContractError(
            f"{sample.source}: tables.{name}.columns.{column} of this preset is {', '.join(raws)}, which the log does "
            f"not have; it has: {sample.listed}. Export those fields too, or map the log by hand "
            "(docs/how-to/bring-your-own-log.md)"
        )
    del table["columns"][column]
    for section in ("values", "defaults"):
        table.get(section, {}).pop(column, None)
        if section in table and not table[section]:
            del table[section]
    if default is not None and column in ("campaign_id", "category"):
        table.setdefault("constants", {})[column] = default
    return [f"{', '.join(raws)} ({name}.{column}): the log has no such column"]


def _text(yaml: YAML, tree: Any) -> str:
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue().replace("source: " + str(tree["source"]), "source: " + scalar(tree["source"]), 1)
