"""Dropout of attention weights: its mask, its gradient, its seed."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import FractalAttention, ops, sparse_attention


def drawn(index_set, p, seed, batch=2, heads=4, dtype=torch.float64):
    """(B, H, Nq, Nk): the factors of the weights, read off with equal scores and one-hot values."""
    n_queries, n_keys = index_set.shape
    q = torch.zeros(batch, heads, n_queries, 1, dtype=dtype)
    k = torch.zeros(batch, heads, n_keys, 1, dtype=dtype)
    v = torch.eye(n_keys, dtype=dtype).expand(batch, heads, -1, -1).contiguous()
    handle = torch.from_numpy(index_set.handle)
    out, *_ = ops.attention(q, k, v, handle, None, None, None, torch.tensor([seed]), 1.0, p)
    return out * torch.from_numpy(index_set.to_mask()).sum(-1, keepdim=True)


def test_every_weight_is_dropped_or_grown():
    index_set = fc.pattern("window", radius=20).index_set(100)
    factors = drawn(index_set, 0.25, 5)
    mask = torch.from_numpy(index_set.to_mask()).expand_as(factors)
    assert factors[~mask].abs().max() == 0
    values = factors[mask]
    kept = values.abs() > 0.5
    torch.testing.assert_close(values[kept], torch.full_like(values[kept], 4 / 3), rtol=1e-12, atol=0)
    assert values[~kept].abs().max() == 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_p(p):
    index_set = fc.pattern("window", radius=20).index_set(200)
    factors = drawn(index_set, p, 11)
    mask = torch.from_numpy(index_set.to_mask())
    dropped = (factors[..., mask] == 0).double()
    n = dropped.numel()
    assert abs(float(dropped.mean()) - p) < 5 * (p * (1 - p) / n) ** 0.5
    each = dropped.mean(-1)  # each batch and head draws its own
    assert (each - p).abs().max() < 5 * (p * (1 - p) / mask.sum()) ** 0.5
    assert len({tuple(row.tolist()) for row in dropped.flatten(0, 1)}) == 8


def test_a_draw_depends_on_seed_and_edge_alone():
    mask = torch.rand(60, 60, generator=torch.Generator().manual_seed(0)) < 0.3
    some = fc.IndexSet.from_mask(mask.numpy())
    every = fc.pattern("window", radius=60).index_set(60)
    few, many = drawn(some, 0.5, 3), drawn(every, 0.5, 3)
    assert torch.equal(few[..., mask] == 0, many[..., mask] == 0)
    assert not torch.equal(many, drawn(every, 0.5, 4))


def test_equals_dense_attention_with_the_drawn_mask(random_qkv, random_mask, dense):
    q, k, v = random_qkv()
    mask = random_mask(7, 9, share=0.7)
    index_set = fc.IndexSet.from_mask(mask)
    handle, seed = torch.from_numpy(index_set.handle), torch.tensor([7])
    out, lse, _ = ops.attention(q, k, v, handle, None, None, None, seed, 0.4, 0.3)
    wanted, wanted_lse = dense(q, k, v, mask, scale=0.4, drop=drawn(index_set, 0.3, 7).detach())
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, wanted_lse, rtol=0, atol=1e-12)  # taken before anything is dropped
    dout = torch.randn_like(out)
    given = torch.autograd.grad(out, (q, k, v), dout)
    for g, w in zip(given, torch.autograd.grad(wanted, (q, k, v), dout), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-12)


def test_gradcheck_under_one_seed(random_qkv, random_mask):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    handle, seed = torch.from_numpy(index_set.handle), torch.tensor([2])
    bias = torch.randn(1, 4, 9, dtype=torch.float64, requires_grad=True)
    edge_bias = torch.randn(1, index_set.nnz, dtype=torch.float64, requires_grad=True)

    def f(*tensors):
        return ops.attention(*tensors[:3], handle, *tensors[3:], None, seed, 0.5, 0.4)[0]

    assert torch.autograd.gradcheck(f, (q, k, v, bias, edge_bias))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_opcheck(random_qkv, random_mask):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    args = (q, k, v, torch.from_numpy(index_set.handle), None, None, None, torch.tensor([2]), 0.5, 0.4)
    torch.library.opcheck(ops.attention, args)
    torch.library.opcheck(ops.attention_forward, [a.detach() if isinstance(a, torch.Tensor) else a for a in args])


def test_manual_seed_repeats_it_and_the_generator_moves_on(random_qkv, random_mask):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    torch.manual_seed(3)
    first, second = (sparse_attention(q, k, v, index_set, dropout_p=0.5) for _ in range(2))
    torch.manual_seed(3)
    again = sparse_attention(q, k, v, index_set, dropout_p=0.5)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_without_dropout_the_generator_stays_where_it_is(random_qkv, random_mask):
    q, k, v = random_qkv()
    before = torch.get_rng_state()
    sparse_attention(q, k, v, fc.IndexSet.from_mask(random_mask(7, 9)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_mean_over_draws_is_the_output_without(random_qkv, random_mask):
    q, k, v = (t.detach() for t in random_qkv())
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    torch.manual_seed(0)
    draws = torch.stack([sparse_attention(q, k, v, index_set, dropout_p=0.3) for _ in range(600)])
    off = (draws.mean(0) - sparse_attention(q, k, v, index_set)).abs()
    assert (off <= 6 * draws.std(0) / 600**0.5 + 1e-12).all()


def test_the_layer_drops_in_training_alone():
    torch.manual_seed(0)
    layer = FractalAttention(16, 2, "window", dropout=0.5)
    x = torch.randn(1, 12, 16)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_compiles_whole(random_qkv, random_mask):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))

    def f(q, k, v):
        return sparse_attention(q, k, v, index_set, dropout_p=0.5)

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    torch.manual_seed(4)
    expected = f(q, k, v)
    torch.manual_seed(4)
    given = compiled(q, k, v)
    assert torch.equal(given, expected)
    dout = torch.randn_like(given)
    for g, w in zip(
        torch.autograd.grad(given, (q, k, v), dout), torch.autograd.grad(expected, (q, k, v), dout), strict=True
    ):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)
