"""Each measurement at tiny sizes: sane rows with the names, units and bars of the table. Nothing timed is asserted."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core.bench.case import Case
from fractal_core.bench.clock import stays_faster
from fractal_core.bench.peers import PeerError, masked

from benches.measurements import (
    alone,
    attention,
    curves,
    dense,
    dimension,
    force,
    julia,
    modifiers,
    optim,
    predicted,
    rotary,
    scaling,
    soft_julia,
    statistics,
)
from benches.measurements import originals as tutorial
from benches.peers import attention as peers
from benches.peers import interpreters
from benches.processes import Worker, environment
from benches.report.results import Row, Verdict
from benches.runner import MEASUREMENTS
from benches.settings import Settings
from benches.workers import julia as julia_worker

ONE = Settings(1)


def sane(rows: Sequence[object]) -> dict[str, Row]:
    """Rows by name; those that were measured hold finite figures in order, the others lack a package or a level."""
    found = {}
    for row in rows:
        assert isinstance(row, Row)
        found[row.name] = row
        assert row.what
        assert row.peer
        if row.value is None:
            assert row.note.startswith("needs ") or "FRACTAL_CORE_SIMD: got" in row.note, row.note
            continue
        assert math.isfinite(row.value) or row.unit == "tokens"
        if row.low is not None and row.high is not None:
            assert row.low <= row.high
        for ms in (row.ours_ms, row.peer_ms):
            assert ms is None or math.isfinite(ms)
    assert len(found) == len(rows)
    return found


def bars(rows: dict[str, Row]) -> dict[str, float | None]:
    return {name: row.bar for name, row in rows.items()}


def test_window_forward():
    found = sane(list(attention.window_forward(ONE, n=64, radius=8, width=16, flex=False)))
    assert bars(found) == {
        "window-forward/dense": 28,
        "window-forward/masked": None,
        "window-forward/local": None,
        "window-forward/peak": 0.5,
    }
    assert found["window-forward/dense"].limit is not None


def test_window_training():
    found = sane(list(attention.window_training(ONE, n=64, radius=8, width=16)))
    assert bars(found) == {
        "window-training/dense": 26,
        "window-training/masked": 26,
        "window-training/local": None,
        "window-training/peak": 0.5,
    }
    assert found["window-training/peak"].what == "window ±8, n = 64, backward"


def test_optim():
    found = sane(list(optim.optim(ONE, width=32, layers=1, symbols=40)))
    assert bars(found) == {"optim/spatial": 1.5, "optim/temporal": None, "optim/adamw": None}
    assert all(row.at_most for row in found.values())
    assert "in 11 tensors" in found["optim/spatial"].what


def test_dense():
    found = sane(list(dense.dense(ONE, lengths=(16, 32), widths=(16,), first=32)))
    assert bars(found) == {
        f"dense/{kind}-{dtype}-16": bar
        for kind in ("full", "causal", "grouped")
        for dtype, bar in (("float32", 1.3), ("bfloat16", 1.1))
    }
    assert "times as fast at n: 16: " in found["dense/full-float32-16"].note
    assert "lowest of n = 32 to 32" in found["dense/full-float32-16"].what


def test_random_ladder_and_neighbourhood():
    assert bars(sane(list(attention.random_lists(ONE, n=64, k=4, width=16)))) == {
        "random/gather": None,
        "random/dense": None,
        "random/peak": 0.12,
        "random-training/gather": 40,
        "random-training/dense": None,
        "random-training/peak": 0.12,
    }
    assert bars(sane(list(attention.ladder(ONE, n=64, radius=4, width=16)))) == {
        "ladder/causal": 30,
        "ladder/peak": None,
        "ladder-training/causal": 25,
        "ladder-training/peak": None,
    }
    assert bars(sane(list(attention.neighbourhood(ONE, side=8, window=3, width=16)))) == {
        "neighbourhood/dense": 120,
        "neighbourhood/peak": None,
    }


def test_dimension():
    rows = list(dimension.counting(ONE, n=64))
    if rows[0].value is not None:
        sane(rows)
    assert {row.name: row.bar for row in rows} == {"dimension/count": 40, "dimension/threshold": 10}
    assert bars(sane(list(dimension.heads(ONE, shape=(2, 2, 64, 64))))) == {"dimension/heads": 0.5}


def test_force():
    found = bars(sane(list(force.force(ONE, n=64, k=4, width=8, heads=2, sizes=(4,)))))
    assert found == {"force/4-forward": 4.0, "force/4-forward-backward": 4.0}


def test_modifiers():
    found = bars(sane(list(modifiers.modifiers(ONE, n=64, radius=4, heads=2, width=16))))
    names = ("soft-cap", "alibi", "table", "t5", "span", "displacement", "sink")
    assert found == {f"modifier/{name}-{way}": 0.8 for name in names for way in ("forward", "training")}


def test_edge_biases():
    found = bars(sane(list(modifiers.edge_biases(ONE, n=64, radius=4, full=32, heads=2, width=16))))
    of = {"forward": 1 / 1.3, "training": 1 / 1.4}
    assert found == {f"edge-bias/{name}-{way}": bar for name in ("window", "full") for way, bar in of.items()}


def test_sets():
    found = bars(sane(list(modifiers.sets(ONE, n=64, radius=4, heads=2, width=16))))
    assert found == {f"sets/{name}-{way}": 0.8 for name in ("stack", "segments") for way in ("forward", "training")}


def test_rotary():
    assert bars(sane(list(rotary.rotary(ONE, batch=1, heads=2, n=16, width=8)))) == {
        "rotary/interleaved-forward": 3.0,
        "rotary/interleaved-training": 3.0,
        "rotary/half-forward": 1.0,
        "rotary/half-training": 1.0,
        "rotary/copy": None,
    }


def test_statistics():
    assert bars(sane(list(statistics.statistics(ONE, n=64, radius=4, k=4, width=16)))) == {
        "statistics/window": 1.0,
        "statistics/random": 1.0,
    }


def test_scaling():
    assert bars(sane(list(scaling.threads(ONE, n=64, radius=4, width=16)))) == {"threads/step": 1.7}
    found = sane(list(scaling.crossover(ONE, lengths=(16, 32), width=16)))
    assert found["crossover/window"].value in {16.0, 32.0, math.inf}
    found = sane(list(alone.decode(ONE, cached=200, heads=2, width=16)))
    assert found["decode/step"].bar == 100
    assert bars(sane(list(scaling.slope(ONE, lengths=(128, 256), width=16)))) == {
        "slope/window": 1.1,
        "slope/random": None,
    }
    assert bars(sane(list(scaling.planning(ONE, n=128, width=16)))) == {
        "planning/offsets": 0.1,
        "planning/csr": 1.5,
        "planning/listed": None,
    }


def test_threads_are_as_before():
    before = torch.get_num_threads()
    list(scaling.threads(ONE, n=32, radius=4, width=16))
    assert torch.get_num_threads() == before


def test_lengths():
    found = list(scaling.lengths(ONE, scanned=(16, 32), width=16))
    assert {(c.dtype, c.direction) for c in found} == {
        (dtype, direction) for dtype in ("float32", "bfloat16") for direction in ("forward", "forward + backward")
    }
    assert {len(c.ratios) for c in found} == {2}
    assert [c.tokens for c in found] == [stays_faster((16, 32), c.ratios) for c in found]


def test_own_processes():
    found = sane(list(alone.memory(ONE, n=256, width=16)))
    assert found["memory/growth"].verdict is not Verdict.MISSING or sys.platform != "linux"
    found = sane(list(alone.avx2(ONE, n=64)))
    assert bars(found) == {"level-avx2/forward": 0.5, "level-avx2/backward": 0.5}
    found = sane(list(alone.import_time(ONE)))
    assert found["import/time"].at_most


def test_all_heads_of_a_model():
    (row,) = alone.all_heads(ONE, layers=2, heads=3, n=40, vocabulary=64)
    sane([row])
    assert (row.name, row.bar, row.what.split(" heads")[0]) == ("model/heads", 20, "all 6")
    assert row.value is None or "1 of the original's 6 calls were timed (layer.head 0.0)" in row.note


def test_fields():
    found = sane(list(julia.julia(ONE, side=8, max_iter=8)))
    assert {name: bar for name, bar in bars(found).items() if bar} == {
        "julia/dendritic-float32": 8,
        "julia/dendritic-float64": 8,
        "julia/interior-heavy-float32": 8,
        "julia/interior-heavy-float64": 8,
    }
    assert bars(sane(list(soft_julia.soft_julia(ONE, points=16, steps=4)))) == {
        "soft-julia/float32": 15,
        "soft-julia/float64": 15,
    }


def test_tutorial_and_predicted():
    assert len(sane(list(tutorial.originals(ONE, n=64, queries=2, width=16)))) == 12
    assert len(sane(list(predicted.predicted(ONE, n=128, side=8, width=16)))) == 8


def test_measurements_have_titles():
    assert all(m.title for m in MEASUREMENTS.values())


# --- peers compute what ours does ---------------------------------------------------------------------------------


def test_peers_agree_with_ours():
    index_set = attention.random_keys(40, 5)
    case = Case(index_set, heads=2, width=16)
    expected = case.ours(case.q, case.k, case.v)
    for attend in (masked(index_set), peers.gather(index_set)):
        torch.testing.assert_close(attend(case.q, case.k, case.v), expected, rtol=1e-5, atol=1e-5)


def test_random_keys_are_distinct():
    found = attention.random_keys(50, 20)
    assert found.nnz == 1000
    assert set(np.diff(found.indptr)) == {20}


def test_gathering_refuses_ragged_rows():
    with pytest.raises(PeerError, match="equal length"):
        peers.gather(fc.pattern("window", radius=2).index_set(9))


def test_fields_agree_with_ours():
    points = fc.fields.grid((12, 12)).reshape(-1)
    ours = fc.fields.julia_escape(points, -0.7 + 0.27j, 40)
    np.testing.assert_allclose(julia_worker.numpy_julia(points, -0.7 + 0.27j, 40), ours, rtol=1e-9)


def test_numba_agrees_with_ours():
    pytest.importorskip("numba")
    points = fc.fields.grid((12, 12)).reshape(-1)
    ours = fc.fields.julia_escape(points, -0.7 + 0.27j, 40)
    np.testing.assert_allclose(julia_worker.numba_julia()(points, -0.7 + 0.27j, 40), ours, rtol=1e-9)


@pytest.mark.slow
def test_flex_attention_agrees_with_ours():
    case = Case(fc.pattern("window", radius=9).index_set(256), heads=2, width=16)
    found = case.forward(peers.flex_window(9, case.q, case.k, case.v))()
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, case.ours(case.q, case.k, case.v).detach(), rtol=1e-4, atol=1e-5)


# --- what cannot be measured --------------------------------------------------------------------------------------


def test_a_missing_peer_is_a_row_that_says_so(monkeypatch):
    def missing(module: str, distribution: str) -> None:
        raise PeerError(f"needs {distribution}")

    monkeypatch.setattr(peers, "need", missing)
    found = sane(list(attention.window_training(ONE, n=64, radius=8, width=16)))
    local = found["window-training/local"]
    assert (local.verdict, local.note) == (Verdict.MISSING, "needs local-attention")
    assert found["window-training/dense"].verdict is not Verdict.MISSING


def test_no_compiler_is_no_flex_attention(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    q = torch.zeros(1, 1, 8, 16)
    with pytest.raises(PeerError, match="compiler"):
        peers.flex_window(2, q, q, q)


def test_no_python_312_is_a_row_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(interpreters, "_NEEDED", (3, 2))
    with pytest.raises(PeerError, match="needs CPython 3"):
        interpreters.find_python()
    found = sane(list(curves.hilbert(ONE, points=10, slow_points=10, side=4)))
    missing = {name for name, row in found.items() if row.verdict is Verdict.MISSING and "CPython" in row.note}
    assert missing == {"hilbert/encode-hilbertsfc", "hilbert/decode-hilbertsfc", "hilbert/order-hilbertsfc"}


def test_an_unavailable_level_is_a_row_that_says_so(monkeypatch):
    monkeypatch.setattr(alone, "environment", lambda **_: environment(FRACTAL_CORE_SIMD="avx1024"))
    found = sane(list(alone.avx2(ONE, n=64)))
    assert {row.verdict for row in found.values()} == {Verdict.MISSING}
    assert "FRACTAL_CORE_SIMD" in found["level-avx2/forward"].note


# --- pairs of processes ---------------------------------------------------------------------------------------------


def test_worker_answers_and_says_why_it_ends():
    words = [sys.executable, "-m", "benches.workers.curves", "ours", "10", "4"]
    with Worker(words, environment()) as worker:
        assert [worker.seconds(task) > 0.0 for task in ("encode", "decode", "order")] == [True] * 3
        with pytest.raises(PeerError, match="nosuch"):
            worker.seconds("nosuch")
