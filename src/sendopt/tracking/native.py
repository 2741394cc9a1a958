"""A model from the bytes of a store: LightGBM's text and a JSON card, read as data; nothing is unpickled or run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import lightgbm

from sendopt.errors import ModelError
from sendopt.propensity.model import Card, OpenModel

FIRST_LINE = b"tree\n"  # of every booster that LightGBM writes as text
TREES_SUM, CARD_SUM = "sendopt.trees_sha256", "sendopt.card_sha256"  # tags of a version, in the registry's database
_REMEDY = "train again with --train, or go back with `sendopt rollback`"


def checksums(trees: bytes, card: bytes) -> dict[str, str]:
    """Return the SHA-256 of a model's two files by the tag that stores it."""
    return {TREES_SUM: hashlib.sha256(trees).hexdigest(), CARD_SUM: hashlib.sha256(card).hexdigest()}


def require_unchanged(name: str, trees: bytes, card: bytes, tags: Mapping[str, str]) -> None:
    """Raise ModelError unless both files of model `name` are those that were registered, by the version's `tags`."""
    for tag, value in checksums(trees, card).items():
        part = "trees" if tag == TREES_SUM else "card"
        if tag not in tags:
            raise ModelError(f"model {name} cannot be read: the registry has no checksum of its {part}; {_REMEDY}")
        if tags[tag] != value:
            raise ModelError(
                f"model {name} cannot be read: its {part} changed after it was registered (SHA-256 {value[:12]}…, "
                f"expected {tags[tag][:12]}…); {_REMEDY}"
            )


def model_of(name: str, trees: bytes, card: bytes) -> OpenModel:
    """Return the model `name` from its two files; raise ModelError unless they are a booster's text and its card.

    The trees are parsed on the driver, so that a broken model fails before a night is scored with it.
    """
    if not trees.startswith(FIRST_LINE) or not _is_complete(trees):
        raise ModelError(
            f"the trees of model {name} are not a LightGBM booster in text form (a pickle, or a damaged file); models "
            "are never unpickled: train again with --train, or go back with `sendopt rollback`"
        )
    try:
        model = OpenModel(trees.decode("utf-8"), Card.from_json(card.decode("utf-8")))
        features = model.booster.num_feature()
    except (UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
        raise ModelError(
            f"model {name} cannot be read ({type(error).__name__}); train again with --train, or go back with "
            "`sendopt rollback`"
        ) from None
    if features != len(model.card.features):
        raise ModelError(
            f"model {name} has trees on {features} features and a card of {len(model.card.features)}; train again with "
            "--train, or go back with `sendopt rollback`"
        )
    return model


def _is_complete(trees: bytes) -> bool:
    """Return whether every tree is where the header's sizes place it; LightGBM aborts the process where one is not."""
    start = trees.find(b"\nTree=0\n") + 1
    sizes = [line for line in trees[:start].splitlines() if line.startswith(b"tree_sizes=")]
    if not start or len(sizes) != 1:
        return False
    for number, size in enumerate(sizes[0].removeprefix(b"tree_sizes=").split()):
        if not size.isdigit() or not trees.startswith(b"Tree=%d\n" % number, start):
            return False
        start += int(size)
    return trees.startswith(b"end of trees", start)
