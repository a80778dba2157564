"""The predicted time: more for more work, less on a quicker machine; nothing timed is asserted."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fractal_core as fc
import pytest
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.index_sets import cost
from fractal_core.index_sets.cost import EFFICIENCY, peak_gflops, predicted_ms

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
    one = found.report(1, predict=True, threads=1)
    assert one.forward_ms is not None
    assert one.backward_ms is not None
    assert 0 < one.forward_ms < one.backward_ms
    assert found.report(1, predict=True, threads=1) == one
    for change in ({"heads": 8}, {"head_dim": 128}, {"dtype": "float64"}):
        assert found.report(1, predict=True, **{"threads": 1, **change}).forward_ms > one.forward_ms
    assert found.report(1, predict=True, threads=2).forward_ms < one.forward_ms
    assert fc.pattern("window").report(64, predict=True).forward_ms > 0


@pytest.fixture
def measurements(monkeypatch):
    """A machine that nothing was measured on, and the list of what is."""
    made = []

    def measure():
        made.append(threading.get_ident())
        time.sleep(0.05)
        return 100.0

    monkeypatch.setattr(cost, "_measured", None)
    monkeypatch.setattr(cost, "_measure", measure)
    return made


def test_a_report_measures_nothing_unless_asked(measurements):
    found = fc.pattern("window", radius=2).index_set(64)
    report = found.report(heads=4, head_dim=32, dtype="float64", threads=1)
    assert (report.forward_ms, report.backward_ms) == (None, None)
    assert fc.pattern("window", radius=2).report(64).forward_ms is None
    assert not measurements
    asked = found.report(heads=4, head_dim=32, dtype="float64", threads=1, predict=True)
    assert dataclasses.replace(asked, forward_ms=None, backward_ms=None) == report


def test_the_machine_is_measured_once_by_all_threads(measurements):
    found = fc.pattern("window", radius=2).index_set(64)
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: found.report(predict=True, threads=1), range(16)))
    assert len(measurements) == 1
    assert len({report.forward_ms for report in reports}) == 1


def test_the_measured_peak_is_above_0_and_kept():
    assert peak_gflops() == peak_gflops() > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_measurement_at_fork_does_not_stop_the_child(measurements):
    with cost._lock:
        child = os.fork()
        if child == 0:
            import signal

            signal.alarm(20)
            os._exit(0 if peak_gflops() == 100.0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"heads": 0}, InvalidArgumentError),
        ({"head_dim": 0}, InvalidArgumentError),
        ({"threads": 0}, InvalidArgumentError),
        ({"threads": 1.5}, DTypeError),
        ({"dtype": "bfloat16"}, InvalidArgumentError),
        ({"predict": 1}, DTypeError),
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
