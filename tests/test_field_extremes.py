"""Fields and their gradients over all finite points, at infinity and NaN, against plain recurrences of dual numbers.

The recurrences are in decimal numbers of 60 digits and any exponent, so that nothing in them overflows or vanishes.
"""

from __future__ import annotations

import functools
import math
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from fractal_core import fields

DIGITS = Context(prec=60, Emin=-999_999_999, Emax=999_999_999)
ITERATES = 6

# Each size along three directions, one of them of modulus near it.
SIZES = {
    np.complex128: [
        5e-324,
        1e-310,
        1e-200,
        1e-150,
        1e-20,
        0.3,
        1.0,
        2.0,
        7.0,
        1e4,
        1e15,
        1e77,
        1.6e154,
        1e200,
        1.7e308,
    ],
    np.complex64: [1e-45, 1e-39, 1e-30, 1e-17, 1e-10, 0.3, 1.0, 2.0, 7.0, 1e4, 1e10, 1e15, 2e19, 1e30, 3.3e38],
}
POINTS = {
    dtype: np.array([0, *(s * way for s in sizes for way in (1, -0.6 + 0.8j, 1j)), sizes[-1] * (1 + 1j)], dtype=dtype)
    for dtype, sizes in SIZES.items()
}
BOTH = pytest.mark.parametrize("dtype", [np.complex128, np.complex64])


class Dual:
    """A number and its derivatives."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes

    def map(self, value, factor):
        return Dual(value, [factor * s for s in self.slopes])

    def __add__(self, other):
        if not isinstance(other, Dual):
            return Dual(self.value + other, self.slopes)
        return Dual(self.value + other.value, [a + b for a, b in zip(self.slopes, other.slopes, strict=True)])

    def __mul__(self, other):
        if not isinstance(other, Dual):
            return self.map(self.value * other, other)
        pairs = zip(self.slopes, other.slopes, strict=True)
        return Dual(self.value * other.value, [a * other.value + self.value * b for a, b in pairs])

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + -other

    def inverse(self):
        return self.map(1 / self.value, -1 / self.value**2)

    def sqrt(self):
        root = self.value.sqrt()
        return self.map(root, 1 / (2 * root) if root else Decimal(0))

    def exp(self):
        return self.map(self.value.exp(), self.value.exp())

    def ln(self):
        return self.map(self.value.ln(), 1 / self.value)


def orbit(x, y, cx, cy, count):
    for _ in range(count):
        yield (x * x + y * y).sqrt()
        x, y = x * x - y * y + cx, 2 * (x * y) + cy


def soft(x, y, cx, cy, radius, smoothness, count=ITERATES):
    survival, expected = Dual(Decimal(1), [Decimal(0)] * 6), Dual(Decimal(0), [Decimal(0)] * 6)
    for modulus in orbit(x, y, cx, cy, count):
        steep = (modulus - radius) * smoothness
        # Nothing is left from here on that any float could hold.
        if steep.value > 3000:
            break
        survival *= (steep.exp() + 1).inverse()
        expected += survival
    return expected


def smooth(x, y, cx, cy, radius, count=ITERATES):
    for k, modulus in enumerate(orbit(x, y, cx, cy, count)):
        if modulus.value > radius.value:
            return (modulus.ln() * radius.ln().inverse()).ln() * (-1 / Decimal(2).ln()) + (k + 1)
    return Dual(Decimal(count), [Decimal(0)] * 5)


def potential(x, y, cx, cy, count=20):
    for k, modulus in enumerate(orbit(x, y, cx, cy, count)):
        # Farther than the kernel's disc, so that the limit is nearer.
        if modulus.value > Decimal("1e100"):
            return modulus.ln() * (1 / Decimal(2) ** k)
    return Dual(Decimal(0), [Decimal(0)] * 4)


def exact(function, points, c, *parameters):
    """Values, gradients by the points, and by all the rest (c's two parts, then parameters) a row a point."""
    values, by_points, rest = [], [], []
    with localcontext(DIGITS):
        for z in points:
            numbers = [Decimal(float(x)) for x in (z.real, z.imag, c.real, c.imag, *parameters)]
            result = function(*(Dual(x, [Decimal(i == j) for j in range(len(numbers))]) for i, x in enumerate(numbers)))
            values.append(float(result.value))
            re, im, *others = map(float, result.slopes)
            by_points.append(complex(re, im))
            rest.append(others)
    return np.array(values), np.array(by_points), np.array(rest)


def agree(got, expected, scale, tolerance):
    """Parts within the tolerance of the scale, which is a number or one a value."""
    got, expected = np.asarray(got, dtype=complex), np.asarray(expected, dtype=complex)
    assert np.isfinite(got).all()
    assert (np.abs(got - expected) <= tolerance * np.maximum(scale, 1e-300)).all(), (got, expected)


@BOTH
@pytest.mark.parametrize("c", [0j, -0.7 + 0.27j, 1e6 + 0j])
@pytest.mark.parametrize(
    ("radius", "smoothness"), [(2.0, 2.0), (2.0, 1e-6), (1e-6, 1e-6), (1e-6, 1e6), (1e6, 1e-6), (2.0, 1e3)]
)
def test_soft_field_and_gradients_hold_for_all_sizes_of_points(dtype, c, radius, smoothness):
    z = POINTS[dtype]
    c = complex(dtype(c)) if dtype is np.complex64 else c
    values, by_points, rest = exact(soft, z, c, radius, smoothness)
    # The hazard's argument is rounded at the size of radius * smoothness.
    tolerance = 100 * np.finfo(dtype).eps * (1 + radius * smoothness)
    agree(fields.julia_soft_escape(z, c, ITERATES, radius=radius, smoothness=smoothness), values, 1, tolerance)

    got = fields.julia_soft_escape_vjp(np.ones(len(z)), z, c, ITERATES, radius=radius, smoothness=smoothness)
    # What is lost where orbits end for certain.
    cut = smoothness * math.exp(-24 if dtype is np.complex64 else -40)
    agree(got.points, by_points, np.maximum(np.abs(by_points), cut / tolerance), 4 * tolerance)
    if c == 0:
        # Iterates that vanish have no direction, and c moves them.
        far = np.abs(z) > 0.1
        rest = rest * far[:, None] ** np.array([1, 1, 0, 0])
        got = got._replace(
            c=fields.julia_soft_escape_vjp(far.astype(float), z, c, ITERATES, radius=radius, smoothness=smoothness).c
        )
    together = [got.c.real, got.c.imag, got.radius, got.smoothness]
    agree(together, rest.sum(0), np.maximum(np.abs(rest).sum(0), [cut, cut, cut, radius]), 4 * tolerance)


@BOTH
@pytest.mark.parametrize("c", [0j, -0.7 + 0.27j, 1e6 + 0j])
@pytest.mark.parametrize("radius", [2.0, 16.0, 1e9])
def test_smooth_field_and_gradients_hold_for_all_sizes_of_points(dtype, c, radius):
    z = POINTS[dtype]
    c = complex(dtype(c)) if dtype is np.complex64 else c
    # On the disc's edge the field jumps.
    z = z[np.abs(np.abs(z.astype(complex)) - radius) > 1e-3]
    values, by_points, rest = exact(smooth, z, c, radius)
    tolerance = 100 * np.finfo(dtype).eps
    agree(fields.julia_escape(z, c, ITERATES, radius=radius), values, ITERATES, tolerance)
    got = fields.julia_escape_vjp(np.ones(len(z)), z, c, ITERATES, radius=radius)
    agree(got.points, by_points, np.maximum(np.abs(by_points), np.finfo(dtype).tiny), tolerance)
    agree([got.c.real, got.c.imag], rest.sum(0)[:2], np.maximum(np.abs(rest).sum(0)[:2], 1e-30), tolerance)


@BOTH
@pytest.mark.parametrize("c", [0j, -0.7 + 0.27j, 1e6 + 0j])
def test_potential_and_gradients_hold_for_all_sizes_of_points(dtype, c):
    z = POINTS[dtype]
    # On the unit circle the potential of c = 0 has no slope.
    z = z[np.abs(np.abs(z.astype(complex)) - 1) > 1e-3] if c == 0 else z
    c = complex(dtype(c)) if dtype is np.complex64 else c
    values, by_points, rest = exact(potential, z, c)
    tolerance = 100 * np.finfo(dtype).eps
    agree(fields.julia_potential(z, c, 20), values, np.maximum(values, 1), tolerance)
    got = fields.julia_potential_vjp(np.ones(len(z)), z, c, 20)
    agree(got.points, by_points, np.maximum(np.abs(by_points), np.finfo(dtype).tiny), 4 * tolerance)
    agree([got.c.real, got.c.imag], rest.sum(0), np.maximum(np.abs(rest).sum(0), 1e-30), 4 * tolerance)


INFINITE = [complex(math.inf, 0), complex(0, -math.inf), complex(-math.inf, math.inf)]
NOT_A_NUMBER = [complex(math.nan, 0), complex(0, math.nan), complex(math.inf, math.nan), complex(math.nan, -math.inf)]
VJPS = [fields.julia_soft_escape_vjp, fields.julia_escape_vjp, fields.julia_potential_vjp]


@BOTH
def test_fields_at_infinity_are_their_limits(dtype):
    z = np.array(INFINITE, dtype=dtype)
    assert fields.julia_soft_escape(z, 0.3).tolist() == [0, 0, 0]
    assert fields.julia_potential(z, 0.3).tolist() == [math.inf] * 3
    assert fields.julia_escape(z, 0.3).tolist() == [-math.inf] * 3
    assert fields.julia_escape(z, 0.3, smooth=False).tolist() == [0, 0, 0]
    assert fields.mandelbrot_escape(z).tolist() == [-math.inf] * 3
    assert fields.mandelbrot_escape(z, smooth=False).tolist() == [1, 1, 1]


@BOTH
def test_fields_of_nan_are_nan(dtype):
    z = np.array(NOT_A_NUMBER, dtype=dtype)
    for values in (
        fields.julia_soft_escape(z, 0.3),
        fields.julia_potential(z, 0.3),
        fields.julia_escape(z, 0.3),
        fields.julia_escape(z, 0.3, smooth=False),
        fields.mandelbrot_escape(z),
        fields.mandelbrot_escape(z, smooth=False),
    ):
        assert np.isnan(values).all()


@BOTH
@pytest.mark.parametrize("vjp", VJPS)
def test_far_and_infinite_points_do_not_touch_the_gradients_of_a_batch(dtype, vjp):
    near = fields.grid((13, 17), (-1.7, 1.6, -1.3, 1.4)).ravel().astype(dtype)
    weights = np.random.default_rng(3).normal(size=len(near) + 3)
    alone = vjp(weights[:-3], near, -0.7 + 0.27j)
    got = vjp(weights, np.append(near, np.array(INFINITE, dtype=dtype)), -0.7 + 0.27j)
    np.testing.assert_array_equal(got.points, np.append(alone.points, np.zeros(3, dtype=dtype)))
    assert got[1:] == alone[1:]


@BOTH
@pytest.mark.parametrize("vjp", VJPS)
def test_nan_points_have_nan_gradients_unless_their_weight_is_zero(dtype, vjp):
    z = np.array([0.4 + 0.9j, *NOT_A_NUMBER], dtype=dtype)
    got = vjp(np.ones(5), z, 0.3)
    assert np.isfinite(got.points[0])
    assert (np.isnan(got.points[1:].real) & np.isnan(got.points[1:].imag)).all()
    assert math.isnan(got.c.real)
    masked = vjp(np.array([1.0, 0, 0, 0, 0]), z, 0.3)
    assert masked.points[1:].tolist() == [0] * 4
    assert masked[1:] == vjp(np.ones(1), z[:1], 0.3)[1:]


@BOTH
def test_neighbours_of_any_size_change_no_bit_of_a_gradient(dtype):
    z = POINTS[dtype]
    together = fields.julia_soft_escape_vjp(np.ones(len(z)), z, -0.7 + 0.27j).points
    one_by_one = [fields.julia_soft_escape_vjp(np.ones(1), p[None], -0.7 + 0.27j).points[0] for p in z]
    np.testing.assert_array_equal(together, one_by_one)


@BOTH
@pytest.mark.parametrize("radius", [2.0, 1e6])
@pytest.mark.parametrize("vjp", VJPS)
def test_gradients_that_outgrow_the_dtype_are_large_and_not_nan(dtype, vjp, radius):
    # Thousands of doublings along the orbits of repelling fixed points and of a chaotic interval.
    if vjp is fields.julia_soft_escape_vjp:
        vjp = functools.partial(vjp, radius=radius, smoothness=1e3 / radius)
    elif vjp is fields.julia_escape_vjp:
        vjp = functools.partial(vjp, radius=1e3 * radius)
    z = np.concatenate([np.linspace(-2, 2, 1001), 1000 + np.linspace(-0.01, 0.01, 51)]).astype(dtype)
    z = np.concatenate([z, np.exp(2j * np.pi * np.linspace(0, 1, 101)).astype(dtype)])
    most = float(np.finfo(dtype).max)
    for c in (0, -2, -2.0000001, 0.25, -999_000):
        for weight in (1.0, most):
            got = vjp(np.where(np.arange(len(z)) % 2, weight, -weight), z, c, 3000)
            assert np.isfinite(got.points).all()
            assert np.isfinite(np.array(got[1:])).all()


@BOTH
@pytest.mark.parametrize("smoothness", [1e-6, 1e-4, 1e-2])
def test_soft_gradients_hold_along_a_flat_edge_over_many_iterates(dtype, smoothness):
    # The orbit of c = 0 goes round the unit circle for ever, exactly.
    z = np.array([1, 1j, -1], dtype=dtype)
    _, by_points, rest = exact(functools.partial(soft, count=60), z, 0j, 2.0, smoothness)
    got = fields.julia_soft_escape_vjp(np.ones(3), z, 0, 60, smoothness=smoothness)
    agree(got.points, by_points, np.abs(by_points), 1e4 * np.finfo(dtype).eps)
    agree([got.c.real, got.c.imag, *got[2:]], rest.sum(0), np.abs(rest).sum(0), 1e4 * np.finfo(dtype).eps)


@BOTH
def test_soft_gradients_hold_where_tangents_outgrow_the_survival(dtype):
    # At a repelling fixed point: dz grows like 4**k, the survival falls like 4**-k or faster.
    z = np.array([2], dtype=dtype)
    for radius in (0.5, 1.0, 1.25):
        _, by_points, rest = exact(functools.partial(soft, count=600), z, -2 + 0j, radius, 2.0)
        got = fields.julia_soft_escape_vjp(np.ones(1), z, -2, 600, radius=radius)
        agree(got.points, by_points, np.abs(by_points), 1e4 * np.finfo(dtype).eps)
        agree([got.c.real, got.c.imag, *got[2:]], rest[0], np.abs(rest[0]), 1e4 * np.finfo(dtype).eps)


@BOTH
def test_potential_gradients_hold_for_orbits_that_leave_late(dtype):
    # Just outside of the unit circle: G = log|p|, whose gradient does not know how late.
    z = (np.array([1, 1j, -1]) * (1 + 4 * np.finfo(dtype).eps)).astype(dtype)
    got = fields.julia_potential_vjp(np.ones(3), z, 0)
    agree(got.points, z, 1, 1e3 * np.finfo(dtype).eps)


@BOTH
def test_smooth_gradients_hold_for_orbits_that_leave_late(dtype):
    # By hundreds of nearly parabolic steps; float64 differs from float32 in where it goes, so each follows its own.
    z, c = np.array([0.25], dtype=dtype), float(np.float32(0.2503))
    _, by_points, rest = exact(functools.partial(smooth, count=400), z, complex(c), 16.0)
    got = fields.julia_escape_vjp(np.ones(1), z, c, 400)
    assert fields.julia_escape(z, c, 400)[0] > 100
    agree(got.points, by_points, np.abs(by_points), 1e7 * np.finfo(dtype).eps)
    agree([got.c.real, got.c.imag], rest[0][:2], np.abs(rest[0]).max(), 1e7 * np.finfo(dtype).eps)


@BOTH
def test_mandelbrot_holds_for_all_sizes_of_points(dtype):
    c = POINTS[dtype]
    expected = [exact(smooth, [0j], complex(p), 16.0)[0][0] for p in c]
    agree(fields.mandelbrot_escape(c, ITERATES), expected, ITERATES, 100 * np.finfo(dtype).eps)
