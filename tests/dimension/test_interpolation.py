"""Fractal interpolation: through the points, of the dimension that the factors give, and found again from its graph."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fractal_core import IndexSet, dimension
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

FractalInterpolation, FractalSurface = dimension.FractalInterpolation, dimension.FractalSurface

X, Y = [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, -1.0, 2.0, 0.5]
numbers = st.floats(-10, 10, allow_subnormal=False)


@given(hnp.arrays(float, st.integers(2, 9), elements=numbers), st.floats(-0.95, 0.95), st.floats(0.1, 3))
def test_it_passes_through_the_points(y, factor, step):
    x = np.cumsum(np.full(len(y), step))
    f = FractalInterpolation(x, y, factor)
    assert np.abs(f(x) - y).max() <= 1e-12 * max(1, np.abs(y).max())


@given(hnp.arrays(float, st.integers(2, 9), elements=numbers))
def test_without_factors_it_is_piecewise_linear(y):
    x = np.arange(len(y), dtype=float)
    at = np.linspace(0, len(y) - 1, 50)
    assert np.allclose(FractalInterpolation(x, y)(at), np.interp(at, x, y), rtol=0, atol=1e-12)


def test_the_graph_is_a_fixed_point_of_the_maps():
    f = FractalInterpolation([0, 1, 3, 4], [1, -1, 2, 0], [0.5, -0.3, 0.6])
    x, y = f.graph(4)
    share = (x - x[0]) / (x[-1] - x[0])
    rest = y - (y[0] * (1 - share) + y[-1] * share)
    for i, d in enumerate(f.factors):
        left, right = f.x[i], f.x[i + 1]
        image = f.y[i] * (1 - share) + f.y[i + 1] * share + d * rest
        assert np.allclose(f(left + share * (right - left)), image, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("factor", "exact"), [(0.5, 1.5), (0.7, 1.7427), (0.25, 1.0), (0.1, 1.0), (-0.5, 1.5)])
def test_the_dimension_of_equal_pieces(factor, exact):
    assert FractalInterpolation(X, Y, factor).dimension == pytest.approx(exact, abs=5e-5)


def test_the_dimension_of_unequal_pieces_solves_its_equation():
    f = FractalInterpolation([0, 1, 3, 7], [0, 2, -1, 1], [0.9, 0.5, 0.4])
    share = np.diff(f.x) / 7
    assert (np.abs(f.factors) * share ** (f.dimension - 1)).sum() == pytest.approx(1, abs=1e-12)


def test_points_on_a_line_have_a_line():
    assert FractalInterpolation([0, 1, 2], [1, 2, 3], 0.9).dimension == 1
    assert FractalInterpolation([0, 1, 2], [0, 0, 0], 0.9).dimension == 1


def test_a_measured_dimension_comes_near():
    x, y = FractalInterpolation(X, Y, 0.7).graph(6)
    found = dimension.higuchi_dimension(y, kmax=64)
    assert abs(float(found) - 1.7427) < 0.05
    assert len(x) == 4**7 + 1


@pytest.mark.parametrize("factor", [0.3, 0.8])
def test_each_step_comes_closer_by_the_factor(factor):
    f = FractalInterpolation(X, Y, factor)
    at = np.linspace(0, 4, 801)
    # The first step leaves the line between the ends by no more than the points do.
    farthest = np.abs(np.array(Y) - np.interp(X, [0, 4], [Y[0], Y[-1]])).max() / (1 - factor)
    for k in range(12):
        error = np.abs(f(at, steps=k) - f(at)).max()
        assert 0 < error <= factor**k * farthest * (1 + 1e-9)


def test_factors_are_found_again():
    wanted = np.array([0.5, -0.4, 0.3, 0.6])
    x, y = FractalInterpolation(X, Y, wanted).graph(4)
    fit = dimension.fit_interpolation(x, y, np.arange(0, len(x), (len(x) - 1) // 4))
    assert np.allclose(fit.function.factors, wanted, rtol=0, atol=1e-9)
    assert fit.collage < 1e-9
    assert fit.residual < 1e-9


def test_the_collage_theorem_bounds_the_distance():
    x = np.linspace(0, 1, 257)
    y = np.sin(7 * x) + 0.2 * np.sin(40 * x)
    fit = dimension.fit_interpolation(x, y, np.arange(0, 257, 32), largest=0.9)
    assert 0 < np.abs(fit.function(x) - y).max() <= fit.bound
    assert np.abs(fit.function.factors).max() <= 0.9


@given(st.integers(1, 5), st.floats(-0.9, 0.9), st.integers(0, 99))
def test_a_surface_passes_through_its_heights(n, factor, seed):
    heights = np.random.default_rng(seed).standard_normal((n + 1, n + 1))
    surface, side = FractalSurface(heights, factor), np.linspace(0, 1, n + 1)
    assert np.allclose(surface(side[:, None], side[None, :]), heights, rtol=0, atol=1e-9)
    assert np.allclose(FractalSurface(heights)(0.5, 0.5), _bilinear(heights, 0.5, 0.5), rtol=0, atol=1e-12)


def _bilinear(heights, u, v):
    n = len(heights) - 1
    i, j = min(int(u * n), n - 1), min(int(v * n), n - 1)
    s, t = u * n - i, v * n - j
    rows = heights[i : i + 2, j : j + 2]
    return float((rows[0] @ [1 - t, t]) * (1 - s) + (rows[1] @ [1 - t, t]) * s)


def test_neighbouring_cells_of_a_surface_agree_on_their_edge():
    surface = FractalSurface(np.random.default_rng(3).standard_normal((5, 5)), 0.8)
    # In binary fractions nothing is rounded: one place, reached from both of its cells.
    n, v = 4, np.arange(65) / 64
    for edge in (1, 2, 3):
        found = []
        for cell in (edge - 1, edge):
            share = float(edge - cell)
            place = 1 - share if cell % 2 else share
            h = surface.heights
            low, high = _row(h[cell], v, n), _row(h[cell + 1], v, n)
            folded = np.where((np.minimum(np.floor(v * n), n - 1) % 2) == 1, 1 - (v * n % 1), v * n % 1)
            folded[-1] = 0.0
            whole = surface(np.full(65, place), folded) - surface._whole(np.full(65, place), folded)
            found.append(low * (1 - share) + high * share + 0.8 * whole)
        assert np.allclose(*found, rtol=0, atol=1e-12)


def _row(heights, v, n):
    j = np.minimum(np.floor(v * n).astype(int), n - 1)
    t = v * n - j
    return heights[j] * (1 - t) + heights[j + 1] * t


def test_the_dimension_of_a_surface():
    heights = np.random.default_rng(0).standard_normal((5, 5))
    assert FractalSurface(heights, 0.5).dimension == pytest.approx(3 + math.log(0.5) / math.log(4), abs=1e-12)
    assert FractalSurface(heights, 0.2).dimension == 2
    assert FractalSurface(np.ones((5, 5)), 0.9).dimension == 2


@pytest.mark.parametrize("support", ["full", "causal", ("causal_window", 9)])
@pytest.mark.parametrize("every", [1, 3, 8, 500])
def test_interpolated_attention_is_attention(support, every):
    weights = np.random.default_rng(1).random((2, 40, 40)) ** 3
    mask = {"full": np.ones((40, 40), bool), "causal": np.tri(40, dtype=bool)}.get(
        str(support), np.tri(40, dtype=bool) & ~np.tri(40, k=-10, dtype=bool)
    )
    weights *= mask
    weights /= weights.sum(-1, keepdims=True)
    found = dimension.interpolated_rows(weights, support, every=every, factor=0.6)
    assert found.shape == weights.shape
    assert np.allclose(found.sum(-1), 1, rtol=0, atol=1e-12)
    assert found.min() >= 0
    assert not found[:, ~mask].any()
    if every == 1:
        assert np.allclose(found, weights, rtol=0, atol=1e-15)
    else:
        assert np.abs(found - weights).max() > 1e-3


def test_without_a_factor_mass_is_spread_evenly_between_points():
    found = dimension.interpolated_rows([[0.4, 0.0, 0.1, 0.5]], every=2, factor=0.0)
    assert np.allclose(found, [[0.2, 0.2, 0.3, 0.3]], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: FractalInterpolation([0, 1], [0, 1], 1.0), InvalidArgumentError, "factors"),
        (lambda: FractalInterpolation([0, 1], [0, 1], [0.1, 0.2]), ShapeError, "factors"),
        (lambda: FractalInterpolation([1, 0], [0, 1]), InvalidArgumentError, "x"),
        (lambda: FractalInterpolation([0], [0]), ShapeError, "x, y"),
        (lambda: FractalInterpolation([0, 1], [0, math.nan]), InvalidArgumentError, "y"),
        (lambda: FractalInterpolation([0, 1], ["a", "b"]), DTypeError, "y"),
        (lambda: FractalInterpolation(X, Y)(5.0), InvalidArgumentError, "points"),
        (lambda: FractalInterpolation(X, Y)(math.nan), InvalidArgumentError, "points"),
        (lambda: FractalInterpolation(X, Y)(1.0, steps=-1), InvalidArgumentError, "steps"),
        (lambda: FractalInterpolation(X, Y).graph(40), InvalidArgumentError, "levels"),
        (lambda: dimension.fit_interpolation(X, Y, [0, 2]), InvalidArgumentError, "knots"),
        (lambda: dimension.fit_interpolation(X, Y, [0, 4], largest=1), InvalidArgumentError, "largest"),
        (lambda: FractalSurface(np.ones((2, 3))), ShapeError, "heights"),
        (lambda: FractalSurface(np.ones((2, 2)), 2), InvalidArgumentError, "factor"),
        (lambda: FractalSurface(np.ones((2, 2)))(2.0, 0.0), InvalidArgumentError, "u"),
        (lambda: dimension.interpolated_rows(-np.ones((2, 2))), InvalidArgumentError, "weights"),
        (lambda: dimension.interpolated_rows(np.ones((2, 2)), "causal"), InvalidArgumentError, "weights"),
        (lambda: dimension.interpolated_rows(np.ones((2, 2)), every=0), InvalidArgumentError, "every"),
        (lambda: dimension.interpolated_rows(np.ones((2, 2)), factor=1), InvalidArgumentError, "factor"),
    ],
)
def test_what_is_refused(call, error, argument):
    with pytest.raises(error) as found:
        call()
    assert found.value.argument == argument


def test_rows_of_an_index_set():
    index_set = IndexSet.from_offsets([0, 1, 3, 9], 30)
    weights = np.random.default_rng(0).random((30, 30)) * index_set.to_mask()
    found = dimension.interpolated_rows(weights, index_set, every=2)
    assert np.allclose(found.sum(-1), weights.sum(-1), rtol=0, atol=1e-12)
    assert not found[~index_set.to_mask()].any()
