"""Plug-ins that raise, print, or say things in brackets: real distributions, real commands."""

import json
import os
import subprocess
import sys

import pytest

SOURCE = {
    "raises": """
class Raises:
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        raise ZeroDivisionError("no [/usr/lib] here")
""",
    "refuses": """
class Refuses:
    def __init__(self):
        raise RuntimeError("[bold]never[/bold]")
""",
    "unloadable": "raise OSError('cannot open [/usr/lib]')\n",
    "loud": """
import os
print("loud at import")
import fractal_core as fc
class Loud:
    def index_set(self, n_queries, n_keys=None, *, causal=False):
        print("loud when called")
        os.write(1, b"loud below Python\\n")
        return fc.pattern("window", radius=2).index_set(n_queries, n_keys, causal=causal)
""",
}


@pytest.fixture
def run(tmp_path):
    """Runs the command beside the four plug-ins."""
    points = "[fractal_core.patterns]\n"
    for name, source in SOURCE.items():
        (tmp_path / f"hostile_{name}.py").write_text(source, encoding="utf-8")
        points += f"{name} = hostile_{name}:{name.title()}\n"
    meta = tmp_path / "hostile-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n", encoding="utf-8")
    (meta / "entry_points.txt").write_text(points, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "NO_COLOR": "1", "COLUMNS": "200"}

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "fractal_core.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=env,
            check=False,
        )

    return command


def test_brackets_are_printed_as_they_are(run):
    for arguments in (("info",), ("patterns",)):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "[/usr/lib]" in done.stdout
        assert "window" in done.stdout


@pytest.mark.parametrize("arguments", [("info",), ("patterns",), ("patterns", "loud", "--n", "64")])
def test_json_is_alone_on_stdout(run, arguments):
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert "loud at import" in done.stderr
    if "loud" in arguments:
        assert json.loads(done.stdout)["n"] == 64
        assert "loud when called" in done.stderr
        assert "loud below Python" in done.stderr


@pytest.mark.parametrize(("name", "what"), [("raises", "ZeroDivisionError"), ("refuses", "RuntimeError")])
def test_a_plug_in_that_raises_is_named_in_one_line(run, name, what):
    for arguments in (("patterns", name, "--n", "64"), ("render", "pattern", name, "--out", "a.png")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert f"pattern {name!r} failed: {what}: " in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_the_gallery_goes_on(run, tmp_path):
    done = run("render", "gallery", "--out", "gallery.svg", "--n", "16")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gallery.svg").read_bytes().startswith(b"<?xml")


def test_the_demo_gallery_goes_on(run, tmp_path):
    code = (
        "from fractal_core.demo.gallery import exhibits\n"
        "for e in exhibits('window'): print('picture' if e.picture else e.caption, e.name)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert "no picture: ZeroDivisionError: no [/usr/lib] here raises" in done.stdout
    assert "picture window" in done.stdout
    assert "picture loud" in done.stdout


def test_a_specification_of_built_ins_reads_no_metadata(run, tmp_path):
    (tmp_path / "hostile-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe")
    code = "import importlib.metadata as m; m.distributions = None; m.Distribution = None\n"
    code += "import fractal_core as fc; print(fc.pattern('window:radius=1|cantor:base=4').index_set(4).nnz)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
