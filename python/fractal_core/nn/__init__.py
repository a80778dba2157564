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
from fractal_core.nn.functional import sparse_attention  # noqa: E402
from fractal_core.nn.heads_last import attention  # noqa: E402
from fractal_core.nn.layers.adaptive_span import AdaptiveSpan  # noqa: E402
from fractal_core.nn.layers.encoder import (  # noqa: E402
    Encoder,
    EncoderLayerConfig,
    build_encoder,
    create_encoder_layers,
    sample_encoder_config,
)
from fractal_core.nn.layers.integrated import IntegratedAttention  # noqa: E402
from fractal_core.nn.layers.predictor import Predictor  # noqa: E402
from fractal_core.nn.layers.refiner import Refiner  # noqa: E402
from fractal_core.nn.layers.residual import Residual  # noqa: E402
from fractal_core.nn.layers.sliding_window import SlidingWindowAttention, slide_win  # noqa: E402
from fractal_core.nn.layers.spans import Span, spans  # noqa: E402
from fractal_core.nn.merging import merge_attentions  # noqa: E402
from fractal_core.nn.neighborhood import na1d, na2d, na3d  # noqa: E402
from fractal_core.nn.neighborhood_layers import (  # noqa: E402
    NeighborhoodAttention1D,
    NeighborhoodAttention2D,
    NeighborhoodAttention3D,
)
from fractal_core.nn.rotary import (  # noqa: E402
    CompactRotation,
    LinearScaling,
    Llama3Scaling,
    NTKScaling,
    RotaryEmbedding,
    RotaryMode,
    RotaryScaling,
    YaRNScaling,
    givens_apply,
    grid_positions,
    quaternion_rotate,
    rotary_modes,
    rotate_by,
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
    "AdaptiveSpan",
    "AttentionStats",
    "CantorSetAttention",
    "CompactRotation",
    "DenseCalls",
    "DragonCurveAttention",
    "Encoder",
    "EncoderLayerConfig",
    "FractalAttention",
    "FractalConfig",
    "HilbertCurveAttention",
    "IntegratedAttention",
    "JuliaSetAttention",
    "KeyValueCache",
    "LinearScaling",
    "Llama3Scaling",
    "NTKScaling",
    "NeighborhoodAttention1D",
    "NeighborhoodAttention2D",
    "NeighborhoodAttention3D",
    "NumericalStability",
    "Predictor",
    "Refiner",
    "Residual",
    "RotaryEmbedding",
    "RotaryMode",
    "RotaryScaling",
    "RowWeights",
    "SlidingWindowAttention",
    "Span",
    "UnifiedFractalAttention",
    "YaRNScaling",
    "attention",
    "attention_stats",
    "build_encoder",
    "create_encoder_layers",
    "dense_attention",
    "givens_apply",
    "grid_positions",
    "merge_attentions",
    "modifiers",
    "na1d",
    "na2d",
    "na3d",
    "quaternion_rotate",
    "rotary_modes",
    "rotate_by",
    "sample_encoder_config",
    "scaled_dot_product_attention",
    "slide_win",
    "spans",
    "sparse_attention",
]
