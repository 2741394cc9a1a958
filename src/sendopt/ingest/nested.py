"""Values inside nested rows as the text that a CSV file would hold, alike for JSON and Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

# A value of a raw row: what JSON holds (text, number, flag, None, list, object), or Python's value of Parquet's.
RawValue: TypeAlias = object


def value_at(item: Mapping[str, RawValue], name: str, keys: set[str]) -> RawValue:
    """Return the value under a key or a dotted path; None where the row has no such place.

    The parts of a path are keys of objects, places in lists, or keys of lists of `{key, value}` pairs. A name that
    the row has is added to `keys`.

    >>> row = {"user": {"ids": ["a", "b"]}, "params": [{"key": "slot", "value": {"int_value": "7"}}]}
    >>> [value_at(row, path, set()) for path in ("user.ids.1", "params.slot", "user.name")]
    ['b', '7', None]
    """
    if name in item:
        keys.add(name)
        return item[name]
    if "." not in name:
        return None
    value: RawValue = item
    for part in name.split("."):
        values = _values_under(value, part)
        if not values:
            return None
        value = values[0]
    keys.add(name)
    return value


def _values_under(value: RawValue, part: str) -> list[RawValue]:
    """Return the value under one part of a path: a list of at most one.

    A list of `{key, value}` pairs is read as a map. A pair's value may name its type (`string_value`, `int_value`);
    then the one that is filled counts. A single value is read as a list of one.
    """
    if isinstance(value, dict):
        return [value[part]] if part in value else []
    if not isinstance(value, list):
        return [value] if part == "0" and value is not None else []
    if part.isdecimal():
        return value[int(part) : int(part) + 1] if len(part) < 6 else []
    pairs = (p for p in value if isinstance(p, dict) and p.get("key") == part and "value" in p)
    return [_without_type(p["value"]) for p in pairs][:1]


def _without_type(value: RawValue) -> RawValue:
    """Return the filled entry of a value such as `{"string_value": null, "int_value": 7}`; another value as it is."""
    if isinstance(value, dict) and value and all(k.endswith("_value") for k in value):
        return next((v for v in value.values() if v is not None), None)
    return value


def json_text(value: RawValue) -> str | None:
    """Return text as it is and everything else as JSON; None for None and NaN, by which programs write "nothing"."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):  # JSON knows neither NaN nor Infinity
        return None if value != value else str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def clean(value: str | None) -> str | None:
    """Return the text without white space around it; None where nothing is left."""
    return None if value is None else value.strip() or None
