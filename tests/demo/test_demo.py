"""The main job end to end at a small size: real training of both models, its figures, its report, Ctrl-C."""

import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys

import pytest
from fractal_core.demo.data import Corpus, load_text
from fractal_core.demo.settings import Settings
from fractal_core.errors import InvalidArgumentError

COMMAND = [sys.executable, "-m", "fractal_core.cli", "demo"]
SMALL = ["--context", "128", "--dim", "32", "--layers", "2"]
ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    result = subprocess.run(
        [*COMMAND, *SMALL, "--steps", "30", "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
        env=ENVIRONMENT,
    )
    return json.loads(result.stdout), out


def test_both_models_learn_from_the_same_bytes(finished):
    figures, _ = finished
    dense, sparse = figures["runs"]["dense"], figures["runs"]["sparse"]
    assert dense["steps"] == 30
    assert sparse["steps"] >= 30
    assert dense["data_order"] == sparse["data_order"]
    for run in (dense, sparse):
        curve = [bits for _, _, bits in run["held_out_curve"]]
        assert all(math.isfinite(bits) for bits in curve)
        assert 7.5 < curve[0] < 8.5
        assert curve[-1] < curve[0] - 1
        assert run["step_ms"] > 0
        assert run["peak_bytes"] > run["training_bytes"] > 0


def test_nothing_leaks_from_the_future(finished):
    figures, _ = finished
    for run in figures["runs"].values():
        assert run["leak"]["exact"] is True
        assert run["leak"]["logit_change"] == 0.0
        assert run["leak"]["gradient"] == 0.0


def test_the_comparisons_are_the_curves_own(finished):
    figures, _ = finished
    for name in ("dense", "sparse"):
        at = {step: bits for step, _, bits in figures["runs"][name]["held_out_curve"]}
        assert figures["equal_steps"][name] == pytest.approx(at[30])
        assert min(at.values()) - 1e-9 <= figures["equal_seconds"][name] <= max(at.values()) + 1e-9
    # Window 32 and Cantor offsets of base 4 (0 1 4 5 16 17 20 21 64 65 68 ...) at context 128: counted by hand.
    offsets = set(range(33)) | {64, 65, 68, 69, 80, 81, 84, 85}
    edges = sum(128 - o for o in offsets)
    assert figures["cost"]["edges"] == edges
    assert figures["reach_by_layer"][-1] == 1.0


def test_the_speed_is_the_median_of_the_paired_blocks(finished):
    figures, out = finished
    blocks, speed = figures["paired"]["blocks"], figures["paired"]["speed"]
    assert [block["first"] for block in blocks] == ["dense", "sparse"] * 5
    assert [block["steps"] for block in blocks] == [3] * 9 + [2]
    ratios = [block["dense"] / block["sparse"] for block in blocks]
    assert [block["ratio"] for block in blocks] == pytest.approx(ratios)
    assert speed["median"] == pytest.approx(statistics.median(ratios))
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    assert speed["quartiles"] == pytest.approx([low, high])
    assert speed["range"] == pytest.approx([min(ratios), max(ratios)])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"{speed['median']:.2f}× as fast" in page
    assert f"10 pairs of blocks: half within {low:.2f}–{high:.2f}×" in page


def test_the_report_stands_alone(finished):
    _, out = finished
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*(?!["']?(?:data:|#))""", page)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert page.count("<svg") >= 3
    assert page.count("data:image/png;base64,") >= 5
    assert json.loads((out / "results.json").read_text())["settings"]["steps"] == 30
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "results.json"]


def test_ctrl_c_leaves_what_was_finished(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, *SMALL, "--steps", "600", "--out", str(tmp_path), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # A shell's background job ignores SIGINT, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    for line in process.stderr:  # until well into the first model's steps
        if line.startswith("dense: ") and not line.startswith("dense: 0 "):
            break
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in complaint
    figures = json.loads((tmp_path / "results.json").read_text())
    assert figures["interrupted"] is True
    assert figures["runs"]["dense"]["finished"] is False
    assert figures["runs"]["dense"]["steps"] > 0
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_a_bad_pattern_is_refused_before_anything_trains(tmp_path):
    result = subprocess.run(
        [*COMMAND, "--pattern", "nosuch", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )
    assert result.returncode == 2
    assert "nosuch" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"block_steps": 0}, {"context": 4}, {"dim": 12}, {"seed": -1}])
def test_bad_settings_name_the_argument(wrong):
    with pytest.raises(InvalidArgumentError) as refused:
        Settings(**wrong)
    assert refused.value.argument == next(iter(wrong))


def test_held_out_text_is_never_trained_on():
    corpus = Corpus.split(load_text(None), 256)
    assert len(corpus.train) + len(corpus.held_out) <= len(load_text(None))
    assert len(load_text(None)) > 300_000
    held_out = bytes(corpus.held_out[:256].tolist())
    assert held_out not in bytes(corpus.train.tolist())


def test_an_own_text_is_read(tmp_path):
    text = tmp_path / "own.txt"
    text.write_bytes(b"abc " * 3000)
    assert load_text(str(text)) == b"abc " * 3000
