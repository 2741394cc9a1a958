"""A conf folder written from texts, seen as people see it: `conf` below the working directory."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Path]:
    """Writes {file below conf: text} and returns `conf`, relative to the working directory it sets."""
    monkeypatch.chdir(tmp_path)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Path("conf")

    return write
