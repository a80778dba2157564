"""Rotary position embeddings: modes, bases, projection, scaling, and rotations without positions."""

from __future__ import annotations

from fractal_core.nn.rotary.compact import CompactRotation
from fractal_core.nn.rotary.embedding import RotaryEmbedding
from fractal_core.nn.rotary.givens import givens_apply
from fractal_core.nn.rotary.layouts import rotate_by
from fractal_core.nn.rotary.modes import RotaryMode, rotary_modes
from fractal_core.nn.rotary.positions import grid_positions
from fractal_core.nn.rotary.quaternions import quaternion_rotate
from fractal_core.nn.rotary.scaling import LinearScaling, Llama3Scaling, NTKScaling, RotaryScaling, YaRNScaling

__all__ = [
    "CompactRotation",
    "LinearScaling",
    "Llama3Scaling",
    "NTKScaling",
    "RotaryEmbedding",
    "RotaryMode",
    "RotaryScaling",
    "YaRNScaling",
    "givens_apply",
    "grid_positions",
    "quaternion_rotate",
    "rotary_modes",
    "rotate_by",
]
