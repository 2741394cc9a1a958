"""Values inside nested rows, as the text that a CSV file would hold: alike for JSON and Parquet."""

from __future__ import annotations

import json
from typing import Any


def value_at(item: dict[str, Any], name: str, keys: set[str]) -> Any:
    """The value under a key, or under a path with dots between: keys, places in a list, keys of a list of pairs.

    A name that is there joins `keys`.
    """
    if name in item:
        keys.add(name)
        return item[name]
    if "." not in name:
        return None
    value: Any = item
    for part in name.split("."):
        steps = _steps(value, part)
        if not steps:
            return None
        value = steps[0]
    keys.add(name)
    return value


def _steps(value: Any, part: str) -> list[Any]:
    """What lies under one part of a path: at most one value.

    A list of `{key, value}` pairs is read as a map, the value of a pair as the one that is filled of its types
    (`string_value`, `int_value`), and a single value as a list of one.
    """
    if isinstance(value, dict):
        return [value[part]] if part in value else []
    if not isinstance(value, list):
        return [value] if part == "0" and value is not None else []
    if part.isdecimal():
        return value[int(part) : int(part) + 1] if len(part) < 6 else []
    pairs = (p for p in value if isinstance(p, dict) and p.get("key") == part and "value" in p)
    return [_of_its_type(p["value"]) for p in pairs][:1]


def _of_its_type(value: Any) -> Any:
    if isinstance(value, dict) and value and all(k.endswith("_value") for k in value):
        return next((v for v in value.values() if v is not None), None)
    return value


def json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):  # NaN and Infinity, which JSON does not know; by NaN, programs write "nothing"
        return None if value != value else str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def clean(value: str | None) -> str | None:
    return None if value is None else value.strip() or None
