"""docs/rotary.md: its examples run as they stand, and its figure is what the script draws."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "rotary.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_run(example):
    exec(compile(example, "docs/rotary.md", "exec"), {"__name__": "example"})


def test_there_are_examples():
    assert len(EXAMPLES) == 3


def test_the_figure_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    runpy.run_path(str(ROOT / "examples" / "rotary_figure.py"))["main"](str(tmp_path / "rotary.png"))
    assert (tmp_path / "rotary.png").read_bytes().startswith(b"\x89PNG")
    assert (ROOT / "docs" / "rotary.png").stat().st_size < 80_000
