"""Read the prices of an earlier solve as first prices of the next, check them, and match them with its rows."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sendopt.allocation.tables.out_folder import MANIFEST
from sendopt.allocation.tables.tabular import NUMBER, TEXT, Frame, read
from sendopt.errors import ContractError, InputNotReady

COLUMNS = {"row": TEXT, "price": NUMBER}


def start_prices(source: Mapping[str, float] | Path | Frame | None) -> dict[str, float]:
    """Return {row: price} from a mapping, a table with columns row and price, or a `solution.json` (or its folder).

    Raises InputNotReady (exit 75) for a missing file, ContractError (exit 3) for a source without prices and for a
    price that is negative or not finite.

    >>> start_prices({"cost": 2})
    {'cost': 2.0}
    """
    if source is None:
        return {}
    if isinstance(source, Path):
        source = source / MANIFEST if source.is_dir() else source
        name, prices = str(source), _of_document(source)
    elif isinstance(source, Frame):
        name, prices = source.name, _of_table(source)
    else:
        name, prices = "start_prices", {str(row): price for row, price in source.items()}
    return {row: _checked(name, row, price) for row, price in prices.items()}


def unmatched(prices: Mapping[str, float], rows: Collection[str]) -> list[str]:
    """Return a warning that names prices whose row is none of the limits' `rows`, if there are any."""
    known = set(rows)
    unknown = sorted(row for row in prices if row not in known)
    if not unknown:
        return []
    some = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
    return [f"start prices: {len(unknown):,} of {len(prices):,} are of no row of these limits ({some})"]


def _of_document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputNotReady(f"{path}: no such file; give the solution.json of an earlier solve as start prices")
    try:
        return {entry["row"]: entry["price"] for entry in json.loads(path.read_text("utf-8"))["prices"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ContractError(
            f"{path}: holds no prices of an earlier solve; give a solution.json that `sendopt solve` wrote"
        ) from None


def _of_table(frame: Frame) -> dict[str, Any]:
    table = read(frame, COLUMNS)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ContractError(
            f"{frame.name}: columns {', '.join(missing)} are missing; give row and price, as the prices of a result"
        )
    return dict(zip(map(str, table["row"].to_pylist()), table["price"].to_pylist(), strict=True))


def _checked(name: str, row: str, price: object) -> float:
    """Return `price` as a float; raise ContractError where it is negative, not finite or no number."""
    number = price if isinstance(price, int | float) and not isinstance(price, bool) else math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ContractError(f"{name}: the price of {row} is {price!r}; expected a finite number of 0 or more")
    return float(number)
