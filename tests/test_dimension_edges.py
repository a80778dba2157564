"""Sparse weights: every number is that of the dense matrix with the index set as its support."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from hypothesis import given
from hypothesis import strategies as st

SAME = {"rtol": 1e-12, "atol": 1e-12}


@st.composite
def sparse(draw):
    n, m = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random((n, m)) < draw(st.sampled_from([0.05, 0.3, 0.9, 1.0]))
    mask[rng.integers(n), rng.integers(m)] = True
    index_set = IndexSet.from_mask(mask)
    values = rng.random((2, index_set.nnz)) * (rng.random((2, index_set.nnz)) < 0.8)
    values[:, rng.integers(index_set.nnz)] = 0.5
    return dimension.EdgeWeights(index_set, values.astype(draw(st.sampled_from([np.float32, np.float64]))))


def assert_same_slopes(sparse_, dense):
    for name in ("value", "counts", "log_y", "baseline", "scales"):
        one, other = getattr(sparse_, name), getattr(dense, name)
        if one is None or other is None:
            assert one is other
        else:
            np.testing.assert_allclose(one, other, **SAME)
    assert sparse_.reasons == dense.reasons


@given(sparse(), st.sampled_from([[1, 2, 4], [1, 3, 5, 10], [2, 3]]))
def test_measures_are_those_of_the_dense_matrix(edges, scales):
    scales = [s for s in scales if s <= max(edges.index_set.shape)]
    if len(scales) < 2:
        return
    dense = edges.to_dense()
    how = {"q": [-1.5, 0, 0.5, 1, 2], "scales": scales, "force": True}
    assert_same_slopes(
        dimension.renyi_dimension(edges, **how), dimension.renyi_dimension(dense, edges.index_set, **how)
    )
    one, other = (
        dimension.singularity_spectrum(edges, **how),
        dimension.singularity_spectrum(dense, edges.index_set, **how),
    )
    assert_same_slopes(one.alpha, other.alpha)
    assert_same_slopes(one.f, other.f)
    np.testing.assert_allclose(one.tau, other.tau, **SAME)


@given(sparse(), st.sampled_from([0.25, ("uniform", 0.5), ("mass", 0.9), ("quantile", 0.2)]), st.data())
def test_sets_are_those_of_the_dense_matrix(edges, foreground, data):
    if max(edges.index_set.shape) < 3:
        return
    how = {"foreground": foreground, "force": True}
    mode = data.draw(st.sampled_from(["relative", "raw", "exact"]))
    if mode != "exact":
        how |= {"scales": [1, 2, 3], "origins": [(0, 0), (2, 1)]}
    elif min(edges.index_set.shape) < 4:
        return
    dense = edges.to_dense()
    try:
        wanted = dimension.box_dimension(dense, edges.index_set, mode=mode, **how)
    except InvalidArgumentError as error:
        with pytest.raises(InvalidArgumentError, match="foreground"):
            dimension.box_dimension(edges, mode=mode, **how)
        assert "empty set" in str(error)  # noqa: PT017
        return
    assert_same_slopes(dimension.box_dimension(edges, mode=mode, **how), wanted)


@given(sparse())
def test_rows_profiles_and_gaps_are_those_of_the_dense_matrix(edges):
    dense, support = edges.to_dense(), edges.index_set
    n, m = support.shape
    how = {"top_k": 2, "sinks": 2, "local": 3, "tokens": np.arange(m) % 3}
    one, other = dimension.row_statistics(edges, **how), dimension.row_statistics(dense, support, **how)
    for name, value in vars(one).items():
        np.testing.assert_allclose(value, getattr(other, name), **SAME, err_msg=name)
    for one, other in (
        (dimension.distance_profile(edges), dimension.distance_profile(dense, support)),
        (
            (dimension.lacunarity(edges, scales=[1, 2]), dimension.lacunarity(dense, support, scales=[1, 2]))
            if min(n, m) > 1
            else ((), ())
        ),
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, **SAME)
    np.testing.assert_allclose(dimension.column_gini(edges), dimension.column_gini(dense, support), **SAME)


def test_booleans_are_sets():
    mask = np.array([[(i & j) == 0 for j in range(64)] for i in range(64)])
    triangle = dimension.EdgeWeights(IndexSet.from_mask(mask), np.ones(int(mask.sum()), bool))
    found = dimension.box_dimension(triangle, mode="raw")
    assert found.value == pytest.approx(np.log2(3), abs=1e-12)
    full = dimension.EdgeWeights(IndexSet.from_mask(np.ones((50, 50), bool)), np.ones(2500, bool))
    assert dimension.box_dimension(full).value == pytest.approx(2, abs=1e-12)


def test_a_distance_profile_is_a_mean_over_the_support():
    weights = np.array([[1.0, 2, 0], [3, 4, 5]])
    found = dimension.distance_profile(weights, "causal")
    assert found.distances.tolist() == [-1, 0, 1, 2]
    assert found.cells.tolist() == [0, 2, 2, 1]
    np.testing.assert_allclose(found.values[1:], [3.5, 2.5, 3])
    np.testing.assert_allclose(found.series(), [3.5, 2.5, 3])
    np.testing.assert_allclose(found.series(1, 2), [2.5, 3])
    with pytest.raises(InvalidArgumentError, match="first"):
        found.series(-1)
    with pytest.raises(InvalidArgumentError, match="last"):
        found.series(2, 1)


def test_column_gini_is_over_keys():
    causal = np.tri(10) / np.arange(1, 11)[:, None]
    one = np.zeros((10, 10))
    one[:, 3] = 1
    assert dimension.column_gini(one) == pytest.approx(0.9)
    assert dimension.column_gini(np.ones((2, 4, 10))).tolist() == pytest.approx([0, 0])
    assert dimension.column_gini(np.tri(10), "causal") == pytest.approx(0, abs=1e-15)
    assert dimension.column_gini(causal, "causal") > 0.1
    assert dimension.column_gini(np.arange(1.0, 11)[None]) == pytest.approx(0.3)
    assert np.isnan(dimension.column_gini(np.zeros((3, 3))))


def test_wrong_edges_are_refused():
    causal = IndexSet.from_mask(np.tri(4, dtype=bool))
    with pytest.raises(ShapeError, match="values"):
        dimension.EdgeWeights(causal, np.ones(9))
    with pytest.raises(DTypeError, match="values"):
        dimension.EdgeWeights(causal, np.ones(10, complex))
    with pytest.raises(DTypeError, match="index_set"):
        dimension.EdgeWeights(np.tri(4), np.ones(10))
    edges = dimension.EdgeWeights(causal, np.ones(10))
    with pytest.raises(InvalidArgumentError, match="support"):
        dimension.row_statistics(edges, "causal")
    with pytest.raises(DTypeError, match="EdgeWeights"):
        dimension.variogram(edges)
    with pytest.raises(DTypeError, match="EdgeWeights"):
        dimension.attention_rollout(edges)
    for bad in (-1.0, np.nan, np.inf):
        values = np.ones(10)
        values[4] = bad
        with pytest.raises(InvalidArgumentError, match=r"\[0, 2, 1\]"):
            dimension.row_statistics(dimension.EdgeWeights(causal, values))


LONG = """
import resource, sys
import numpy as np
from fractal_core import IndexSet, dimension, patterns
n = int(sys.argv[1])
window = IndexSet.from_offsets(range(16), n)
cantor = [int(format(i, "b").replace("1", "2"), 3) for i in range(1 << 11)]
edges_of = window | IndexSet.from_offsets([d for d in cantor if d < n], n)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
edges = dimension.EdgeWeights(edges_of, np.random.default_rng(0).random(edges_of.nnz, np.float32))
statistics = dimension.row_statistics(edges)
slope = dimension.renyi_dimension(edges, q=[0, 1, 2])
box = dimension.box_dimension(edges, foreground=("uniform", 1.0))
gaps = dimension.lacunarity(edges, scales=[1, 2, 4])
profile = dimension.distance_profile(edges)
gini = dimension.column_gini(edges)
assert np.isfinite(slope.value).all() and np.isfinite(box.value) and np.isfinite(gini)
assert np.allclose(statistics.keys, np.diff(edges_of.indptr)) and np.isfinite(gaps.values).all()
print(edges_of.nnz, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux counts it")
def test_a_long_head_takes_memory_by_its_edges():
    n = 16384
    done = subprocess.run(
        [sys.executable, "-c", LONG, str(n)], check=True, capture_output=True, text=True, env=os.environ
    )
    cells, taken = map(int, done.stdout.split())
    assert taken < 64 * cells + 128 * 16 * n + (32 << 20)
    assert taken < n * n
