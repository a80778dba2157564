"""docs/analysis.md runs as it stands, from the first block to the last, in a folder with tiny models of its names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fractal_core as fc
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_block_runs(folder):
    pytest.importorskip("matplotlib")
    code = "\n".join(BLOCKS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::PendingDeprecationWarning", "-c", code],  # shap's own
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Fractal Dimension: ")
    assert "(2, 4)" in lines
    assert any(line.startswith("Dimension difference: ") for line in lines)
    for name in ("output.json", "output.csv", "output.npz", "output/layer1_head0_attention.png"):
        assert (folder / name).stat().st_size > 100


def test_methods_of_the_table_exist():
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*? \|", PAGE, re.MULTILINE)))
    owners = (fc.analysis.FractalTransforms, fc.analysis.AttentionMetrics)
    assert named
    assert [name for name in named if not any(hasattr(owner, name) for owner in owners)] == []
