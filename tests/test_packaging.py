"""What is shipped: the wheel, the source distribution, and what pip makes of them in an empty environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[1]
LICENSES = {"LICENSE-APACHE", "LICENSE-MIT"}
FIRST_EXAMPLE = r"```python\n(.*?)```"


def only(pattern: str) -> Path:
    found = sorted((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"expected one {pattern} in dist/, found {found}; `make wheel` builds it"
    return found[0]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an empty environment."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    return tmp_path / "environment" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*command: str | Path, cwd: Path) -> str:
    hidden = {"VIRTUAL_ENV", "PYTHONPATH", "PYO3_PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    # The build of the source distribution may reuse compiled dependencies, never our own crates: their path differs.
    environment["CARGO_TARGET_DIR"] = str(ROOT / "target")
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_one_wheel_serves_every_python():
    assert "-cp310-abi3-" in only("*.whl").name


def test_wheel_holds_types_stub_and_licenses_but_no_sources():
    with zipfile.ZipFile(only("*.whl")) as wheel:
        names = set(wheel.namelist())
    assert {"fractal_core/py.typed", "fractal_core/_native.pyi"} <= names
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} == LICENSES
    assert [name for name in names if name.endswith((".rs", ".toml")) or name.startswith("tests")] == []
    python_files = {p.relative_to(ROOT / "python").as_posix() for p in (ROOT / "python").rglob("*.py")}
    assert python_files <= names


def test_wheel_holds_no_bench_against_peers():
    with zipfile.ZipFile(only("*.whl")) as wheel:
        modules = {name: wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".py")}
    assert {name.split("/")[0] for name in modules} == {"fractal_core"}
    assert {"fractal_core/bench/clock.py", "fractal_core/cli/bench.py"} <= modules.keys()
    peers = r"\b(numba|local_attention|hilbertsfc|benches)\b"
    assert [name for name, text in modules.items() if re.search(rf"import .*{peers}|from {peers}", text)] == []


def test_the_extension_is_small_and_links_no_graphics_library(tmp_path: Path):
    with zipfile.ZipFile(only("*.whl")) as wheel:
        (name,) = (name for name in wheel.namelist() if name.startswith("fractal_core/_native.") and ".pyi" not in name)
        path = Path(wheel.extract(name, tmp_path))
    assert path.stat().st_size <= 14_000_000
    if sys.platform == "linux" and shutil.which("readelf") is not None:
        needed = run("readelf", "--dynamic", path, cwd=tmp_path)
        libraries = re.findall(r"\(NEEDED\).*\[(.*?)\]", needed)
        assert libraries
        assert [
            library for library in libraries if not re.match(r"(lib(c|m|dl|pthread|gcc_s|rt)|ld-linux.*)\.", library)
        ] == []


def test_source_distribution_holds_everything_that_a_build_needs():
    with tarfile.open(only("*.tar.gz")) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "CHANGELOG.md", *LICENSES} <= names
    crates = ("kernels", "runtime", "gpu", "bindings")
    sources = {p for name in crates for p in (ROOT / "rust" / name / "src").rglob("*.rs")}
    shaders = {p for kind in ("*.rs", "*.wgsl") for p in (ROOT / "shaders").rglob(kind)}
    assert {p.relative_to(ROOT).as_posix() for p in sources | shaders} <= names


@pytest.mark.parametrize("source", ["wheel", "sdist", "clone"])
def test_pip_installs_it_and_the_first_example_runs_without_torch(source: str, python: Path, tmp_path: Path):
    what = {"wheel": lambda: only("*.whl"), "sdist": lambda: only("*.tar.gz"), "clone": lambda: ROOT}[source]()
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what, cwd=tmp_path)
    example = re.search(FIRST_EXAMPLE, (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    where = "import fractal_core, sys; print(fractal_core.__file__); assert 'torch' not in sys.modules"
    printed = run(python, "-I", "-c", f"{example[1]}\n{where}", cwd=tmp_path)
    assert Path(printed.splitlines()[-1]).is_relative_to(tmp_path)


def test_without_torch_nn_names_the_extra(python: Path, tmp_path: Path):
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", only("*.whl"), cwd=tmp_path)
    code = "import fractal_core as fc\ntry: fc.nn.FractalAttention\nexcept ImportError as e: print(e)"
    assert "fractal-attn[torch]" in run(python, "-I", "-c", code, cwd=tmp_path)
