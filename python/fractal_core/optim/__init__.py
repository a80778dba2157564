"""Optimizers whose momentum follows the spectrum of the gradient, their schedules, and a recorder of spectra.

Whether the adaptive momentum helps is a question of measurement; docs/fam-results.md has the answer so far.
"""

from __future__ import annotations

try:
    import torch
except ImportError as error:
    raise ImportError(
        'fractal_core.optim needs torch, which is an optional dependency: pip install "fractal-attn[torch]"'
    ) from error

del torch

from fractal_core.optim.adamw import FAMAdamW  # noqa: E402
from fractal_core.optim.bands import band_edges  # noqa: E402
from fractal_core.optim.fam import FAM, SimpleFAM  # noqa: E402
from fractal_core.optim.handlers import (  # noqa: E402
    AttentionFrequencyHandler,
    ConvFrequencyHandler,
    EmbeddingFrequencyHandler,
    FrequencyHandler,
)
from fractal_core.optim.parameter_groups import get_parameter_groups  # noqa: E402
from fractal_core.optim.recorder import Spectra  # noqa: E402
from fractal_core.optim.rules import MomentumRule, Reading, momentum_rules  # noqa: E402
from fractal_core.optim.schedules import FAMScheduler, FAMScheduler2, WarmupPlateauCosine  # noqa: E402
from fractal_core.optim.seed import FAMOptimizer  # noqa: E402

__all__ = [
    "FAM",
    "AttentionFrequencyHandler",
    "ConvFrequencyHandler",
    "EmbeddingFrequencyHandler",
    "FAMAdamW",
    "FAMOptimizer",
    "FAMScheduler",
    "FAMScheduler2",
    "FrequencyHandler",
    "MomentumRule",
    "Reading",
    "SimpleFAM",
    "Spectra",
    "WarmupPlateauCosine",
    "band_edges",
    "get_parameter_groups",
    "momentum_rules",
]
