"""The notebook page runs from top to bottom, and what it says of its results is so."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "solve-in-a-notebook.md"


def test_the_blocks_of_the_notebook_page_run_in_order():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert len(blocks) >= 8
    heard = names["heard"]
    assert heard[-1].gap is not None
