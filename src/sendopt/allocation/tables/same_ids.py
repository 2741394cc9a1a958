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
    """How many users of the candidates have a history, and how many more would have one if ids were written alike."""

    matched: int
    otherwise: int
    form: str  # how the two ways of writing differ


def alike(candidates: pa.StringArray, history: pa.StringArray) -> Alike:
    """Return how many of the ids `candidates` are in `history`, and how many more are in it in another form.

    The ids of each array are unique. The form is the one in which most further ids match.

    >>> alike(pa.array(["7", "8", "9"]), pa.array(["007", "8"]))
    Alike(matched=1, otherwise=1, form='leading zeros')
    """
    in_history = pc.is_in(candidates, value_set=history)
    matched = pc.sum(in_history).as_py() or 0
    unmatched = candidates.filter(pc.invert(in_history))
    past = history.filter(pc.invert(pc.is_in(history, value_set=candidates)))
    if not _shared(_plainest, unmatched, past):
        return Alike(matched, 0, "")
    counts = {name: _shared(form, unmatched, past) for name, form in _FORMS.items()}
    best = max(counts, key=lambda name: counts[name])
    return Alike(matched, counts[best], best)


def _shared(form: Callable[[pa.Array], pa.Array], ids: pa.Array, past: pa.Array) -> int:
    """Return how many of `ids` are among `past` once both are written in this form."""
    return pc.sum(pc.is_in(form(ids), value_set=form(past))).as_py() or 0


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
