"""sparse_attention against dense masked attention and SDPA, and every refusal of it."""

from __future__ import annotations

import math

import fractal_core as fc
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import sparse_attention

SIZES = [
    # B, H, Hkv, Nq, Nk, D, Dv
    (1, 1, 1, 1, 1, 1, 1),
    (2, 4, 4, 7, 9, 5, 3),
    (2, 4, 2, 33, 33, 16, 16),
    (1, 6, 1, 40, 70, 8, 24),
    (3, 8, 2, 17, 64, 33, 7),
    (1, 2, 2, 64, 20, 64, 64),
]


def case(size, seed=0, dtype=torch.float64, share=0.3):
    batch, heads, kv_heads, n_queries, n_keys, dim, value_dim = size
    rng = np.random.default_rng(seed)
    mask = rng.random((n_queries, n_keys)) < share
    if n_queries > 2:
        mask[rng.integers(0, n_queries)] = False
    g = torch.Generator().manual_seed(seed)
    shapes = ((batch, heads, n_queries, dim), (batch, kv_heads, n_keys, dim), (batch, kv_heads, n_keys, value_dim))
    tensors = tuple(torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes)
    return tensors, mask


def relative(given, wanted):
    return float((given.double() - wanted).norm() / wanted.norm().clamp_min(1e-30))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_dense_masked_attention_in_float64(dense, size, seed):
    (q, k, v), mask = case(size, seed)
    out, lse = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask), return_lse=True)
    wanted, wanted_lse = dense(q, k, v, mask)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, wanted_lse, rtol=0, atol=1e-12)
    dout = torch.randn_like(out)
    given = torch.autograd.grad(out, (q, k, v), dout)
    for g, w in zip(given, torch.autograd.grad(wanted, (q, k, v), dout), strict=True):
        assert relative(g, w) <= 1e-10


@pytest.mark.parametrize("spec", ["window:radius=5", "cantor:base=3", "cantor:base=4|window:radius=2"])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_dense_masked_attention_over_offsets(dense, spec, causal):
    (q, k, v), _ = case((2, 4, 2, 50, 50, 8, 8))
    index_set = fc.pattern(spec).index_set(50, causal=causal)
    out = sparse_attention(q, k, v, index_set)
    wanted, _ = dense(q, k, v, index_set.to_mask())
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    dout = torch.randn_like(out)
    given = torch.autograd.grad(out, (q, k, v), dout)
    for g, w in zip(given, torch.autograd.grad(wanted, (q, k, v), dout), strict=True):
        assert relative(g, w) <= 1e-10


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)])
@pytest.mark.parametrize("size", SIZES[1:])
def test_other_dtypes_are_close_to_float64(dense, dtype, tolerance, size):
    (q, k, v), mask = case(size, dtype=dtype)
    out = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask))
    assert out.dtype == dtype
    q64, k64, v64 = (t.detach().double().requires_grad_() for t in (q, k, v))
    wanted, _ = dense(q64, k64, v64, mask)
    torch.testing.assert_close(out.double(), wanted, rtol=tolerance, atol=tolerance)
    dout = torch.randn_like(out)
    given = torch.autograd.grad(out, (q, k, v), dout)
    for g, w in zip(given, torch.autograd.grad(wanted, (q64, k64, v64), dout.double()), strict=True):
        assert g.dtype == dtype
        assert relative(g, w) <= tolerance


@pytest.mark.parametrize("size", [s for s in SIZES if s[5] == s[6]])
def test_equals_sdpa_with_the_same_mask(size):
    (q, k, v), mask = case(size)
    out = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask))
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.from_numpy(mask), enable_gqa=True)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)


def layouts():
    def head_last(t):  # (B, N, H, D) in memory, as projections give it
        return t.transpose(1, 2).contiguous().transpose(1, 2)

    def inside(t):  # a piece of a larger buffer
        room = t.new_empty((t.shape[0] + 1, t.shape[1] + 2, t.shape[2] + 3, t.shape[3] + 4))
        room[1:, 2:, 3:, 4:] = t
        return room[1:, 2:, 3:, 4:]

    def sparse_rows(t):
        room = t.new_empty((t.shape[0], t.shape[1], 3 * t.shape[2], t.shape[3]))
        room[:, :, ::3] = t
        return room[:, :, ::3]

    def one_head_for_all(t):
        return t[:1, :1].expand_as(t)

    return [head_last, inside, sparse_rows, one_head_for_all]


@pytest.mark.parametrize("layout", layouts(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_strided_inputs_are_read_in_place(layout, dtype):
    (q, k, v), mask = case((2, 4, 2, 20, 30, 8, 8), dtype=dtype)
    index_set = fc.IndexSet.from_mask(mask)
    strided = [layout(t.detach()) for t in (q, k, v)]
    assert not any(t.is_contiguous() for t in strided)
    given = sparse_attention(*strided, index_set)
    wanted = sparse_attention(*(t.contiguous() for t in strided), index_set)
    assert torch.equal(given, wanted)


@pytest.mark.parametrize("shape", [(9,), (1, 9), (4, 9), (1, 1, 9), (2, 1, 9), (1, 4, 9), (2, 4, 9)])
def test_bias_per_key(random_qkv, random_mask, dense, shape):
    q, k, v = random_qkv()
    mask = random_mask(7, 9)
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask), bias=bias)
    full = bias.reshape((1,) * (3 - bias.ndim) + shape)[:, :, None, :]
    wanted, _ = dense(q, k, v, mask, bias=full)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    dout = torch.randn_like(out)
    (given,), (expected,) = torch.autograd.grad(out, bias, dout), torch.autograd.grad(wanted, bias, dout)
    torch.testing.assert_close(given, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("heads", [None, 1, 4])
def test_bias_per_edge(random_qkv, random_mask, dense, heads):
    q, k, v = random_qkv()
    mask = random_mask(7, 9)
    index_set = fc.IndexSet.from_mask(mask)
    shape = (index_set.nnz,) if heads is None else (heads, index_set.nnz)
    bias = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out = sparse_attention(q, k, v, index_set, edge_bias=bias)
    full = torch.zeros(heads or 1, 7, 9, dtype=torch.float64)
    full = full.masked_scatter(torch.from_numpy(mask).expand(heads or 1, 7, 9), bias)
    wanted, _ = dense(q, k, v, mask, bias=full)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    dout = torch.randn_like(out)
    (given,), (expected,) = torch.autograd.grad(out, bias, dout), torch.autograd.grad(wanted, bias, dout)
    torch.testing.assert_close(given, expected, rtol=1e-10, atol=1e-12)


def test_a_bias_of_another_float_dtype_gets_its_gradient_in_it(random_qkv, random_mask):
    q, k, v = random_qkv(dtype=torch.bfloat16)
    bias = torch.zeros(9, dtype=torch.bfloat16, requires_grad=True)
    sparse_attention(q, k, v, fc.IndexSet.from_mask(random_mask(7, 9)), bias=bias).sum().backward()
    assert bias.grad.dtype == torch.bfloat16


def test_padded_keys_do_not_exist(random_qkv, random_mask, dense):
    q, k, v = random_qkv()
    mask = random_mask(7, 9, share=0.6)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[0, 5:] = True
    padding[1] = True
    out, lse = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask), key_padding_mask=padding, return_lse=True)
    wanted, wanted_lse = dense(q, k, v, mask, padding=padding)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, wanted_lse, rtol=0, atol=1e-12)
    gq, gk, gv = torch.autograd.grad(out.sum(), (q, k, v))
    assert gk[0, :, 5:].abs().max() == 0
    assert gv[0, :, 5:].abs().max() == 0
    for g in (gq[1], gk[1], gv[1], out[1]):
        assert g.abs().max() == 0
    assert torch.equal(lse[1], torch.full_like(lse[1], -torch.inf))


def test_padded_keys_may_hold_anything(random_qkv, random_mask):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[:, 6:] = True
    clean = sparse_attention(q, k, v, index_set, key_padding_mask=padding)
    dirty_k, dirty_v = k.detach().clone(), v.detach().clone()
    dirty_k[:, :, 6:] = 1e30
    dirty_v[:, :, 6:] = 1e30
    assert torch.equal(sparse_attention(q, dirty_k, dirty_v, index_set, key_padding_mask=padding), clean)


def test_a_row_without_keys_gives_zero_and_no_gradient(random_qkv):
    q, k, v = random_qkv()
    mask = np.ones((7, 9), dtype=bool)
    mask[3] = False
    out, lse = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask), return_lse=True)
    assert torch.equal(out[:, :, 3], torch.zeros_like(out[:, :, 3]))
    assert torch.equal(lse[:, :, 3], torch.full_like(lse[:, :, 3], -torch.inf))
    (grad,) = torch.autograd.grad(out.sum(), q)
    assert torch.equal(grad[:, :, 3], torch.zeros_like(grad[:, :, 3]))
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_nan_and_inf_propagate_as_in_sdpa(bad, which):
    (q, k, v), mask = case((1, 2, 2, 12, 12, 8, 8), share=0.5)
    tensors = [t.detach().clone() for t in (q, k, v)]
    tensors[which][0, 0, 4, 2] = bad
    out = sparse_attention(*tensors, fc.IndexSet.from_mask(mask))
    wanted = F.scaled_dot_product_attention(*tensors, attn_mask=torch.from_numpy(mask))
    seen = torch.ones(12, dtype=torch.bool) if which == 0 else torch.from_numpy(mask[:, 4])
    assert torch.equal(out[0, 0, seen].isfinite(), wanted[0, 0, seen].isfinite())
    # A weight of 0 times such a value is NaN, here as there; but nothing spreads further than it does in SDPA.
    assert (out.isfinite() | ~wanted.isfinite()).all()


def test_large_scores_stay_finite(random_mask):
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    q, k, v = (1e4 * torch.randn(1, 1, n, 8, dtype=torch.float32) for n in (7, 9, 9))
    q.requires_grad_()
    out = sparse_attention(q, k, v, index_set)
    (grad,) = torch.autograd.grad(out.sum(), q)
    assert out.isfinite().all()
    assert grad.isfinite().all()


def test_scale(random_qkv, random_mask, dense):
    q, k, v = random_qkv()
    mask = random_mask(7, 9)
    for scale in (0.0, -0.7, 2):
        out = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask), scale=scale)
        torch.testing.assert_close(out, dense(q, k, v, mask, scale=scale)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("q_offset", [None, 0, 1, 3])
def test_rows_of_a_longer_index_set(random_qkv, random_mask, dense, q_offset):
    q, k, v = random_qkv()
    mask = random_mask(10, 9)
    index_set = fc.IndexSet.from_mask(mask)
    edges = torch.randn(4, index_set.nnz, dtype=torch.float64)
    full = torch.zeros(4, 10, 9, dtype=torch.float64).masked_scatter(torch.from_numpy(mask).expand(4, 10, 9), edges)
    first = 3 if q_offset is None else q_offset
    out = sparse_attention(q, k, v, index_set, q_offset=q_offset, edge_bias=edges)
    wanted, _ = dense(q, k, v, mask[first : first + 7], bias=full[:, first : first + 7])
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)


def test_autocast_casts_as_sdpa_does(random_qkv, random_mask):
    q, k, v = random_qkv(value_dim=5, dtype=torch.float32)
    mask = random_mask(7, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask))
        sdpa = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.from_numpy(mask), enable_gqa=True)
    assert out.dtype == sdpa.dtype == torch.bfloat16
    out.float().sum().backward()
    assert q.grad.dtype == torch.float32


def wrong_calls():
    q, k, v = torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    index_set = fc.IndexSet.from_mask(np.ones((6, 6), dtype=bool))
    base = {"q": q, "k": k, "v": v, "index_set": index_set}
    calls = [
        ("q", DTypeError, {"q": q.numpy()}),
        ("q", DTypeError, {"q": q.to(torch.int64)}),
        ("k", DTypeError, {"k": k.double()}),
        ("v", DTypeError, {"v": v.to(torch.bfloat16)}),
        ("q", ShapeError, {"q": q[0]}),
        ("k", ShapeError, {"k": k[0]}),
        ("v", ShapeError, {"v": v[None]}),
        ("q", ShapeError, {"q": q[..., :0]}),
        ("index_set", ShapeError, {"k": k[:, :, :0], "v": v[:, :, :0]}),
        ("k", ShapeError, {"k": k[:, :0], "v": v[:, :0]}),
        ("k", ShapeError, {"k": k[..., :7]}),
        ("k", ShapeError, {"k": k[:1], "v": v[:1]}),
        ("v", ShapeError, {"v": v[:, :, :5]}),
        ("v", ShapeError, {"v": v[:, :1]}),
        ("k", ShapeError, {"q": q[:, :3]}),
        ("q", InvalidArgumentError, {"q": torch.randn(2, 4, 8, 6).mT}),
        ("k", InvalidArgumentError, {"k": torch.randn(2, 2, 8, 6).mT}),
        ("v", InvalidArgumentError, {"v": torch.randn(2, 2, 6, 16)[..., ::2]}),
        ("index_set", DTypeError, {"index_set": np.ones((6, 6), dtype=bool)}),
        ("index_set", ShapeError, {"index_set": fc.IndexSet.from_mask(np.ones((6, 5), dtype=bool))}),
        ("index_set", ShapeError, {"index_set": fc.IndexSet.from_mask(np.ones((5, 6), dtype=bool))}),
        ("scale", InvalidArgumentError, {"scale": math.nan}),
        ("scale", InvalidArgumentError, {"scale": math.inf}),
        ("scale", DTypeError, {"scale": "1"}),
        ("scale", DTypeError, {"scale": torch.tensor(1.0)}),
        ("dropout_p", InvalidArgumentError, {"dropout_p": 1.0}),
        ("dropout_p", InvalidArgumentError, {"dropout_p": -0.1}),
        ("dropout_p", InvalidArgumentError, {"dropout_p": math.nan}),
        ("dropout_p", DTypeError, {"dropout_p": None}),
        ("q_offset", InvalidArgumentError, {"q_offset": 1}),
        ("q_offset", InvalidArgumentError, {"q_offset": -1}),
        ("q_offset", DTypeError, {"q_offset": 0.5}),
        ("bias", ShapeError, {"bias": torch.zeros(5)}),
        ("bias", ShapeError, {"bias": torch.zeros(3, 6)}),
        ("bias", ShapeError, {"bias": torch.zeros(2, 4, 6, 6)}),
        ("bias", ShapeError, {"bias": torch.zeros(())}),
        ("bias", DTypeError, {"bias": torch.zeros(6, dtype=torch.int32)}),
        ("edge_bias", ShapeError, {"edge_bias": torch.zeros(35)}),
        ("edge_bias", ShapeError, {"edge_bias": torch.zeros(2, 36)}),
        ("key_padding_mask", DTypeError, {"key_padding_mask": torch.zeros(2, 6)}),
        ("key_padding_mask", DTypeError, {"key_padding_mask": np.zeros((2, 6), dtype=bool)}),
        ("key_padding_mask", ShapeError, {"key_padding_mask": torch.zeros(6, dtype=torch.bool)}),
    ]
    return [
        pytest.param(name, error, {**base, **change}, id=f"{i}-{name}") for i, (name, error, change) in enumerate(calls)
    ]


@pytest.mark.parametrize(("name", "error", "call"), wrong_calls())
def test_every_mistake_is_refused_by_name(name, error, call):
    with pytest.raises(error) as caught:
        sparse_attention(**call)
    assert caught.value.argument == name
    assert str(caught.value).startswith(f"{name}: got ")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spec", ["window:radius=20|cantor:base=4", "hilbert:window=5", "random:k=8"])
def test_gradients_of_biases_have_the_same_bits_on_any_threads(dtype, spec):
    index_set = fc.pattern(spec).index_set(700)
    g = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 700, 32), (2, 2, 700, 32), (2, 2, 700, 32))
    q, k, v = (torch.randn(s, generator=g).to(dtype).requires_grad_() for s in shapes)
    biases = [torch.randn(s, generator=g, requires_grad=True) for s in ((4, 700), (1, index_set.nnz))]

    def both():
        out = sparse_attention(q, k, v, index_set, bias=biases[0], edge_bias=biases[1])
        return out, *torch.autograd.grad(out.float().sin().sum(), (q, k, v, *biases))

    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            results.append(both())
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
