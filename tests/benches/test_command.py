"""`make bench`: the options, the files, the exit codes; measurements stand in for the real ones."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from benches import runner
from benches.__main__ import app
from benches.report.results import Crossover, Row
from benches.runner import MEASUREMENTS, Measurement

CROSSOVER = Crossover("window", "SDPA dense", "float32", "forward", 64, (64,), (2.0,))


def stand_in(value, bar=2.0, note=""):
    def measure(settings):
        yield Row("one/row", f"what, {settings.count(9)} rounds", "a peer", value=value, bar=bar, note=note)
        yield CROSSOVER

    return Measurement("a stand-in", measure)


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(value, *words, **row):
        monkeypatch.setattr(runner, "MEASUREMENTS", {"one": stand_in(value, **row)})
        monkeypatch.setattr("benches.command.MEASUREMENTS", runner.MEASUREMENTS)
        return CliRunner().invoke(app, words)

    return run


def test_a_met_bar_ends_well(bench, tmp_path):
    result = bench(3.0)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/bench/results.json").read_text())
    assert [row["verdict"] for row in found["rows"]] == ["met"]
    assert found["machine"]["simd"]
    assert len(found["machine"]["load"]) == 3
    assert (tmp_path / "out/bench/results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("value", "said"), [(1.0, "one/row short (1.00 ×)"), (None, "one/row not measured")])
def test_a_bar_that_falls_short_ends_with_1(bench, tmp_path, value, said):
    result = bench(value, note="no such peer")
    assert result.exit_code == 1
    assert said in result.stderr
    assert (tmp_path / "out/bench/results.json").exists()


def test_an_informing_row_that_is_missing_ends_with_1(bench):
    assert bench(None, bar=None, note="needs numba").exit_code == 1


def test_rounds_and_paths(bench, tmp_path):
    for words, rounds in ((["--rounds", "4"], 4), (["--quick"], 3), ([], 9)):
        assert bench(3.0, *words, "--json", "deep/run.json").exit_code == 0
        row = json.loads((tmp_path / "deep/run.json").read_text())["rows"][0]
        assert row["what"] == f"what, {rounds} rounds"


def test_docs_are_written_from_the_root_only(bench, tmp_path):
    refused = bench(3.0, "--write-docs")
    assert refused.exit_code == 2
    assert "write-docs" in refused.stderr
    (tmp_path / "docs").mkdir()
    assert bench(3.0, "--write-docs").exit_code == 0
    page = (tmp_path / "docs/results.md").read_text(encoding="utf-8")
    assert "| what, 9 rounds | a peer | 3.00 × |" in page
    assert (tmp_path / "docs/results.png").exists()


def test_an_unknown_name_is_a_usage_error():
    result = CliRunner().invoke(app, ["--only", "nosuch"])
    assert result.exit_code == 2
    assert "only" in result.stderr
    assert "nosuch" in result.stderr


def test_the_list_names_every_measurement():
    result = CliRunner().invoke(app, ["--list"])
    assert result.exit_code == 0
    assert [name for name in MEASUREMENTS if name not in result.stdout] == []
