"""Attention over index sets for torch: ops with gradients, a layer with streaming decode, the tutorial's classes."""

from __future__ import annotations

try:
    import torch
except ImportError as error:
    raise ImportError(
        'fractal_core.nn needs torch, which is an optional dependency: pip install "fractal-attn[torch]"'
    ) from error

del torch

from fractal_core.nn import _flops, modifiers  # noqa: E402
from fractal_core.nn.attention import FractalAttention, KeyValueCache  # noqa: E402
from fractal_core.nn.dense import DenseCalls, dense_attention, scaled_dot_product_attention  # noqa: E402
from fractal_core.nn.force import force_attention  # noqa: E402
from fractal_core.nn.functional import sparse_attention  # noqa: E402
from fractal_core.nn.heads_last import attention  # noqa: E402
from fractal_core.nn.layers.curve_neighbors import CurveNeighbors  # noqa: E402
from fractal_core.nn.layers.relative_force import RelativeForce  # noqa: E402
from fractal_core.nn.merging import merge_attentions  # noqa: E402
from fractal_core.nn.neighborhood import na1d, na2d, na3d  # noqa: E402
from fractal_core.nn.neighborhood_layers import (  # noqa: E402
    NeighborhoodAttention1D,
    NeighborhoodAttention2D,
    NeighborhoodAttention3D,
)
from fractal_core.nn.statistics import AttentionStats, RowWeights, attention_stats  # noqa: E402
from fractal_core.nn.tutorial import (  # noqa: E402
    CantorSetAttention,
    DragonCurveAttention,
    FractalConfig,
    HilbertCurveAttention,
    JuliaSetAttention,
    NumericalStability,
    UnifiedFractalAttention,
)

_flops.announce()

__all__ = [
    "AttentionStats",
    "CantorSetAttention",
    "CurveNeighbors",
    "DenseCalls",
    "DragonCurveAttention",
    "FractalAttention",
    "FractalConfig",
    "HilbertCurveAttention",
    "JuliaSetAttention",
    "KeyValueCache",
    "NeighborhoodAttention1D",
    "NeighborhoodAttention2D",
    "NeighborhoodAttention3D",
    "NumericalStability",
    "RelativeForce",
    "RowWeights",
    "UnifiedFractalAttention",
    "attention",
    "attention_stats",
    "dense_attention",
    "force_attention",
    "merge_attentions",
    "modifiers",
    "na1d",
    "na2d",
    "na3d",
    "scaled_dot_product_attention",
    "sparse_attention",
]
