"""The page for trouble is keyed by what is really printed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"(?m)^### `(.+)`$", PAGE)


def texts() -> Iterator[str]:
    """Return all texts of the plugins; what is inserted into one when it is printed is an ellipsis here."""
    for path in sorted((PROJECT / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"\{\d\}", "…", node.value)


TEXTS = list(texts())


def is_printed(heading: str) -> bool:
    """Tell whether a text has all of a heading, in this order."""
    pattern = re.compile(".*".join(re.escape(part) for part in heading.split("…")), re.DOTALL)
    return any(pattern.search(text) for text in TEXTS)


def test_there_are_headings() -> None:
    assert len(HEADINGS) > 20


@pytest.mark.parametrize("heading", HEADINGS)
def test_what_the_page_explains_is_printed(heading: str) -> None:
    assert is_printed(heading)


def test_what_is_not_printed_is_noticed() -> None:
    assert not is_printed("the app has no such road; set …")
