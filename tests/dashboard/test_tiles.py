"""What the page shows of a matrix, at any zoom, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.analysis import AttentionMaps, measure
from fractal_core.dashboard import figures
from fractal_core.dashboard.tiles import tile
from fractal_core.errors import ShapeError
from hypothesis import given
from hypothesis import strategies as st

spans = st.one_of(st.none(), st.tuples(st.floats(-5, 70), st.floats(-5, 70)))


@given(st.integers(1, 60), st.integers(1, 60), spans, spans, st.integers(1, 40), st.integers(0, 99))
def test_a_tile_has_the_largest_weight_of_each_pixel(n, m, queries, keys, pixels, seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((n, m)) * (rng.random((n, m)) < 0.3)
    found = tile(weights, queries, keys, pixels)
    assert found.values.shape == (len(found.queries), len(found.keys))
    assert max(found.values.shape) <= pixels + 1
    for row, q in zip(found.values, found.queries, strict=True):
        for value, k in zip(row, found.keys, strict=True):
            assert value in weights[q : q + found.side, k : k + found.side]
            assert q % found.side == k % found.side == 0
    index_set = IndexSet.from_mask(weights > 0) if (weights > 0).any() else None
    if index_set is not None:
        edges = dimension.EdgeWeights(index_set, weights[weights > 0])
        assert np.array_equal(tile(edges, queries, keys, pixels).values, found.values)


def test_all_of_it_and_a_cell():
    weights = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(tile(weights).values, weights)
    one = tile(weights, (1.2, 0.8), (2.0, 2.0))
    assert one.values.tolist() == [[6.0]]
    assert (one.queries.tolist(), one.keys.tolist()) == ([1], [2])
    with pytest.raises(ShapeError):
        tile(np.ones((1, 2, 2)))


def test_a_long_head_costs_its_edges():
    n = 16_384
    index_set = IndexSet.from_offsets([0, 1, 2, 64, 4096], n)
    edges = dimension.EdgeWeights(index_set, np.random.default_rng(0).random(index_set.nnz))
    whole = tile(edges)
    assert whole.side == 64
    assert whole.values.shape == (256, 256)
    near = tile(edges, (8000, 8099), (7950, 8099), 256)
    assert near.side == 1
    assert np.count_nonzero(near.values) >= 300


def test_figures_are_json_and_name_layers():
    weights = np.random.default_rng(0).random((2, 3, 40, 40))
    maps = AttentionMaps.from_arrays(weights / weights.sum(-1, keepdims=True), tokens=[f"t{i}" for i in range(40)])
    table = measure(maps, ["D1", "gini"])
    grid = figures.grid(table, "gini")
    assert grid["data"][0]["y"] == ["layer 0", "layer 1"]
    assert np.allclose(grid["data"][0]["z"], table.grid("gini"))
    difference = figures.grid(table, "gini", table)
    assert np.array_equal(difference["data"][0]["z"], np.zeros((2, 3)))
    shown = figures.matrix(tile(maps.layers[0].head(1)), maps.tokens, "layer 0, head 1")
    assert shown["layout"]["xaxis"]["ticktext"][3] == "t3"
    slope = dimension.renyi_dimension(maps.layers[0].head(1), q=1)
    line = figures.scaling(slope, "D1")
    assert f"{float(slope.value):.4f}" in line["layout"]["title"]["text"]
    null = figures.null_figure(1.5, np.array([1.4, 1.6]), 0.5)
    assert null["layout"]["shapes"][0]["x0"] == 1.5
    for figure in (grid, difference, shown, line, null, figures.empty("none")):
        json.dumps(figure, allow_nan=False)
