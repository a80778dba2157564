"""A bias of -inf is a mask, gradients included; a sink is a function of the lse."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention


def qkv(n=33, heads=4, dim=6):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(2, heads, n, dim, dtype=torch.float64, generator=g).requires_grad_() for _ in range(3)]


def gradients(out, lse, tensors):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=generator)
    return torch.autograd.grad((out * weights).sum() + lse[lse.isfinite()].sum(), tensors)


@pytest.mark.parametrize("pattern", ["window:radius=5", "cantor", "dragon"])
def test_minus_infinity_at_an_edge_is_the_set_without_the_edge(pattern):
    tensors = qkv()
    index_set = fc.pattern(pattern).index_set(33)
    keep = torch.rand(index_set.nnz, generator=torch.Generator().manual_seed(2)) < 0.6
    keep[: index_set.indptr[2]] = False  # the first two queries lose all keys
    bias = torch.zeros(index_set.nnz, dtype=torch.float64).masked_fill(~keep, -torch.inf).requires_grad_()
    mask = index_set.to_mask()
    mask[mask] = keep.numpy()
    got = fc.nn.sparse_attention(*tensors, index_set, edge_bias=bias, return_lse=True)
    expected = fc.nn.sparse_attention(*tensors, fc.IndexSet.from_mask(mask), return_lse=True)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    *grads, by_bias = gradients(*got, [*tensors, bias])
    torch.testing.assert_close(tuple(grads), gradients(*expected, tensors), rtol=1e-10, atol=1e-12)
    assert by_bias.isfinite().all()
    assert not by_bias[~keep].any()
    assert by_bias[keep].any()
    assert not got[0][:, :, :2].any()


def test_minus_infinity_at_a_key_is_padding_and_sdpa_with_a_float_mask():
    tensors = qkv()
    index_set = fc.IndexSet.from_mask(np.ones((33, 33), dtype=bool))
    ignored = torch.zeros(2, 33, dtype=torch.bool)
    ignored[0, 3:9] = ignored[1, 20:] = True
    bias = torch.zeros(2, 1, 33, dtype=torch.float64).masked_fill(ignored[:, None], -torch.inf).requires_grad_()
    got = fc.nn.sparse_attention(*tensors, index_set, bias=bias, return_lse=True)
    padded = fc.nn.sparse_attention(*tensors, index_set, key_padding_mask=ignored, return_lse=True)
    torch.testing.assert_close(got, padded, rtol=0, atol=1e-12)
    dense = scaled_dot_product_attention(*tensors, attn_mask=bias.detach()[:, :, None])
    torch.testing.assert_close(got[0], dense, rtol=0, atol=1e-12)
    *grads, by_bias = gradients(*got, [*tensors, bias])
    torch.testing.assert_close(tuple(grads), gradients(*padded, tensors), rtol=1e-10, atol=1e-12)
    assert not by_bias[ignored[:, None]].any()


def test_all_keys_at_minus_infinity():
    tensors = qkv()
    bias = torch.full((33,), -torch.inf, dtype=torch.float64, requires_grad=True)
    out, lse = fc.nn.sparse_attention(*tensors, fc.pattern("window").index_set(33), bias=bias, return_lse=True)
    assert not out.any()
    assert (lse == -torch.inf).all()
    assert not any(g.any() for g in torch.autograd.grad(out.sum(), [*tensors, bias]))


@pytest.mark.parametrize("place", [1, 2])
def test_nan_behind_a_mask_is_torchs(place):
    tensors = [t.detach().clone() for t in qkv(3, 1)]
    tensors[place][0, 0, 1] = torch.nan
    bias = torch.tensor([0.0, -torch.inf, 0.0], dtype=torch.float64)
    index_set = fc.IndexSet.from_mask(np.ones((3, 3), dtype=bool))
    expected = scaled_dot_product_attention(*tensors, attn_mask=bias.expand(3, 3)).isnan()
    padding = (bias < 0).expand(2, 3)
    for given in ({"bias": bias}, {"edge_bias": bias.repeat(3)}, {"key_padding_mask": padding}):
        assert torch.equal(fc.nn.sparse_attention(*tensors, index_set, **given).isnan(), expected)


def test_a_sink_is_a_function_of_the_lse():
    q, k, v = qkv()
    sink = torch.randn(4, dtype=torch.float64, requires_grad=True)
    index_set = fc.pattern("window", radius=5).index_set(33)
    out, lse = fc.nn.sparse_attention(q, k, v, index_set, return_lse=True)
    got = out * torch.sigmoid(lse - sink[:, None]).unsqueeze(-1)

    scores = (q @ k.mT * 6**-0.5).masked_fill(~torch.from_numpy(index_set.to_mask()), -torch.inf)
    with_sink = torch.cat([scores, sink[:, None, None].expand(2, 4, 33, 1)], -1)
    expected = with_sink.softmax(-1)[..., :-1] @ v
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.logaddexp(lse, sink[:, None]), with_sink.logsumexp(-1), rtol=0, atol=1e-12)
    wanted = [q, k, v, sink]
    grads = [torch.autograd.grad(o.square().sum(), wanted) for o in (got, expected)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)
