"""`fractal-core bench`: the options, both outputs and the refusals, at tiny sizes; nothing timed is asserted."""

from __future__ import annotations

import json

import pytest
from fractal_core.bench import compare
from fractal_core.cli.app import app
from typer.testing import CliRunner

TINY = ["--n", "100", "--heads", "2", "--dim", "8", "--rounds", "2"]


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    """FlexAttention takes half a minute to compile."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compare, "SHORT", 0.0)


def bench(*words):
    return CliRunner().invoke(app, ["bench", *TINY, *words])


def test_json_has_the_problem_the_peers_and_the_crossover():
    result = bench(
        "--json", "--pattern", "window:radius=8|cantor:base=4", "--causal", "--backward", "--dtype", "bfloat16"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    asked = {"pattern": "window:radius=8|cantor:base=4", "n": 100, "heads": 2, "dim": 8, "dtype": "bfloat16"}
    assert {**found, **asked, "causal": True, "backward": True, "rounds": 2} == found
    assert found["edges"] > 100
    assert found["threads"] >= 1
    assert found["executor"]
    assert found["simd"]
    rows = {row["name"]: row for row in found["peers"]}
    assert list(rows) == ["dense", "masked", "flex"]
    for name in ("dense", "masked"):
        assert 0 < rows[name]["low"] <= rows[name]["high"]
        assert rows[name]["note"] == ""
    assert rows["flex"]["ratio"] is None
    assert "compiler" in rows["flex"]["note"]
    assert found["crossover"]["lengths"] == [64, 100]
    assert len(found["crossover"]["ratios"]) == 2
    assert found["crossover"]["tokens"] in {64, 100, None}


def test_people_read_every_peer_the_crossover_and_the_threads():
    result = bench()
    assert result.exit_code == 0, result.output
    for words in (
        "window:radius=64: n = 100",
        "SDPA dense",
        "SDPA with the mask",
        "not measured",
        "faster than dense",
        "threads: ",
    ):
        assert words in result.stdout


def test_chosen_peers_alone_are_measured():
    found = json.loads(bench("--peer", "masked", "--json").stdout)
    assert [row["name"] for row in found["peers"]] == ["masked"]
    assert found["crossover"] is None


def test_a_pattern_of_one_length_has_no_other_lengths():
    result = bench("--pattern", "hilbert:window=3,shape=10x10", "--peer", "dense", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["crossover"]
    assert (found["lengths"], found["without"]) == ([100], [64])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--n", "0"], "n"),
        (["--n", str(2**40)], "n"),
        (["--heads", "-1"], "heads"),
        (["--dim", "0"], "dim"),
        (["--rounds", "0"], "rounds"),
        (["--dtype", "int8"], "dtype"),
        (["--peer", "numba"], "peer"),
        (["--pattern", "nosuch"], "unknown pattern"),
        (["--pattern", "window:radius=-1"], "radius"),
        (["--pattern", "hilbert:shape=3x3"], "n_keys"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(words, named):
    result = bench(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {named}")
    assert result.stderr.count("\n") == 1
