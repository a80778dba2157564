"""The README's examples run as they stand, each in a fresh interpreter with warnings as errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(example: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples_are_short():
    assert [len(example.strip().splitlines()) <= 16 for example in EXAMPLES] == [True, True]


def test_first_example_counts_what_it_says(tmp_path: Path):
    lines = run(EXAMPLES[0], tmp_path).splitlines()
    n_queries, edges = map(int, lines[0].split())
    assert n_queries == 4096
    assert 0 < edges < 4096 * 4097 / 2 / 5
    assert lines[1].endswith("keys a query; 2 layers reach every earlier token")


def test_second_example_learns(tmp_path: Path):
    pytest.importorskip("torch")
    losses = [float(line.split()[1]) for line in run(EXAMPLES[1], tmp_path).splitlines()]
    assert losses[-1] < losses[0] / 2
