"""RoPE by its definition and by its peers: layouts, positions, offsets, dtypes.

Faults of the original that are tested here: R1 (the default was the identity), R2 (linear frequencies), R11 (positions
in the dtype of the tokens), R13 (a scale of cosine and sine changed lengths). R5, R10 and R15 (clamps, checks of
values, a matrix for each pair) cannot occur: there is no branch on a value, and pairs are turned in one pass.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fractal_core.nn import RotaryEmbedding
from hypothesis import given, settings
from hypothesis import strategies as st

LAYOUTS = ["interleaved", "half"]


def frequencies(dim, base=10000.0):
    return base ** (-np.arange(0, dim, 2) / dim)


def matrix(p, dim, layout, w=None):
    """R(p), dense: column vectors turn by p w_i in the planes of the layout."""
    out = np.eye(dim)
    half = dim // 2
    for i, freq in enumerate(frequencies(dim) if w is None else w):
        a, b = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, i + half)
        out[a, a] = out[b, b] = np.cos(p * freq)
        out[a, b], out[b, a] = -np.sin(p * freq), np.sin(p * freq)
    return out


def randn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dim", [2, 6, 16])
def test_rotation_by_its_matrices(layout, dim):
    x = randn(2, 3, 5, dim)
    got = RotaryEmbedding(dim, layout=layout).rotate(x, offset=7)
    for n in range(5):
        want = x[:, :, n].numpy() @ matrix(7 + n, dim, layout).T
        np.testing.assert_allclose(got[:, :, n].numpy(), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_default_is_not_the_identity_and_scores_see_positions(layout):
    """R1, R3: the original's default turned nothing, and its Givens mode turned all positions alike."""
    rotary, q, k = RotaryEmbedding(8, layout=layout), randn(4, 8, seed=1), randn(4, 8, seed=2)
    turned = rotary(q, k)
    assert (turned[0][1:] - q[1:]).abs().amin(-1).max() > 0
    scores = turned[0] @ turned[1].T
    assert (scores - q @ k.T).abs().max() > 0.1
    moved = rotary(q, k, positions=torch.tensor([0, 3, 4, 9]))
    assert (scores - moved[0] @ moved[1].T).abs().max() > 0.1


def test_frequencies_are_geometric():
    """R2: the original's were linear, with a largest of 0.0195."""
    np.testing.assert_allclose(RotaryEmbedding(64).frequencies()[0].numpy(), frequencies(64), rtol=1e-15, atol=0)


def test_a_positive_angle_turns_the_first_entry_towards_the_second():
    """R7: the row convention turned the other way."""
    got = RotaryEmbedding(2).rotate(torch.tensor([[1.0, 0.0]]).double(), positions=torch.tensor([0.7]).double())
    torch.testing.assert_close(got, torch.tensor([[np.cos(0.7), np.sin(0.7)]]))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_scores_depend_on_differences_at_a_million(layout, m, n, shift):
    rotary = RotaryEmbedding(64, layout=layout)
    q, k = randn(1, 64, seed=m % 97), randn(1, 64, seed=n % 89 + 100)

    def score(a, b):
        return float((rotary.rotate(q, torch.tensor([a])) * rotary.rotate(k, torch.tensor([b]))).sum())

    error = abs(score(m, n) - score(m + shift, n + shift)) / float(q.norm() * k.norm())
    assert error <= 1e-10


def test_float32_tokens_keep_their_scores_at_a_million():
    """Angles are in float64: the error is that of float32 products, not of float32 angles, which is 0.1 there."""
    rotary = RotaryEmbedding(64)
    q, k = randn(1, 64, dtype=torch.float32), randn(1, 64, dtype=torch.float32, seed=1)
    near = [float((rotary.rotate(q, offset=s + 5) * rotary.rotate(k, offset=s)).sum()) for s in (0, 4096, 10**6)]
    assert max(near) - min(near) <= 1e-6 * float(q.norm() * k.norm())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_lengths_stay(layout, dtype, bound):
    x = randn(2, 50, 64, dtype=dtype)
    got = RotaryEmbedding(64, layout=layout).rotate(x, offset=10**5)
    assert got.dtype == dtype
    assert ((got.double().norm(dim=-1) / x.double().norm(dim=-1)) - 1).abs().max() <= bound


def test_rotations_compose_by_addition():
    rotary, x = RotaryEmbedding(16), randn(3, 16)
    once = rotary.rotate(rotary.rotate(x, offset=11), offset=31)
    torch.testing.assert_close(once, rotary.rotate(x, positions=torch.tensor([42, 44, 46])), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_positions_of_halves_stay_distinct(dtype):
    """R11: in bfloat16 the original told 769 of 4096 positions apart; modules in half turn as those in float32."""
    rotary = RotaryEmbedding(64)
    x = torch.ones(4096, 64, dtype=dtype)
    got = rotary.to(dtype).rotate(x)
    assert got.dtype == dtype
    assert torch.unique(got, dim=0).shape[0] == 4096
    whole = RotaryEmbedding(64).rotate(x.float())
    torch.testing.assert_close(got, whole.to(dtype), rtol=0, atol=0)


def test_casting_the_module_changes_nothing():
    """No buffer that `.half()` or `.to()` could round, none that meta devices leave empty (gpt-neox #1003)."""
    x = randn(300, 32, dtype=torch.float32)
    want = RotaryEmbedding(32).rotate(x)
    with torch.device("meta"):
        made = RotaryEmbedding(32)
    for module in (RotaryEmbedding(32).half(), RotaryEmbedding(32).to(torch.bfloat16), made.to_empty(device="cpu")):
        assert list(module.buffers()) == []
        assert torch.equal(module.rotate(x), want)


def test_autocast_changes_nothing():
    x = randn(300, 32, dtype=torch.float32)
    for made in ({}, {"basis": "cayley"}, {"proj_dim": 4}):
        rotary = RotaryEmbedding(32, **made)
        want = rotary.rotate(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(rotary.rotate(x), want)


def test_nothing_is_remembered():
    """No hidden state of dynamic scaling (vllm #52665): a long call before changes no short one."""
    rotary, x = RotaryEmbedding(16), randn(2, 8, 16)
    before = rotary.rotate(x).clone()
    rotary.rotate(randn(1, 5000, 16), offset=10**6)
    with torch.inference_mode():
        rotary.rotate(x)
    rotary.rotate(x.float())
    torch.func.vmap(rotary.rotate)(x)
    x.requires_grad_()
    again = rotary.rotate(x)
    assert torch.equal(again, before)
    again.sum().backward()
    assert x.grad is not None


def test_tensors_of_one_call_are_not_those_of_another():
    """What is kept serves inference and training, on any dtype, after transforms and fake tensors."""
    rotary, x = RotaryEmbedding(16), randn(8, 16, dtype=torch.float32)
    with torch._subclasses.FakeTensorMode() as mode:
        rotary.rotate(mode.from_tensor(x))
    torch.func.grad(lambda t: rotary.rotate(t).square().sum())(x)
    got = rotary.rotate(x)
    assert type(got) is torch.Tensor
    torch.testing.assert_close(got.double(), RotaryEmbedding(16).rotate(x.double()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_part_turns_and_the_rest_stays(layout):
    x = randn(2, 5, 24)
    got = RotaryEmbedding(24, rotary_dim=8, layout=layout).rotate(x)
    assert torch.equal(got[..., 8:], x[..., 8:])
    torch.testing.assert_close(got[..., :8], RotaryEmbedding(8, layout=layout).rotate(x[..., :8]), rtol=0, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides(layout):
    rotary, x = RotaryEmbedding(6, layout=layout), randn(2, 7, 3, 7)
    for given_ in (x[..., :6].transpose(1, 2), x[..., 1:].transpose(1, 2), x.movedim(-1, 1)[:, :6].movedim(1, -1)):
        torch.testing.assert_close(rotary.rotate(given_), rotary.rotate(given_.contiguous()), rtol=0, atol=0)


def test_positions_by_row_and_offsets_by_row():
    rotary, x = RotaryEmbedding(8), randn(3, 2, 5, 8)
    starts = [0, 4, 100]
    want = torch.stack([rotary.rotate(row, offset=s) for row, s in zip(x, starts, strict=True)])
    got = rotary.rotate(x, offset=torch.tensor(starts))
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    places = (torch.tensor(starts)[:, None] + torch.arange(5))[:, None, :, None]
    for dtype in (torch.int32, torch.int64, torch.float32, torch.float64):
        torch.testing.assert_close(rotary.rotate(x, places.to(dtype)), want, rtol=0, atol=0)
    torch.testing.assert_close(rotary.rotate(x, offset=torch.tensor(4)), rotary.rotate(x, offset=4), rtol=0, atol=0)


def test_decoding_by_steps_is_the_full_pass():
    rotary, q, k = RotaryEmbedding(8, xpos=True), randn(2, 4, 9, 8), randn(2, 2, 9, 8, seed=1)
    whole = rotary(q, k)
    steps = [rotary(q[:, :, i : i + 1], k[:, :, i : i + 1], offset=i) for i in range(9)]
    for part, all_ in enumerate(whole):
        torch.testing.assert_close(torch.cat([s[part] for s in steps], 2), all_, rtol=0, atol=0)


def test_xpos_scores_decay_and_are_relative():
    rotary, q = RotaryEmbedding(16, xpos=True), randn(1, 16)

    def score(m, n):
        a, b = rotary.rotate(q, offset=m), rotary.rotate(q, offset=n, key=True)
        return float((a * b).sum())

    assert abs(score(900, 700) - score(200, 0)) <= 1e-12
    w = frequencies(16)
    zeta = (np.arange(8) / 8 + 0.4) / 1.4
    pairs = q.numpy()[0].reshape(8, 2)
    want = ((pairs**2).sum(1) * zeta ** (200 / 512) * np.cos(200 * w)).sum()
    np.testing.assert_allclose(score(200, 0), want, rtol=1e-12)


def test_several_axes_are_rotations_of_each_run():
    rotary, x = RotaryEmbedding(20, n_axes=3), randn(4, 20)
    places = torch.tensor([[0, 0, 0], [1, 2, 3], [7, 0, 5], [100, 1, 4]])
    runs = [4, 3, 3]
    w = np.zeros((3, 10))
    at = 0
    for axis, run in enumerate(runs):
        w[axis, at : at + run] = 10000.0 ** (-np.arange(run) / run)
        at += run
    np.testing.assert_allclose(rotary.frequencies().numpy(), w, rtol=1e-15, atol=0)
    got = rotary.rotate(x, places)
    for n in range(4):
        want = matrix(1.0, 20, "interleaved", places[n].numpy() @ w) @ x[n].numpy()
        np.testing.assert_allclose(got[n].numpy(), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(0, 4, 5, 8), (2, 0, 5, 8), (2, 4, 0, 8), (0, 8)])
@pytest.mark.parametrize(
    "made", [{}, {"layout": "half"}, {"mode": "quaternion4"}, {"basis": "givens"}, {"proj_dim": 2}]
)
def test_sizes_of_nothing(shape, made):
    x = torch.zeros(shape, requires_grad=True)
    got = RotaryEmbedding(8, **made).rotate(x)
    assert got.shape == shape
    got.sum().backward()


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"layout": "half", "rotary_dim": 8},
        {"mode": "quaternion3", "rotary_dim": 9},
        {"mode": "quaternion4", "learned_freq": True},
        {"basis": "cayley", "n_axes": 2},
        {"proj_dim": 4, "xpos": True},
    ],
    ids=str,
)
def test_compiled_whole(made):
    torch._dynamo.reset()
    rotary, q, k = RotaryEmbedding(12, **made), randn(2, 4, 6, 12), randn(2, 2, 6, 12, seed=1)
    places = torch.arange(12).reshape(6, 2) if rotary.n_axes == 2 else None
    backend = "eager" if made else "aot_eager"  # the others would take seconds each
    got = torch.compile(rotary, fullgraph=True, backend=backend)(q, k, places)
    torch.testing.assert_close(got, rotary(q, k, places), rtol=0, atol=1e-12)


def test_compiled_offsets_are_few_graphs():
    torch._dynamo.reset()
    rotary, x = RotaryEmbedding(8), randn(1, 1, 1, 8)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    step = torch.compile(rotary.rotate, fullgraph=True, backend=count)
    for offset in (0, 5, 6, 7, 900):
        torch.testing.assert_close(step(x, offset=offset), rotary.rotate(x, offset=offset), rtol=0, atol=1e-14)
    assert len(graphs) <= 3
