"""`fractal-attention-analysis`: its dimension, from the one module that needs NumPy alone, and its analyzer."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benches.peers.installed import need

__all__ = ["PEER", "box_dimension", "need_analyzer", "original_analyzer"]

PEER = "fractal-attention-analysis 1.0.0"


def box_dimension() -> Callable[[Any], float]:
    """Its `compute_fractal_dimension`; the package itself would load torch, transformers and seaborn.

    Raises:
        PeerError: The package is not installed.
    """
    need("fractal_attention_analysis", "fractal-attention-analysis")
    package = find_spec("fractal_attention_analysis")
    assert package is not None
    assert package.origin is not None
    spec = spec_from_file_location("faa_fractal", Path(package.origin).with_name("fractal.py"))
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FractalTransforms().compute_fractal_dimension


def need_analyzer() -> None:
    """Checks for the package and what its analyzer loads.

    Raises:
        PeerError: One of them is not installed.
    """
    for module, distribution in (
        ("fractal_attention_analysis", "fractal-attention-analysis"),
        ("scipy", "scipy"),
        ("seaborn", "seaborn"),
        ("transformers", "transformers"),
    ):
        need(module, distribution)


def original_analyzer(model: Any, tokenizer: Any) -> Any:  # noqa: ANN401
    """Its analyzer of a model in memory, where it would load one by its name.

    For a process of its own: to import it mutes all warnings and changes the style of matplotlib.

    Raises:
        PeerError: It is not installed.
    """
    need_analyzer()
    from importlib import import_module

    core: Any = import_module("fractal_attention_analysis.core")

    def load_model(*_: object, **__: object) -> tuple[Any, Any]:
        return model, tokenizer

    with patch.object(core.ModelLoader, "load_model", load_model):
        return core.FractalAttentionAnalyzer("in memory")
