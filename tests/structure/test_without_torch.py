"""The wheels are tried without the torch extra: what of the suite runs there can be collected there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITH_TORCH = (
    "torch",
    "fractal_core.nn",
    "fractal_core._torch",
    "fractal_core.demo",
    "fractal_core.bench",
    "fractal_core.optim",
)


def needs_torch(source):
    """Top-level imports of torch, or of what imports it; an `importorskip` before them ends the file in time."""
    for statement in ast.parse(source).body:
        if isinstance(statement, (ast.Assign, ast.Expr)) and "importorskip" in ast.unparse(statement):
            return []
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            names = [str(statement.module), *(f"{statement.module}.{alias.name}" for alias in statement.names)]
        else:
            continue
        found = [name for name in names if any(name == one or name.startswith(f"{one}.") for one in WITH_TORCH)]
        if found:
            return found
    return []


def test_files_that_run_without_torch_import_none():
    workflow = (ROOT / ".github" / "workflows" / "wheels.yml").read_text()
    ignored = [ROOT / path for path in re.findall(r"--ignore (\S+)", workflow)]
    assert all(path.is_dir() for path in ignored)
    files = [path for path in ROOT.glob("tests/**/*.py") if not any(one in path.parents for one in ignored)]
    assert len(files) > 30
    found = {path.name: needs_torch(path.read_text()) for path in files}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch", ["torch"]),
        ("from fractal_core import nn", ["fractal_core.nn"]),
        ("import pytest\ntorch = pytest.importorskip('torch')\nimport torch.nn", []),
        ("def f():\n    import torch", []),
        ("def f():\n    pytest.importorskip('torch')\nimport torch", ["torch"]),
        ("import torchless", []),
    ],
)
def test_an_import_is_found(source, found):
    assert needs_torch(source) == found
