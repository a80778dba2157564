"""Arrays that stay on the GPU between calls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, final

import numpy as np

from fractal_core import _native
from fractal_core.errors import DTypeError
from fractal_core.gpu.extension import need

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["DTYPES", "GpuArray", "array"]

DTYPES = ("float32", "int32", "uint32")
"""What a `GpuArray` holds."""


@final
class GpuArray:
    """An array in the GPU's memory, made by `array` or by a function of this module; nobody writes it.

    NumPy, torch and others take it through `__array__` and `__dlpack__`; both hand over memory of the CPU that the GPU
    has copied the values to.
    """

    __slots__ = ("_buffer", "_dtype", "_shape")

    def __init__(self, buffer: _native.GpuBuffer, shape: tuple[int, ...], dtype: str) -> None:
        if buffer.nbytes != math.prod(shape) * np.dtype(dtype).itemsize:
            raise DTypeError("buffer", f"{buffer.nbytes} bytes", f"those of {shape} values of {dtype}")
        self._buffer = buffer
        self._shape = shape
        self._dtype = dtype

    @property
    def buffer(self) -> _native.GpuBuffer:
        """Its memory, as the extension takes it."""
        return self._buffer

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its element type."""
        return np.dtype(self._dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self._buffer.nbytes

    def numpy(self) -> npt.NDArray[Any]:
        """The values, as a read-only array over memory that the GPU has copied them to.

        Raises:
            GpuDeviceLostError: The device that it lies on is gone, or is not used any more.
            GpuForkError: It was made before this process was forked.
        """
        return self._buffer.read(list(self._shape), self._dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("an array on the GPU cannot be read without a copy")
        values = self.numpy()
        # Who asks for a copy wants to write to it.
        return values.astype(dtype or values.dtype, copy=copy is True)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # the CPU's memory

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        if stream is not None or dl_device not in {None, self.__dlpack_device__()} or copy is False:
            raise BufferError("an array on the GPU is handed over as a copy in the CPU's memory, without a stream")
        # Whoever knows no version knows no read-only memory either, and would write.
        values: Any = self.numpy()
        if copy is not None or (max_version or (0, 0)) < (1, 0):
            values = values.copy()
        given: dict[str, Any] = {} if max_version is None else {"max_version": max_version}
        return values.__dlpack__(**given)

    def __copy__(self) -> GpuArray:
        return self  # nobody writes it

    def __deepcopy__(self, memo: object) -> GpuArray:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its values: they are put on the GPU of the process that reads them."""
        return array, (self.numpy(),)

    def __len__(self) -> int:
        if not self._shape:
            raise TypeError("an array of no dimensions has no length")
        return self._shape[0]

    def __repr__(self) -> str:
        return f"GpuArray(shape={self._shape}, dtype={self._dtype})"


def array(values: npt.ArrayLike) -> GpuArray:
    """A copy of an array in the GPU's memory.

    Args:
        values: Any shape, float32, int32 or uint32.

    Raises:
        DTypeError: Another element type.
        GpuUnavailableError: There is no GPU that may be used.
        GpuOutOfMemoryError: It has no room for them.
        InvalidArgumentError: More than one of its arrays can hold.
    """
    need()
    host: npt.NDArray[Any] = np.asarray(values, order="C")
    if host.dtype.name not in DTYPES or not host.dtype.isnative:
        raise DTypeError("values", host.dtype, ", ".join(DTYPES))
    return GpuArray(_native.GpuBuffer.upload(host, host.dtype.name), host.shape, host.dtype.name)
