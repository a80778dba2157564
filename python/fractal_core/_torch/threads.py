"""torch's own OpenMP threads for our kernels.

After a parallel torch op its OpenMP workers spin on their cores for milliseconds and fight every other pool, so kernels
called from torch run on those same threads. The runtime is the one in torch's `lib` folder; nothing is loaded anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from fractal_core import _native

__all__ = ["executor", "reason"]

_RUNTIMES = ("libgomp.so.1", "libomp.dylib")


@cache
def _attached() -> Path | None:
    folder = Path(torch.__file__).parent / "lib"
    for path in (folder / name for name in _RUNTIMES):
        if path.exists() and _native.attach_openmp(str(path)):
            return path
    return None


def executor() -> str:
    """Name of the executor of calls from torch: "openmp" where torch's runtime was found, else "rayon"."""
    return "rayon" if _attached() is None else "openmp"


def reason() -> str:
    """One line on which threads run calls from torch, and why."""
    path = _attached()
    if path is None:
        return f"our own pool: none of {', '.join(_RUNTIMES)} in torch's lib folder exports GOMP_parallel"
    return f"torch's own OpenMP threads ({path.name})"
