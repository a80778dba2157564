"""Whether the extension was compiled with the GPU."""

from __future__ import annotations

from fractal_core import _native
from fractal_core.errors import GpuUnavailableError

__all__ = ["built", "need"]


def built() -> bool:
    """Whether this build can use a GPU at all; a wheel can."""
    return hasattr(_native, "GpuBuffer")


def need() -> None:
    """Refuses where it cannot.

    Raises:
        GpuUnavailableError: The extension was compiled without the cargo feature `gpu`.
    """
    if not built():
        raise GpuUnavailableError("no GPU: the extension was compiled without the cargo feature `gpu`")
