"""Series and points with known exponents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import dimension
from hypothesis import given
from hypothesis import strategies as st


def noise(hurst, n, seed):
    """Fractional Gaussian noise by circulant embedding."""
    rng = np.random.default_rng(seed)
    k = np.arange(n + 1)
    covariance = 0.5 * (abs(k + 1) ** (2 * hurst) - 2 * abs(k) ** (2 * hurst) + abs(k - 1) ** (2 * hurst))
    power = np.fft.fft(np.concatenate([covariance, covariance[-2:0:-1]])).real.clip(0)
    white = rng.normal(size=2 * n) + 1j * rng.normal(size=2 * n)
    return np.fft.fft(np.sqrt(power / (2 * n)) * white).real[:n]


def test_a_straight_line_has_dimension_1():
    found = dimension.higuchi_dimension(3 * np.arange(1000.0) - 7, kmax=50)
    assert float(found) == pytest.approx(1, abs=1e-12)
    assert found.reliable


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7, 0.9])
def test_fractional_noise(hurst):
    series = np.stack([noise(hurst, 4096, seed) for seed in range(8)])
    walks = series.cumsum(axis=1)
    assert dimension.higuchi_dimension(walks).value.mean() == pytest.approx(2 - hurst, abs=0.06)
    assert dimension.dfa(series).value.mean() == pytest.approx(hurst, abs=0.05)
    assert dimension.dfa(walks).value.mean() == pytest.approx(hurst + 1, abs=0.08)


def test_white_noise():
    white = np.random.default_rng(0).normal(size=(8, 4096))
    assert dimension.higuchi_dimension(white).value.mean() == pytest.approx(2, abs=0.02)
    assert dimension.dfa(white, order=2).value.mean() == pytest.approx(0.5, abs=0.05)


def test_higuchi_is_antropys_but_for_the_last_step_of_each_start():
    x = noise(0.5, 500, 1).cumsum()

    def by(last):
        lengths = []
        for k in range(1, 11):
            starts = []
            for m in range(k):
                steps = (len(x) - m - 1) // k
                total = sum(abs(x[m + j * k] - x[m + (j - 1) * k]) for j in range(1, steps + last))
                starts.append(total / k * (len(x) - 1) / (k * steps))
            lengths.append(np.mean(starts))
        return np.polyfit(np.log(1 / np.arange(1, 11)), np.log(lengths), 1)[0]

    found = float(dimension.higuchi_dimension(x))
    assert found == pytest.approx(by(last=1), abs=1e-9)
    assert float(dimension.higuchi_dimension(x, last_step=False)) == pytest.approx(by(last=0), abs=1e-9)


@pytest.mark.parametrize("a", [0.7, 0.75])
def test_a_binomial_series_has_its_exponents(a):
    n = 16
    ones = np.array([bin(k).count("1") for k in range(2**n)])
    series = a**ones * (1 - a) ** (n - ones)
    orders = [-5, -2, 1, 2, 5]
    found = dimension.mfdfa(series, q=orders, scales=[2**k for k in range(7, 14)])
    true = [1 / q - math.log(a**q + (1 - a) ** q) / (q * math.log(2)) for q in orders]
    np.testing.assert_allclose(found.value, true, atol=0.02)
    # What short windows cost is the same for all orders: the series is made of copies of itself.
    np.testing.assert_allclose(found.value - found.value[2], np.subtract(true, true[2]), atol=1e-6)
    assert (found.r2 > 0.99).all()
    # The order 0 lies between its neighbours.
    near = dimension.mfdfa(series, q=[-0.01, 0, 0.01], scales=[2**k for k in range(4, 13)]).value
    assert near[1] == pytest.approx((near[0] + near[2]) / 2, abs=1e-4)


@given(st.floats(0.01, 100), st.floats(-100, 100), st.integers(0, 100))
def test_level_and_factor_do_not_change_exponents(factor, level, seed):
    x = np.random.default_rng(seed).normal(size=200)
    for exponent in (dimension.dfa, dimension.higuchi_dimension):
        assert float(exponent(factor * x + level)) == pytest.approx(float(exponent(x)), abs=1e-6)
        assert float(exponent(x[::-1].copy())) == pytest.approx(float(exponent(x)), abs=0.3)


def test_leading_axes_and_what_does_not_vary():
    x = np.random.default_rng(0).normal(size=(2, 3, 300)).astype(np.float32)
    assert dimension.dfa(x).value.shape == (2, 3)
    assert dimension.mfdfa(x, q=[1, 2]).value.shape == (2, 3, 2)
    np.testing.assert_array_equal(dimension.mfdfa(x, q=[1, 2]).value[..., 1], dimension.dfa(x).value)
    flat = dimension.dfa(np.ones(300))
    assert math.isnan(flat.value)
    assert not flat.reliable
    assert "flat: the series does not vary" in flat.reasons


def henon(n):
    x, y, points = 0.1, 0.1, []
    for _ in range(n + 100):
        x, y = 1 - 1.4 * x * x + y, 0.3 * x
        points.append((x, y))
    return np.array(points[100:])


def test_sets_of_points_have_their_correlation_dimension():
    rng = np.random.default_rng(0)
    angle = rng.random(2500) * 2 * np.pi
    cantor = (2 * rng.integers(0, 2, (2500, 25)) * 3.0 ** -np.arange(1, 26)).sum(axis=1)[:, None]
    for points, true in [
        (np.stack([np.cos(angle), np.sin(angle)], axis=1), 1.0),
        (rng.random((2500, 2)), 2.0),
        (henon(2500), 1.21),
        (cantor, math.log(2) / math.log(3)),
    ]:
        found = dimension.correlation_dimension(points)
        assert float(found) == pytest.approx(true, abs=0.06), true


def test_correlation_sums_are_shares_of_pairs():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    shares = dimension.correlation_sum(points, [1.5, 2.5, 5.0, 100.0])
    np.testing.assert_allclose(shares, [1 / 6, 2 / 6, 4 / 6, 1.0])
    apart = dimension.correlation_sum(points, [3.5, 100.0], theiler=2)
    np.testing.assert_allclose(apart, [1 / 3, 1.0])
    rows = np.array([[1.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    hellinger = dimension.correlation_sum(rows, [0.55, 0.999, 1.001], metric="hellinger")
    np.testing.assert_allclose(hellinger, [2 / 3, 2 / 3, 1.0] if (1 - 0.5**0.5) ** 0.5 < 0.55 else [0, 2 / 3, 1])
    jensen = dimension.correlation_sum(
        rows, [math.log(2) ** 0.5 - 1e-9, math.log(2) ** 0.5 + 1e-9], metric="jensen_shannon"
    )
    np.testing.assert_allclose(jensen, [2 / 3, 1.0])
