"""The torch ops: schema, fake, autograd registration, gradients, compilation."""

from __future__ import annotations

import gc
import weakref

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import ops, sparse_attention

# opcheck itself reads .grad of the non-leaf tensors that it makes
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def arguments(random_qkv, random_mask, dtype=torch.float64, *, biases=True, padding=True):
    q, k, v = random_qkv(dtype=dtype)
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    acc = ops.accumulation_dtype(dtype)
    g = torch.Generator().manual_seed(1)
    key_bias = torch.randn(2, 4, 9, generator=g, dtype=acc).requires_grad_() if biases else None
    edge_bias = torch.randn(4, index_set.nnz, generator=g, dtype=acc).requires_grad_() if biases else None
    mask = None
    if padding:
        mask = torch.zeros(2, 9, dtype=torch.bool)
        mask[1, 6:] = True
    return (q, k, v, torch.from_numpy(index_set.handle), key_bias, edge_bias, mask, None, 0.4, 0.0), index_set


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("biases", [True, False])
def test_opcheck(random_qkv, random_mask, dtype, biases):
    args, _alive = arguments(random_qkv, random_mask, dtype, biases=biases, padding=biases)
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype in (torch.bfloat16, torch.float16) else {}
    torch.library.opcheck(ops.attention, args, **tolerance)


@pytest.mark.parametrize("biases", [True, False])
def test_opcheck_backward(random_qkv, random_mask, biases):
    args, _alive = arguments(random_qkv, random_mask, biases=biases)
    args = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
    results = ops.attention(*args)
    dout, dlse = torch.ones_like(results[0]), torch.ones_like(results[1]) if biases else None
    torch.library.opcheck(ops.attention_backward, (dout, dlse, *results, *args))


@pytest.mark.parametrize("kind", ["table", "places", "sinks alone", "stack", "biases by entry"])
def test_opcheck_of_modifiers_and_parts(random_qkv, random_mask, kind):
    args, index_set = arguments(random_qkv, random_mask)
    g = torch.Generator().manual_seed(2)
    table, sinks = (torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for s in ((4, 5), (4,)))
    places = torch.arange(16, dtype=torch.int32) * 2 % 7
    more = {
        "table": ("cpu", table, None, sinks, 4, 1.5),
        "places": ("cpu", table, places, None, 2, 0.0),
        "sinks alone": ("cpu", None, None, sinks, 0, 0.0),
        "stack": ("cpu", table, None, sinks, 4, 1.5),
        "biases by entry": ("cpu", None, None, None, 0, 2.0),
    }[kind]
    given = list(args)
    if kind == "stack":
        other = fc.IndexSet.from_mask(random_mask(7, 9, seed=5))
        given[3], given[5] = torch.from_numpy(fc.IndexSet.stack([index_set, other, other, index_set]).handles), None
    if kind == "biases by entry":
        given[5] = torch.randn(2, 4, index_set.nnz, generator=g, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(ops.attention, (*given, *more))
    plain = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in (*given, *more))
    results = ops.attention(*plain)
    torch.library.opcheck(ops.attention_backward, (torch.ones_like(results[0]), None, *results, *plain))


def test_gradcheck_of_out_and_lse(random_qkv, random_mask):
    (q, k, v, handle, key_bias, edge_bias, mask, seed, scale, p), _alive = arguments(random_qkv, random_mask)

    def f(q, k, v, key_bias, edge_bias):
        out, lse, _ = ops.attention(q, k, v, handle, key_bias, edge_bias, mask, seed, scale, p)
        return out, torch.where(lse.isfinite(), lse, torch.zeros_like(lse))

    assert torch.autograd.gradcheck(f, (q, k, v, key_bias, edge_bias))


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 4)])
def test_gradcheck_of_broadcast_biases(random_qkv, random_mask, shape):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    key_bias = torch.randn(*shape, 9, dtype=torch.float64, requires_grad=True)
    edge_bias = torch.randn(1, index_set.nnz, dtype=torch.float64, requires_grad=True)

    def f(key_bias, edge_bias):
        return sparse_attention(q, k, v, index_set, bias=key_bias, edge_bias=edge_bias)

    assert torch.autograd.gradcheck(f, (key_bias, edge_bias))


def test_gradients_arrive_for_lse_alone_and_for_out_alone(random_qkv, random_mask, dense):
    q, k, v = random_qkv()
    mask = random_mask(7, 9)
    index_set = fc.IndexSet.from_mask(mask)
    for which in (0, 1):
        value = sparse_attention(q, k, v, index_set, return_lse=True)[which]
        expected = dense(q, k, v, mask)[which]
        finite = expected.isfinite()
        inputs = (q, k, v) if which == 0 else (q, k)
        given = torch.autograd.grad(value[finite].sum(), inputs)
        wanted = torch.autograd.grad(expected[finite].sum(), inputs)
        for g, w in zip(given, wanted, strict=True):
            torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("incoming", ["expanded", "transposed"])
def test_any_strides_of_the_incoming_gradient(random_qkv, random_mask, dense, incoming):
    q, k, v = random_qkv()
    mask = random_mask(7, 9)
    out = sparse_attention(q, k, v, fc.IndexSet.from_mask(mask))
    dout = torch.ones(()).to(out).expand(out.shape) if incoming == "expanded" else torch.randn_like(out.mT).mT
    given = torch.autograd.grad(out, (q, k, v), dout)
    wanted = torch.autograd.grad(dense(q, k, v, mask)[0], (q, k, v), dout)
    for g, w in zip(given, wanted, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-12)


def test_outputs_are_fresh_and_contiguous(random_qkv, random_mask):
    args, _alive = arguments(random_qkv, random_mask)
    out, lse, _ = ops.attention(*args)
    again, *_ = ops.attention(*args)
    assert out.is_contiguous()
    assert lse.is_contiguous()
    assert out.data_ptr() != again.data_ptr()


def test_the_graph_keeps_the_index_set_alive(random_qkv, random_mask):
    q, k, v = random_qkv()
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    gone = weakref.ref(index_set)
    out = sparse_attention(q, k, v, index_set)
    del index_set
    gc.collect()
    assert gone() is None
    out.sum().backward()
    assert q.grad.abs().sum() > 0


def test_meta_tensors_take_the_fake_road(random_mask):
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    q, k = torch.empty(2, 4, 7, 8, device="meta"), torch.empty(2, 2, 9, 8, device="meta")
    handle = torch.from_numpy(index_set.handle).to("meta")
    out, lse, rest = ops.attention(q, k, k, handle, None, None, None, None, 1.0, 0.0)
    assert out.shape == (2, 4, 7, 8)
    assert lse.shape == (2, 4, 7)
    assert rest.shape == lse.shape
    assert lse.dtype == rest.dtype == torch.float32


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_whole_forward_and_backward(random_qkv, random_mask, backend):
    q, k, v = random_qkv(dtype=torch.float32)
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    bias = torch.randn(4, 9, requires_grad=True)

    def f(q, k, v, bias):
        out, lse = sparse_attention(torch.sin(q), k, v, index_set, bias=bias, return_lse=True)
        return (out * 2).sum() + torch.where(lse > -1e9, lse, 0.0).sum()

    compiled = torch.compile(f, fullgraph=True, backend=backend)
    expected, given = f(q, k, v, bias), compiled(q, k, v, bias)
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)
    inputs = (q, k, v, bias)
    for g, w in zip(torch.autograd.grad(given, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # torch's own, at its first dual tensor
def test_forward_mode_is_refused(random_qkv, random_mask):
    q, k, v = (t.detach() for t in random_qkv())
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    for learns in (False, True):
        with pytest.raises(NotImplementedError, match="jvp"):
            torch.func.jvp(
                lambda t: sparse_attention(t, k, v, index_set), (q.requires_grad_(learns),), (torch.ones_like(q),)
            )


def test_a_second_derivative_is_refused(random_qkv, random_mask):
    q, k, v = random_qkv()
    out = sparse_attention(q, k, v, fc.IndexSet.from_mask(random_mask(7, 9)))
    (grad,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="attention_backward"):
        grad.sum().backward()
