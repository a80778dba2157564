"""Measures of heads: those of `fractal_core.dimension`, each in its row, with its baseline and its reasons."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.analysis import MEASURES, AttentionMaps, LayerMaps, Settings, measure
from fractal_core.errors import DTypeError, InvalidArgumentError
from noisy_attention import weights


@pytest.fixture(scope="module")
def maps():
    layers = (
        LayerMaps("layer 0", "causal", weights(3, 64), "causal"),
        LayerMaps("layer 1", "causal", weights(2, 64, radius=9), ("causal_window", 9)),
    )
    ids = np.random.default_rng(0).integers(0, 9, 64)
    return AttentionMaps(layers, ids=ids)


def test_each_number_is_that_of_dimension(maps):
    table = measure(maps)
    assert len(table) == 5 * len(MEASURES)
    for place, layer in enumerate(maps.layers):
        box = dimension.box_dimension(layer.weights, layer.support, foreground=("mass", 0.9))
        d1, d2 = (dimension.renyi_dimension(layer.weights, layer.support, q=q) for q in (1, 2))
        rows = dimension.row_statistics(layer.weights, layer.support, tokens=maps.ids).summary()
        for name, slope in (("box", box), ("D1", d1), ("D2", d2)):
            found = table.where(layer=place, measure=name)
            for column, want in (("value", slope.value), ("stderr", slope.stderr), ("r2", slope.r2)):
                np.testing.assert_allclose(found[column], want, atol=1e-12, err_msg=f"{name} {column}")
            np.testing.assert_array_equal(found["reliable"], slope.reliable)
        np.testing.assert_allclose(table.where(layer=place, measure="D1")["baseline"], d1.baseline)
        for name in ("entropy", "sink", "previous", "induction", "gini", "local"):
            found = table.where(layer=place, measure=name)
            np.testing.assert_array_equal(found["value"], rows[name].mean)
            np.testing.assert_array_equal(found["std"], rows[name].std)
            np.testing.assert_allclose(found["stderr"], rows[name].std / np.sqrt(rows[name].rows))


def test_columns_say_where_a_number_belongs(maps):
    rows = list(measure(maps, "D1", layers="layer 1", heads=[-1]).rows())
    assert len(rows) == 1
    assert {k: rows[0][k] for k in ("layer", "name", "kind", "head", "measure", "n_queries", "n_keys")} == {
        "layer": 1,
        "name": "layer 1",
        "kind": "causal",
        "head": 1,
        "measure": "D1",
        "n_queries": 64,
        "n_keys": 64,
    }


@pytest.mark.parametrize("support", ["full", "causal", ("causal_window", 5)])
def test_uniform_attention_is_its_own_baseline(support):
    layer = LayerMaps("layer 0", "causal", np.eye(64)[None], support)
    even = LayerMaps("layer 0", "causal", np.array(layer.uniform()), support)
    table = measure(AttentionMaps((even,), ids=np.arange(64) % 7))
    good = np.isfinite(table["value"])
    assert good.sum() >= len(MEASURES) - 1
    np.testing.assert_allclose(table["value"][good], table["baseline"][good], atol=1e-9)
    assert table.where(measure="normalized_entropy")["value"][0] == pytest.approx(1, abs=1e-9)
    assert table.where(measure="column_gini")["value"][0] == pytest.approx(
        table.where(measure="column_gini")["baseline"][0], abs=1e-12
    )


def test_column_gini_of_known_columns():
    """All weight on key 0: of ten keys that every query sees, one has everything."""
    sink = np.zeros((1, 10, 10))
    sink[0, :, 0] = 1
    table = measure(AttentionMaps.from_arrays(sink), "column_gini")
    assert table["value"][0] == pytest.approx(0.9, abs=1e-12)
    assert table["baseline"][0] == pytest.approx(0.0, abs=1e-12)


def test_orders_by_their_names(maps):
    table = measure(maps, ["D0", "D0.5", "D-1", "D5", "spectrum_width"])
    want = dimension.renyi_dimension(maps.layers[0].weights, "causal", q=[0, 0.5, -1, 5])
    for i, name in enumerate(["D0", "D0.5", "D-1", "D5"]):
        np.testing.assert_allclose(table.where(measure=name, layer=0)["value"], want.value[:, i])
    width = dimension.singularity_spectrum(maps.layers[0].weights, "causal")
    np.testing.assert_allclose(table.where(measure="spectrum_width", layer=0)["value"], width.width)


def test_what_cannot_be_had_is_nan_with_its_reason():
    small = measure(AttentionMaps.from_arrays(weights(2, 16), "causal"), ["box", "D1", "induction"])
    for row in small.rows():
        assert np.isnan(row["value"])
        assert not row["reliable"]
        assert row["reasons"]
    assert "below 32" in small.where(measure="D1")["reasons"][0]
    assert small.where(measure="induction")["reasons"][0] == "no tokens"
    forced = measure(AttentionMaps.from_arrays(weights(2, 16), "causal"), "D1", settings=Settings(force=True))
    assert np.isfinite(forced["value"]).all()


def test_one_token():
    table = measure(AttentionMaps.from_arrays(np.ones((2, 1, 1)), "causal"))
    assert len(table) == 2 * len(MEASURES)
    assert list(table.where(measure="entropy")["value"]) == [0.0, 0.0]
    assert np.isnan(table.where(measure="gini")["value"]).all()


def test_an_empty_set_takes_only_its_own_head():
    both = np.stack([np.full((64, 64), 1 / 64), np.eye(64)])
    table = measure(AttentionMaps.from_arrays(both), "box", settings=Settings(foreground=("uniform", 2.0)))
    assert np.isnan(table["value"][0])
    assert table["reasons"][0] == "empty set"
    alone = dimension.box_dimension(both[1], "full", foreground=("uniform", 2.0))
    assert table["value"][1] == float(alone)


def test_settings_are_taken_and_told(maps):
    table = measure(maps, ["sink", "local", "box"], settings=Settings(sinks=3, local=2, scales=(1, 2, 4)))
    rows = dimension.row_statistics(maps.layers[0].weights, "causal", sinks=3, local=2).summary()
    np.testing.assert_array_equal(table.where(measure="sink", layer=0)["value"], rows["sink"].mean)
    np.testing.assert_array_equal(table.where(measure="local", layer=0)["value"], rows["local"].mean)
    assert table.provenance["measure_settings"]["sinks"] == 3


def test_grids_of_layers_and_heads(maps):
    grid = measure(maps, ["D1", "entropy"]).grid("D1")
    assert grid.shape == (2, 3)
    assert np.isnan(grid[1, 2])
    want = dimension.renyi_dimension(maps.layers[1].weights, ("causal_window", 9), q=1)
    np.testing.assert_allclose(grid[1, :2], want.value)


@pytest.mark.skipif(not hasattr(dimension, "EdgeWeights"), reason="no sparse attention in fractal_core.dimension")
def test_edges_have_the_numbers_of_their_matrix():
    dense = weights(3, 64, radius=9)
    index_set = IndexSet.from_mask(dense[0] > 0)
    edges = dimension.EdgeWeights(index_set, dense[:, dense[0] > 0])
    ids = np.arange(64) % 5
    sparse = AttentionMaps.from_arrays(edges, kind="causal", ids=ids)
    assert sparse.layers[0].sparse
    np.testing.assert_array_equal(sparse.layers[0].head(1), dense[1])
    want = measure(AttentionMaps.from_arrays(dense, ("causal_window", 9), ids=ids))
    found = measure(sparse)
    for column in ("value", "baseline", "std"):
        np.testing.assert_allclose(found[column], want[column], atol=1e-9, err_msg=column)


WRONG = [
    (InvalidArgumentError, lambda m: measure(m, "D_neural")),
    (InvalidArgumentError, lambda m: measure(m, [])),
    (DTypeError, lambda m: measure(m, [1])),
    (InvalidArgumentError, lambda m: measure(m, "D1", layers=2)),
    (InvalidArgumentError, lambda m: measure(m, "D1", layers="encoder 0")),
    (DTypeError, lambda m: measure(m, "D1", layers=1.5)),
    (InvalidArgumentError, lambda m: measure(m, "D1", heads=[2])),
    (DTypeError, lambda m: measure(m, "D1", heads=2)),
    (DTypeError, lambda m: measure(m, "D1", heads=[0.5])),
    (InvalidArgumentError, lambda m: measure(m, "box", settings=Settings(foreground=("median", 1.0)))),
    (InvalidArgumentError, lambda m: measure(m, "box", settings=Settings(scales=(2,)))),
    (InvalidArgumentError, lambda m: measure(m, "entropy", settings=Settings(top_p=2.0))),
    (DTypeError, lambda m: measure(m, "D1", settings=Settings(force="yes"))),
]


@pytest.mark.parametrize(("error", "call"), WRONG)
def test_wrong_calls(error, call, maps):
    with pytest.raises(error):
        call(maps)
