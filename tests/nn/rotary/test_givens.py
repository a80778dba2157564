"""Planes, chains of planes, rotations around axes and by given angles, against matrix exponentials.

R16: the original's `CompactRotation` and `q_rotate` raised for numbers. R4, R5, R7: angles of either sign, no clamp.
"""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from fractal_core.nn import CompactRotation, givens_apply, quaternion_rotate, rotate_by


def generator(dim, i, j):
    e = torch.zeros(dim, dim, dtype=torch.float64)
    e[j, i], e[i, j] = 1, -1
    return e


def of(pairs, theta, dim=6):
    """The matrix that `givens_apply` multiplies column vectors by."""
    return givens_apply(torch.eye(dim, dtype=torch.float64), pairs, torch.tensor(theta, dtype=torch.float64)).T


@pytest.mark.parametrize("theta", [0.7, -0.7, 3.0, 100.0])
def test_one_plane_is_the_exponential_of_its_generator(theta):
    torch.testing.assert_close(of([(1, 4)], [theta]), torch.matrix_exp(theta * generator(6, 1, 4)), rtol=0, atol=1e-12)


def test_a_positive_angle_turns_the_first_towards_the_second():
    """R7."""
    assert of([(0, 1)], [0.7])[:, 0].tolist() == pytest.approx([math.cos(0.7), math.sin(0.7), 0, 0, 0, 0])


def test_disjoint_planes_are_the_exponential_of_the_sum():
    pairs, theta = [(0, 3), (1, 5), (4, 2)], [0.3, -1.1, 2.0]
    total = sum(t * generator(6, *pair) for pair, t in zip(pairs, theta, strict=True))
    torch.testing.assert_close(of(pairs, theta), torch.matrix_exp(total), rtol=0, atol=1e-12)


def test_overlapping_planes_are_the_product_and_not_the_sum():
    pairs, theta = [(0, 1), (1, 2), (0, 2), (3, 2)], [0.5, 0.4, -0.6, 1.0]
    product = torch.eye(6, dtype=torch.float64)
    for pair, t in zip(pairs, theta, strict=True):
        product = torch.matrix_exp(t * generator(6, *pair)) @ product
    torch.testing.assert_close(of(pairs, theta), product, rtol=0, atol=1e-12)
    total = sum(t * generator(6, *pair) for pair, t in zip(pairs, theta, strict=True))
    assert (of(pairs, theta) - torch.matrix_exp(total)).abs().max() > 0.1


@pytest.mark.parametrize("pairs", [[(0, 1), (2, 3)], [(0, 1), (1, 2), (2, 0)]])
def test_gradients_of_planes(pairs):
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    theta = torch.randn(len(pairs), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, t: givens_apply(x, pairs, t), (x, theta))


def test_planes_given_as_a_tensor_and_none():
    x = torch.randn(3, 4)
    pairs, theta = torch.tensor([[0, 2], [2, 3]]), torch.tensor([0.1, 0.2])
    torch.testing.assert_close(givens_apply(x, pairs, theta), givens_apply(x, pairs.tolist(), theta))
    assert torch.equal(givens_apply(x, [], torch.zeros(0)), x)
    assert givens_apply(x.bfloat16(), pairs, theta).dtype == torch.bfloat16


def rodrigues(axis, angle):
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.mark.parametrize("theta", [0.0, 1.0, -1.0, math.pi, 50.0])
def test_quaternion_rotation_is_rodrigues(theta):
    """R4: the original's had norms up to √5 and moved e_x to (-1, 2, 0) at angle 0; R5: it dropped the sign."""
    axis, x = np.array([1.0, -2.0, 0.5]), 100 * torch.randn(5, 3, dtype=torch.float64)
    got = quaternion_rotate(x, theta, torch.from_numpy(axis))
    np.testing.assert_allclose(got.numpy(), x.numpy() @ rodrigues(axis, theta).T, rtol=0, atol=1e-12 * 400)
    if theta == 0:
        assert torch.equal(got, x)
    by_tensor = quaternion_rotate(x, torch.full((5,), theta, dtype=torch.float64), torch.from_numpy(axis))
    torch.testing.assert_close(by_tensor, got, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_q_rotate_takes_numbers_and_tensors(axis):
    """R16."""
    x = torch.randn(4, 3, dtype=torch.float64)
    want = x.numpy() @ rodrigues(np.eye(3)[axis], 0.5).T
    for theta in (0.5, torch.tensor(0.5, dtype=torch.float64)):
        np.testing.assert_allclose(CompactRotation.q_rotate(x, theta, axis).numpy(), want, rtol=0, atol=1e-12)


def test_compact_rotation_by_the_originals_numbers():
    """R16: of 4 pairs the first `round(rot_scale * rot_count)` turn, by 2π / 4 each."""
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    assert CompactRotation(8)(x)[..., 2:].equal(x[..., 2:])
    for scale, count, turned in ((1.0, 1, 1), (0.5, 5, 2), (1.0, 9, 4), (0.0, 3, 0)):
        got = CompactRotation(8, rot_scale=scale, rot_count=count)(x)
        want = x.clone()
        for i in range(turned):
            a, b = x[..., 2 * i], x[..., 2 * i + 1]
            want[..., 2 * i], want[..., 2 * i + 1] = -b, a  # a quarter turn
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    fixed = CompactRotation(8, rot_count=4)
    assert list(fixed.parameters()) == []
    assert list(fixed.buffers()) == []


def test_compact_rotation_learned():
    m = CompactRotation(6, [(0, 1), (1, 2), (2, 3)], rot_count=3, learned=True).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    m(x).square()[:, 0].sum().backward()
    assert (m.thetas.grad[:1] != 0).all()
    assert m.thetas.tolist() == pytest.approx([2 * math.pi / 3] * 3)
    want = of([(0, 1), (1, 2), (2, 3)], m.thetas.tolist())
    torch.testing.assert_close(m(x), x @ want.T, rtol=0, atol=1e-12)
    fresh = CompactRotation(6, [(0, 1), (1, 2), (2, 3)], rot_count=3, learned=True).double()
    torch.nn.init.zeros_(fresh.thetas)
    fresh.load_state_dict(m.state_dict())
    for other in (fresh, copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert torch.equal(other(x), m(x))


def test_compact_rotation_compiles_whole():
    torch._dynamo.reset()
    m, x = CompactRotation(6, [(0, 1), (1, 2)], rot_count=2, learned=True), torch.randn(3, 6)
    torch.testing.assert_close(torch.compile(m, fullgraph=True, backend="eager")(x), m(x))


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_rotation_by_given_angles(layout):
    x, angles = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    got = rotate_by(x, angles, layout=layout, start_index=1)
    assert torch.equal(got[..., :1], x[..., :1])
    assert torch.equal(got[..., 7:], x[..., 7:])
    for i in range(3):
        a, b = (1 + 2 * i, 2 + 2 * i) if layout == "interleaved" else (1 + i, 4 + i)
        c, s = angles[..., i].cos(), angles[..., i].sin()
        torch.testing.assert_close(got[..., a], x[..., a] * c - x[..., b] * s)
        torch.testing.assert_close(got[..., b], x[..., a] * s + x[..., b] * c)


def test_gradients_reach_given_angles():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    for layout in ("interleaved", "half"):
        assert torch.autograd.gradcheck(lambda x, a, layout=layout: rotate_by(x, a, layout=layout), (x, angles))
    assert rotate_by(x.bfloat16(), angles.float()).dtype == torch.bfloat16
