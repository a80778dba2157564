"""Wrong calls: each gives the typed error with the argument's name."""

from __future__ import annotations

import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, PluginError, ShapeError
from fractal_core.nn import (
    CompactRotation,
    LinearScaling,
    Llama3Scaling,
    NTKScaling,
    RotaryEmbedding,
    YaRNScaling,
    givens_apply,
    grid_positions,
    quaternion_rotate,
    rotate_by,
)

X = torch.ones(2, 3, 5, 8)
R = RotaryEmbedding(8)
TWO = RotaryEmbedding(8, n_axes=2)

WRONG = [
    ("dim", InvalidArgumentError, lambda: RotaryEmbedding(0)),
    ("dim", DTypeError, lambda: RotaryEmbedding(8.0)),
    ("dim", InvalidArgumentError, lambda: RotaryEmbedding(2, use_quaternion=True)),
    ("rotary_dim", InvalidArgumentError, lambda: RotaryEmbedding(7)),
    ("rotary_dim", InvalidArgumentError, lambda: RotaryEmbedding(8, rotary_dim=10)),
    ("rotary_dim", InvalidArgumentError, lambda: RotaryEmbedding(8, rotary_dim=4, proj_dim=4)),
    ("base", InvalidArgumentError, lambda: RotaryEmbedding(8, base=1.0)),
    ("base", InvalidArgumentError, lambda: RotaryEmbedding(8, base=float("nan"))),
    ("base", DTypeError, lambda: RotaryEmbedding(8, base="10000")),
    ("theta", InvalidArgumentError, lambda: RotaryEmbedding(8, theta=-1.0)),
    ("n_axes", InvalidArgumentError, lambda: RotaryEmbedding(8, n_axes=5)),
    ("n_axes", InvalidArgumentError, lambda: RotaryEmbedding(8, n_axes=0)),
    ("mode", DTypeError, lambda: RotaryEmbedding(8, mode=None)),
    ("unknown rotary mode", PluginError, lambda: RotaryEmbedding(8, mode="spin")),
    ("basis", InvalidArgumentError, lambda: RotaryEmbedding(8, basis="random")),
    ("layout", InvalidArgumentError, lambda: RotaryEmbedding(8, layout="neox")),
    ("layout", InvalidArgumentError, lambda: RotaryEmbedding(8, mode="quaternion4", layout="half")),
    ("learned_freq", DTypeError, lambda: RotaryEmbedding(8, learned_freq=1)),
    ("xpos", InvalidArgumentError, lambda: RotaryEmbedding(8, xpos=True, n_axes=2)),
    ("proj_dim", InvalidArgumentError, lambda: RotaryEmbedding(8, proj_dim=9)),
    ("rotary_dim", InvalidArgumentError, lambda: RotaryEmbedding(8, proj_dim=3)),
    ("num_freqs", InvalidArgumentError, lambda: RotaryEmbedding(8, num_freqs=5)),
    ("theta_rescale_factor", InvalidArgumentError, lambda: RotaryEmbedding(8, theta_rescale_factor=0.5)),
    ("theta_rescale_factor", DTypeError, lambda: RotaryEmbedding(8, theta_rescale_factor="a")),
    ("scaling", DTypeError, lambda: RotaryEmbedding(8, scaling=4.0)),
    ("scaling", InvalidArgumentError, lambda: RotaryEmbedding(8, scaling={"rope_type": "dynamic", "factor": 2.0})),
    ("scaling", InvalidArgumentError, lambda: RotaryEmbedding(8, scaling={"rope_type": "linear"})),
    ("scaling", InvalidArgumentError, lambda: RotaryEmbedding(8, scaling={"rope_type": "linear", "beta_fast": 2})),
    ("factor", InvalidArgumentError, lambda: LinearScaling(0.5)),
    ("factor", InvalidArgumentError, lambda: NTKScaling(float("inf"))),
    ("original_length", InvalidArgumentError, lambda: NTKScaling.dynamic(2, 8, 0)),
    ("beta_fast", InvalidArgumentError, lambda: YaRNScaling(2, 1024, beta_fast=1.0)),
    ("attention", InvalidArgumentError, lambda: YaRNScaling(2, 1024, attention=0.0)),
    ("truncate", DTypeError, lambda: YaRNScaling(2, 1024, truncate="no")),
    ("high_freq_factor", InvalidArgumentError, lambda: Llama3Scaling(2, 1024, 4.0, 1.0)),
    ("q", DTypeError, lambda: R([1.0], X)),
    ("q", DTypeError, lambda: R(X.long(), X)),
    ("q", ShapeError, lambda: R(X[..., :6], X)),
    ("q", ShapeError, lambda: R(X[0, 0, 0], X)),
    ("k", ShapeError, lambda: R(X, X[:, :, :4])),
    ("k", ShapeError, lambda: R(X, X[0])),
    ("k", DTypeError, lambda: R(X, X.double())),
    ("x", ShapeError, lambda: R.rotate(X[..., :6])),
    ("key", DTypeError, lambda: R.rotate(X, key="yes")),
    ("positions", DTypeError, lambda: R.rotate(X, [0, 1, 2, 3, 4])),
    ("positions", DTypeError, lambda: R.rotate(X, torch.arange(5).bfloat16())),
    ("positions", DTypeError, lambda: R.rotate(X, torch.ones(5, dtype=torch.bool))),
    ("positions", ShapeError, lambda: R.rotate(X, torch.arange(4))),
    ("positions", ShapeError, lambda: R.rotate(X, torch.ones(2, 5))),
    ("positions", ShapeError, lambda: R.rotate(X, torch.ones(5, 2))),
    ("positions", ShapeError, lambda: R.rotate(X, torch.ones(2, 5, 1))),
    ("positions", ShapeError, lambda: R.rotate(X, torch.ones(1, 2, 3, 5, 1))),
    ("positions", InvalidArgumentError, lambda: R.rotate(X, torch.arange(5, device="meta"))),
    ("positions", InvalidArgumentError, lambda: TWO.rotate(X)),
    ("positions", ShapeError, lambda: TWO.rotate(X, torch.arange(5))),
    ("offset", InvalidArgumentError, lambda: R.rotate(X, torch.arange(5), offset=1)),
    ("offset", DTypeError, lambda: R.rotate(X, offset=1.5)),
    ("offset", DTypeError, lambda: R.rotate(X, offset=True)),
    ("offset", DTypeError, lambda: R.rotate(X, offset=torch.ones(2))),
    ("offset", ShapeError, lambda: R.rotate(X, offset=torch.arange(3))),
    ("offset", ShapeError, lambda: R.rotate(X[0, 0], offset=torch.arange(5))),
    ("angles", ShapeError, lambda: rotate_by(X, torch.ones(5, 5))),
    ("angles", ShapeError, lambda: rotate_by(X, torch.ones(4, 2))),
    ("angles", ShapeError, lambda: rotate_by(X, torch.ones(5, 2), start_index=5)),
    ("start_index", InvalidArgumentError, lambda: rotate_by(X, torch.ones(5, 2), start_index=-1)),
    ("layout", InvalidArgumentError, lambda: rotate_by(X, torch.ones(5, 2), layout="pairs")),
    ("freq_ranges", ShapeError, lambda: rotate_by(X, torch.ones(5, 2), freq_ranges=torch.ones(1, 1))),
    ("pairs", InvalidArgumentError, lambda: givens_apply(X, [(0, 8)], torch.ones(1))),
    ("pairs", InvalidArgumentError, lambda: givens_apply(X, [(1, 1)], torch.ones(1))),
    ("pairs", ShapeError, lambda: givens_apply(X, [(1, 2, 3)], torch.ones(1))),
    ("pairs", DTypeError, lambda: givens_apply(X, [(0.0, 1.0)], torch.ones(1))),
    ("pairs", DTypeError, lambda: givens_apply(X, 3, torch.ones(1))),
    ("theta", ShapeError, lambda: givens_apply(X, [(0, 1)], torch.ones(2))),
    ("x", ShapeError, lambda: quaternion_rotate(X, 0.5, torch.ones(3))),
    ("axis", ShapeError, lambda: quaternion_rotate(X[..., :3], 0.5, torch.ones(2))),
    ("rot_count", InvalidArgumentError, lambda: CompactRotation(8, rot_count=-1)),
    ("rot_scale", InvalidArgumentError, lambda: CompactRotation(8, rot_scale=-1.0)),
    ("rot_pairs", InvalidArgumentError, lambda: CompactRotation(8, [(0, 9)])),
    ("x", ShapeError, lambda: CompactRotation(6)(X)),
    ("axis_idx", InvalidArgumentError, lambda: CompactRotation.q_rotate(X[..., :3], 0.5, 3)),
    ("dims", InvalidArgumentError, lambda: CompactRotation.q_rotate(X[..., :4], 0.5, 0, dims=4)),
    ("shape", InvalidArgumentError, lambda: grid_positions((4, 0))),
    ("shape", DTypeError, lambda: grid_positions(4)),
    ("shape", ShapeError, lambda: grid_positions(())),
    ("curve", InvalidArgumentError, lambda: grid_positions((4, 4), "peano")),
]


@pytest.mark.parametrize(
    ("argument", "kind", "call"), WRONG, ids=[f"{n}-{argument}" for n, (argument, *_) in enumerate(WRONG)]
)
def test_wrong_call(argument, kind, call):
    with pytest.raises(kind, match=rf"^{argument}") as caught:
        call()
    assert type(caught.value) is kind
    assert isinstance(caught.value, FractalError)
    if not isinstance(caught.value, PluginError):
        assert caught.value.argument == argument
