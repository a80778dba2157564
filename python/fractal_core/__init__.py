"""Index-sparse attention with gradients: fractal index sets, escape fields, patterns as plug-ins.

Importing this package loads NumPy and the compiled extension only; sub-packages load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fractal_core import errors

if TYPE_CHECKING:
    from fractal_core import analysis, curves, dimension, fields, gpu, nn, optim, patterns, sets, testing
    from fractal_core.gpu.device import device_info, devices
    from fractal_core.index_sets import IndexSet
    from fractal_core.patterns import create as pattern

    __version__: str

__all__ = [
    "IndexSet",
    "__version__",
    "analysis",
    "curves",
    "device_info",
    "devices",
    "dimension",
    "errors",
    "fields",
    "gpu",
    "nn",
    "optim",
    "pattern",
    "patterns",
    "sets",
    "testing",
]

_MODULES = frozenset({"analysis", "curves", "dimension", "fields", "gpu", "nn", "optim", "patterns", "sets", "testing"})
_OBJECTS = {
    "IndexSet": ("fractal_core.index_sets", "IndexSet"),
    "device_info": ("fractal_core.gpu.device", "device_info"),
    "devices": ("fractal_core.gpu.device", "devices"),
    "pattern": ("fractal_core.patterns", "create"),
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"fractal_core.{name}")
    if name in _OBJECTS:
        module, attribute = _OBJECTS[name]
        value = getattr(importlib.import_module(module), attribute)
        globals()[name] = value
        return value
    if name == "__version__":
        from importlib.metadata import version

        return version("fractal-attn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
