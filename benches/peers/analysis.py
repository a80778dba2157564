"""The dimension of `fractal-attention-analysis`, from the one module of it that needs NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from benches.peers.installed import need

__all__ = ["box_dimension"]


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
