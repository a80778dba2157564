"""A stranger's distribution, installed beside our wheel in an empty environment, and one that is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of executables of an environment with our wheel and both plug-ins."""
    wheels = sorted((ROOT / "dist").glob("*.whl"))
    assert len(wheels) == 1, f"expected one wheel in dist/, found {wheels}; `make wheel` builds it"
    place = tmp_path_factory.mktemp("plugins")
    subprocess.run([sys.executable, "-m", "venv", place / "environment"], check=True)
    bin_ = place / "environment" / ("Scripts" if os.name == "nt" else "bin")
    # Copies, because setuptools leaves build folders beside the sources.
    sources = [ROOT / "examples" / "plugin", ROOT / "tests" / "data" / "broken_plugin"]
    copies = [shutil.copytree(source, place / source.name) for source in sources]
    wheel = f"fractal-attn[cli] @ {wheels[0].as_uri()}"
    run(bin_ / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, *copies, "pytest")
    return bin_


def run(*command: str | Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = {"VIRTUAL_ENV", "PYTHONPATH", "FRACTAL_CORE_PLUGINS"}
    variables = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    cwd = Path(command[0]).parent
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def python(environment: Path, text: str, **variables: str) -> str:
    return run(environment / "python", "-I", "-c", text, **variables).stdout


def test_used_from_python(environment: Path):
    text = """
import sys
import fractal_core as fc
assert "koch" in fc.patterns.names(), fc.patterns.names()
assert "fractal_attn_koch" not in sys.modules
koch = fc.pattern("koch", levels=6)
print(koch.index_set(2048, causal=True).reach().layers, (koch | fc.pattern("window", radius=4)).index_set(100).nnz)
fc.testing.check_pattern(lambda: koch)
assert "torch" not in sys.modules
assert fc.patterns.info("koch").origin == "fractal-attn-koch 0.1.0"
"""
    assert python(environment, text).split()[0] == "2"


def test_its_own_tests_pass(environment: Path):
    tests = environment.parents[1] / "plugin" / "tests"
    run(environment / "python", "-m", "pytest", "-q", tests)


def test_the_broken_one_costs_its_own_name(environment: Path):
    text = """
import fractal_core as fc
try:
    fc.pattern("shattered")
except fc.errors.PluginError as error:
    print(error)
print(fc.patterns.info("window").shadowed)
for name in set(fc.patterns.names()) - {"shattered"}:
    assert fc.patterns.info(name).error is None
    made = fc.pattern(name)
    n = getattr(made, "length", None) or 8  # a box has the length of its shape
    assert made.index_set(n).n_queries == n
"""
    error, shadowed = python(environment, text).splitlines()
    assert "'shattered' of fractal-attn-broken 0.0.1" in error
    assert "did not load: RuntimeError: the mirror fell off the wall" in error
    assert "fractal-attn-broken" in shadowed


def test_switched_off(environment: Path):
    text = "import fractal_core as fc; print(*fc.patterns.names())"
    names = python(environment, text).split()
    built_in = run(environment / "python", "-c", text, FRACTAL_CORE_PLUGINS="0").stdout.split()
    assert sorted(set(names) - set(built_in)) == ["koch", "shattered"]


def test_used_from_the_command_line(environment: Path):
    command = environment / "fractal-core"
    listed = json.loads(run(command, "patterns", "--json").stdout)
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["koch"]["origin"] == "fractal-attn-koch 0.1.0"
    assert by_name["koch"]["error"] is None
    assert "the mirror fell off the wall" in by_name["shattered"]["error"]
    assert "fractal-attn-broken 0.0.1" in by_name["shattered"]["error"]
    assert by_name["window"]["origin"] == "built-in"
