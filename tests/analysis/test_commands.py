"""`fractal-core analyze`, `compare` and the original's commands."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from importlib.metadata import entry_points
from typing import NamedTuple

import numpy as np
import pytest
from fractal_core.analysis import AttentionMaps, FractalAttentionAnalyzer

pytest.importorskip("typer")
pytest.importorskip("transformers")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command of the program in this process: loading torch for each would take seconds."""
    from fractal_core import cli

    for variable, value in (("NO_COLOR", "1"), ("COLUMNS", "160"), ("HF_HUB_OFFLINE", "1")):
        monkeypatch.setenv(variable, value)

    def call(*words, text=None, name=None):
        monkeypatch.setattr(sys, "argv", [name or "fractal-core", *map(str, words)])
        if text is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        with pytest.raises(SystemExit) as end:
            getattr(cli, name or "main")()
        found = capsys.readouterr()
        return Done(int(end.value.code or 0), found.out, found.err)

    return call


def test_one_head_in_full_under_the_originals_name(run, folder, text, tmp_path):
    done = run("--model", folder, "--text", text, "--layer", 0, "--head", 1, "--output", tmp_path / "a.json",
               "--save-viz", tmp_path / "new" / "pictures", "--json", name="faa_analyze")  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    wanted = FractalAttentionAnalyzer(str(folder)).analyze(text, 0, 1)
    assert printed["fractal_dimension"] == pytest.approx(wanted["fractal_dimension"], rel=1e-6)
    assert printed["metrics"] == pytest.approx(wanted["metrics"], rel=1e-5)
    assert json.loads((tmp_path / "a.json").read_text())["attention"][3][4] == 0
    assert len(list((tmp_path / "new" / "pictures").glob("*.png"))) == 6


def test_what_people_read(run, folder, text):
    done = run("analyze", "--model", folder, "--text", text)
    assert done.returncode == 0, done.stderr
    assert "information dimension" in done.stdout
    assert "uniform attention here" in done.stdout
    assert "layer 1, head 0" in done.stdout
    assert run("analyze", "--model", folder, "--text", text, "--quiet").stdout == ""


def test_standard_input_and_a_file(run, folder, text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    found = [
        json.loads(run("analyze", "--model", folder, "--input-file", source, "--json", text=given).stdout)
        for source, given in (("-", text), (tmp_path / "text.txt", None))
    ]
    assert found[0]["fractal_dimension"] == found[1]["fractal_dimension"]


def test_a_table_of_all_heads_with_nulls_and_kept_maps(run, folder, text, tmp_path):
    done = run("analyze", "--model", folder, "--text", text, "--all", "--nulls", 5, "--measure", "D1",
               "--measure", "gini", "--output", tmp_path / "heads.csv", "--format", "csv",
               "--save-maps", tmp_path / "maps.npz")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "heads.csv").read_text().splitlines()))
    assert [row["measure"] for row in rows].count("D1") == 6
    dimensions = [row for row in rows if row["measure"] == "D1"]
    assert all(1 / 6 <= float(row["p"]) <= float(row["q"]) <= 1 for row in dimensions)
    assert all(row["p"] == "" for row in rows if row["measure"] == "gini")
    assert len(AttentionMaps.load(tmp_path / "maps.npz")) == 2
    again = run("analyze", "--maps", tmp_path / "maps.npz", "--measure", "D1", "--layers", "-1", "--heads", 2, "--json")
    (row,) = json.loads(again.stdout)["rows"]
    wanted = next(r for r in dimensions if (r["layer"], r["head"]) == ("1", "2"))
    assert row["value"] == pytest.approx(float(wanted["value"]), rel=1e-12)


def test_two_models(run, folder, text, tmp_path):
    done = run(
        "--model1", folder, "--model2", folder, "--text", text, "--output", tmp_path / "c.json", name="faa_compare"
    )
    assert done.returncode == 0, done.stderr
    assert "both on 80 tokens" in done.stdout
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["dimension_difference"] == 0
    assert np.isfinite(found["model_1"]["null"]["mean"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "a"], "--model"),
        (["--model", "MODEL"], "--text"),
        (["--model", "MODEL", "--text", "a", "--input-file", "b"], "--text"),
        (["--model", "/no/such", "--text", "a"], "model_name"),
        (["--model", "MODEL", "--text", "rivers", "--layer", "99"], "layer_idx: got 99"),
        (["--model", "MODEL", "--text", "rivers", "--format", "xml"], "--format"),
        (["--model", "MODEL", "--text", "rivers", "--all", "--measure", "beauty"], "measures"),
        (["--model", "MODEL", "--text", "rivers", "--all", "--nulls", "1"], "--nulls"),
        (["--maps", "MODEL/config.json"], "broken"),
        (["--maps", "a.npz", "--text", "a"], "--maps"),
    ],
)
def test_what_is_refused_in_one_line(run, folder, words, said):
    done = run("analyze", *[str(word).replace("MODEL", str(folder)) for word in words])
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_missing_file_or_folder_is_a_failure(run, folder, text, tmp_path):
    for words in (["--input-file", tmp_path / "none"], ["--text", text, "--output", tmp_path / "no" / "a.json"]):
        done = run("analyze", "--model", folder, *words)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_the_programs_are_installed():
    for program in ("faa-analyze", "faa-compare"):
        # The original, which `make bench` installs, has programs of these names, too.
        found = [entry for entry in entry_points(group="console_scripts", name=program) if entry.dist is not None]
        ours = [entry.value.split(":")[0] for entry in found if entry.dist.name == "fractal-attn"]
        assert ours == ["fractal_core.cli"]


def test_help_loads_no_model_library():
    code = """
import sys
from fractal_core.cli import main
try:
    main(["analyze", "--help"])
except SystemExit:
    print([name for name in ("torch", "transformers", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--save-viz" in done.stdout
