"""The geometry of the attention of models: taken from them, measured, compared, shown.

Letters: `L` layers, `H` heads, `N` queries, `M` keys. NumPy suffices for arrays; `capture` and what builds on it need
torch and transformers, which load when first used.

These numbers describe the geometry of attention. They do not explain what a model predicts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fractal_core.analysis.maps import AttentionMaps, LayerMaps
from fractal_core.analysis.measures import MEASURES, Settings, measure
from fractal_core.analysis.table import Table

if TYPE_CHECKING:
    from fractal_core.analysis.forward import capture, capture_batch

__all__ = [
    "MEASURES",
    "AttentionMaps",
    "LayerMaps",
    "Settings",
    "Table",
    "capture",
    "capture_batch",
    "measure",
]

_LAZY = {
    "capture": "forward",
    "capture_batch": "forward",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
