"""Escape fields of `z -> z**2 + c`: smooth and soft escape counts, Green's function, and their gradients.

Letters: `z_0, z_1, …` the orbit of a point, `c` the parameter, `n` the number of points. Points are complex numbers of
any shape; complex64 points give float32 fields, complex128 points float64. Real points lie on the real axis, float32
ones as complex64.

A vector-Jacobian product (`*_vjp`) takes `grad`, the gradient of a scalar by the field, and gives its gradients by the
field's arguments; of a complex argument, `d/dre + i d/dim`, as torch has it. Fields are bias fields and research tools:
they cost `n * max_iter` steps and say nothing about which keys to attend to.

Points at infinity give the limit, and gradient 0: smooth count -inf, whole count 0 (Mandelbrot: 1), soft count 0,
potential inf. Points with a NaN part give NaN, and gradient NaN; then the gradient by `c`, a sum over points, is
NaN too. Points whose `grad` is 0 have gradient 0 and add nothing to it, NaN or not. No point changes the result of
another. Gradients of finite points and `grad` are finite: what would overflow the dtype is clamped to its largest
number.

`device="gpu"` computes fields of complex64 points on any GPU, and fails where there is none; there points that lie on
the edge of an escape may round to the other side. `device="auto"` takes what is expected to be faster on this machine,
and `fractal_core.gpu.last_route()` says what that was.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, TypeVar

import numpy as np

from fractal_core import _native
from fractal_core._arguments import UINT32_MAX, complex_number, flag, integer, real
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.gpu import probes, route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

__all__ = [
    "DEVICES",
    "EscapeGradients",
    "SoftEscapeGradients",
    "grid",
    "julia_escape",
    "julia_escape_vjp",
    "julia_potential",
    "julia_potential_vjp",
    "julia_soft_escape",
    "julia_soft_escape_vjp",
    "mandelbrot_escape",
]

DEVICES = route.CHOICES
"""Where fields are computed; "auto" takes what is expected to be faster."""

R = TypeVar("R")

_FLOATS = ("complex64", "float32", "complex128", "float64")


class EscapeGradients(NamedTuple):
    """Gradients by the points and by `c`."""

    points: npt.NDArray[np.complexfloating]
    """Shape and dtype of the points."""
    c: complex


class SoftEscapeGradients(NamedTuple):
    """Gradients by the points, `c`, the radius and the smoothness."""

    points: npt.NDArray[np.complexfloating]
    """Shape and dtype of the points."""
    c: complex
    radius: float
    smoothness: float


def _points(value: npt.ArrayLike) -> npt.NDArray[np.complexfloating]:
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "iu" and array.dtype.name not in _FLOATS:
        raise DTypeError("points", array.dtype, "complex64, complex128, float32, float64 or an integer dtype")
    narrow = array.dtype.name in _FLOATS[:2]
    return array.astype(np.complex64 if narrow else np.complex128, copy=False)


def _cotangent(grad: npt.ArrayLike, points: npt.NDArray[np.complexfloating]) -> npt.NDArray[np.floating]:
    array: npt.NDArray[Any] = np.asarray(grad)
    if array.dtype.kind not in "iuf":
        raise DTypeError("grad", array.dtype, "a real dtype")
    if array.shape != points.shape:
        raise ShapeError("grad", array.shape, f"the shape of points, {points.shape}")
    return array.astype(points.real.dtype, copy=False).reshape(-1)


def _entries(argument: str, value: Iterable[Any]) -> tuple[Any, ...]:
    try:
        return tuple(value)
    except TypeError:
        raise DTypeError(argument, repr(value), "a sequence of numbers") from None


def _iterations(max_iter: SupportsIndex) -> int:
    return integer("max_iter", max_iter, 1, UINT32_MAX)


def _run(  # noqa: PLR0917
    op: str,
    device: str,
    points: npt.NDArray[np.complexfloating],
    max_iter: int,
    cpu: Callable[[], R],
    gpu: Callable[[], R],
) -> R:
    """A field, or its gradients, on the device that is asked for."""
    if route.checked(device) == "cpu":
        return cpu()
    if points.dtype == np.complex64:
        refused = None
    elif device == "gpu":
        raise DTypeError("points", points.dtype, "complex64 or float32 on the GPU")
    else:
        refused = "complex128 points are computed on the CPU"

    def features() -> dict[str, float]:
        return probes.field_features(points.size, max_iter, gradients=op.endswith("vjp"))

    return route.run(op, device, features, cpu=cpu, gpu=gpu, refused=refused)


def grid(
    shape: tuple[SupportsIndex, SupportsIndex], extent: Iterable[float] = (-1.6, 1.6, -1.2, 1.2)
) -> npt.NDArray[np.complex128]:
    """Points of the plane on a regular grid, laid out as a picture: rows from the top, columns from the left.

    Args:
        shape: Rows and columns, one or more each.
        extent: Left, right, bottom and top of the grid, finite; the outermost points lie on them. One row or column
            lies in the middle.

    Returns:
        Shape (rows, columns), complex128.

    Raises:
        InvalidArgumentError: An axis is below 1, or `extent` is not finite.
        ShapeError: `shape` or `extent` has the wrong length.
        DTypeError: An argument is no number.
    """
    two, four = _entries("shape", shape), _entries("extent", extent)
    if len(two) != 2:
        raise ShapeError("shape", shape, "(rows, columns)")
    rows, columns = (integer("shape", side, 1, UINT32_MAX) for side in two)
    sides = [real("extent", side) for side in four]
    if len(sides) != 4:
        raise ShapeError("extent", sides, "(left, right, bottom, top)")
    if not all(map(math.isfinite, sides)):
        raise InvalidArgumentError("extent", sides, "finite numbers")
    return _native.grid(rows, columns, sides)


def julia_escape(
    points: npt.ArrayLike,
    c: complex,
    max_iter: SupportsIndex = 64,
    *,
    radius: float = 16.0,
    smooth: bool = True,
    device: str = "cpu",
) -> npt.NDArray[np.floating]:
    """Smooth escape count of the Julia set of `c`.

    With `z_0` the point and `k` the first of `0 .. max_iter - 1` with `|z_k| > radius`, the value is
    `mu = k + 1 - log2(log|z_k| / log(radius))`, and `max_iter` if there is none. `mu` is continuous up to terms
    of order `radius**-2`.

    Args:
        points: Shape (...), complex, any strides.
        c: Parameter, `|c| <= 1e6`.
        max_iter: Iterates to test, 1 to 2**24.
        radius: Of the disc to leave, 2 to 1e9.
        smooth: False gives `k` itself, as a floating number.
        device: "cpu", "gpu" or "auto", as the module says.

    Returns:
        Shape (...), float32 or float64, at most `max_iter`; below 0 only for points outside of `radius**2`, and -inf
        at infinity. NaN points give NaN.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite, or the device does not exist.
        DTypeError: An argument has no fitting type.

    The mathematics: continuous (renormalised) iteration counts, from A. Douady and J. H. Hubbard's potential (1984).
    """
    z = _points(points)
    steps = _iterations(max_iter)
    flat, given = z.reshape(-1), (complex_number("c", c), steps, real("radius", radius), flag("smooth", smooth))
    values = _run(
        "julia_escape",
        device,
        z,
        steps,
        lambda: _native.julia_escape(flat, *given),
        lambda: _native.gpu_escape(np.ascontiguousarray(flat), *given),
    )
    return values.reshape(z.shape)


def julia_escape_vjp(
    grad: npt.ArrayLike, points: npt.ArrayLike, c: complex, max_iter: SupportsIndex = 64, *, radius: float = 16.0
) -> EscapeGradients:
    """Gradients of `sum(grad * julia_escape(points, c, max_iter, radius))` by the points and by `c`.

    The derivative recurrence `dz -> 2 z dz + 1` stops where the orbit escapes, however late; it is rescaled as it
    grows, so that it does not overflow before the gradient does. Points that do not escape have gradient 0.

    Args:
        grad: Shape (...) of the points, real.
        points: As in `julia_escape`.
        c: As in `julia_escape`.
        max_iter: As in `julia_escape`.
        radius: As in `julia_escape`.

    Returns:
        Gradients by the points, shape (...), and by `c`.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite.
        ShapeError: `grad` has not the shape of the points.
        DTypeError: An argument has no fitting type.
    """
    z = _points(points)
    by_points, by_c = _native.julia_escape_vjp(
        _cotangent(grad, z), z.reshape(-1), complex_number("c", c), _iterations(max_iter), real("radius", radius)
    )
    return EscapeGradients(by_points.reshape(z.shape), by_c)


def mandelbrot_escape(
    points: npt.ArrayLike,
    max_iter: SupportsIndex = 64,
    *,
    radius: float = 16.0,
    smooth: bool = True,
    device: str = "cpu",
) -> npt.NDArray[np.floating]:
    """Smooth escape count of the Mandelbrot set: as `julia_escape`, with `z_0 = 0` and the point as `c`.

    Args:
        points: Shape (...), complex, any strides.
        max_iter: Iterates to test, 1 to 2**24.
        radius: Of the disc to leave, 2 to 1e9.
        smooth: False gives the whole number of the first iterate outside.
        device: "cpu", "gpu" or "auto", as the module says.

    Returns:
        Shape (...), float32 or float64, at most `max_iter`; -inf at infinity. NaN points give NaN.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite, or the device does not exist.
        DTypeError: An argument has no fitting type.
    """
    z = _points(points)
    steps = _iterations(max_iter)
    flat, given = z.reshape(-1), (steps, real("radius", radius), flag("smooth", smooth))
    values = _run(
        "mandelbrot_escape",
        device,
        z,
        steps,
        lambda: _native.mandelbrot_escape(flat, *given),
        lambda: _native.gpu_escape(np.ascontiguousarray(flat), None, *given),
    )
    return values.reshape(z.shape)


def julia_soft_escape(
    points: npt.ArrayLike,
    c: complex,
    max_iter: SupportsIndex = 64,
    *,
    radius: float = 2.0,
    smoothness: float = 2.0,
    device: str = "cpu",
) -> npt.NDArray[np.floating]:
    """Differentiable escape count of the Julia set of `c`: the expected number of iterates that a point survives.

    At each of `z_0 .. z_{max_iter - 1}` the orbit ends with probability
    `h_k = sigmoid((|z_k| - radius) * smoothness)`. With `S_k = (1 - h_0) … (1 - h_k)` the value is
    `S_0 + … + S_{max_iter - 1}`, the survival-weighted escape time. As the smoothness grows this becomes
    `julia_escape(..., smooth=False)`. Orbits end for certain beyond `radius + 40 / smoothness` (24 for complex64),
    where `1 - h_k` is below rounding.

    Args:
        points: Shape (...), complex, any strides.
        c: Parameter, `|c| <= 1e6`.
        max_iter: Iterates to test, 1 to 2**24.
        radius: Of the disc to leave, 1e-6 to 1e6.
        smoothness: Steepness of the disc's edge, 1e-6 to 1e6.
        device: "cpu", "gpu" or "auto", as the module says.

    Returns:
        Shape (...), float32 or float64, in 0 .. max_iter, 0 at infinity. NaN points give NaN.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite, or the device does not exist.
        DTypeError: An argument has no fitting type.
    """
    z = _points(points)
    steps = _iterations(max_iter)
    flat = z.reshape(-1)
    given = (complex_number("c", c), steps, real("radius", radius), real("smoothness", smoothness))
    values = _run(
        "julia_soft_escape",
        device,
        z,
        steps,
        lambda: _native.julia_soft_escape(flat, *given),
        lambda: _native.gpu_soft_escape(np.ascontiguousarray(flat), *given),
    )
    return values.reshape(z.shape)


def julia_soft_escape_vjp(
    grad: npt.ArrayLike,
    points: npt.ArrayLike,
    c: complex,
    max_iter: SupportsIndex = 64,
    *,
    radius: float = 2.0,
    smoothness: float = 2.0,
    device: str = "cpu",
) -> SoftEscapeGradients:
    """Gradients of `sum(grad * julia_soft_escape(points, c, max_iter, radius, smoothness))`.

    The derivatives are carried along with the orbit, so memory does not depend on `max_iter`. Near the Julia set `dz_k`
    grows like 2**k and more while the survival falls: their product is carried. It is clamped to the largest number of
    the dtype divided by `8 * max(1, smoothness * max_iter**2, radius + 40 / smoothness)` (24 for complex64), so
    gradients stay finite. Where an orbit has ended for certain, as at far points, its gradient is exactly 0. At
    `z_k = 0` the modulus has no derivative, and 0 is taken, also where an iterate is too small for the dtype.

    Args:
        grad: Shape (...) of the points, real.
        points: As in `julia_soft_escape`.
        c: As in `julia_soft_escape`.
        max_iter: As in `julia_soft_escape`.
        radius: As in `julia_soft_escape`.
        smoothness: As in `julia_soft_escape`.
        device: As in `julia_soft_escape`.

    Returns:
        Gradients by the points, shape (...), by `c`, by the radius and by the smoothness. The last three are sums in
        float64 (on the GPU in float32), in an order that does not depend on the number of threads.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite.
        ShapeError: `grad` has not the shape of the points.
        DTypeError: An argument has no fitting type.
    """
    z = _points(points)
    steps = _iterations(max_iter)
    weights, flat = _cotangent(grad, z), z.reshape(-1)
    given = (complex_number("c", c), steps, real("radius", radius), real("smoothness", smoothness))
    by_points, by_c, by_radius, by_smoothness = _run(
        "julia_soft_escape_vjp",
        device,
        z,
        steps,
        lambda: _native.julia_soft_escape_vjp(weights, flat, *given),
        lambda: _native.gpu_soft_escape_vjp(np.ascontiguousarray(weights), np.ascontiguousarray(flat), *given),
    )
    return SoftEscapeGradients(by_points.reshape(z.shape), by_c, by_radius, by_smoothness)


def julia_potential(
    points: npt.ArrayLike, c: complex, max_iter: SupportsIndex = 256, *, device: str = "cpu"
) -> npt.NDArray[np.floating]:
    """Green's function of the complement of the filled Julia set: `G(p) = lim 2**-k log|z_k|`, 0 on the filled set.

    `G` is smooth outside, grows like `log|p|`, and `G(p**2 + c) = 2 G(p)`. It is read off where the limit is reached to
    rounding.

    Args:
        points: Shape (...), complex, any strides.
        c: Parameter, `|c| <= 1e6`.
        max_iter: Iterates to test, 1 to 2**24; a point that is not far out by then counts as 0.
        device: "cpu", "gpu" or "auto", as the module says.

    Returns:
        Shape (...), float32 or float64, 0 or more, inf at infinity. NaN points give NaN.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite, or the device does not exist.
        DTypeError: An argument has no fitting type.

    The mathematics: A. Douady and J. H. Hubbard, "Étude dynamique des polynômes complexes" (1984).
    """
    if route.checked(device) == "gpu":
        raise InvalidArgumentError("device", repr(device), '"cpu" or "auto": no shader computes the potential')
    z = _points(points)
    return _native.julia_potential(z.reshape(-1), complex_number("c", c), _iterations(max_iter)).reshape(z.shape)


def julia_potential_vjp(
    grad: npt.ArrayLike, points: npt.ArrayLike, c: complex, max_iter: SupportsIndex = 256
) -> EscapeGradients:
    """Gradients of `sum(grad * julia_potential(points, c, max_iter))` by the points and by `c`; 0 on the filled set.

    Args:
        grad: Shape (...) of the points, real.
        points: As in `julia_potential`.
        c: As in `julia_potential`.
        max_iter: As in `julia_potential`.

    Returns:
        Gradients by the points, shape (...), and by `c`.

    Raises:
        InvalidArgumentError: A parameter is outside of its range or not finite.
        ShapeError: `grad` has not the shape of the points.
        DTypeError: An argument has no fitting type.
    """
    z = _points(points)
    by_points, by_c = _native.julia_potential_vjp(
        _cotangent(grad, z), z.reshape(-1), complex_number("c", c), _iterations(max_iter)
    )
    return EscapeGradients(by_points.reshape(z.shape), by_c)
