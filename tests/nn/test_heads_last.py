"""`attention`, dense and in NATTEN's layout, against torch's own."""

from __future__ import annotations

import math

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError
from torch.nn.functional import scaled_dot_product_attention


def qkv(n_queries=7, n_keys=9, heads=4, key_heads=2, batch=2, dim=6, value_dim=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    sizes = [(n_queries, heads, dim), (n_keys, key_heads, dim), (n_keys, key_heads, value_dim)]
    return [torch.randn(batch, *size, dtype=torch.float64, generator=g).requires_grad_() for size in sizes]


def reference(q, k, v, is_causal=False, scale=None):
    """torch's attention; its causal mask begins at the first key, also where lengths differ."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=True).transpose(1, 2)
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return out, scores.logsumexp(-1).transpose(1, 2)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(7, 7), (7, 9), (9, 7), (1, 40), (40, 1), (50, 33)])
@pytest.mark.parametrize("scale", [None, -0.3])
def test_is_torchs(n_queries, n_keys, is_causal, scale):
    tensors = qkv(n_queries, n_keys)
    got = fc.nn.attention(*tensors, is_causal, scale, return_lse=True)
    expected = reference(*tensors, is_causal, scale)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert got[0].is_contiguous()
    torch.testing.assert_close(fc.nn.attention(*tensors, is_causal, scale), got[0], rtol=0, atol=0)
    weights = torch.randn_like(got[0])
    grads = [torch.autograd.grad((o * weights).sum() + s.sin().sum(), tensors) for o, s in (got, expected)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("by_starts", [False, True])
def test_packed_sequences(is_causal, by_starts):
    queries, keys = [3, 0, 5, 4], [4, 2, 1, 6]
    tensors = qkv(sum(queries), sum(keys), batch=1)
    lengths = [torch.tensor(sizes, dtype=torch.int32) for sizes in (queries, keys)]
    if by_starts:
        starts = [torch.cat([torch.zeros(1, dtype=torch.int32), t.cumsum(0, dtype=torch.int32)]) for t in lengths]
        given = {"cumulative_seqlen_Q": starts[0], "cumulative_seqlen_KV": starts[1]}
        given |= {"max_seqlen_Q": 5, "max_seqlen_KV": 6}
    else:
        given = {"seqlens_Q": lengths[0], "seqlens_KV": lengths[1]}
    got = fc.nn.attention(*tensors, is_causal, **given, return_lse=True)
    q, k, v = tensors
    parts = [
        reference(*part, is_causal)
        for part in zip(q.split(queries, 1), k.split(keys, 1), v.split(keys, 1), strict=True)
    ]
    expected = tuple(torch.cat(each, 1) for each in zip(*parts, strict=True))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    grads = [torch.autograd.grad(o.square().sum() + s.sum(), tensors) for o, s in (got, expected)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_gradcheck_with_lse():
    tensors = tuple(qkv(3, 4, 2, 1, 1, 2, 2))
    assert torch.autograd.gradcheck(lambda *t: fc.nn.attention(*t, True, return_lse=True), tensors)


@pytest.mark.parametrize("n_queries", [0, 3])
@pytest.mark.parametrize("n_keys", [0, 4])
def test_sizes_of_0(n_queries, n_keys):
    for batch in (0, 1):
        if batch and n_queries and n_keys:
            continue
        tensors = qkv(n_queries, n_keys, batch=batch)
        none = torch.tensor([n_queries]), torch.tensor([n_keys])
        for given in ({}, {"seqlens_Q": none[0], "seqlens_KV": none[1]} if batch else {}):
            out, lse = fc.nn.attention(*tensors, True, **given, return_lse=True)
            assert out.shape == (batch, n_queries, 4, 3)
            assert not out.any()
            assert (lse == -torch.inf).all()
            for grad, t in zip(torch.autograd.grad(out.sum(), tensors), tensors, strict=True):
                assert grad.shape == t.shape
                assert not grad.any()


def test_sequences_without_keys():
    tensors = qkv(5, 3, batch=1)
    lengths = {"seqlens_Q": torch.tensor([2, 3]), "seqlens_KV": torch.tensor([0, 3])}
    out, lse = fc.nn.attention(*tensors, **lengths, return_lse=True)
    assert not out[:, :2].any()
    assert (lse[:, :2] == -torch.inf).all()
    assert lse[:, 2:].isfinite().all()


def test_compiles_whole_and_autocasts():
    tensors = [t.detach().float() for t in qkv()]
    compiled = torch.compile(lambda *t: fc.nn.attention(*t, True) * 2, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors), fc.nn.attention(*tensors, True) * 2, rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fc.nn.attention(*tensors).dtype == torch.bfloat16


Q, K = torch.zeros(1, 4, 2, 3), torch.zeros(1, 5, 2, 3)
INTS = torch.tensor([2, 2]), torch.tensor([2, 3])


def call(q=Q, k=K, v=K, **given):
    return fc.nn.attention(q, k, v, **given)


def packed(**given):
    return call(**{"seqlens_Q": INTS[0], "seqlens_KV": INTS[1], **given})


def started(**given):
    starts = {"cumulative_seqlen_Q": torch.tensor([0, 2, 4]), "cumulative_seqlen_KV": torch.tensor([0, 2, 5])}
    return call(**{**starts, **given})


WRONG = [
    ("scale", InvalidArgumentError, lambda: call(scale=0)),
    ("scale", InvalidArgumentError, lambda: call(scale=0.0)),
    ("scale", InvalidArgumentError, lambda: call(scale=math.nan)),
    ("scale", DTypeError, lambda: call(scale="1")),
    ("is_causal", DTypeError, lambda: call(is_causal=1)),
    ("return_lse", DTypeError, lambda: call(return_lse="no")),
    ("device", InvalidArgumentError, lambda: call(device="cuda")),
    ("query", ShapeError, lambda: call(q=Q[0])),
    ("query", DTypeError, lambda: call(q=Q.long())),
    ("query", ShapeError, lambda: call(q=Q[..., :0])),
    ("key", ShapeError, lambda: call(k=K[..., :2])),
    ("key", ShapeError, lambda: call(k=K.expand(2, -1, -1, -1))),
    ("key", ShapeError, lambda: call(k=torch.zeros(1, 5, 3, 3))),
    ("key", DTypeError, lambda: call(k=K.double())),
    ("value", ShapeError, lambda: call(v=K[:, :4])),
    ("value", ShapeError, lambda: call(v=K[:, :, :1])),
    ("value", InvalidArgumentError, lambda: call(v=K.mT.contiguous().mT)),
    ("query", ShapeError, lambda: packed(q=Q.expand(2, -1, -1, -1), k=(two := K.expand(2, -1, -1, -1)), v=two)),
    ("seqlens_KV", InvalidArgumentError, lambda: packed(seqlens_KV=None)),
    ("seqlens_Q", InvalidArgumentError, lambda: packed(seqlens_Q=None)),
    ("seqlens_Q", ShapeError, lambda: packed(seqlens_Q=torch.tensor([2, 3]))),
    ("seqlens_Q", InvalidArgumentError, lambda: packed(seqlens_Q=torch.tensor([5, -1]))),
    ("seqlens_Q", DTypeError, lambda: packed(seqlens_Q=torch.tensor([2.0, 2.0]))),
    ("seqlens_Q", DTypeError, lambda: packed(seqlens_Q=[2, 2])),
    ("seqlens_Q", ShapeError, lambda: packed(seqlens_Q=torch.tensor([[2, 2]]))),
    ("seqlens_KV", ShapeError, lambda: packed(seqlens_KV=torch.tensor([5]))),
    ("cumulative_seqlen_Q", InvalidArgumentError, lambda: packed(cumulative_seqlen_Q=INTS[0], cumulative_seqlen_KV=Q)),
    ("cumulative_seqlen_KV", InvalidArgumentError, lambda: started(cumulative_seqlen_KV=None)),
    ("cumulative_seqlen_KV", ShapeError, lambda: started(cumulative_seqlen_KV=torch.tensor([0, 2, 4]))),
    ("cumulative_seqlen_KV", ShapeError, lambda: started(cumulative_seqlen_KV=torch.tensor([0, 5]))),
    ("cumulative_seqlen_Q", InvalidArgumentError, lambda: started(cumulative_seqlen_Q=torch.tensor([1, 2, 4]))),
    ("cumulative_seqlen_Q", InvalidArgumentError, lambda: started(cumulative_seqlen_Q=torch.tensor([0, 5, 4]))),
    ("max_seqlen_KV", InvalidArgumentError, lambda: started(max_seqlen_KV=2)),
    ("max_seqlen_Q", InvalidArgumentError, lambda: call(max_seqlen_Q=4)),
    ("max_seqlen_Q", DTypeError, lambda: started(max_seqlen_Q=2.5)),
]


@pytest.mark.parametrize(
    ("argument", "kind", "wrong"), WRONG, ids=[f"{n}-{argument}" for n, (argument, *_) in enumerate(WRONG)]
)
def test_wrong_call(argument, kind, wrong):
    with pytest.raises(kind, match=rf"^{argument}") as caught:
        wrong()
    assert type(caught.value) is kind
    assert isinstance(caught.value, FractalError)
    assert caught.value.argument == argument
