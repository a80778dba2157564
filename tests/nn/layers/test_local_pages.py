"""Every example of the pages on local layers runs as it stands, and the pages say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import fractal_core as fc
import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ["adaptive-span.md", "sliding-window.md", "integrated.md", "encoder.md"]
EXAMPLES = [
    (page, example)
    for page in PAGES
    for example in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_example(page, example, capfd):
    exec(compile(example, page, "exec"), {"__name__": "__main__"})
    assert capfd.readouterr() == ("", "")


def test_every_page_has_one_and_says_when_not():
    assert {page for page, _ in EXAMPLES} == set(PAGES)
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        assert "## When to use it" in text
        assert "## When not" in text


def test_kinds_of_spans_are_those_described():
    page = (DOCS / "adaptive-span.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert described == {name for name in fc.nn.spans.names() if fc.nn.spans.info(name).origin == "built-in"}


def test_figures_are_small():
    for name in ("adaptive-span.png", "sliding-window.png", "integrated.png"):
        assert 0 < (DOCS / name).stat().st_size <= 80_000
