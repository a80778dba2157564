"""Element-wise kernels: of NumPy arrays, and of arrays that stay on the GPU, which give such arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fractal_core import _native
from fractal_core.errors import DTypeError, ShapeError
from fractal_core.gpu.array import GpuArray
from fractal_core.gpu.extension import need

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["add", "gelu", "multiply", "relu"]


def _host(name: str, value: object) -> Array:
    if isinstance(value, GpuArray):
        raise DTypeError(name, "a GpuArray", "two arrays of one kind: both on the GPU, or neither")
    values: npt.NDArray[Any] = np.asarray(value, order="C")
    if values.dtype != np.float32 or not values.dtype.isnative:
        raise DTypeError(name, values.dtype, "float32")
    return values


def _resident(name: str, value: object) -> GpuArray:
    if not isinstance(value, GpuArray):
        raise DTypeError(name, type(value).__name__, "two arrays of one kind: both on the GPU, or neither")
    if value.dtype != np.float32:
        raise DTypeError(name, value.dtype, "float32")
    return value


def _binary(kernel: str, left: object, right: object) -> Any:  # noqa: ANN401
    need()
    if isinstance(left, GpuArray):
        a, b = _resident("left", left), _resident("right", right)
        if a.shape != b.shape:
            raise ShapeError("right", f"shape {b.shape}", f"shape {a.shape}, as left")
        return GpuArray(_native.gpu_elementwise_resident(kernel, a.buffer, b.buffer), a.shape, "float32")
    return _native.gpu_elementwise(kernel, _host("left", left), _host("right", right))


def _unary(kernel: str, values: object) -> Any:  # noqa: ANN401
    need()
    if isinstance(values, GpuArray):
        a = _resident("values", values)
        return GpuArray(_native.gpu_elementwise_resident(kernel, a.buffer), a.shape, "float32")
    return _native.gpu_elementwise(kernel, _host("values", values))


@overload
def add(left: GpuArray, right: GpuArray) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def add(left: npt.ArrayLike, right: npt.ArrayLike) -> Array: ...
def add(left: object, right: object) -> object:
    """Sums, as on the CPU to the last bit.

    Args:
        left: Any shape, float32.
        right: The same shape and dtype; on the GPU if left is.

    Returns:
        The same shape and dtype: a `GpuArray` of such arrays, and a read-only NumPy array of others.

    Raises:
        DTypeError: Another element type, or one array on the GPU and one not.
        ShapeError: Two shapes.
        GpuError: No GPU that may be used, or one that failed.
    """
    return _binary("add", left, right)


@overload
def multiply(left: GpuArray, right: GpuArray) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def multiply(left: npt.ArrayLike, right: npt.ArrayLike) -> Array: ...
def multiply(left: object, right: object) -> object:
    """Products, as on the CPU to the last bit.

    Args:
        left: Any shape, float32.
        right: The same shape and dtype; on the GPU if left is.

    Returns:
        The same shape and dtype: a `GpuArray` of such arrays, and a read-only NumPy array of others.

    Raises:
        DTypeError: Another element type, or one array on the GPU and one not.
        ShapeError: Two shapes.
        GpuError: No GPU that may be used, or one that failed.
    """
    return _binary("multiply", left, right)


@overload
def relu(values: GpuArray) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def relu(values: npt.ArrayLike) -> Array: ...
def relu(values: object) -> object:
    """`max(x, 0)`; a NaN stays one.

    Args:
        values: Any shape, float32.

    Returns:
        The same shape and dtype: a `GpuArray` of such an array, and a read-only NumPy array of another.

    Raises:
        DTypeError: Another element type.
        GpuError: No GPU that may be used, or one that failed.
    """
    return _unary("relu", values)


@overload
def gelu(values: GpuArray) -> GpuArray: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def gelu(values: npt.ArrayLike) -> Array: ...
def gelu(values: object) -> object:
    """`x Phi(x)` with the normal distribution function Phi (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Args:
        values: Any shape, float32.

    Returns:
        The same shape and dtype, to 5e-6 of each value and 1e-6: a `GpuArray` of such an array, and a read-only NumPy
        array of another.

    Raises:
        DTypeError: Another element type.
        GpuError: No GPU that may be used, or one that failed.
    """
    return _unary("gelu", values)
