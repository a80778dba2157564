"""The original's arguments and methods, by what they mean here (docs/rotary.md).

R12 (`seq_dim` was ignored) and R18 (`proj_dim` without `use_projection` was ignored) are tested here. R14 (undefined
names, asserts, integers as parameters) and R17 (perturbations, rounded parameters) cannot occur: every method is called
below, nothing is random, and all parameters are real numbers with gradients (test_learning.py).
"""

from __future__ import annotations

import pytest
import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import NTKScaling, RotaryEmbedding, quaternion_rotate, rotate_by

X = torch.randn(2, 3, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

SAME = {
    "theta": ({"theta": 500.0}, {"base": 500.0}),
    "num_freqs": ({"num_freqs": 2}, {"rotary_dim": 4}),
    "num_freqs of quaternions": ({"num_freqs": 2, "mode": "quaternion4"}, {"rotary_dim": 8, "mode": "quaternion4"}),
    "theta_rescale_factor": ({"theta_rescale_factor": 4.0}, {"scaling": NTKScaling(4.0)}),
    "theta_rescale_factor 1": ({"theta_rescale_factor": 1.0}, {}),
    "use_quaternion": ({"use_quaternion": True}, {"mode": "quaternion3"}),
    "use_quaternion False": ({"use_quaternion": False}, {}),
    "rot_count": ({"rot_count": 4, "rot_scale": 0.5}, {"rotary_dim": 4}),
    "rot_count of quaternions": ({"use_quaternion": True, "rot_count": 2}, {"mode": "quaternion3", "rotary_dim": 6}),
    "use_projection": ({"use_projection": True, "use_quaternion": True}, {"mode": "quaternion3", "proj_dim": 3}),
    "proj_dim": ({"use_projection": True, "proj_dim": 4}, {"proj_dim": 4}),
    "proj_dim alone (R18)": ({"use_quaternion": True, "proj_dim": 3}, {"mode": "quaternion3", "proj_dim": 3}),
    "proj_scale 1": ({"proj_dim": 4, "proj_scale": 1}, {"proj_dim": 4}),
}


@pytest.mark.parametrize("name", SAME)
def test_arguments_by_either_name(name):
    originals, own = SAME[name]
    a, b = RotaryEmbedding(12, **originals), RotaryEmbedding(12, **own)
    assert repr(a) == repr(b)
    assert torch.equal(a.rotate(X), b.rotate(X))


def test_the_printed_call_turns_a_projection():
    """S:883 of the original, which ignored `proj_dim` (R18)."""
    rotary = RotaryEmbedding(dim=64, use_quaternion=True, proj_dim=3)
    assert rotary.proj_dim == 3
    x = torch.randn(1, 2, 4, 64)
    assert (rotary.rotate_qk(x) - x)[:, :, 1:].abs().max() > 0.1


def test_quaternions_of_a_size_that_is_no_multiple_of_three():
    x = torch.randn(4, 64)
    got = RotaryEmbedding(64, use_quaternion=True).rotate(x)
    assert torch.equal(got[:, 63:], x[:, 63:])
    with pytest.raises(InvalidArgumentError, match="rotary_dim: got 64"):
        RotaryEmbedding(64, mode="quaternion3")


CONTRADICTIONS = {
    "theta": {"theta": 500.0, "base": 400.0},
    "theta_rescale_factor": {"theta_rescale_factor": 2.0, "scaling": NTKScaling(2.0)},
    "use_quaternion": {"use_quaternion": True, "mode": "quaternion4"},
    "num_freqs": {"num_freqs": 2, "rot_count": 3},
    "rotary_dim": {"rotary_dim": 8, "num_freqs": 3},
    "proj_dim": {"use_projection": False, "proj_dim": 3},
    "proj_scale": {"use_projection": True, "proj_scale": 0.1},
    "basis": {"proj_dim": 4, "basis": "cayley"},
    "rot_scale": {"rot_count": 1, "rot_scale": 0.1},
    "rot_count": {"rot_count": 7},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused_by_name(name):
    with pytest.raises(InvalidArgumentError) as caught:
        RotaryEmbedding(12, **CONTRADICTIONS[name])
    assert caught.value.argument == name


def test_rotate_qk_finds_the_length_where_it_is_said_to_be():
    """R12."""
    rotary = RotaryEmbedding(12)
    want = rotary.rotate(X, offset=3)
    assert torch.equal(rotary.rotate_qk(X, offset=3), want)
    assert torch.equal(rotary.rotate_qk(X, seq_dim=2, offset=3), want)
    assert torch.equal(rotary.rotate_qk(X.transpose(1, 2), seq_dim=1, offset=3), want.transpose(1, 2))
    assert torch.equal(rotary.rotate_qk(X[0, 0], seq_dim=-2), rotary.rotate(X[0, 0]))
    square = torch.randn(2, 12, 12)  # where the original took the size for the length
    assert torch.equal(rotary.rotate_qk(square), rotary.rotate(square))
    for axis in (3, -1):
        with pytest.raises(InvalidArgumentError, match="seq_dim"):
            rotary.rotate_qk(X, seq_dim=axis)
    with pytest.raises(InvalidArgumentError, match="scale"):
        rotary.rotate_qk(X, scale=0.5)
    assert torch.equal(rotary.rotate_qk(X, scale=1.0), rotary.rotate(X))


def test_methods_of_the_original():
    plain, projected = RotaryEmbedding(12), RotaryEmbedding(12, use_projection=True, proj_dim=4)
    assert torch.equal(plain.rotations(X), plain.rotate(X))
    assert torch.equal(projected.project_and_rotate(X), projected.rotate(X))
    with pytest.raises(InvalidArgumentError, match="use_projection"):
        plain.project_and_rotate(X)
    v, axis = torch.randn(4, 3), torch.tensor([0.0, 0.0, 2.0])
    assert torch.equal(plain.q_rotation(v, 0.5, axis), quaternion_rotate(v, 0.5, axis))
    with pytest.raises(InvalidArgumentError, match=r"^v: "):
        plain.q_rotation(v, 0.5, axis, v)
    angles = torch.randn(5, 2, dtype=torch.float64)
    got = plain.learned_rotations(angles, X, start_index=3)
    assert torch.equal(got, rotate_by(X, angles, start_index=3))
    ranges = torch.tensor([1.0, 2.0, 0.5])
    got = plain.learned_rotations(angles, X, freq_ranges=ranges)
    want = rotate_by(X, torch.stack([angles[:, i] * r for i in range(2) for r in (1.0, 2.0, 0.5)], -1))
    assert torch.equal(got, want)
