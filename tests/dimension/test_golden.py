"""Partitions and position weights: shares that sum to 1, and a golden ratio that is one base among others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import dimension
from fractal_core.errors import InvalidArgumentError
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(2, 40), st.integers(2, 40), st.floats(1.01, 9), st.integers(0, 99))
def test_the_four_blocks_are_the_matrix(n, m, ratio, seed):
    weights = np.random.default_rng(seed).random((3, n, m))
    found = dimension.golden_partition(weights, ratio=ratio)
    assert found.cuts == (int(n / ratio), int(m / ratio))
    whole = np.concatenate([np.concatenate(row, axis=-1) for row in found.blocks], axis=-2)
    assert np.array_equal(whole, weights)
    assert np.allclose(found.shares.sum((-2, -1)), 1, rtol=0, atol=1e-12)
    assert np.allclose(found.area.sum((-2, -1)), 1, rtol=0, atol=1e-12)


def test_uniform_attention_has_the_shares_of_its_support():
    mask = np.tri(21)
    found = dimension.golden_partition(mask, "causal")
    assert np.allclose(found.shares, found.area, rtol=0, atol=1e-15)
    assert found.shares[0, 1] == 0
    assert found.cuts == (12, 12)
    assert found.shares[0, 0] == pytest.approx(12 * 13 / (21 * 22), abs=1e-12)


def test_weights_of_positions():
    for base in dimension.BASES:
        weights = dimension.position_weights(50, base)
        assert weights.sum() == pytest.approx(1, abs=1e-12)
        assert weights[0] / weights[25] == pytest.approx(math.sqrt(base), abs=1e-12)
    assert np.ptp(dimension.position_weights(9, 1)) == 0
    assert pytest.approx(1.618033988749895, abs=1e-15) == dimension.PHI


def test_scores_of_keys_for_every_base():
    weights = np.random.default_rng(0).random((2, 12, 20))
    found = dimension.position_scores(weights)
    assert found.bases == dimension.BASES
    for i, base in enumerate(found.bases):
        wanted = np.einsum("i,bij->bj", dimension.position_weights(12, base), weights)
        assert np.allclose(found.scores[:, i], wanted, rtol=0, atol=1e-12)
    assert np.allclose(found.agreement[:, found.bases.index(1.0)], 1, rtol=0, atol=1e-12)


def test_agreement_is_spearmans():
    scipy_free = dimension.position_scores([[1.0, 2.0, 2.0, 0.0], [3.0, 0.0, 1.0, 2.0]], bases=[1000.0])
    assert scipy_free.bases == (1.0, 1000.0)
    equal, steep = scipy_free.scores
    assert np.allclose(equal, [2, 1, 1.5, 1], rtol=0, atol=1e-12)

    def ranks(x):
        return np.array([(np.sum(x < v) + np.sum(x <= v) - 1) / 2 for v in x])

    wanted = np.corrcoef(ranks(equal), ranks(steep))[0, 1]
    assert scipy_free.agreement[1] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: dimension.golden_partition(np.ones((2, 2)), ratio=1.0), "ratio"),
        (lambda: dimension.golden_partition(np.ones((2, 2)), ratio=math.nan), "ratio"),
        (lambda: dimension.golden_partition([[-1.0, 1.0]]), "weights"),
        (lambda: dimension.position_weights(0), "n"),
        (lambda: dimension.position_weights(3, 0.0), "base"),
        (lambda: dimension.position_scores(np.ones((2, 2)), bases=[-1.0]), "base"),
    ],
)
def test_what_is_refused(call, argument):
    with pytest.raises(InvalidArgumentError) as found:
        call()
    assert found.value.argument == argument
