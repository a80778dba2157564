"""Space-filling curves: Hilbert and Morton codes of lattice points, and the Heighway dragon.

Letters: `n` points, `ndim` axes, `order` bits per axis. A code is a point's place on the curve.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias, cast

import numpy as np

from fractal_core import _native
from fractal_core._arguments import INT64_MAX, UINT32_MAX, integer, last_axis
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.gpu import probes, route

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    """int64 to a type checker; in fact the dtype of `dtype` or `out`, and uint64 for 64 bits."""

__all__ = [
    "dragon_turns",
    "dragon_vertices",
    "hilbert_decode",
    "hilbert_encode",
    "hilbert_order",
    "morton_decode",
    "morton_encode",
    "morton_order",
]


def _lattice(argument: str, value: npt.ArrayLike) -> Integers:
    """`value` as an array of any integer dtype (typed as int64); copied only if misaligned or of foreign byte order."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.size == 0 and not isinstance(value, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DTypeError(argument, array.dtype, "an integer dtype")
    if array.flags.aligned and array.dtype.isnative:
        return array
    return array.astype(f"{array.dtype.kind}{array.dtype.itemsize}")


def _result(
    out: npt.NDArray[Any] | None, dtype: npt.DTypeLike | None, shape: tuple[int, ...], bits: int, given: Integers
) -> Integers:
    """`out`, or a new array of `dtype`, for integers of `bits` bits that come from `given`."""
    wanted = None if dtype is None else _dtype(dtype)
    if out is None:
        chosen: np.dtype[Any] = wanted or np.dtype("uint64" if bits > 63 else "int64")
        _room("dtype", chosen, bits)
        return np.empty(shape, chosen)
    if not isinstance(out, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("out", type(out).__name__, "a NumPy array")
    if wanted is not None and wanted != out.dtype:
        raise DTypeError("dtype", wanted, f"that of out, {out.dtype}, or None")
    _room("out", out.dtype, bits)
    if out.shape != shape:
        raise ShapeError("out", out.shape, shape)
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise InvalidArgumentError("out", _flags(out), "a writeable, C-contiguous and aligned array")
    if np.may_share_memory(out, given):
        raise InvalidArgumentError("out", "an array that overlaps the input", "memory of its own")
    return out


def _dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        return np.dtype(dtype)
    except TypeError:
        raise DTypeError("dtype", repr(dtype), "an integer dtype") from None


def _room(argument: str, dtype: np.dtype[Any], bits: int) -> None:
    """Refuses a dtype that does not hold 0 .. 2**bits - 1."""
    allowed = f"an integer dtype that holds 0 .. 2**{bits} - 1, in native byte order"
    if dtype.kind not in "iu" or not dtype.isnative:
        raise DTypeError(argument, dtype, allowed)
    # More than 64 bits is refused by the extension, which names `order`.
    if bits <= 64 and np.iinfo(dtype).max < 2**bits - 1:
        raise DTypeError(argument, dtype, allowed)


def _flags(array: npt.NDArray[Any]) -> str:
    flags = array.flags
    return f"writeable: {flags.writeable}, C-contiguous: {flags.c_contiguous}, aligned: {flags.aligned}"


def _encode(
    curve: str,
    coords: npt.ArrayLike,
    order: SupportsIndex,
    *,
    dtype: npt.DTypeLike | None,
    out: npt.NDArray[Any] | None,
    device: str,
) -> Integers:
    points = _lattice("coords", coords)
    ndim = last_axis("coords", points.shape, "(..., ndim)")
    bits = integer("order", order, 0, UINT32_MAX)
    shape = points.shape[:-1]
    codes = _result(out, dtype, shape, ndim * bits, points)
    rows, flat = points.reshape(math.prod(shape), ndim), codes.reshape(-1)

    def gpu() -> None:
        _inside("coords", rows, 2**bits, "2**order")
        flat[...] = _native.gpu_encode(curve, np.ascontiguousarray(rows, dtype=np.uint32), ndim, bits)

    native = _native.hilbert_encode if curve == "hilbert" else _native.morton_encode
    _run(f"{curve}_encode", device, (len(rows), ndim, bits), lambda: native(rows, bits, flat), gpu)
    return codes


def _decode(
    curve: str,
    index: npt.ArrayLike,
    order: SupportsIndex,
    ndim: SupportsIndex,
    *,
    dtype: npt.DTypeLike | None,
    out: npt.NDArray[Any] | None,
    device: str,
) -> Integers:
    codes = _lattice("index", index)
    axes, bits = integer("ndim", ndim, 1, 64), integer("order", order, 0, UINT32_MAX)
    points = _result(out, dtype, (*codes.shape, axes), bits, codes)
    flat, rows = codes.reshape(-1), points.reshape(codes.size, axes)

    def gpu() -> None:
        _inside("index", flat, 2 ** (axes * bits), "2**(ndim * order)")
        rows[...] = _native.gpu_decode(curve, np.ascontiguousarray(flat, dtype=np.uint64), axes, bits)

    native = _native.hilbert_decode if curve == "hilbert" else _native.morton_decode
    _run(f"{curve}_decode", device, (codes.size, axes, bits), lambda: native(flat, bits, axes, rows), gpu)
    return points


def _run(op: str, device: str, sizes: tuple[int, int, int], cpu: Callable[[], None], gpu: Callable[[], None]) -> None:
    """A codec on the device that is asked for."""
    if route.checked(device) == "cpu":
        cpu()
        return
    _, ndim, order = sizes
    refused = None
    if not (ndim in {2, 3} and ndim * order <= 64 and order <= 32):
        if device == "gpu":
            raise InvalidArgumentError(
                "coords" if op.endswith("encode") else "ndim", f"{ndim} axes", "2 or 3 on the GPU"
            )
        refused = "points of 2 and 3 axes alone are converted on the GPU"
    route.run(op, device, lambda: probes.codec_features(*sizes), cpu=cpu, gpu=gpu, refused=refused)


def _inside(argument: str, values: Integers, end: int, named: str) -> None:
    """Refuses values outside 0 .. end - 1, as the CPU does."""
    if values.size and (int(values.min()) < 0 or int(values.max()) >= end):
        outside = values.min() if int(values.min()) < 0 else values.max()
        raise KeyIndexError(argument, int(outside), f"0 <= value < {named} = {end}")


def hilbert_encode(
    coords: npt.ArrayLike,
    order: SupportsIndex,
    *,
    dtype: npt.DTypeLike | None = None,
    out: npt.NDArray[Any] | None = None,
    device: str = "cpu",
) -> Integers:
    """Places of lattice points on the Hilbert curve.

    Consecutive places are neighbours (one axis differs, by one). The converse does not hold: half of the grid
    neighbours of a plane are next to each other on the curve, and a few lie most of the curve apart. In the plane, two
    places `d` apart are at most `3 * sqrt(d)` apart in L1 and `sqrt(6 * d)` in L2. The curve starts at the origin with
    a step along axis 0 and is prefix-stable: a place means the same point at every order that holds it.

    Args:
        coords: Shape (..., ndim), any integer dtype, any strides, each in 0 .. 2**order - 1.
        order: Bits per axis; `ndim * order <= 64`.
        dtype: An integer dtype that holds 2**(ndim * order) - 1; int64 by default, uint64 if `ndim * order` is 64.
        out: Where to write, shape (...), such a dtype, C-contiguous, not overlapping `coords`. What it holds after an
            error is undefined.
        device: "cpu", "gpu" (two or three axes) or "auto", what is expected to be faster.

    Returns:
        `out`, or a new array of shape (...), in 0 .. 2**(ndim * order) - 1.

    Raises:
        InvalidArgumentError: `order` is negative or `ndim * order > 64`; `out` is read-only, strided or overlaps.
        KeyIndexError: A coordinate is outside of the lattice.
        DTypeError: `coords` or `order` are no integers; `dtype` or `out` do not hold the codes.
        ShapeError: `coords` has no axis; `out` has another shape.

    The mathematics: J. Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707 (2004).
    """
    return _encode("hilbert", coords, order, dtype=dtype, out=out, device=device)


def hilbert_decode(
    index: npt.ArrayLike,
    order: SupportsIndex,
    ndim: SupportsIndex = 2,
    *,
    dtype: npt.DTypeLike | None = None,
    out: npt.NDArray[Any] | None = None,
    device: str = "cpu",
) -> Integers:
    """Lattice points at places of the Hilbert curve; the inverse of `hilbert_encode`.

    Args:
        index: Shape (...), any integer dtype, any strides, each in 0 .. 2**(ndim * order) - 1.
        order: Bits per axis; `ndim * order <= 64`.
        ndim: Number of axes, 1 to 64.
        dtype: An integer dtype that holds 2**order - 1; int64 by default, uint64 if `order` is 64.
        out: Where to write, shape (..., ndim), such a dtype, C-contiguous, not overlapping `index`. What it holds after
            an error is undefined.
        device: "cpu", "gpu" (two or three axes) or "auto", what is expected to be faster.

    Returns:
        `out`, or a new array of shape (..., ndim), in 0 .. 2**order - 1.

    Raises:
        InvalidArgumentError: `order` is negative or `ndim * order > 64`; `out` is read-only, strided or overlaps.
        KeyIndexError: A place is outside of the curve.
        DTypeError: `index`, `order` or `ndim` are no integers; `dtype` or `out` do not hold the coordinates.
        ShapeError: `out` has another shape.
    """
    return _decode("hilbert", index, order, ndim, dtype=dtype, out=out, device=device)


def _shape(shape: Iterable[SupportsIndex] | SupportsIndex) -> tuple[int, ...]:
    try:
        sides = iter(cast("Iterable[SupportsIndex]", shape))
    except TypeError:
        raise DTypeError("shape", repr(shape), "a tuple of integers") from None
    return tuple(integer("shape", side, 0, UINT32_MAX) for side in sides)


def hilbert_order(shape: Iterable[SupportsIndex]) -> npt.NDArray[np.int64]:
    """The cells of any 2-D or 3-D box in the order of a Hilbert-like curve.

    Every step of every box is a unit step: consecutive cells differ by one along one axis. Squares and cubes of side
    2**k take the places of `hilbert_decode`. Other boxes are cut recursively like the Hilbert curve's own quadrants and
    octants, with cuts placed by parity; these orders are not prefix-stable.

    Args:
        shape: Two or three axis lengths, at most 2**32 cells.

    Returns:
        Shape (cells,), int64: the raster (C order) offset of the t-th cell; a permutation of 0 .. cells - 1.
        `np.unravel_index(order, shape)` gives the cells' coordinates, `tokens[order]` lays tokens along the curve.

    Raises:
        ShapeError: `shape` has not two or three axes.
        InvalidArgumentError: An axis is negative, or there are too many cells.
        DTypeError: An axis is no integer.
    """
    return _native.hilbert_order(_shape(shape))


def morton_encode(
    coords: npt.ArrayLike,
    order: SupportsIndex,
    *,
    dtype: npt.DTypeLike | None = None,
    out: npt.NDArray[Any] | None = None,
    device: str = "cpu",
) -> Integers:
    """Morton (Z-order) codes of lattice points: the bits of the coordinates interleaved, axis 0 most significant.

    Args:
        coords: Shape (..., ndim), any integer dtype, any strides, each in 0 .. 2**order - 1.
        order: Bits per axis; `ndim * order <= 64`.
        dtype: An integer dtype that holds 2**(ndim * order) - 1; int64 by default, uint64 if `ndim * order` is 64.
        out: Where to write, shape (...), such a dtype, C-contiguous, not overlapping `coords`. What it holds after an
            error is undefined.
        device: "cpu", "gpu" (two or three axes) or "auto", what is expected to be faster.

    Returns:
        `out`, or a new array of shape (...), in 0 .. 2**(ndim * order) - 1.

    Raises:
        InvalidArgumentError: `order` is negative or `ndim * order > 64`; `out` is read-only, strided or overlaps.
        KeyIndexError: A coordinate is outside of the lattice.
        DTypeError: `coords` or `order` are no integers; `dtype` or `out` do not hold the codes.
        ShapeError: `coords` has no axis; `out` has another shape.
    """
    return _encode("morton", coords, order, dtype=dtype, out=out, device=device)


def morton_decode(
    index: npt.ArrayLike,
    order: SupportsIndex,
    ndim: SupportsIndex = 2,
    *,
    dtype: npt.DTypeLike | None = None,
    out: npt.NDArray[Any] | None = None,
    device: str = "cpu",
) -> Integers:
    """Lattice points of Morton codes; the inverse of `morton_encode`.

    Args:
        index: Shape (...), any integer dtype, any strides, each in 0 .. 2**(ndim * order) - 1.
        order: Bits per axis; `ndim * order <= 64`.
        ndim: Number of axes, 1 to 64.
        dtype: An integer dtype that holds 2**order - 1; int64 by default, uint64 if `order` is 64.
        out: Where to write, shape (..., ndim), such a dtype, C-contiguous, not overlapping `index`. What it holds after
            an error is undefined.
        device: "cpu", "gpu" (two or three axes) or "auto", what is expected to be faster.

    Returns:
        `out`, or a new array of shape (..., ndim), in 0 .. 2**order - 1.

    Raises:
        InvalidArgumentError: `order` is negative or `ndim * order > 64`; `out` is read-only, strided or overlaps.
        KeyIndexError: A code is outside of the curve.
        DTypeError: `index`, `order` or `ndim` are no integers; `dtype` or `out` do not hold the coordinates.
        ShapeError: `out` has another shape.
    """
    return _decode("morton", index, order, ndim, dtype=dtype, out=out, device=device)


def morton_order(shape: Iterable[SupportsIndex]) -> npt.NDArray[np.int64]:
    """The cells of a box by Morton code.

    Args:
        shape: One axis length or more, at most 2**32 cells.

    Returns:
        Shape (cells,), int64: the raster (C order) offset of the t-th cell; a permutation of 0 .. cells - 1.

    Raises:
        ShapeError: `shape` has no axis.
        InvalidArgumentError: An axis is negative, or there are too many cells or axes.
        DTypeError: An axis is no integer.
    """
    return _native.morton_order(_shape(shape))


def dragon_turns(n: SupportsIndex) -> npt.NDArray[np.int8]:
    """The first `n` turns of the Heighway dragon: `k = 2**a * m` with `m` odd goes left if `m % 4 == 1`, else right.

    Args:
        n: Number of turns, `k = 1 ..= n`.

    Returns:
        Shape (n,), int8: +1 left, -1 right.

    Raises:
        InvalidArgumentError: `n` is negative or above 2**32.
        DTypeError: `n` is no integer.

    The mathematics: C. Davis and D. E. Knuth, "Number representations and dragon curves" (1970).
    """
    return _native.dragon_turns(integer("n", n, 0, INT64_MAX))


def dragon_vertices(n: SupportsIndex) -> npt.NDArray[np.int64]:
    """The first `n` vertices of the Heighway dragon on the square lattice.

    No edge is walked twice, a vertex is visited at most twice, and vertex `2**k` is `2**(k / 2)` from the origin.

    Args:
        n: Number of vertices, the origin included.

    Returns:
        Shape (n, 2), int64 (x, y), from (0, 0) with the first step to (1, 0).

    Raises:
        InvalidArgumentError: `n` is negative or above 2**32.
        DTypeError: `n` is no integer.
    """
    return _native.dragon_vertices(integer("n", n, 0, INT64_MAX))
