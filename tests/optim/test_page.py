"""The examples of docs/optim.md run as they stand, in a fresh interpreter with warnings as errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "optim.md"


def test_the_example_learns(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loss, low, high = map(float, re.findall(r"\d\.\d+", done.stdout))
    assert loss < 0.9
    assert 0.82 <= low < high <= 0.98
