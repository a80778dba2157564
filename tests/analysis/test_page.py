"""Every example and command of docs/analysis.md runs as it stands, on models in folders of those names."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

PAGE = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line
]


@pytest.fixture
def models(folder, tmp_path, monkeypatch):
    """A working folder that has the models which the page names."""
    for name in ("gpt2", "distilgpt2"):
        shutil.copytree(folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_the_examples(models, capsys):
    assert len(EXAMPLES) == 5
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/analysis.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "Fractal Dimension: nan" in printed
    assert "layer 0 causal causal (3, " in printed
    assert {"output.json", "output.csv", "output.npz", "maps.npz"} <= {path.name for path in models.iterdir()}
    assert len(list((models / "output").iterdir())) == 6


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands(models, monkeypatch, capsys, command):
    from fractal_core import cli

    program, *words = shlex.split(command)
    run = {"faa-analyze": cli.faa_analyze, "faa-compare": cli.faa_compare, "fractal-core": cli.main}[program]
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(SystemExit) as end:
        run()
    assert not end.value.code, capsys.readouterr().err
    assert "models" not in words
    assert all((models / words[words.index(flag) + 1]).exists() for flag in ("--save-viz", "--output") if flag in words)


def test_the_numbers_of_the_page():
    from fractal_core.analysis import universality

    assert f"{universality.mask_dimension(250):.4f}" in PAGE
    assert f"{universality.mask_dimension(256):.4f}" in PAGE
    assert f"{universality.mask_dimension(9):.4f}" in PAGE
    assert [n for n, _ in universality.nearest_lengths(range(8, 4097))[:2]] == [250, 251]
