"""Null models: each keeps what it says and nothing of the rest."""

from __future__ import annotations

import numpy as np
import pytest
from fractal_core import IndexSet, dimension, patterns
from fractal_core.analysis import nulls
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from hypothesis import given
from hypothesis import strategies as st

SUPPORTS = ["full", "causal", ("window", 5), ("causal_window", 7), IndexSet.from_offsets([0, 2, 3, 11], 40)]


def attention(support, seed=0, peak=2.0):
    logits = peak * np.random.default_rng(seed).standard_normal((3, 40, 40))
    mask = dimension.row_statistics(np.zeros((40, 40)), support).keys  # refuses what is no support
    assert mask.min() >= 1
    i, j = np.indices((40, 40))
    if isinstance(support, IndexSet):
        inside = support.to_mask()
    elif isinstance(support, tuple):
        inside = (abs(i - j) <= support[1]) & ((j <= i) | (support[0] == "window"))
    else:
        inside = (j <= i) | (support == "full")
    weights = np.where(inside, np.exp(logits), 0.0)
    return weights / weights.sum(-1, keepdims=True), inside


ALL = [
    lambda w, s, rng: nulls.support_uniform(w, s),
    lambda w, s, rng: nulls.row_shuffled(w, s, rng=rng),
    lambda w, s, rng: nulls.toeplitz(w, s),
    lambda w, s, rng: nulls.entropy_matched(w, s, rng=rng),
]


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("null", ALL)
def test_every_null_is_attention_on_the_support(null, support):
    weights, inside = attention(support)
    found = null(weights, support, np.random.default_rng(1))
    assert found.shape == weights.shape
    assert found.min() >= 0
    assert not found[:, ~inside].any()
    assert np.allclose(found.sum(-1), 1, rtol=0, atol=1e-12)
    assert np.abs(found - weights).max() > 1e-3


@pytest.mark.parametrize("support", SUPPORTS)
def test_a_row_shuffle_keeps_every_rows_weights(support):
    weights, inside = attention(support)
    found = nulls.row_shuffled(weights, support, rng=np.random.default_rng(0))
    assert np.array_equal(np.sort(found, -1), np.sort(weights, -1))
    again = nulls.row_shuffled(weights, support, rng=np.random.default_rng(0))
    assert np.array_equal(found, again)
    del inside


def test_sparse_rows_are_shuffled_within_themselves():
    rng = np.random.default_rng(0)
    index_set = patterns.create("window:radius=3|cantor").index_set(60, 60, causal=True)
    weights = dimension.EdgeWeights(index_set, rng.random((2, 3, index_set.nnz)))
    found = nulls.row_shuffled(weights, rng=rng)
    assert found.index_set is index_set
    assert found.values.shape == (2, 3, index_set.nnz)
    assert not np.array_equal(found.values, weights.values)
    assert not np.array_equal(found.values[0, 0], found.values[0, 1])
    dense, shuffled = weights.to_dense(), found.to_dense()
    assert np.array_equal(np.sort(dense, -1), np.sort(shuffled, -1))
    with pytest.raises(InvalidArgumentError, match="support"):
        nulls.row_shuffled(weights, "causal", rng=rng)


def test_a_row_shuffle_is_uniform_over_orders():
    counts, rng = np.zeros((3, 3)), np.random.default_rng(0)
    for _ in range(3000):
        counts += np.argsort(nulls.row_shuffled([[1.0, 2.0, 3.0]], rng=rng)[0])[:, None] == np.arange(3)
    # Each place holds each key a third of the time: 5 standard deviations.
    assert np.abs(counts / 3000 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 3000)


@given(st.integers(0, 200), st.floats(0.05, 12))
def test_entropies_are_matched(seed, peak):
    weights, _ = attention("causal", seed, peak)
    found = nulls.entropy_matched(weights, "causal", rng=np.random.default_rng(seed + 1))
    ours, theirs = (dimension.row_statistics(w, "causal").entropy for w in (found, weights))
    assert np.allclose(ours, theirs, rtol=0, atol=1e-9)


def test_uniform_and_one_hot_rows_are_matched_too():
    weights = np.stack([np.full(16, 1 / 16), np.eye(16)[3]])
    found = nulls.entropy_matched(weights, rng=np.random.default_rng(0))
    assert np.allclose(found[0], 1 / 16, rtol=0, atol=1e-9)
    assert found[1].max() == pytest.approx(1, abs=1e-9)


def test_toeplitz_keeps_what_depends_on_distance_alone():
    i, j = np.indices((40, 40))
    weights = np.where(abs(i - j) <= 20, 1 / (1.0 + abs(i - j)), 0.0)
    weights /= weights.sum(-1, keepdims=True)
    found = nulls.toeplitz(weights[10:30])
    profile = found / found.max(-1, keepdims=True)
    for k in range(20):
        assert profile[k] == pytest.approx(1 / (1 + abs(10 + k - np.arange(40))) * (abs(10 + k - np.arange(40)) <= 20),
                                           abs=0.06)  # fmt: skip
    exact = np.tri(40) / np.arange(1, 41)[:, None]
    assert np.allclose(nulls.toeplitz(exact, "causal").sum(-1), 1, rtol=0, atol=1e-12)


def test_uniform_on_the_support():
    weights, inside = attention("causal")
    assert np.allclose(nulls.support_uniform(weights, "causal"), inside / inside.sum(-1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("n", [63, 64])
def test_random_phases_keep_the_spectrum(n):
    series = np.cumsum(np.random.default_rng(0).standard_normal((2, n)), -1)
    found = nulls.phase_randomized(series, rng=np.random.default_rng(1))
    assert np.allclose(abs(np.fft.rfft(found)), abs(np.fft.rfft(series)), rtol=0, atol=1e-9)
    assert np.abs(found - series).max() > 0.1


def test_blocks_stay_whole():
    series = np.arange(23.0)
    found = nulls.block_shuffled(series, 5, rng=np.random.default_rng(2))
    assert np.array_equal(np.sort(found), series)
    assert (np.diff(found) == 1).sum() >= 18
    assert not np.array_equal(found, series)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: nulls.row_shuffled(np.ones((2, 2)), rng=0), DTypeError, "rng"),
        (lambda: nulls.row_shuffled(np.ones((2, 2)), "causal", rng=np.random.default_rng()), InvalidArgumentError,
         "weights"),
        (lambda: nulls.support_uniform([[np.nan]]), InvalidArgumentError, "weights"),
        (lambda: nulls.toeplitz(np.ones(3)), ShapeError, "weights"),
        (lambda: nulls.block_shuffled(np.ones(3), 4, rng=np.random.default_rng()), InvalidArgumentError, "block"),
        (lambda: nulls.phase_randomized([1.0], rng=np.random.default_rng()), ShapeError, "series"),
        (lambda: nulls.phase_randomized([1.0, np.inf], rng=np.random.default_rng()), InvalidArgumentError, "series"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, argument):
    with pytest.raises(error) as found:
        call()
    assert found.value.argument == argument
