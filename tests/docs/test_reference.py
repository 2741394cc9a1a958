"""Examples in docstrings run, and the reference page is the one that they make."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SOURCE = REPO / "src"
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for file in SOURCE.rglob("*.py")
    if ">>>" in file.read_text()
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module):
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_reference_page_is_made_from_the_docstrings_of_now(monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "tools"))
    import reference

    assert reference.PAGE.read_text() == reference.page(), "run `make reference`"
    sys.modules.pop("reference")
