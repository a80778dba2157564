"""Row statistics with known values and invariances; rollout."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ONE_HOT = np.eye(10)[3]
UNIFORM = np.full(10, 0.1)
RAMP = np.arange(1.0, 11)
HALF = np.tile([1.0, 0.0], 5)
EVEN = ("entropy", "normalized_entropy", "effective_support", "gini", "hoyer", "top_p_keys", "top_k_mass", "below")


def test_known_rows():
    found = dimension.row_statistics(np.stack([ONE_HOT, UNIFORM, RAMP, HALF]), top_k=2)
    np.testing.assert_allclose(found.gini[:3], [0.9, 0, 0.3], atol=1e-12)
    np.testing.assert_allclose(found.hoyer[[0, 1]], [1, 0], atol=1e-12)
    assert found.hoyer[3] == pytest.approx(0.4283, abs=5e-5)
    np.testing.assert_allclose(found.entropy[[0, 1, 3]], [0, np.log(10), np.log(5)], atol=1e-12)
    np.testing.assert_allclose(found.normalized_entropy[:2], [0, 1], atol=1e-12)
    np.testing.assert_allclose(found.effective_support[[0, 1, 3]], [1, 10, 5], atol=1e-12)
    np.testing.assert_allclose(found.mass, [1, 1, 55, 5], atol=1e-12)
    np.testing.assert_allclose(found.top_k_mass, [1, 0.2, 19 / 55, 0.4], atol=1e-12)
    np.testing.assert_allclose(found.below, [0.9, 0, 0.2, 0.5], atol=1e-12)
    assert np.isnan(found.induction).all()


def test_habits_of_causal_rows_match_their_definitions():
    rng = np.random.default_rng(0)
    weights = np.tril(rng.random((2, 3, 40, 40)))
    weights /= weights.sum(axis=-1, keepdims=True)
    tokens = rng.integers(0, 5, 40)
    found = dimension.row_statistics(weights, "causal", sinks=2, local=3, tokens=tokens)
    i, j = np.mgrid[:40, :40]
    np.testing.assert_allclose(found.distance, (weights * (i - j)).sum(-1), atol=1e-12)
    np.testing.assert_allclose(found.sink, weights[..., :2].sum(-1), atol=1e-12)
    np.testing.assert_allclose(found.previous[..., 1:], weights[..., 1:, :].diagonal(0, -2, -1)[..., :39], atol=1e-12)
    np.testing.assert_allclose(found.local, (weights * (abs(i - j) <= 3)).sum(-1), atol=1e-12)
    follows = np.zeros((40, 40), bool)
    follows[:, 1:] = (tokens[:, None] == tokens[None, :-1]) & (j[:, 1:] <= i[:, 1:])
    np.testing.assert_allclose(found.induction, (weights * follows).sum(-1), atol=1e-12)
    np.testing.assert_array_equal(found.keys, np.broadcast_to(np.arange(1.0, 41), (2, 3, 40)))
    assert np.isnan(found.gini[..., 0]).all()
    assert found.entropy[0, 0, 0] == 0
    summary = found.summary()
    assert summary.keys() == {field.name for field in fields(found)}
    gini = summary["gini"]
    np.testing.assert_array_equal(gini.rows, np.full((2, 3), 39))
    np.testing.assert_allclose(gini.mean, np.nanmean(found.gini, axis=-1))
    np.testing.assert_allclose(gini.std, np.nanstd(found.gini, axis=-1))
    np.testing.assert_array_equal(summary["induction"].rows.shape, (2, 3))


def test_queries_are_the_last_positions_of_the_keys():
    weights = np.zeros((2, 5))
    weights[0, 2] = weights[1, 4] = 1
    found = dimension.row_statistics(weights, "causal")
    assert found.keys.tolist() == [4, 5]
    assert found.previous.tolist() == [1, 0]
    assert found.distance.tolist() == [1, 0]


def test_rows_without_mass_and_index_sets():
    mask = np.tri(8, dtype=bool)
    mask[3] = False
    weights = np.tri(8) * mask
    found = dimension.row_statistics(weights, IndexSet.from_mask(mask))
    assert found.mass[3] == found.keys[3] == 0
    assert np.isnan(found.entropy[3])
    np.testing.assert_allclose(found.normalized_entropy[[1, 2, 4, 5, 6, 7]], 1, atol=1e-12)


rows = hnp.arrays(np.float32, (3, 12), elements=st.floats(2**-10, 1, width=32))


@given(rows, st.randoms(use_true_random=False), st.floats(0.01, 100))
def test_evenness_does_not_change_with_order_factor_or_width(weights, random, factor):
    found = dimension.row_statistics(weights)
    order = list(range(12))
    random.shuffle(order)
    for same in (weights[:, order], weights.astype(np.float64)):
        again = dimension.row_statistics(same)
        for name in EVEN:
            np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-9, atol=1e-9)
    scaled = dimension.row_statistics(weights.astype(np.float64) * factor)
    for name in ("entropy", "gini", "hoyer", "effective_support", "maximum"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(found, name), rtol=1e-9, atol=1e-9)
    for name in ("normalized_entropy", "gini", "hoyer", "maximum", "top_k_mass", "below", "local"):
        assert ((getattr(found, name) >= 0) & (getattr(found, name) <= 1 + 1e-12)).all()
    assert ((found.effective_support >= 1 - 1e-12) & (found.effective_support <= 12 + 1e-9)).all()


def test_half_precision_is_close_to_double():
    weights = np.random.default_rng(0).random((4, 64, 64))
    wide = dimension.row_statistics(weights.astype(np.float16).astype(np.float64))
    half = dimension.row_statistics(weights.astype(np.float16))
    np.testing.assert_allclose(half.entropy, wide.entropy, rtol=1e-12)
    long = dimension.row_statistics(weights.astype(np.longdouble))
    np.testing.assert_allclose(long.gini, dimension.row_statistics(weights).gini, rtol=1e-12)


@pytest.mark.parametrize(("heads", "fuse"), [("mean", np.mean), ("max", np.max), ("min", np.min)])
def test_rollout_is_a_product_of_mixed_layers(heads, fuse):
    weights = np.random.default_rng(0).random((3, 4, 9, 9))
    wanted = np.eye(9)
    for layer in weights:
        mixed = 0.6 * fuse(layer, axis=0) + 0.4 * np.eye(9)
        wanted = mixed / mixed.sum(axis=1, keepdims=True) @ wanted
    found = dimension.attention_rollout(weights, residual=0.4, heads=heads)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    single = dimension.attention_rollout(np.tril(weights[:, 0]), "causal")
    assert (np.triu(single, 1) == 0).all()
