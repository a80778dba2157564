"""`import fractal_core` stays light: seen from fresh interpreters, by what they load and never by time."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import fractal_core as fc
import pytest

HEAVY = {"torch", "matplotlib", "typer", "rich", "click", "transformers", "importlib.metadata"}
LIST_MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded_by(statement: str, *search_path: Path) -> set[str]:
    paths = f"import sys; sys.path[:0] = {[str(p) for p in search_path]}\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{paths}{statement}\n{LIST_MODULES}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_loads_numpy_and_the_package_alone():
    added = loaded_by("import fractal_core") - loaded_by("import numpy")
    foreign = {name.split(".")[0] for name in added} - set(sys.stdlib_module_names)
    assert foreign <= {"fractal_core"}
    assert not added & {
        "fractal_core.dimension",
        "fractal_core.nn",
        "fractal_core.optim",
        "fractal_core.patterns",
        "fractal_core.cli",
        "fractal_core.testing",
    }


def test_version_is_the_distributions():
    assert fc.__version__ == version("fractal-attn")


@pytest.mark.parametrize("module", ["errors", "curves", "dimension", "sets", "fields", "index_sets", "patterns"])
def test_numpy_floors_load_nothing_heavy(module: str):
    baseline = loaded_by("import numpy")
    heavy = HEAVY - ({"importlib.metadata"} if module == "patterns" else set())
    assert not (loaded_by(f"import fractal_core.{module}") - baseline) & heavy


def test_an_installed_plug_in_is_not_imported(tmp_path: Path):
    (tmp_path / "loud_plugin.py").write_text("print('imported')\n")
    info = tmp_path / "loud_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fractal_core.patterns]\nloud = loud_plugin:Loud\n")
    statement = "import fractal_core as fc; assert 'loud' in fc.patterns.names(); fc.pattern('window', radius=1)"
    assert "loud_plugin" not in loaded_by("import fractal_core", tmp_path)
    assert "loud_plugin" not in loaded_by(statement, tmp_path)


def test_training_imports_no_compiler():
    setup = "import torch, fractal_core as fc; s = fc.pattern('window', radius=1).index_set(4)"
    tensors = "x = torch.ones(1, 4, 4, 8, requires_grad=True)"
    steps = "fc.nn.sparse_attention(x, x, x, s).sum().backward(); fc.nn.na1d(x, x, x, 3).sum().backward()"
    assert "torch._dynamo" not in loaded_by(f"{setup}; {tensors}; {steps}")
