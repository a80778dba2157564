"""The examples of docs/routing.md, myelinated.md, key-update.md and worm.md run; their tables and figures are true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fractal_core as fc
import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("routing", "myelinated", "key-update", "worm")


def text(page):
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_the_examples(page, capsys):
    examples = re.findall(r"```python\n(.*?)```", text(page), re.DOTALL)
    assert examples
    names: dict[str, object] = {}
    try:
        for example in examples:
            exec(compile(example, f"docs/{page}.md", "exec"), names)
    finally:
        fc.nn.routers._registered.discard("loud")
        fc.nn.routers._factories.pop("loud", None)
    assert capsys.readouterr().err == ""


def test_the_table_of_routers():
    described = set(re.findall(r"^\| `(\w+)` \|", text("routing"), re.MULTILINE))
    assert described == {name for name in fc.nn.routers.names() if fc.nn.routers.info(name).origin == "built-in"}


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_small(page):
    for figure in re.findall(r"\]\((\w+\.png)\)", text(page)):
        assert (ROOT / "docs" / figure).stat().st_size <= 80_000


@pytest.mark.slow
def test_the_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    script = ROOT / "examples" / "routing_figures.py"
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, str(script), str(tmp_path), "--steps", "30"], check=True, env=environment)
    assert {path.name for path in tmp_path.glob("*.png")} == {"myelinated.png", "worm.png"}
