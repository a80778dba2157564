"""Lists of keys in the place of an index set: values, gradients, pads, repeats, shapes, refusals."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
import torch.nn.functional as F
from fractal_core.nn import sparse_attention

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

B, H, HKV, NQ, NK, D, K = 2, 4, 2, 37, 53, 16, 7


def qkv(dtype=torch.float64, dv=D):
    shapes = ((B, H, NQ, D), (B, HKV, NK, D), (B, HKV, NK, dv))
    return [torch.randn(s, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def lists(batch, heads, dtype=torch.int64):
    """Distinct keys in random order with pads anywhere; one query has none."""
    keys = torch.rand(batch, heads, NQ, NK).argsort(-1)[..., :K]
    keys[torch.rand(keys.shape) < 0.2] = -1
    keys[:, :, 5] = -1
    return keys.to(dtype)


def dense(q, k, v, keys, key_padding_mask=None):
    mask = torch.zeros(*keys.shape[:3], NK + 1, dtype=torch.bool).scatter(3, keys.long() % (NK + 1), True)[..., :NK]
    mask = mask.expand(B, HKV, NQ, NK).repeat_interleave(H // HKV, 1)
    if key_padding_mask is not None:
        mask = mask & ~key_padding_mask[:, None, None]
    k, v = (x.repeat_interleave(H // HKV, 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.mark.parametrize(("batch", "heads"), [(1, 1), (B, 1), (1, HKV), (B, HKV)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_equal_dense_attention_with_gradients(batch, heads, dtype):
    q, k, v = qkv(dv=24)
    keys = lists(batch, heads, dtype)
    got, wanted = sparse_attention(q, k, v, keys), dense(q, k, v, keys)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    grad = torch.randn_like(got)
    for one, other in zip(
        torch.autograd.grad(got, (q, k, v), grad), torch.autograd.grad(wanted, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 4e-3)])
def test_other_dtypes(dtype, atol):
    q, k, v = qkv(dtype)
    keys = lists(B, HKV)
    wanted = dense(*(x.double() for x in (q, k, v)), keys)
    torch.testing.assert_close(sparse_attention(q, k, v, keys).double(), wanted, rtol=0, atol=atol)


def test_biases_and_padding_reach_every_list():
    q, k, v = qkv()
    keys, padding = lists(B, HKV), torch.rand(B, NK) < 0.3
    bias = torch.randn(B, H, NK, dtype=torch.float64, requires_grad=True)
    got = sparse_attention(q, k, v, keys, key_padding_mask=padding)
    torch.testing.assert_close(got, dense(q, k, v, keys, padding), rtol=0, atol=1e-12)
    one = fc.IndexSet.from_padded(lists(1, 1)[0, 0].numpy(), NK)
    both = (one, torch.from_numpy(one.to_padded())[None, None].expand(B, HKV, -1, -1))
    results = [sparse_attention(q, k, v, which, bias=bias) for which in both]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(r.square().sum(), bias)[0] for r in results), rtol=0, atol=1e-12)


def test_a_repeated_key_counts_twice():
    q, k, v = qkv()
    once = torch.full((1, 1, NQ, 2), -1).index_fill_(3, torch.tensor([0]), 3)
    once[..., 1] = 9
    twice = torch.cat([once, once[..., :1]], -1)
    bias = torch.zeros(NK, dtype=torch.float64)
    bias[3] = torch.tensor(2.0).log()
    got, wanted = sparse_attention(q, k, v, twice), sparse_attention(q, k, v, once, bias=bias)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-7)


def test_a_query_without_keys_gives_zero():
    q, k, v = qkv()
    out, lse = sparse_attention(q, k, v, lists(1, 1), return_lse=True)
    assert torch.equal(out[:, :, 5], torch.zeros_like(out[:, :, 5]))
    assert torch.equal(lse[:, :, 5], torch.full_like(lse[:, :, 5], -torch.inf))


def test_strided_lists_gradcheck_and_opcheck():
    q, k, v = (x.detach()[:, :, :6, :4].clone().requires_grad_() for x in qkv())
    keys = torch.randint(-1, 6, (1, 1, 4, 6)).transpose(2, 3)
    assert torch.autograd.gradcheck(lambda *x: sparse_attention(*x, keys), (q, k, v))
    arguments = (q, k, v, keys.contiguous(), None, None, None, None, 0.5, 0.0)
    torch.library.opcheck(torch.ops.fractal_core.attention.default, arguments)


def test_dropout_repeats_with_the_seed():
    q, k, v = qkv(torch.float32)
    keys = lists(B, HKV)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(sparse_attention(q, k, v, keys, dropout_p=0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (torch.zeros(1, 1, NQ, K), fc.errors.DTypeError),
        (torch.zeros(1, 1, NQ, K, dtype=torch.int16), fc.errors.DTypeError),
        (torch.zeros(NQ, K, dtype=torch.int64), fc.errors.ShapeError),
        (torch.zeros(3, 1, NQ, K, dtype=torch.int64), fc.errors.ShapeError),
        (torch.zeros(1, H, NQ, K, dtype=torch.int64), fc.errors.ShapeError),
        (torch.zeros(1, 1, NQ - 1, K, dtype=torch.int64), fc.errors.ShapeError),
        (torch.zeros(1, 1, 0, K, dtype=torch.int64), fc.errors.ShapeError),
        (torch.full((1, 1, NQ, K), NK), fc.errors.KeyIndexError),
        (torch.full((1, 1, NQ, K), -2), fc.errors.KeyIndexError),
        (torch.zeros(1, 1, NQ, K, dtype=torch.int64, device="meta"), fc.errors.InvalidArgumentError),
    ],
)
def test_wrong_lists_name_the_argument(wrong, error):
    with pytest.raises(error) as refused:
        sparse_attention(*qkv(), wrong)
    assert refused.value.argument == "index_set"


@pytest.mark.parametrize(("name", "value"), [("edge_bias", torch.zeros(3)), ("q_offset", 0)])
def test_what_lists_cannot_have_is_refused(name, value):
    with pytest.raises(fc.errors.InvalidArgumentError) as refused:
        sparse_attention(*qkv(), lists(1, 1), **{name: value})
    assert refused.value.argument == name
