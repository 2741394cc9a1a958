"""Faults that the schema finds, as sentences for the author of the file.

Sentences are built from the JSON schema, so that a field's range and description are written once, in `schema`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sendopt.config.schema import Settings
from sendopt.config.secret_text import is_secret_key
from sendopt.config.yaml_tree import KeyPath, NumberText, shown
from sendopt.domain.limits import SolveLimits
from sendopt.domain.outside_text import nearest

Schema: TypeAlias = dict[str, Any]  # a JSON schema, or a node of one

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
NOW = r"^(machine|as_of|[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){1,2}Z)$"

PATTERNS = {  # pattern of the schema -> its meaning in words; a test asserts that none is missing
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "a local time like 22:00",
    NAME: "a name of letters, digits, _ . or -, at most 80 characters",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "a date like 2026-05-01",
    r"^[1-9][0-9]{0,5}[gm]$": "a size like 3g or 512m",
    NOW: "machine, as_of or a time in UTC like 2026-03-28T23:10:00Z",
}

SAMPLES = {  # pattern of the schema -> a text that matches it
    NOW: "machine",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "00:00",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "2000-01-01",
    r"^[1-9][0-9]{0,5}[gm]$": "1g",
}

WRONG = {  # type of pydantic's error -> what is wrong
    "int_type": "not a whole number",
    "int_from_float": "not a whole number",
    "float_type": "not a number",
    "string_type": "not text",
    "bool_type": "not true or false",
    "tuple_type": "not a list",
    "dict_type": "not a map",
    "model_type": "not a map",
    "model_attributes_type": "not a map",
    "finite_number": "not a finite number",
    "literal_error": "not one of the choices",
    "string_pattern_mismatch": "malformed",
    "string_too_short": "empty",
    "string_too_long": "too long",
    "greater_than": "out of range",
    "greater_than_equal": "out of range",
    "less_than": "out of range",
    "less_than_equal": "out of range",
}
_NUMBER_KINDS = ("int_type", "float_type", "literal_error", "int_parsing", "float_parsing")


@cache
def json_schema() -> Schema:
    """Return the JSON schema of the settings (draft 2020-12), for editors and docs; `conf/schema.json` holds it."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "sendopt settings"}


@cache
def _definitions() -> Schema:
    """Return the nodes that the `$ref` of settings and limits name."""
    definitions: Schema = {**json_schema()["$defs"], **SolveLimits.model_json_schema()["$defs"]}
    return definitions


def findings(error: ValidationError, data: object, root: Schema | None = None) -> list[tuple[KeyPath, str, object]]:
    """Return the faults of `data` against the schema `root`, by default that of the settings.

    A fault is the path of the key, the sentence, and a stand-in value where the key is absent (else None).
    """
    stand_ins: dict[tuple[KeyPath, str], object] = {}
    for detail in error.errors(include_url=False):
        place = _place(detail, data, root or json_schema())
        if place is not None:
            path, node, on_key = place
            stand_in = _stand_in(node) if detail["type"] == "missing" else None
            stand_ins.setdefault((path, _sentence(detail, path, node, on_key)), stand_in)
    return [(path, text, stand_in) for (path, text), stand_in in stand_ins.items()]


def _place(detail: ErrorDetails, data: object, root: Schema) -> tuple[KeyPath, Schema, bool] | None:
    """Return the path in the file and the schema node of an error, and whether the key itself is faulty.

    The validator's labels of unions are no part of the path. None where another branch of a union explains the fault.
    """
    path: KeyPath = ()
    node = root
    for part in detail["loc"]:
        node = _resolved(node)
        if part == "[key]":
            return path, node, True
        if "discriminator" in node:
            node = {"$ref": node["discriminator"]["mapping"][part]}
        elif "anyOf" in node:
            is_map = isinstance(data, dict)
            if is_map != str(part).startswith("dict["):
                return None
            if is_map:
                node = next(option for option in node["anyOf"] if option.get("type") == "object")
        else:
            path, node = (*path, part), _child(node, part)
            data = _step(data, part)
    return path, _resolved(node), False


def _step(data: object, part: str | int) -> object:
    """Return the entry of a map or list; None where there is none."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, tuple) and isinstance(part, int) and part < len(data) else None


def _resolved(node: Schema) -> Schema:
    """Return the node with its reference resolved and without the choice of null; its own description wins."""
    if "$ref" in node:
        target = _definitions()[node["$ref"].rpartition("/")[2]]
        return {**_resolved(target), **{key: value for key, value in node.items() if key != "$ref"}}
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolved({**options[0], **{key: value for key, value in node.items() if key != "anyOf"}})
    return {**node, "anyOf": options} if options else node


def _child(node: Schema, part: str | int) -> Schema:
    """Return the schema node of a key or list item; the node itself for a key that it does not know."""
    if part in node.get("properties", {}):
        child: Schema = node["properties"][part]
        return child
    entries = [node.get("additionalProperties"), node.get("items"), *node.get("patternProperties", {}).values()]
    entry = next((entry for entry in entries if isinstance(entry, dict)), None)
    if entry is None:
        return node  # an unknown key: its sentence lists the keys that the map knows
    return {"description": node["description"], **entry} if "description" in node else entry


def _sentence(detail: ErrorDetails, path: KeyPath, node: Schema, on_key: bool) -> str:
    kind, written = detail["type"], detail["input"]
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown_key(str(path[-1]), sorted(node.get("properties", {})))
    if on_key:
        return _bad_key(kind, written)
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "missing":
        return f"missing; expected {expected(node)}"
    if kind == "union_tag_not_found":
        return f"`kind` is missing; expected {_kinds(node)}"
    if kind == "union_tag_invalid":
        return f"unknown kind; got {shown(detail['ctx']['tag'])}; expected {_kinds(node)}"
    if written is None and kind in ("dict_type", "model_type", "model_attributes_type"):
        return "empty; write its entries below it, or remove the key"
    if any(is_secret_key(str(part)) for part in path[2:] if path[0] == "spark"):
        return f"{WRONG.get(kind, 'wrong value')}; expected {expected(node)}"  # a secret is not repeated
    if isinstance(written, NumberText):
        return f"a number too large or too small; got {shown(written)}; expected {expected(node)}"
    remedy = _quotes(written, node) if kind == "string_type" else _as_number(written) if kind in _NUMBER_KINDS else ""
    return f"{WRONG.get(kind, 'wrong value')}; got {shown(written)}; expected {expected(node)}{remedy}"


def _stand_in(node: Schema) -> object:
    """Return a value that the schema accepts, so that everything around a missing key can be checked."""
    node = _resolved(node)
    if "discriminator" in node:
        return _stand_in({"$ref": next(iter(node["discriminator"]["mapping"].values()))})
    if "anyOf" in node:
        return _stand_in(node["anyOf"][0])
    if "const" in node or "enum" in node:
        return node["const"] if "const" in node else node["enum"][0]
    if node["type"] in ("integer", "number"):
        return node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
    if node["type"] == "object":
        return {key: _stand_in(node["properties"][key]) for key in node.get("required", ())}
    return () if node["type"] == "array" else SAMPLES.get(node.get("pattern", ""), "x")


def _unknown_key(key: str, known: list[str]) -> str:
    close = nearest(key, known)
    if close:
        return f"unknown key, did you mean {close}?"
    return f"unknown key; expected one of {', '.join(known)}"


def _bad_key(kind: str, written: object) -> str:
    if kind == "string_type":
        return f'a key must be text; got {shown(written)}; put it in quotes: "{written}"'
    wanted = "a whole number" if kind == "int_type" else PATTERNS[NAME]
    return f"not a valid key; got {shown(written)}; expected {wanted}"


def _kinds(node: Schema) -> str:
    return f"kind: {' | '.join(sorted(node['discriminator']['mapping']))}"


def _quotes(written: object, node: Schema) -> str:
    """Return the advice to put a number or flag in quotes, where the text would then be right."""
    text = shown(written)
    if isinstance(written, (int, float)) and re.search(node.get("pattern", ""), text):
        return f'; put it in quotes: "{text}"'
    return ""


def _as_number(written: object) -> str:
    """Return how to write a number that is given in the way of another country: separators, decimal commas, percent."""
    if not isinstance(written, str):
        return ""
    text = written.strip()
    if re.fullmatch(r"[+-]?[1-9][0-9]{0,2}([,. _'’\u00a0\u202f][0-9]{3})+", text):
        return f"; write it without separators: {re.sub('[^0-9+-]', '', text)}"
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text):
        return f"; the decimal sign is a point: {text.replace(',', '.')}"
    if re.fullmatch(r"[0-9]+([.,][0-9]+)? ?%", text):
        return f"; write a fraction: {float(text.rstrip(' %').replace(',', '.')) / 100:g}"
    return ""


def expected(node: Schema) -> str:
    """Return what a value may be, with its unit or meaning in brackets.

    >>> expected({"type": "integer", "minimum": 0, "description": "minutes"})
    'a whole number, at least 0 (minutes)'
    """
    node = _resolved(node)
    phrase = _phrase(node)
    is_scalar = node.get("type") != "object" and "discriminator" not in node
    return f"{phrase} ({node['description']})" if is_scalar and "description" in node else phrase


def _phrase(node: Schema) -> str:
    if "discriminator" in node:
        return f"a map with {_kinds(node)}"
    if "anyOf" in node:
        return ", or ".join(_phrase(_resolved(option)) for option in node["anyOf"])
    if "enum" in node:
        return f"one of {', '.join(str(choice) for choice in node['enum'])}"
    if "const" in node:
        return str(node["const"])
    if node["type"] in ("integer", "number"):
        return ("a whole number" if node["type"] == "integer" else "a number") + _range(node)
    if node["type"] == "array":
        return f"a list of {_phrase(_resolved(node['items'])).removeprefix('a ').replace('number', 'numbers', 1)}"
    if node["type"] == "object":
        return f"a map of {', '.join(node['properties'])}" if "properties" in node else "a map"
    return PATTERNS.get(node.get("pattern", ""), "text")


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node:
        return f" above {_plain(node['exclusiveMinimum'])}" + (f", at most {_plain(high)}" if high is not None else "")
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    return f", at least {_plain(low)}" if low is not None else ""


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"
