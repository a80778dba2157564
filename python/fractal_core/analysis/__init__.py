"""The fractal geometry of attention: what a model's heads look like, measured against what they would by chance.

`capture` takes the attention of every layer and head from one forward pass of a Hugging Face model;
`AttentionMaps.from_arrays` takes what one already has. `measure` makes a tidy table of either. `nulls` and `inference`
say whether a number means anything, `universality` whether it is more than the length of the text.

These numbers describe attention. They do not explain a prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractal_core.analysis.adapters import from_bertviz, from_cache, to_bertviz
    from fractal_core.analysis.analyzer import BatchResults, FractalAttentionAnalyzer
    from fractal_core.analysis.export import write_results, write_table
    from fractal_core.analysis.loading import DeviceManager, ModelLoader
    from fractal_core.analysis.maps import AttentionMaps, LayerMaps
    from fractal_core.analysis.measures import MEASURES, measure
    from fractal_core.analysis.metrics import AttentionMetrics
    from fractal_core.analysis.model_nulls import random_model, shuffled_tokens
    from fractal_core.analysis.models import capture, capture_batch
    from fractal_core.analysis.report import write_report
    from fractal_core.analysis.scores import TokenScores, faithfulness, token_scores
    from fractal_core.analysis.streaming import StreamingDimensions
    from fractal_core.analysis.table import Table
    from fractal_core.analysis.transforms import FractalTransforms
    from fractal_core.analysis.visualizer import AttentionVisualizer

_OBJECTS = {
    "AttentionMaps": "maps",
    "AttentionMetrics": "metrics",
    "AttentionVisualizer": "visualizer",
    "BatchResults": "analyzer",
    "DeviceManager": "loading",
    "FractalAttentionAnalyzer": "analyzer",
    "FractalTransforms": "transforms",
    "ModelLoader": "loading",
    "StreamingDimensions": "streaming",
    "TokenScores": "scores",
    "faithfulness": "scores",
    "from_bertviz": "adapters",
    "from_cache": "adapters",
    "to_bertviz": "adapters",
    "random_model": "model_nulls",
    "shuffled_tokens": "model_nulls",
    "token_scores": "scores",
    "write_report": "report",
    "write_results": "export",
    "write_table": "export",
    "LayerMaps": "maps",
    "MEASURES": "measures",
    "Table": "table",
    "capture": "models",
    "capture_batch": "models",
    "measure": "measures",
}
_MODULES = ("inference", "nulls", "universality")

__all__ = [
    "MEASURES",
    "AttentionMaps",
    "AttentionMetrics",
    "AttentionVisualizer",
    "BatchResults",
    "DeviceManager",
    "FractalAttentionAnalyzer",
    "FractalTransforms",
    "LayerMaps",
    "ModelLoader",
    "StreamingDimensions",
    "Table",
    "TokenScores",
    "capture",
    "capture_batch",
    "faithfulness",
    "from_bertviz",
    "from_cache",
    "measure",
    "random_model",
    "shuffled_tokens",
    "to_bertviz",
    "token_scores",
    "write_report",
    "write_results",
    "write_table",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _OBJECTS:
        found = getattr(import_module(f"{__name__}.{_OBJECTS[name]}"), name)
        globals()[name] = found
        return found
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
