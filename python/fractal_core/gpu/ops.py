"""Kernels on arrays: of NumPy arrays they give read-only NumPy arrays, of arrays that stay on the GPU such arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, overload

import numpy as np

from fractal_core import _native
from fractal_core._arguments import integer, real
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.gpu.array import GpuArray, array
from fractal_core.gpu.extension import need

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["BoxCounts", "box_counts", "box_sums", "matmul", "pairwise_distance", "softmax", "token_density"]


class BoxCounts(NamedTuple):
    """Occupied boxes by their size."""

    sides: tuple[int, ...]
    """1, 2, 4, … cells."""
    counts: npt.NDArray[np.uint32]
    """How many boxes of each side have a cell that is not 0."""


class _Inputs:
    """Arrays on the GPU: given ones as they are, NumPy arrays uploaded; all of one kind.

    Args:
        dtype: Of all of them.
        ndim: Number of axes of each; None takes any but 0.
        values: Arrays by the names of their arguments.
    """

    def __init__(self, dtype: str, ndim: int | None, **values: object) -> None:
        need()
        kinds = {isinstance(value, GpuArray) for value in values.values()}
        if len(kinds) > 1:
            name = next(name for name, value in values.items() if not isinstance(value, GpuArray))
            raise DTypeError(name, type(values[name]).__name__, "arrays of one kind: all on the GPU, or none")
        self.resident = kinds == {True}
        given = {
            name: value if isinstance(value, GpuArray) else np.asarray(value, order="C")
            for name, value in values.items()
        }
        for name, one in given.items():
            if str(one.dtype) != dtype:
                raise DTypeError(name, one.dtype, dtype)
            if one.ndim == 0 or ndim not in {None, one.ndim}:
                raise ShapeError(name, one.shape, "one dimension or more" if ndim is None else f"{ndim} dimensions")
        self.arrays = [one if isinstance(one, GpuArray) else array(one) for one in given.values()]

    def result(self, buffer: _native.GpuBuffer, shape: tuple[int, ...], dtype: str = "float32") -> Any:  # noqa: ANN401
        """A result of the kind of the inputs."""
        found = GpuArray(buffer, shape, dtype)
        return found if self.resident else found.numpy()


def _rows(one: GpuArray) -> tuple[int, int]:
    """Shape of an array as rows of its last axis."""
    width = one.shape[-1]
    return (one.size // width if width else 0), width


@overload
def softmax(values: GpuArray) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def softmax(values: npt.ArrayLike) -> Array: ...
def softmax(values: object) -> object:
    """`exp(x) / sum exp(x)` along the last axis.

    Args:
        values: (..., n) float32. -inf has weight 0, also where a row has nothing else; NaN and +inf make their row NaN.

    Returns:
        The same shape and dtype, to 5e-6 of each value and 1e-6.

    Raises:
        DTypeError: Another element type.
        ShapeError: No axis.
        GpuError: No GPU that may be used, or one that failed.
    """
    inputs = _Inputs("float32", None, values=values)
    (one,) = inputs.arrays
    return inputs.result(_native.gpu_softmax(one.buffer, list(_rows(one))), one.shape)


@overload
def matmul(left: GpuArray, right: GpuArray) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def matmul(left: npt.ArrayLike, right: npt.ArrayLike) -> Array: ...
def matmul(left: object, right: object) -> object:
    """The product of two matrices, summed in single precision.

    Args:
        left: (m, k) float32.
        right: (k, n) float32.

    Returns:
        (m, n) float32.

    Raises:
        DTypeError: Another element type, or one array on the GPU and one not.
        ShapeError: Shapes that do not fit together.
        GpuError: No GPU that may be used, or one that failed.
    """
    inputs = _Inputs("float32", 2, left=left, right=right)
    a, b = inputs.arrays
    if a.shape[1] != b.shape[0]:
        raise ShapeError("right", b.shape, f"({a.shape[1]}, n)")
    shape = [a.shape[0], a.shape[1], b.shape[1]]
    return inputs.result(_native.gpu_matmul(a.buffer, b.buffer, shape), (shape[0], shape[2]))


@overload
def pairwise_distance(  # pyright: ignore[reportOverlappingOverload]
    left: GpuArray, right: GpuArray, geometry: str = "euclidean", *, curvature: float = 1.0
) -> GpuArray: ...
@overload
def pairwise_distance(
    left: npt.ArrayLike, right: npt.ArrayLike, geometry: str = "euclidean", *, curvature: float = 1.0
) -> Array: ...
def pairwise_distance(left: object, right: object, geometry: str = "euclidean", *, curvature: float = 1.0) -> object:
    """Distances of every left and every right point.

    Args:
        left: (m, d) float32, points.
        right: (n, d) float32, points.
        geometry: "euclidean": `|x - y|`; "hyperbolic": on the hyperboloid of curvature `-curvature`, of points given by
            their spatial part, in the form that is stable for near points.
        curvature: c of the hyperboloid, 1e-6 to 1e6.

    Returns:
        (m, n) float32. The error of hyperbolic distances grows with `exp(sqrt(c) r)` of the distance r from the origin.

    Raises:
        DTypeError: Another element type, or one array on the GPU and one not.
        ShapeError: Shapes that do not fit together.
        InvalidArgumentError: Another geometry, or a curvature out of its range.
        GpuError: No GPU that may be used, or one that failed.
    """
    if geometry not in {"euclidean", "hyperbolic"}:
        raise InvalidArgumentError("geometry", repr(geometry), '"euclidean" or "hyperbolic"')
    inputs = _Inputs("float32", 2, left=left, right=right)
    a, b = inputs.arrays
    if a.shape[1] != b.shape[1]:
        raise ShapeError("right", b.shape, f"(n, {a.shape[1]})")
    shape = [a.shape[0], b.shape[0], a.shape[1]]
    found = _native.gpu_distances(geometry, a.buffer, b.buffer, shape, real("curvature", curvature))
    return inputs.result(found, (shape[0], shape[1]))


@overload
def token_density(tokens: GpuArray, radius: SupportsIndex) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def token_density(tokens: npt.ArrayLike, radius: SupportsIndex) -> Array: ...
def token_density(tokens: object, radius: SupportsIndex) -> object:
    """Share of changes near each token: of the positions at most `radius` away, those where the next token differs.

    Args:
        tokens: (batch, length) int32.
        radius: 0 or more.

    Returns:
        (batch, length) float32, 0 to 1.

    Raises:
        DTypeError: Another element type.
        ShapeError: Another number of axes.
        InvalidArgumentError: A negative radius.
        GpuError: No GPU that may be used, or one that failed.
    """
    reach = integer("radius", radius, 0, 2**32 - 1)
    inputs = _Inputs("int32", 2, tokens=tokens)
    (one,) = inputs.arrays
    return inputs.result(_native.gpu_density(one.buffer, list(one.shape), reach), one.shape)


def box_counts(cells: GpuArray | npt.ArrayLike) -> BoxCounts:
    """How many boxes of 1, 2, 4, … cells a side are occupied, until one box holds everything.

    Args:
        cells: (rows, columns) bool, or uint32 where they lie on the GPU; not 0 is occupied. Boxes at the lower and
            right edge may be cut.

    Raises:
        DTypeError: Another element type.
        ShapeError: Another number of axes.
        GpuError: No GPU that may be used, or one that failed.
    """
    if not isinstance(cells, GpuArray):
        host: npt.NDArray[Any] = np.asarray(cells)
        if host.dtype.kind not in "bu":
            raise DTypeError("cells", host.dtype, "bool or an unsigned integer dtype")
        cells = host.astype(bool).astype(np.uint32)
    (one,) = _Inputs("uint32", 2, cells=cells).arrays
    levels, counts = _native.gpu_occupied(one.buffer, list(one.shape))
    sides = tuple(2**level for level in range(len(levels) + 1))
    return BoxCounts(sides, GpuArray(counts, (len(sides),), "uint32").numpy())


@overload
def box_sums(cells: GpuArray) -> list[GpuArray]: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def box_sums(cells: npt.ArrayLike) -> list[Array]: ...
def box_sums(cells: object) -> object:
    """Sums of the cells of each box of 2, 4, … cells a side, until one box holds everything.

    Args:
        cells: (rows, columns) float32.

    Returns:
        One array a side, (boxes down, boxes across) float32; boxes at the lower and right edge may be cut.

    Raises:
        DTypeError: Another element type.
        ShapeError: Another number of axes.
        GpuError: No GPU that may be used, or one that failed.
    """
    inputs = _Inputs("float32", 2, cells=cells)
    (one,) = inputs.arrays
    levels = _native.gpu_box_sums(one.buffer, list(one.shape))
    return [inputs.result(buffer, tuple(shape)) for shape, buffer in levels]
