"""The geometry of the attention of models: taken from them, measured, compared, shown.

Letters: `L` layers, `H` heads, `N` queries, `M` keys. NumPy suffices for arrays; `capture` and what builds on it need
torch and transformers, which load when first used.

These numbers describe the geometry of attention. They do not explain what a model predicts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fractal_core.analysis.bertviz import from_bertviz, to_bertviz
from fractal_core.analysis.caches import from_cache
from fractal_core.analysis.export import export_results
from fractal_core.analysis.files import load_maps, save_maps
from fractal_core.analysis.maps import AttentionMaps, LayerMaps
from fractal_core.analysis.measures import MEASURES, Settings, measure
from fractal_core.analysis.metrics import AttentionMetrics
from fractal_core.analysis.results import BatchResults, analyze_maps
from fractal_core.analysis.scores import TokenScores, attention_scores, token_importance
from fractal_core.analysis.streaming import DimensionStream
from fractal_core.analysis.table import Table
from fractal_core.analysis.transforms import FractalTransforms

if TYPE_CHECKING:
    from fractal_core.analysis.analyzer import FractalAttentionAnalyzer
    from fractal_core.analysis.devices import DeviceManager
    from fractal_core.analysis.forward import capture, capture_batch
    from fractal_core.analysis.generation import GenerationStream
    from fractal_core.analysis.loading import ModelLoader
    from fractal_core.analysis.visualizer import AttentionVisualizer

__all__ = [
    "MEASURES",
    "AttentionMaps",
    "AttentionMetrics",
    "AttentionVisualizer",
    "BatchResults",
    "DeviceManager",
    "DimensionStream",
    "FractalAttentionAnalyzer",
    "FractalTransforms",
    "GenerationStream",
    "LayerMaps",
    "ModelLoader",
    "Settings",
    "Table",
    "TokenScores",
    "analyze_maps",
    "attention_scores",
    "capture",
    "capture_batch",
    "export_results",
    "from_bertviz",
    "from_cache",
    "load_maps",
    "measure",
    "save_maps",
    "to_bertviz",
    "token_importance",
]

_LAZY = {
    "AttentionVisualizer": "visualizer",
    "DeviceManager": "devices",
    "FractalAttentionAnalyzer": "analyzer",
    "GenerationStream": "generation",
    "ModelLoader": "loading",
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
