"""Write docs/reference.md from the docstrings of public functions and classes with an example (`make reference`)."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
HEAD = """# Reference

Functions and classes that people call, by package. Every example on this page is run by the tests. The page is made
from the docstrings by `make reference`; change those, not the page.
"""
Entry = tuple[str, str, str, str]  # package, module, signature, docstring


def page(source: Path = ROOT / "src") -> str:
    """Return the page as Markdown: a heading a package, then each entry's module, signature and docstring."""
    parts = [HEAD]
    for package, entries in groupby(sorted(entries_of(source)), key=lambda entry: entry[0]):
        parts.append(f"## {package}\n")
        parts.extend(_section(*entry[1:]) for entry in entries)
    return "\n".join(parts)


def entries_of(source: Path) -> Iterator[Entry]:
    """Yield an entry for each public function and class below `source` whose docstring holds an example."""
    for file in source.rglob("*.py"):
        module = ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                text = ast.get_docstring(node) or ""
                if ">>>" in text:
                    yield ".".join(module.split(".")[:2]), module, _signature(node), inspect.cleandoc(text)


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){result}"


def _section(module: str, signature: str, text: str) -> str:
    name = signature.removeprefix("class ").split("(")[0]
    prose, examples = text.split(">>>", 1)
    code = f"```python\n>>>{examples.rstrip()}\n```\n"
    return f"### {name}\n\n`from {module} import {name}`\n\n```python\n{signature}\n```\n\n{prose.rstrip()}\n\n{code}"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")
