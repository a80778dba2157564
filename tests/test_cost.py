"""The predicted time: more for more work, less on a quicker machine; nothing timed is asserted."""

from __future__ import annotations

import os
import subprocess
import sys

import fractal_core as fc
import pytest
from fractal_core._cost import EFFICIENCY, peak_gflops, predicted_ms
from fractal_core.errors import DTypeError, InvalidArgumentError

PLAN = {"tile_lanes": 1000, "row_edges": 100}
GOOD = {"shifted": False, "level": "avx2", "peak_gflops": 100.0, "heads": 4, "head_dim": 64}


def test_predicted_time_grows_with_the_work_and_falls_with_the_peak():
    base = predicted_ms(PLAN, 50, **GOOD)
    assert predicted_ms({**PLAN, "tile_lanes": 2000}, 50, **GOOD) > base
    assert predicted_ms({**PLAN, "row_edges": 900}, 50, **GOOD) > base
    assert predicted_ms(PLAN, 60, **GOOD) > base
    assert predicted_ms(PLAN, 50, **{**GOOD, "shifted": True}) < base
    assert predicted_ms(PLAN, 50, **{**GOOD, "peak_gflops": 200.0}) < base
    assert predicted_ms(PLAN, 50, backward=True, **GOOD) > base
    assert predicted_ms(PLAN, 50, dtype="float64", **GOOD) > base


@pytest.mark.parametrize(
    ("change", "named"),
    [({"level": "mmx"}, "level"), ({"peak_gflops": 0.0}, "peak_gflops"), ({"dtype": "int8"}, "dtype")],
)
def test_predicted_time_refuses(change, named):
    with pytest.raises(InvalidArgumentError, match=named):
        predicted_ms(PLAN, 1, **{**GOOD, **change})


def test_report_predicts_for_the_sizes_asked_for():
    found = fc.pattern("window:radius=8|cantor:base=4").index_set(256, causal=True)
    one = found.report(1, threads=1)
    assert 0 < one.forward_ms < one.backward_ms
    assert found.report(1, threads=1) == one
    for change in ({"heads": 8}, {"head_dim": 128}, {"dtype": "float64"}):
        assert found.report(1, **{"threads": 1, **change}).forward_ms > one.forward_ms
    assert found.report(1, threads=2).forward_ms < one.forward_ms
    assert peak_gflops() == peak_gflops() > 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"heads": 0}, InvalidArgumentError),
        ({"head_dim": 0}, InvalidArgumentError),
        ({"threads": 0}, InvalidArgumentError),
        ({"threads": 1.5}, DTypeError),
        ({"dtype": "bfloat16"}, InvalidArgumentError),
    ],
)
def test_report_refuses(change, error):
    with pytest.raises(error, match=next(iter(change))):
        fc.pattern("window", radius=2).index_set(10).report(1, **change)


def test_every_level_has_an_efficiency():
    code = "from fractal_core import _native; print(_native.thread_info()['simd'])"
    kept = {name: value for name, value in os.environ.items() if name != "FRACTAL_CORE_SIMD"}

    def told(**level):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**kept, **level}, check=False
        )
        return done.stdout.strip() or done.stderr.splitlines()[-1]

    allowed = told(FRACTAL_CORE_SIMD="no such level").partition("what this machine runs: ")[2].split(", ")
    assert "scalar" in allowed
    assert [level for level in allowed if level not in EFFICIENCY] == []
    assert [told(FRACTAL_CORE_SIMD=level) for level in allowed] == allowed
    assert told() in allowed
