"""Maps from arrays, measures of every head, tables."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.analysis import MEASURES, AttentionMaps, LayerMaps, StreamingDimensions, Table, measure
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from hypothesis import given, settings
from hypothesis import strategies as st

RNG = np.random.default_rng(0)


def attention(*shape, causal=False):
    weights = np.exp(2 * np.random.default_rng(sum(shape)).standard_normal(shape))
    if causal:
        weights *= np.tri(*shape[-2:])
    return weights / weights.sum(-1, keepdims=True)


def test_every_measure_of_every_head_is_that_of_the_matrix():
    weights = attention(3, 2, 40, 40, causal=True)
    table = measure(AttentionMaps.from_arrays(weights, "causal"), "all")
    assert len(table) == 3 * 2 * len(MEASURES)
    one = table.where(layer=2, head=1)
    value = {row["measure"]: row["value"] for row in one.rows()}
    matrix = weights[2, 1]
    renyi = dimension.renyi_dimension(matrix, "causal", q=[0, 1, 2])
    assert [value[name] for name in ("D0", "D1", "D2")] == renyi.value.tolist()
    assert one.where(measure="D1")["baseline"][0] == renyi.baseline[1]
    assert one.where(measure="D1")["stderr"][0] == renyi.stderr[1]
    assert value["box"] == float(dimension.box_dimension(matrix, "causal", foreground=("uniform", 1.0)))
    rows = dimension.row_statistics(matrix, "causal").summary()
    for name in ("entropy", "gini", "sink", "previous", "distance"):
        assert value[name] == pytest.approx(float(rows[name].mean), abs=1e-15)
        assert one.where(measure=name)["spread"][0] == pytest.approx(float(rows[name].std), abs=1e-15)
    assert value["induction"] is None
    assert value["column_gini"] == pytest.approx(float(dimension.column_statistics(matrix, "causal").gini))


def test_short_attention_has_no_dimension_and_says_why():
    table = measure(AttentionMaps.from_arrays(attention(16, 16)), ["D1", "entropy"])
    row = next(table.where(measure="D1").rows())
    assert row["value"] is None
    assert not row["reliable"]
    assert "a side below 32" in row["reasons"]
    assert next(table.where(measure="entropy").rows())["value"] > 0


def test_chosen_layers_and_heads():
    maps = AttentionMaps.from_arrays(attention(4, 3, 33, 33))
    table = measure(maps, "gini", layers=[-1, "layer 1"], heads=[2, 0])
    assert list(zip(table["layer"].tolist(), table["head"].tolist(), strict=True)) == [(3, 2), (3, 0), (1, 2), (1, 0)]
    assert measure(maps, "gini").grid("gini").shape == (4, 3)


def test_sparse_layers_are_measured():
    index_set = IndexSet.from_offsets([0, 1, 2, 5, 9], 64)
    values = RNG.random((2, index_set.nnz))
    sums = np.add.reduceat(values, index_set.indptr[:-1], axis=-1)
    values /= np.repeat(sums, np.diff(index_set.indptr), axis=-1)
    edges = dimension.EdgeWeights(index_set, values)
    sparse = measure(AttentionMaps.from_arrays([edges]), ["D1", "entropy", "column_gini"])
    dense = measure(AttentionMaps.from_arrays([edges.to_dense()], index_set), ["D1", "entropy", "column_gini"])
    assert np.allclose(sparse["value"], dense["value"], rtol=1e-10)
    with pytest.raises(InvalidArgumentError, match="sparse"):
        measure(AttentionMaps.from_arrays([edges]), "box")


def test_sparse_maps_survive_a_file(tmp_path):
    index_set = IndexSet.from_offsets([0, 1], 8)
    edges = dimension.EdgeWeights(index_set, np.repeat(1 / np.diff(index_set.indptr), np.diff(index_set.indptr))[None])
    maps = AttentionMaps.from_arrays([edges], tokens="abcdefgh")
    maps.save(tmp_path / "a.npz")
    again = AttentionMaps.load(tmp_path / "a.npz")
    assert np.array_equal(again.layers[0].weights.to_dense(), edges.to_dense())
    listed = AttentionMaps.from_arrays(np.eye(8), IndexSet.from_mask(np.eye(8, dtype=bool)))
    listed.save(tmp_path / "b.npz")
    assert AttentionMaps.load(tmp_path / "b.npz").layers[0].support.shape == (8, 8)
    masked = AttentionMaps.from_arrays(np.eye(8), np.eye(8, dtype=bool))
    masked.save(tmp_path / "c.npz")
    assert np.array_equal(AttentionMaps.load(tmp_path / "c.npz").layers[0].support, np.eye(8, dtype=bool))


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(DTypeError, match="provenance"):
        AttentionMaps.from_arrays(np.eye(4), provenance={"bad": object()}).save(tmp_path / "a.npz")
    maps = AttentionMaps.from_arrays(np.eye(4))
    with pytest.raises(FileNotFoundError, match="no folder"):
        maps.save(tmp_path / "missing" / "a.npz")
    with pytest.raises(InvalidArgumentError, match=r"ends in \.npz"):
        maps.save(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"not an archive"])
def test_a_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="broken"):
        AttentionMaps.load(path)
    np.savez(path, something=np.ones(3))
    with pytest.raises(InvalidArgumentError, match="broken"):
        AttentionMaps.load(path)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: AttentionMaps.from_arrays(np.ones((4, 4))), InvalidArgumentError, "weights of layer 0"),
        (lambda: AttentionMaps.from_arrays(np.full((4, 4), np.nan)), InvalidArgumentError, "weights of layer 0"),
        (
            lambda: AttentionMaps.from_arrays(np.full((4, 4), 0.25), "causal"),
            InvalidArgumentError,
            "weights of layer 0",
        ),
        (lambda: AttentionMaps.from_arrays(np.ones(4)), ShapeError, "weights"),
        (lambda: AttentionMaps.from_arrays(np.eye(4), tokens="abc"), ShapeError, "tokens"),
        (lambda: AttentionMaps(()), InvalidArgumentError, "layers"),
        (lambda: AttentionMaps((LayerMaps("a", "causal", np.eye(4)[None]),) * 2), InvalidArgumentError, "layers"),
        (lambda: LayerMaps("a", "other", np.eye(4)[None]), InvalidArgumentError, "kind"),
        (lambda: measure(np.eye(4)), DTypeError, "maps"),
        (lambda: measure(AttentionMaps.from_arrays(np.eye(4)), "D9"), InvalidArgumentError, "measures"),
        (lambda: measure(AttentionMaps.from_arrays(np.eye(4)), layers=[1]), KeyIndexError, "layers"),
        (lambda: measure(AttentionMaps.from_arrays(np.eye(4)), layers=[0.0]), DTypeError, "layers"),
        (lambda: measure(AttentionMaps.from_arrays(np.eye(4)), heads=[-2]), KeyIndexError, "heads"),
        (lambda: Table({"a": [1], "b": [1, 2]}), ShapeError, "columns"),
        (lambda: Table({"a": [1]})["b"], InvalidArgumentError, "column"),
        (lambda: StreamingDimensions(0), InvalidArgumentError, "heads"),
        (lambda: StreamingDimensions(1).add([[0.5, 0.5]]), ShapeError, "row"),
        (lambda: StreamingDimensions(1).add([[-1.0]]), InvalidArgumentError, "weights"),
        (lambda: StreamingDimensions(1).dimensions(), InvalidArgumentError, "tokens"),
    ],
)
def test_what_is_refused(call, error, argument):
    with pytest.raises(error) as found:
        call()
    assert found.value.argument == argument


@settings(max_examples=15)
@given(st.integers(8, 150), st.integers(0, 99))
def test_a_stream_gives_what_the_whole_gives(n, seed):
    weights = np.tri(n) * np.exp(2 * np.random.default_rng(seed).standard_normal((2, n, n)))
    weights /= weights.sum(-1, keepdims=True)
    stream = StreamingDimensions(2)
    for i in range(n):
        rows = stream.add(weights[:, i, : i + 1])
    assert np.allclose(rows.entropy[:, 0], dimension.row_statistics(weights, "causal").entropy[:, -1], rtol=1e-12)
    found = stream.dimensions()
    whole = dimension.renyi_dimension(weights, "causal", q=[0, 1, 2], scales=found.scales.astype(int).tolist())
    for name in ("value", "stderr", "baseline", "counts", "log_y"):
        assert np.allclose(getattr(found, name), getattr(whole, name), rtol=1e-12, atol=1e-12, equal_nan=True), name
    assert stream.tokens == n
