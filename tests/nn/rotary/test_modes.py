"""Quaternions, bases and projections by their matrices: orthogonal, relative, and what they are said to be.

Faults of the original that are tested here: R3 (one matrix for all positions: scores did not change), R4 (a rotation
that was none), R6 (the mean of two matrices), R8 (a projection that shrank to a tenth), R9 (projections made lazily).
"""

from __future__ import annotations

import copy
import pickle
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from fractal_core._registry import Registry
from fractal_core.errors import PluginError
from fractal_core.nn import RotaryEmbedding, RotaryMode, rotary_modes
from fractal_core.nn.rotary.bases import BASES

MADE = {
    "rope": {},
    "half": {"layout": "half"},
    "quaternion3": {"mode": "quaternion3"},
    "quaternion4": {"mode": "quaternion4"},
    "givens": {"basis": "givens"},
    "cayley": {"basis": "cayley"},
    "householder": {"basis": "householder"},
    "quaternion3 in a basis": {"mode": "quaternion3", "basis": "cayley"},
    "projection": {"proj_dim": 4},
    "quaternion3 of a projection": {"mode": "quaternion3", "proj_dim": 3},
    "a part": {"rotary_dim": 6, "basis": "householder"},
    "two axes": {"n_axes": 2, "basis": "cayley"},
    "learned": {"learned_freq": True},
    "two learned axes": {"n_axes": 2, "learned_freq": True, "mode": "quaternion4"},
}
DIM = 12


def randomised(**made):
    """An embedding in float64 whose parameters are all moved from where they start."""
    rotary = RotaryEmbedding(DIM, **made).double()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in rotary.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return rotary


def matrix(rotary, p):
    """R(p) for a position (n_axes,), of column vectors."""
    places = torch.as_tensor(p, dtype=torch.float64).reshape(1, -1).expand(DIM, -1)
    return rotary.rotate(torch.eye(DIM, dtype=torch.float64), places).T.detach()


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_orthogonal_relative_and_additive(made):
    rotary = randomised(**made)
    n = rotary.n_axes
    one = torch.eye(DIM, dtype=torch.float64)
    a, b = np.array([3.0, 1.5])[:n], np.array([-2.25, 7.0])[:n]
    ra, rb = matrix(rotary, a), matrix(rotary, b)
    torch.testing.assert_close(ra.T @ ra, one, rtol=0, atol=1e-12)
    torch.testing.assert_close(ra @ rb, matrix(rotary, a + b), rtol=0, atol=1e-12)
    torch.testing.assert_close(ra.T @ rb, matrix(rotary, b - a), rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix(rotary, 0 * a), one, rtol=0, atol=1e-14)
    assert (ra - one).abs().max() > 0.1


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_scores_at_a_million_are_those_at_zero(made):
    rotary = randomised(**made)
    shift = np.full(rotary.n_axes, 10**6)
    a, b = np.array([3, 1])[: rotary.n_axes], np.array([40, 7])[: rotary.n_axes]
    near, far = (matrix(rotary, a + s).T @ matrix(rotary, b + s) for s in (0 * shift, shift))
    assert (near - far).abs().max() <= 1e-8 / 10
    q = torch.randn(DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert abs(q @ (near - far) @ q) / q.norm() ** 2 <= 1e-10


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_scores_change_with_positions(made):
    """R3."""
    rotary = randomised(**made)
    q = torch.ones(5, DIM, dtype=torch.float64)
    spread = [torch.arange(5)[:, None] * step * torch.ones(1, rotary.n_axes) for step in (1, 3)]
    scores = [rotary.rotate(q, at) @ rotary.rotate(q, at).T for at in spread]
    assert (scores[0] - scores[1]).abs().max() > 1e-2
    assert (scores[0] - q @ q.T).abs().max() > 1e-2


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_states_copies_and_float32(made):
    """R9: everything is made in the constructor, so that optimizers and state dicts have it all."""
    rotary, fresh = randomised(**made), RotaryEmbedding(DIM, **made).double()
    places = torch.arange(4)[:, None] * torch.ones(1, rotary.n_axes)
    x = torch.randn(2, 4, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    want = rotary.rotate(x, places)
    before = len(list(rotary.parameters()))
    fresh.load_state_dict(rotary.state_dict())
    for other in (fresh, copy.deepcopy(rotary), pickle.loads(pickle.dumps(rotary))):
        assert torch.equal(other.rotate(x, places), want)
        assert len(list(other.parameters())) == before
    assert rotary.no_weight_decay() == {name for name, _ in rotary.named_parameters()}
    single = rotary.float().rotate(x.float(), places)
    torch.testing.assert_close(single.double(), want, rtol=0, atol=1e-5)
    assert (single.norm(dim=-1) / x.float().norm(dim=-1) - 1).abs().max() <= 1e-6


def rodrigues(axis, angle):
    """exp(angle [axis]x), by its series of two terms."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_quaternion3_is_rodrigues_in_each_block():
    rotary = randomised(mode="quaternion3")
    axes = rotary.turn.axes.detach().numpy()
    w = rotary.frequencies()[0].numpy()
    got = matrix(rotary, [5.0]).numpy()
    want = np.zeros((DIM, DIM))
    for b in range(4):
        want[3 * b : 3 * b + 3, 3 * b : 3 * b + 3] = rodrigues(axes[b], 5 * w[b])
        # What lies along the axis stays.
        np.testing.assert_allclose(got[3 * b : 3 * b + 3, 3 * b : 3 * b + 3] @ axes[b], axes[b], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def hamilton(p, q):
    (a, b, c, d), (e, f, g, h) = p, q
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def test_quaternion4_is_hamiltons_product():
    rotary, v = randomised(mode="quaternion4"), np.random.default_rng(0).normal(size=DIM)
    axes = rotary.turn.axes.detach().numpy()
    w = rotary.frequencies()[0].numpy()
    got = matrix(rotary, [5.0]).numpy() @ v
    for b in range(3):
        unit = axes[b] / np.linalg.norm(axes[b])
        q = np.concatenate(([np.cos(5 * w[b])], np.sin(5 * w[b]) * unit))
        np.testing.assert_allclose(got[4 * b : 4 * b + 4], hamilton(q, v[4 * b : 4 * b + 4]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("dim", [1, 2, 7, 12])
def test_bases_are_orthogonal_and_reach_others(name, dim):
    basis = BASES[name](dim).double()
    start = basis(torch.float64).detach()
    torch.testing.assert_close(start.abs(), torch.eye(dim).double(), rtol=0, atol=1e-14)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in basis.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    u = basis(torch.float64).detach()
    torch.testing.assert_close(u.T @ u, torch.eye(dim).double(), rtol=0, atol=1e-12)
    assert dim == 1 or (u - start).abs().max() > 0.1


def test_a_basis_is_the_conjugate_of_rope():
    for basis in BASES:
        rotary = randomised(basis=basis)
        u = rotary.basis(torch.float64).detach()
        plain = matrix(RotaryEmbedding(DIM).double(), [3.5])
        torch.testing.assert_close(matrix(rotary, [3.5]), u @ plain @ u.T, rtol=0, atol=1e-12)


def test_the_givens_mesh_is_the_product_of_its_layers():
    rotary = randomised(basis="givens")
    theta = iter(rotary.basis.theta.detach().numpy())
    u = np.eye(DIM)
    for layer in range(DIM):
        for i in range(layer % 2, DIM - 1, 2):
            t, g = next(theta), np.eye(DIM)
            g[i, i] = g[i + 1, i + 1] = np.cos(t)
            g[i, i + 1], g[i + 1, i] = -np.sin(t), np.sin(t)
            u = g @ u
    np.testing.assert_allclose(rotary.basis(torch.float64).detach().numpy(), u, rtol=0, atol=1e-13)


def test_a_projection_turns_its_plane_and_keeps_the_rest():
    """R8: `x + P (R - I) P^T x`, which is `exp` of a skew matrix of low rank."""
    rotary = randomised(proj_dim=4)
    p = rotary.projection(torch.float64).detach()
    torch.testing.assert_close(p.T @ p, torch.eye(4).double(), rtol=0, atol=1e-13)
    w = rotary.frequencies()[0]
    skew = torch.zeros(4, 4, dtype=torch.float64)
    for i in range(2):
        skew[2 * i, 2 * i + 1], skew[2 * i + 1, 2 * i] = -w[i], w[i]
    want = torch.matrix_exp(5 * p @ skew @ p.T)
    torch.testing.assert_close(matrix(rotary, [5.0]), want, rtol=0, atol=1e-12)


def test_samples_do_not_meet():
    """R10: an outlier in one sample changed another."""
    x = torch.randn(2, 4, DIM, generator=torch.Generator().manual_seed(0))
    wild = x.clone()
    wild[1] = torch.tensor([1e30, torch.inf, torch.nan] * 4)
    for made in MADE.values():
        if made.get("n_axes"):
            continue
        rotary = RotaryEmbedding(DIM, **made)
        assert torch.equal(rotary.rotate(x)[0], rotary.rotate(wild)[0])


class Mirror(RotaryMode):
    """Pairs from both ends."""

    def forward(self, x, cos, sin):
        a, b = x[..., : self.dim // 2], x[..., self.dim // 2 :].flip(-1)
        return torch.cat((a * cos - b * sin, (a * sin + b * cos).flip(-1)), -1)


def test_a_mode_of_somebody_else():
    rotary_modes.register("mirror-of-the-tests", Mirror)
    rotary, x = RotaryEmbedding(8, mode="mirror-of-the-tests"), torch.randn(3, 8, dtype=torch.float64)
    order = torch.tensor([0, 7, 1, 6, 2, 5, 3, 4])
    torch.testing.assert_close(rotary.rotate(x)[:, order], RotaryEmbedding(8).rotate(x[:, order]), rtol=0, atol=1e-14)
    with pytest.raises(PluginError, match="already registered"):
        rotary_modes.register("rope", Mirror)


def test_modes_of_plug_ins_fail_alone():
    broken = EntryPoint("broken", "no_such_module:Mode", "fractal_core.rotary_modes")
    wrong = EntryPoint("wrong", "builtins:dict", "fractal_core.rotary_modes")
    registry = Registry(
        "rotary mode",
        "fractal_core.rotary_modes",
        {"rope": "fractal_core.nn.rotary.modes:Rope"},
        accept=lambda made: isinstance(made, RotaryMode),
        must_be="a fractal_core.nn.RotaryMode",
        declared=[broken, wrong],
    )
    assert registry.names() == ["broken", "rope", "wrong"]
    assert registry.create("rope", dim=4).dim == 4
    with pytest.raises(PluginError, match=r"rotary mode 'broken' .* did not load: ModuleNotFoundError"):
        registry.create("broken", dim=4)
    with pytest.raises(PluginError, match=r"made a dict, which is not a fractal_core.nn.RotaryMode"):
        registry.create("wrong", dim=4)
