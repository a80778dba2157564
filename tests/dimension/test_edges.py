"""Sparse attention gives what its matrix gives, and never makes one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from fractal_core import IndexSet, dimension, pattern
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from hypothesis import given
from hypothesis import strategies as st

EdgeWeights = dimension.EdgeWeights


def drawn(seed, n=40, m=47, heads=3, share=0.3):
    rng = np.random.default_rng(seed)
    mask = rng.random((n, m)) < share
    mask[3] = False
    mask[5] = False
    mask[5, 9] = True
    index_set = IndexSet.from_mask(mask)
    values = rng.random((2, heads, index_set.nnz)) ** 4
    values[0, 0, : index_set.indptr[2]] = 0
    values[1, 1, rng.random(index_set.nnz) < 0.4] = 0
    return EdgeWeights(index_set, values)


@given(st.integers(0, 999), st.floats(0.02, 1.0))
def test_row_statistics_are_those_of_the_matrix(seed, share):
    edges = drawn(seed, share=share)
    tokens = np.random.default_rng(seed).integers(0, 5, 47)
    for options in ({}, {"top_p": 0.5, "top_k": 2, "below": 1.0, "sinks": 3, "local": 2, "tokens": tokens}):
        sparse = dimension.row_statistics(edges, **options)
        dense = dimension.row_statistics(edges.to_dense(), edges.index_set, **options)
        for field in fields(dense):
            a, b = getattr(sparse, field.name), getattr(dense, field.name)
            assert np.allclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True), field.name


@given(st.integers(0, 999), st.sampled_from([None, [1, 2, 4, 8], [1, 3, 9, 27], [2, 3, 5, 10]]))
def test_dimensions_are_those_of_the_matrix(seed, scales):
    edges = drawn(seed)
    q = [0, 0.5, 1, 2, 5]
    sparse = dimension.renyi_dimension(edges, q=q, scales=scales)
    dense = dimension.renyi_dimension(edges.to_dense(), edges.index_set, q=q, scales=scales)
    for name in ("value", "stderr", "r2", "counts", "log_y", "baseline"):
        a, b = getattr(sparse, name), getattr(dense, name)
        assert np.allclose(a, b, rtol=1e-10, atol=1e-12, equal_nan=True), name
    assert sparse.flags.keys() == dense.flags.keys()
    spectra = [dimension.singularity_spectrum(w, s, q=[0, 1, 2]) for w, s in
               ((edges, "full"), (edges.to_dense(), edges.index_set))]  # fmt: skip
    assert np.allclose(spectra[0].alpha.value, spectra[1].alpha.value, rtol=1e-10, equal_nan=True)
    assert np.allclose(spectra[0].f.value, spectra[1].f.value, rtol=1e-10, atol=1e-12, equal_nan=True)


@given(st.integers(0, 999))
def test_profiles_are_those_of_the_matrix(seed):
    edges = drawn(seed)
    for function in (dimension.distance_profile, dimension.column_statistics):
        for a, b in zip(function(edges), function(edges.to_dense(), edges.index_set), strict=True):
            assert np.allclose(a, b, rtol=1e-12, atol=1e-15, equal_nan=True)


def test_profiles_of_known_attention():
    uniform = np.tri(6) / np.arange(1, 7)[:, None]
    found = dimension.distance_profile(uniform, "causal")
    assert found.distances.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.cells.tolist() == [6, 5, 4, 3, 2, 1]
    assert found.mean[5] == pytest.approx(1 / 6)
    assert found.mean[0] == pytest.approx(sum(1 / k for k in range(1, 7)) / 6)
    assert found.mass.sum() == pytest.approx(1)
    columns = dimension.column_statistics(uniform, "causal")
    assert columns.mass[5] == pytest.approx(1 / 6)
    assert columns.gini == pytest.approx(float(columns.baseline))
    assert dimension.column_statistics(np.full((4, 8), 1 / 8)).gini == pytest.approx(0, abs=1e-12)
    one = np.zeros((4, 10))
    one[:, 0] = 1
    assert dimension.column_statistics(one).gini == pytest.approx(0.9)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_long_attention_takes_no_matrix():
    code = """
import numpy as np
import fractal_core as fc
n = 32768
index_set = fc.pattern("window:radius=16|cantor:base=5").index_set(n, causal=True)
weights = np.random.default_rng(0).random((1, index_set.nnz), dtype=np.float32)
edges = fc.dimension.EdgeWeights(index_set, weights)
rows = fc.dimension.row_statistics(edges)
found = fc.dimension.renyi_dimension(edges, q=[0, 1, 2])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(index_set.nnz, float(found.value[0, 1]), float(np.nanmean(rows.entropy)), status["VmHWM"].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    nnz, d1, entropy, kilobytes = map(float, done.stdout.split())
    assert 0.9 < d1 < 2
    assert 2 < entropy < np.log(nnz / 32768)
    # A matrix of floats would take 4 GiB.
    assert kilobytes * 1024 < 200e6 + 30 * 8 * nnz < 2**32


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda s: EdgeWeights(s, np.ones(3)), ShapeError, "values"),
        (lambda s: EdgeWeights(s, -np.ones(s.nnz)), InvalidArgumentError, "values"),
        (lambda s: EdgeWeights(s, np.full(s.nnz, np.nan)), InvalidArgumentError, "values"),
        (lambda s: EdgeWeights(s, np.array(["a"] * s.nnz)), DTypeError, "values"),
        (lambda s: EdgeWeights("window", np.ones(3)), DTypeError, "index_set"),
        (lambda s: dimension.row_statistics(EdgeWeights(s, np.ones(s.nnz)), "causal"), InvalidArgumentError, "support"),
        (lambda s: dimension.row_statistics(EdgeWeights(s, np.ones(s.nnz)), top_p=2), InvalidArgumentError, "top_p"),
        (lambda s: dimension.row_statistics(EdgeWeights(s, np.ones(s.nnz)), tokens=[1]), ShapeError, "tokens"),
        (lambda s: dimension.renyi_dimension(EdgeWeights(s, np.ones(s.nnz)), q=-1), InvalidArgumentError, "q"),
        (lambda s: EdgeWeights(s, np.ones(s.nnz))[0], InvalidArgumentError, "index"),
    ],
)
def test_what_is_refused(call, error, argument):
    with pytest.raises(error) as found:
        call(pattern("window", radius=2).index_set(40))
    assert found.value.argument == argument
