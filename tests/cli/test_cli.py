"""The command line: output, exit codes, one-line errors. Light commands in this process, exit codes in real ones."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from fractal_core import patterns
from fractal_core.cli.app import app
from typer.testing import CliRunner


def fractal_core(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fractal_core.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **environment},
    )


def refused(result, code, *words):
    """One line on stderr with these words, nothing on stdout, and the exit code."""
    assert result.returncode == code
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_version_loads_nothing_heavy():
    code = """
import sys
from fractal_core.cli import main
try:
    main(["--version"])
except SystemExit as end:
    print(end.code)
print([name for name in ("torch", "numpy", "matplotlib") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines() == [f"fractal-core {version('fractal-attn')}", "0", "[]"]


def test_info_json_names_every_pattern_and_torch():
    result = fractal_core("info", "--json")
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert found["version"] == version("fractal-attn")
    assert sorted(found["patterns"]) == patterns.names()
    assert found["torch"]["version"].startswith(version("torch"))
    assert found["torch"]["threads"] >= 1


def test_info_prints_for_people():
    result = fractal_core("info")
    assert result.returncode == 0
    assert version("fractal-attn") in result.stdout
    assert "plug-ins" in result.stdout


def test_patterns_list_has_origin_and_summary():
    result = fractal_core("patterns", "--json")
    assert result.returncode == 0
    listed = {row["name"]: row for row in json.loads(result.stdout)}
    assert sorted(listed) == patterns.names()
    assert listed["window"]["origin"] == "built-in"
    assert listed["window"]["summary"] == patterns.info("window").summary
    assert listed["window"]["parameters"] == {"radius": 64}


def test_unknown_command_is_a_usage_error():
    result = fractal_core("nosuch")
    assert result.returncode == 2
    assert "nosuch" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_command_line_package_names_the_extra(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer here', name='typer')\n")
    refused(fractal_core("info", PYTHONPATH=str(tmp_path)), 1, "typer", "fractal-attn[cli]")


@pytest.mark.parametrize("words", [["demo"], ["render", "gallery"]])
def test_pictures_without_matplotlib_name_the_extra_before_any_work(words, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "new" / "a.png")])
    assert result.exit_code == 1
    assert "matplotlib" in result.stderr
    assert "fractal-attn[viz]" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_has_the_patterns_own_figures():
    words = ["patterns", "cantor", "-p", "base=4", "--n", "64", "--causal", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    offsets = [0, 1, 4, 5, 16, 17, 20, 21]  # base-4 digits 0 and 1 below 64
    assert found["edges"] == sum(64 - offset for offset in offsets)
    assert found["keys_max"] == len(offsets)
    assert found["keys_mean"] == pytest.approx(found["edges"] / 64)
    assert found["reach"]["layers"] == 3
    assert found["reach"]["shares"][-1] == 1.0
    assert found["prefix_stable"] is True
    assert 0.0 <= found["tile_share"] <= 1.0
    assert found["index_bytes"] > 0


@pytest.mark.parametrize("words", [["window:radius=8|cantor:base=4"], ["hilbert", "-p", "window=5"], ["sierpinski"]])
def test_a_report_prints_for_people(words):
    result = CliRunner().invoke(app, ["patterns", *words, "--n", "64", "--causal"])
    assert result.exit_code == 0
    assert words[0].split(":")[0] in result.stdout
    assert "layers to full reach" in result.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nosuch"], "nosuch"),
        (["window", "-p", "radius=-1"], "radius"),
        (["window", "-p", "width=3"], "width"),
        (["window", "-p", "radius"], "param"),
        (["window:radius=3", "-p", "radius=4"], "param"),
        (["window", "--n", "0"], "n_queries"),
        (["window", "--layers", "0"], "layers"),
    ],
)
def test_a_wrong_pattern_is_one_line_and_exit_code_2(words, named):
    result = CliRunner().invoke(app, ["patterns", *words])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr


def test_errors_reach_the_shell():
    refused(fractal_core("patterns", "window", "-p", "radius=-1"), 2, "radius", "-1")
