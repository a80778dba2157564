"""The command line: output, exit codes, one-line errors. Light commands in this process, exit codes in real ones."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

from fractal_core import patterns


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
