"""Ids of the same users written in two ways: 7 and 007, 123456789012 and 1.23456789012e+11."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

_EXPONENT = r"^[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,2}$"


@dataclass(frozen=True)
class Alike:
    """Users of the candidates: those with a history, and those who would have one if its ids were written alike."""

    matched: int
    otherwise: int
    form: str  # what the two ways differ in


def alike(candidates: pa.StringArray, history: pa.StringArray) -> Alike:
    """How many of the ids `candidates` are in `history`, and how many in another form; each array has an id once."""
    there = pc.is_in(candidates, value_set=history)
    matched = pc.sum(there).as_py() or 0
    rest = candidates.filter(pc.invert(there))
    others = history.filter(pc.invert(pc.is_in(history, value_set=candidates)))
    if not _shared(_plainest, rest, others):
        return Alike(matched, 0, "")
    counts = {what: _shared(form, rest, others) for what, form in _FORMS.items()}
    most = max(counts, key=lambda what: counts[what])
    return Alike(matched, counts[most], most)


def _shared(form: Callable[[pa.Array], pa.Array], ids: pa.Array, others: pa.Array) -> int:
    return pc.sum(pc.is_in(form(ids), value_set=form(others))).as_py() or 0


def _without_point(ids: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(ids, r"\.0*$", "")


def _without_exponent(ids: pa.Array) -> pa.Array:
    large = pc.match_substring_regex(ids, _EXPONENT)
    if not pc.any(large).as_py():
        return ids
    written_out = [f"{Decimal(number):f}" for number in ids.filter(large).to_pylist()]
    return pc.replace_with_mask(ids, large, pa.array(written_out, pa.string()))


def _without_zeros(ids: pa.Array) -> pa.Array:
    return pc.utf8_ltrim(ids, characters="0")


def _plainest(ids: pa.Array) -> pa.Array:
    return _without_zeros(_without_point(_without_exponent(pc.utf8_lower(pc.utf8_trim_whitespace(ids)))))


_FORMS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "white space around": pc.utf8_trim_whitespace,
    "capitals": pc.utf8_lower,
    "a decimal point": _without_point,
    "leading zeros": _without_zeros,
    "an exponent": lambda ids: _without_point(_without_exponent(ids)),
    "capitals, white space, zeros or a point": _plainest,
}
