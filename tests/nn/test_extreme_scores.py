"""Biases at the edge of float32 and large logits: as near to dense attention in float64 as dense float32 is."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

import fractal_core as fc  # noqa: E402
from fractal_core.nn import ops, sparse_attention  # noqa: E402

LOWEST = torch.finfo(torch.float32).min
N, N_KEYS, DIM = 40, 300, 64
NAMES = ("out", "lse", "dq", "dk", "dv", "dbias", "dedge_bias")


def window():
    """Tiles of shared keys, in more than one block."""
    return np.abs(np.arange(N)[:, None] * (N_KEYS // N) - np.arange(N_KEYS)) < 120


def scattered():
    """Keys that few queries share."""
    return np.random.default_rng(0).random((N, N_KEYS)) < 0.05


def both():
    return window() | scattered()


def whole():
    return np.ones((N, N_KEYS), dtype=bool)


MASKS = {f.__name__: f for f in (window, scattered, both, whole)}


def inputs(dtype, dim=DIM, heads=4, kv_heads=2, size=1):
    """Whole numbers, which every dtype holds, and whose dot products are exact."""
    g = torch.Generator().manual_seed(0)
    shapes = ((1, heads, N, dim), (1, kv_heads, N_KEYS, dim), (1, kv_heads, N_KEYS, dim))
    return [(torch.randint(-3, 4, shape, generator=g) * size).to(dtype) for shape in shapes]


def dense(q, k, v, mask, bias, edge_bias, scale, factors, dtype):
    """(out, lse) by torch's own softmax, with gradients through it."""
    q, k, v = (t.to(dtype) for t in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q * scale) @ k.mT
    added = torch.zeros((), dtype=dtype)
    if bias is not None:
        added = added + bias.to(dtype)[..., None, :]
    if edge_bias is not None:
        edges = torch.zeros(*edge_bias.shape[:1], *mask.shape, dtype=dtype)
        edges[:, mask] = edge_bias.to(dtype)
        added = added + edges
    scores = scores + added
    scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1)
    # The gradient of torch's logsumexp is exp(scores - lse), which loses the sum.
    top = scores.detach().amax(-1, keepdim=True)
    lse = (scores - top).exp().sum(-1).log() + top[..., 0]
    return (weights if factors is None else weights * factors.to(dtype)) @ v, lse


def results(call, tensors, dout, dlse):
    """out, lse and the gradients of all tensors, in float64."""
    given = [None if t is None else t.clone().requires_grad_() for t in tensors]
    out, lse = call(*given)
    leaves = [t for t in given if t is not None]
    grads = iter(torch.autograd.grad((out, lse), leaves, (dout.to(out.dtype), dlse.to(lse.dtype))))
    return [out.double(), lse.double(), *(None if t is None else next(grads).double() for t in given)]


def check(mask, q, k, v, bias=None, edge_bias=None, *, scale=0.125, keys=None, factors=None, run=None):
    """Errors against float64 are at most a few times those of dense float32, or of the dtype's rounding."""
    mask = torch.from_numpy(mask)
    if keys is None:
        keys = fc.IndexSet.from_mask(mask.numpy())
    g = torch.Generator().manual_seed(1)
    dout = torch.randn(*q.shape[:3], v.shape[3], generator=g).to(q.dtype)
    dlse = torch.randn(q.shape[:3], generator=g)

    def ours(q, k, v, bias, edge_bias):
        if run is not None:
            return run(q, k, v, bias, edge_bias)
        return sparse_attention(q, k, v, keys, bias=bias, edge_bias=edge_bias, scale=scale, return_lse=True)

    tensors = (q, k, v, bias, edge_bias)
    got = results(ours, tensors, dout, dlse)
    want, yardstick = (
        results(lambda *t, dtype=dtype: dense(*t[:3], mask, *t[3:], scale, factors, dtype), tensors, dout, dlse)
        for dtype in (torch.float64, torch.float64 if q.dtype == torch.float64 else torch.float32)
    )
    epsilon = torch.finfo(q.dtype).eps
    for name, one, other, near in zip(NAMES, got, want, yardstick, strict=True):
        if one is None:
            continue
        assert one.isfinite().all(), name
        size = other.abs().max().clamp(min=1.0)
        allowed = 4 * (near - other).abs().max() + (4e-6 if name == "lse" else 4e-6 + 2 * epsilon) * size
        assert (one - other).abs().max() <= allowed, f"{name}: {(one - other).abs().max():g} off, {allowed:g} allowed"


def lists(mask):
    """(1, 1, Nq, K) keys of each row, -1 behind them."""
    rows = [np.flatnonzero(row) for row in mask]
    out = np.full((1, 1, len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for i, row in enumerate(rows):
        out[0, 0, i, : len(row)] = row
    return torch.from_numpy(out)


FLAT = [LOWEST, -1e9, 2.5e38]


@pytest.mark.parametrize("shape", list(MASKS))
@pytest.mark.parametrize("value", FLAT)
def test_one_extreme_bias_of_every_key(shape, value):
    check(MASKS[shape](), *inputs(torch.float32), torch.full((1, 1, N_KEYS), value))


@pytest.mark.parametrize("shape", list(MASKS))
@pytest.mark.parametrize("value", FLAT)
def test_an_extreme_bias_of_some_keys(shape, value):
    bias = torch.where(torch.arange(N_KEYS) % 3 == 1, value, 0.0).expand(1, 4, N_KEYS)
    check(MASKS[shape](), *inputs(torch.float32), bias)


@pytest.mark.parametrize("shape", list(MASKS))
@pytest.mark.parametrize("value", FLAT)
def test_extreme_biases_of_edges(shape, value):
    mask = MASKS[shape]()
    edges = int(mask.sum())
    every = torch.full((1, edges), value)
    some = torch.where(torch.arange(edges) % 5 == 2, value, 0.5).expand(4, edges)
    for edge_bias in (every, some):
        check(mask, *inputs(torch.float32), None, edge_bias)


@pytest.mark.parametrize("value", FLAT)
def test_extreme_biases_of_keys_and_edges_together(value):
    mask = both()
    bias = torch.where(torch.arange(N_KEYS) % 3 == 1, -value / 2, value / 2).expand(1, 1, N_KEYS)
    check(mask, *inputs(torch.float32), bias, torch.full((1, int(mask.sum())), value / 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", list(MASKS))
def test_extreme_biases_in_every_dtype(shape, dtype):
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    bias = torch.full((1, 1, N_KEYS), torch.finfo(exact).min, dtype=exact)
    check(MASKS[shape](), *inputs(dtype), bias)


@pytest.mark.parametrize("shape", list(MASKS))
@pytest.mark.parametrize("dim", [8, 64, 128, 192])
@pytest.mark.parametrize("size", [100, 1000, 30000])
def test_large_logits(shape, dim, size):
    q, k, v = inputs(torch.float32, dim)
    check(MASKS[shape](), q * size, k, v)


@pytest.mark.parametrize("shape", list(MASKS))
@pytest.mark.parametrize("scale", [1.0, 1024.0, 2.0**40, 2.0**100, -(2.0**20)])
def test_large_scales(shape, scale):
    check(MASKS[shape](), *inputs(torch.float32), scale=scale)


def test_logits_that_differ_by_little_beside_their_size():
    q, k, v = inputs(torch.float32, dim=4)
    q, k = torch.zeros_like(q), torch.zeros_like(k)
    q[..., 0], q[..., 1] = 80000.0, 1.0
    k[..., 0], k[..., 1] = 1.0, torch.arange(N_KEYS) % 4
    check(window(), q, k, v, scale=1.0)


@pytest.mark.parametrize("value", FLAT)
def test_lists_of_keys(value):
    mask = scattered()
    bias = torch.full((1, 1, N_KEYS), value)
    check(mask, *inputs(torch.float32), bias, keys=lists(mask))


@pytest.mark.parametrize("value", FLAT)
@pytest.mark.parametrize("listed", [False, True])
def test_one_query(value, listed):
    mask = np.arange(N_KEYS)[None] % 7 != 0
    q, k, v = inputs(torch.float32)
    bias = torch.full((1, 1, N_KEYS), value)
    keys = lists(mask) if listed else fc.IndexSet.from_mask(mask)
    check(mask, q[:, :, :1], k, v, bias, keys=keys)
    check(mask, 20000 * q[:, :, :1], k, v, keys=keys)


@pytest.mark.parametrize("value", FLAT)
def test_dropout(value):
    mask, p, seed = both(), 0.3, torch.tensor([5])
    q, k, v = inputs(torch.float32)
    index_set = fc.IndexSet.from_mask(mask)
    keys = torch.from_numpy(index_set.handle)
    eye = torch.eye(N_KEYS).expand(1, 2, N_KEYS, N_KEYS)
    dropped = ops.attention(0 * q, 0 * k, eye, keys, None, None, None, seed, 0.125, p)[0]
    factors = dropped * torch.from_numpy(mask.sum(1, keepdims=True))

    def run(q, k, v, bias, edge_bias):
        return ops.attention(q, k, v, keys, bias, edge_bias, None, seed, 0.125, p)[:2]

    check(mask, q, k, v, torch.full((1, 1, N_KEYS), value), factors=factors, run=run)


def test_infinite_and_undefined_biases_stay_what_they_are():
    q, k, v = inputs(torch.float32)
    mask = both()
    index_set = fc.IndexSet.from_mask(mask)
    bias = torch.full((N_KEYS,), LOWEST)
    hidden = torch.arange(N_KEYS) % 2 == 0
    masked = sparse_attention(q, k, v, index_set, bias=bias.masked_fill(hidden, -torch.inf))
    fewer = fc.IndexSet.from_mask(mask & ~hidden.numpy())
    torch.testing.assert_close(masked, sparse_attention(q, k, v, fewer, bias=bias), rtol=0, atol=1e-5)
    out, lse = sparse_attention(q, k, v, index_set, bias=torch.full((N_KEYS,), -torch.inf), return_lse=True)
    assert out.count_nonzero() == 0
    assert (lse == -torch.inf).all()
    for value in (torch.inf, torch.nan):
        out = sparse_attention(q, k, v, index_set, bias=torch.where(torch.arange(N_KEYS) == 7, value, 0.0))
        seen = torch.from_numpy(mask[:, 7])
        assert out[:, :, seen].isnan().all()
        assert out[:, :, ~seen].isfinite().all()
