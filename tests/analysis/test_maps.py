"""Attention as it is held: checked when made, kept as it was, in files that are whole."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import IndexSet
from fractal_core.analysis import AttentionMaps, LayerMaps, Table, load_maps, save_maps
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from noisy_attention import weights


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_keep_their_numbers(dtype):
    given = weights(3, 8).astype(dtype)
    layer = LayerMaps("layer 0", "causal", given, "causal", 1e-2)
    assert (layer.heads, layer.shape) == (3, (8, 8))
    assert layer.weights.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(layer.weights, given)
    np.testing.assert_array_equal(layer.head(-1), given[2])
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0, 0] = 1


def test_given_arrays_stay_writeable():
    given = weights(1, 8)
    LayerMaps("layer 0", "causal", given, "causal")
    given[0, 0, 0] = 1.0


def test_rows_may_sum_to_less_where_that_is_said():
    half = weights(1, 8) / 2
    with pytest.raises(InvalidArgumentError, match=r"sums to 0.5 \(head 0, query 0\)"):
        LayerMaps("layer 0", "causal", half, "causal")
    assert LayerMaps("layer 0", "causal", half, "causal", sub_stochastic=True).heads == 1


def test_a_query_without_keys_sums_to_nothing():
    cells = np.ones((4, 4), bool)
    cells[2] = False
    even = cells / np.maximum(cells.sum(1, keepdims=True), 1)
    layer = LayerMaps("layer 0", "encoder", even[None], cells)
    np.testing.assert_array_equal(layer.uniform()[0], even)
    even[2] = np.eye(4)[0]
    with pytest.raises(InvalidArgumentError, match="query 2, key 0, outside of the support"):
        LayerMaps("layer 0", "encoder", even[None], cells)
    even[2] = 0
    with pytest.raises(InvalidArgumentError, match="query 2"):
        LayerMaps("layer 0", "encoder", even[None], "full")


@pytest.mark.parametrize("support", ["full", "causal", ("causal_window", 2), ("window", 2)])
def test_uniform_attention_on_a_support(support):
    given = np.eye(6)[None]
    uniform = LayerMaps("layer 0", "causal", given, support).uniform()[0]
    keys, queries = np.arange(6), np.arange(6)[:, None]
    cells = np.ones((6, 6), bool)
    if "causal" in str(support):
        cells &= keys <= queries
    if isinstance(support, tuple):
        cells &= np.abs(keys - queries) <= 2
    np.testing.assert_allclose(uniform, cells / cells.sum(1, keepdims=True))


def test_layers_are_found_by_place_and_name():
    maps = AttentionMaps.from_arrays(np.stack([weights(2, 8, seed=s) for s in range(3)]), "causal")
    assert [layer.name for layer in maps.layers] == ["layer 0", "layer 1", "layer 2"]
    assert maps.layer(-1) is maps.layer("layer 2")
    assert maps.chosen(["layer 2", 0, -1]) == [0, 2]
    assert maps.chosen(None) == [0, 1, 2]
    for wrong in ("layer 3", 3, -4):
        with pytest.raises(InvalidArgumentError):
            maps.layer(wrong)


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (3, 2, 8, 8)])
def test_arrays_of_every_rank(shape):
    count = int(np.prod(shape[:-2]))
    maps = AttentionMaps.from_arrays(weights(count, 8).reshape(shape), "causal", tokens="abcdefgh")
    assert len(maps.layers) == (shape[0] if len(shape) == 4 else 1)
    assert maps.layers[0].kind == "causal"
    assert maps.tokens == tuple("abcdefgh")


def test_rectangular_arrays_are_cross_attention():
    given = np.full((2, 3, 5), 0.2)
    maps = AttentionMaps.from_arrays(given, tokens="abcde", ids=range(5))
    assert maps.layers[0].kind == "cross"
    assert maps.query_tokens(maps.layers[0]) == ()
    assert maps.key_tokens(maps.layers[0]) == tuple("abcde")


WRONG = [
    (ShapeError, lambda: AttentionMaps.from_arrays(np.ones(4))),
    (ShapeError, lambda: AttentionMaps.from_arrays(np.ones((0, 4, 4)))),
    (ShapeError, lambda: AttentionMaps.from_arrays(np.full((2, 3, 5), 0.2), kind="encoder")),
    (ShapeError, lambda: AttentionMaps.from_arrays(weights(1, 8), tokens="abc")),
    (ShapeError, lambda: AttentionMaps.from_arrays(weights(1, 8), ids=range(5))),
    (ShapeError, lambda: AttentionMaps.from_arrays(weights(1, 8), np.ones((7, 7), bool))),
    (DTypeError, lambda: AttentionMaps.from_arrays(weights(1, 8).astype(complex))),
    (DTypeError, lambda: AttentionMaps.from_arrays(np.eye(4, dtype=int))),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(np.where(np.eye(8) > 0, np.nan, weights(1, 8)))),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(weights(1, 8) * 2)),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(-weights(1, 8))),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(weights(1, 8, causal=False), "causal")),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(weights(1, 8), "diagonal")),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(weights(1, 8), kind="sideways")),
    (InvalidArgumentError, lambda: AttentionMaps.from_arrays(weights(1, 8), tolerance=2.0)),
    (InvalidArgumentError, lambda: AttentionMaps(())),
    (DTypeError, lambda: AttentionMaps((weights(1, 8),))),
    (DTypeError, lambda: LayerMaps("", "causal", weights(1, 8), "causal")),
]


@pytest.mark.parametrize(("error", "call"), WRONG)
def test_wrong_attention_is_refused(error, call):
    with pytest.raises(error):
        call()


def test_two_layers_have_two_names():
    layer = LayerMaps("layer 0", "causal", weights(1, 8), "causal")
    with pytest.raises(InvalidArgumentError, match="names that differ"):
        AttentionMaps((layer, layer))


SUPPORTS = [
    "full",
    ("causal_window", 7),
    np.tril(np.ones((8, 8), bool)),
    np.tril(np.ones((2, 8, 8), bool)),
    IndexSet.from_mask(np.tril(np.ones((8, 8), bool))),
]


@pytest.mark.parametrize("support", SUPPORTS, ids=["full", "window", "cells", "cells a head", "index set"])
@pytest.mark.parametrize("compress", [False, True])
def test_files_give_back_what_was_written(support, compress, tmp_path):
    maps = AttentionMaps.from_arrays(
        weights(2, 8), support, tokens="abcdefgh", ids=range(8), provenance={"model": "tiny", "n": 3}
    )
    save_maps(maps, tmp_path / "maps.npz", compress=compress)
    again = load_maps(tmp_path / "maps.npz")
    assert again.tokens == maps.tokens
    assert dict(again.provenance) == {"model": "tiny", "n": 3}
    np.testing.assert_array_equal(again.ids, maps.ids)
    for a, b in zip(again.layers, maps.layers, strict=True):
        assert (a.name, a.kind, a.tolerance) == (b.name, b.kind, b.tolerance)
        np.testing.assert_array_equal(a.weights, b.weights)
        assert type(a.support) is type(b.support)
        np.testing.assert_array_equal(a.uniform(), b.uniform())
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]


def test_broken_files_are_refused(tmp_path):
    maps = AttentionMaps.from_arrays(weights(2, 8), "causal")
    save_maps(maps, tmp_path / "maps.npz")
    whole = (tmp_path / "maps.npz").read_bytes()
    cases = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not an archive", "flipped": None}
    flipped = bytearray(whole)
    flipped[100:200] = bytes(255 - b for b in flipped[100:200])
    cases["flipped"] = bytes(flipped)
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidArgumentError, match="path"):
            load_maps(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(InvalidArgumentError, match="save_maps"):
        load_maps(tmp_path / "other.npz")
    with pytest.raises(InvalidArgumentError, match="path"):
        load_maps(tmp_path / "missing.npz")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "maps.npz"
    save_maps(AttentionMaps.from_arrays(weights(1, 8), "causal"), path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save_maps(AttentionMaps.from_arrays(weights(1, 9), "causal"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["maps.npz"]


def test_folders_that_are_not_there(tmp_path):
    maps = AttentionMaps.from_arrays(weights(1, 8), "causal")
    for wrong in (tmp_path, tmp_path / "no" / "maps.npz"):
        with pytest.raises(InvalidArgumentError, match="folder"):
            save_maps(maps, wrong)


def test_tables_are_asked_by_their_columns():
    table = Table(
        {"measure": np.array(["D1", "box", "D1"]), "layer": np.array([0, 0, 1]), "value": np.array([1.0, 2.0, 3.0])}
    )
    assert len(table) == 3
    assert list(table.where(measure="D1")["value"]) == [1.0, 3.0]
    assert list(table.where(measure=["box", "a longer name"], layer=0).rows()) == [
        {"measure": "box", "layer": 0, "value": 2.0}
    ]
    with pytest.raises(InvalidArgumentError, match="measure, layer, value"):
        table["head"]
    with pytest.raises(ShapeError, match="one length"):
        Table({"a": np.ones(2), "b": np.ones(3)})
    with pytest.raises(ValueError, match="read-only"):
        table["value"][0] = 7


def test_tables_as_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = Table({"measure": np.array(["D1"]), "value": np.array([1.5])}).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == [{"measure": "D1", "value": 1.5}]
