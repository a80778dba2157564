"""Dense attention against torch's own: values, gradients, masks and their plans, refusals."""

from __future__ import annotations

import gc

import pytest
import torch
import torch.nn.functional as F
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import _dense_masks, _full_sets, dense_attention, scaled_dot_product_attention

SIZES = [
    # query, key, value
    ((7, 5), (9, 5), (9, 3)),
    ((3, 7, 5), (3, 9, 5), (3, 9, 3)),
    ((2, 4, 33, 8), (2, 4, 33, 8), (2, 4, 33, 8)),
    ((2, 4, 40, 16), (2, 4, 17, 16), (2, 4, 17, 24)),
    ((2, 4, 17, 16), (2, 4, 40, 16), (2, 4, 40, 16)),
    ((2, 3, 4, 9, 8), (2, 3, 4, 11, 8), (2, 3, 4, 11, 8)),
    # broadcast
    ((1, 4, 9, 8), (3, 4, 9, 8), (3, 4, 9, 8)),
    ((3, 4, 9, 8), (4, 9, 8), (3, 1, 9, 8)),
    ((2, 1, 3, 9, 8), (1, 3, 1, 9, 8), (2, 3, 1, 9, 8)),
]


@pytest.fixture(autouse=True)
def _no_masks():
    _dense_masks.clear()


def drawn(*shapes, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes)


def ours(*args, **kwargs):
    """Ours even where torch is faster, and surely ours."""
    with dense_attention(always=True) as calls:
        out = scaled_dot_product_attention(*args, **kwargs)
    assert str(calls) == "1 of 1 calls taken"
    return out


def same(tensors, *args, tolerance=1e-12, gradients=1e-10, **kwargs):
    """Values and gradients of `tensors`, the first three of them the inputs, are torch's own in float64."""
    out, wanted = ours(*tensors[:3], *args, **kwargs), F.scaled_dot_product_attention(*tensors[:3], *args, **kwargs)
    assert out.shape == wanted.shape
    torch.testing.assert_close(out, wanted, rtol=0, atol=tolerance)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    for g, w in zip(torch.autograd.grad(out, tensors, dout), torch.autograd.grad(wanted, tensors, dout), strict=True):
        assert g.shape == w.shape
        assert float((g - w).norm()) <= gradients * float(w.norm()) + 1e-14


def some(*shape, seed=0, share=0.4):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.parametrize("shapes", SIZES)
@pytest.mark.parametrize("is_causal", [False, True])
def test_equals_torchs_own(shapes, is_causal):
    same(drawn(*shapes), is_causal=is_causal)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_grouped_heads(heads, is_causal):
    same(drawn((2, 4, 9, 8), (2, heads, 11, 8), (2, heads, 11, 8)), is_causal=is_causal, enable_gqa=True, scale=0.3)


def test_grouped_heads_without_a_batch():
    same(drawn((4, 9, 8), (2, 11, 8), (2, 11, 8)), enable_gqa=True)


def test_strides_are_any():
    q, k, v = drawn((2, 9, 4, 8), (2, 9, 8, 4), (2, 9, 4, 8))
    turned = (q.transpose(1, 2), k.permute(0, 3, 1, 2), v.transpose(1, 2))
    torch.testing.assert_close(ours(*turned), F.scaled_dot_product_attention(*turned), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)])
@pytest.mark.parametrize("case", ["full", "causal", "bool", "float"])
def test_other_dtypes_are_close_to_float64(dtype, tolerance, case):
    tensors = drawn((2, 4, 33, 16), (2, 2, 40, 16), (2, 2, 40, 16), dtype=dtype)
    mask = {"bool": some(33, 40), "float": drawn((4, 33, 40))[0].detach()}.get(case)
    kwargs = {"is_causal": case == "causal", "enable_gqa": True}
    exact = tuple(t.detach().double().requires_grad_() for t in tensors)
    out = ours(*tensors, mask if mask is None or case == "bool" else mask.to(dtype), **kwargs)
    wanted = F.scaled_dot_product_attention(
        *exact, mask if mask is None or case == "bool" else mask.to(dtype).double(), **kwargs
    )
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), wanted, rtol=tolerance, atol=tolerance)
    dout = torch.randn_like(out)
    given, exactly = torch.autograd.grad(out, tensors, dout), torch.autograd.grad(wanted, exact, dout.double())
    for g, w in zip(given, exactly, strict=True):
        assert float((g.double() - w).norm()) <= tolerance * float(w.norm())


# --- masks -------------------------------------------------------------------------------------------------------

MASKS = {
    "one": (13, 9),
    "keys": (1, 9),
    "queries": (13, 1),
    "by head": (4, 13, 9),
    "by batch": (3, 1, 13, 9),
    "by batch, keys": (3, 1, 1, 9),
    "by head, keys": (1, 4, 1, 9),
    "by batch and head": (3, 4, 13, 9),
    "by batch and head, keys": (3, 4, 1, 9),
    "all": (1, 1, 1, 1),
}


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("kind", ["bool", "cells", "values", "learned"])
def test_masks(name, kind, heads):
    tensors = drawn((3, 4, 13, 8), (3, heads, 9, 8), (3, heads, 9, 8))
    mask = some(*MASKS[name])
    if kind != "bool":
        values = torch.zeros(mask.shape) if kind == "cells" else torch.randn(mask.shape)
        mask = torch.where(mask, values.double(), -torch.inf)
    if kind == "learned":
        tensors = (*tensors, mask.requires_grad_())
    same(tensors, mask, enable_gqa=heads < 4)


def test_masks_of_other_numbers_of_dimensions():
    tensors = drawn((2, 3, 4, 7, 8), (2, 3, 4, 9, 8), (2, 3, 4, 9, 8))
    for shape in ((7, 9), (4, 7, 9), (3, 1, 7, 9), (2, 1, 4, 7, 9), (2, 3, 1, 1, 9)):
        same(tensors, some(*shape))
        same(tensors, drawn(shape)[0].detach())
    same(drawn((7, 8), (9, 8), (9, 8)), some(7, 9))
    same(drawn((3, 7, 8), (3, 9, 8), (3, 9, 8)), some(3, 7, 9))


@pytest.mark.parametrize("kind", [torch.bool, torch.float64])
def test_a_row_without_keys_is_zero_and_so_are_its_gradients(kind):
    tensors = drawn((2, 4, 7, 8), (2, 4, 9, 8), (2, 4, 9, 8))
    mask = some(2, 1, 7, 9)
    mask[0, 0, 3] = False
    out = ours(*tensors, mask if kind == torch.bool else mask.double().log())
    assert torch.equal(out[0, :, 3], torch.zeros(4, 8))
    dq = torch.autograd.grad(out.sum(), tensors[0])[0]
    assert torch.equal(dq[0, :, 3], torch.zeros(4, 8))
    assert torch.isfinite(dq).all()


def test_padding_of_a_causal_batch_needs_one_set():
    padding = torch.arange(24) >= torch.tensor([0, 5, 9])[:, None]
    mask = (padding[:, None] & torch.ones(24, 24, dtype=torch.bool).tril())[:, None]
    plan = _dense_masks.plan_of(mask)
    assert len(plan.sets) == 1
    assert plan.sets[0].runs is not None
    assert plan.padding is not None
    same(drawn(*[(3, 4, 24, 8)] * 3), mask)


def test_equal_masks_are_planned_once():
    windows = torch.stack([(torch.arange(24)[:, None] - torch.arange(24)).abs() <= w for w in (2, 5, 2, 5)])
    assert len(_dense_masks.plan_of(windows[None]).sets) == 2
    assert len(_dense_masks.plan_of(torch.stack([windows, windows])).sets) == 2
    assert _dense_masks.planned()[1] == 2
    same(drawn(*[(2, 4, 24, 8)] * 3), windows)


def test_too_many_different_masks_are_torchs():
    q, k, v = drawn((5, 4, 9, 8), (5, 4, 9, 8), (5, 4, 9, 8))
    mask = some(5, 4, 9, 9)
    with dense_attention(always=True) as calls:
        out = scaled_dot_product_attention(q, k, v, mask)
    assert dict(calls.passed) == {"more than 16 different masks over batch and heads": 1}
    assert torch.equal(out, F.scaled_dot_product_attention(q, k, v, mask))


@pytest.mark.parametrize("kind", ["bool", "values"])
def test_a_mask_changed_in_place_is_planned_again(kind):
    tensors = drawn(*[(2, 4, 9, 8)] * 3)
    mask = some(9, 9) if kind == "bool" else torch.where(some(9, 9), torch.randn(9, 9).double(), -torch.inf)
    for row in range(3):
        same(tensors, mask)
        mask[row] = True if kind == "bool" else 1.0
        same(tensors, mask)
    with torch.inference_mode():
        mask[5] = False if kind == "bool" else -torch.inf
    same(tensors, mask)


def test_a_mask_is_planned_once(monkeypatch):
    made = []
    plain = _dense_masks._made
    monkeypatch.setattr(_dense_masks, "_made", lambda mask: (made.append(1), plain(mask))[1])
    q, k, v = (t.detach() for t in drawn(*[(2, 4, 9, 8)] * 3))
    mask = some(12, 12)
    for _ in range(3):
        ours(q, k, v, mask[:9, :9])  # a view made anew, as models make them
    assert len(made) == 1


def test_masks_of_inference_mode_are_planned_by_content():
    q, k, v = (t.detach() for t in drawn(*[(2, 4, 9, 8)] * 3))
    with torch.inference_mode():
        mask = some(9, 9) & True
        assert mask.is_inference()
        for row in range(3):
            torch.testing.assert_close(
                ours(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask), rtol=0, atol=1e-12
            )
            mask[row] = True


def test_plans_go_when_their_masks_go():
    q, k, v = (t.detach() for t in drawn(*[(2, 4, 64, 8)] * 3))
    for seed in range(200):
        ours(q, k, v, some(64, 64, seed=seed))
        ours(q, k, v, torch.rand(64, 64, generator=torch.Generator().manual_seed(seed)).double())
    gc.collect()
    plans, sets = _dense_masks.planned()
    assert plans == 0
    assert sets <= 16
    masks = [some(64, 64, seed=seed) for seed in range(200)]
    for mask in masks:
        ours(q, k, v, mask)
    assert _dense_masks.planned() == (64, 16)


def test_a_learned_mask_is_not_planned_anew():
    tensors = (*drawn(*[(2, 4, 9, 8)] * 3), *drawn((4, 9, 9)))
    with torch.no_grad():
        tensors[3][1, 2] = -torch.inf
    same(tensors, tensors[3])
    assert _dense_masks.plan_of(tensors[3][None]).sets[0] is _full_sets.index_set(9, 9, False)


# --- dropout, autocast, compilers -----------------------------------------------------------------------------------


def test_dropout_drops_that_share_and_repeats():
    q = k = torch.zeros(1, 1, 64, 8)
    v = torch.eye(64)[None, None]
    torch.manual_seed(3)
    out = ours(q, k, v, dropout_p=0.25)
    torch.manual_seed(3)
    assert torch.equal(out, ours(q, k, v, None, 0.25))
    assert not torch.equal(out, ours(q, k, v, None, 0.25))
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.03
    torch.testing.assert_close(out.max(), torch.tensor(1 / 64 / 0.75))
    with dense_attention(always=True) as calls:
        assert not scaled_dot_product_attention(q, k, v, dropout_p=1.0).any()
    assert dict(calls.passed) == {"dropout_p of 1": 1}


@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_autocast_as_torchs_own(mask):
    q, k, v = drawn((2, 4, 33, 8), (2, 4, 33, 8), (2, 4, 33, 8), dtype=torch.float32)
    mask = {None: None, "bool": some(33, 33), "float": torch.randn(33, 33)}[mask]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, wanted = ours(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask)
        mixed = ours(q.to(torch.bfloat16), k, v, mask)
    assert out.dtype == mixed.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(out, wanted, rtol=2e-2, atol=2e-2)
    grads = torch.autograd.grad(out.float().sum(), (q, k, v))
    assert [g.dtype for g in grads] == [torch.float32] * 3


@pytest.mark.slow
@pytest.mark.parametrize("is_causal", [False, True])
def test_compiles_as_one_graph(is_causal):
    tensors = drawn(*[(1, 2, 512, 16)] * 3, dtype=torch.float32)

    def step(q, k, v):
        return scaled_dot_product_attention(q, k, v, is_causal=is_causal) * 2

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True)
    out, wanted = compiled(*tensors), step(*tensors)
    torch.testing.assert_close(out, wanted)
    for g, w in zip(torch.autograd.grad(out.sum(), tensors), torch.autograd.grad(wanted.sum(), tensors), strict=True):
        torch.testing.assert_close(g, w)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_torch_func():
    q, k, v = (t.detach() for t in drawn(*[(3, 2, 4, 9, 8)] * 3))
    with dense_attention(always=True) as calls:
        mapped = torch.func.vmap(scaled_dot_product_attention)(q, k, v)
        torch.func.vmap(scaled_dot_product_attention)(q, k, v, some(3, 9, 9))
    torch.testing.assert_close(mapped, F.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-12)
    assert calls.taken == 1
    assert dict(calls.passed) == {"a mask under torch.func or a compiler": 1}


# --- refusals --------------------------------------------------------------------------------------------------------

Q, K, V = (torch.randn(2, 4, 7, 8), torch.randn(2, 4, 9, 8), torch.randn(2, 4, 9, 3))
WRONG = {
    "query is no tensor": (DTypeError, "query", lambda f: f(Q.numpy(), K, V)),
    "mask is no tensor": (DTypeError, "attn_mask", lambda f: f(Q, K, V, [[True]])),
    "query of integers": (DTypeError, "query", lambda f: f(Q.long(), K, V)),
    "key of another dtype": (DTypeError, "key", lambda f: f(Q, K.double(), V)),
    "value of another dtype": (DTypeError, "value", lambda f: f(Q, K, V.bfloat16())),
    "a vector": (ShapeError, "query", lambda f: f(Q[0, 0, 0], K, V)),
    "batches that do not broadcast": (ShapeError, "key", lambda f: f(Q[[0, 1, 1]], K, V)),
    "heads that do not broadcast": (ShapeError, "key", lambda f: f(Q, K[:, :2], V[:, :2])),
    "heads that do not divide": (ShapeError, "key", lambda f: f(Q, K[:, :3], V[:, :3], enable_gqa=True)),
    "value heads that do not divide": (ShapeError, "value", lambda f: f(Q, K, V[:, :3], enable_gqa=True)),
    "head sizes": (ShapeError, "key", lambda f: f(Q, K[..., :5], V)),
    "lengths": (ShapeError, "value", lambda f: f(Q, K, V[:, :, :5])),
    "mask of integers": (DTypeError, "attn_mask", lambda f: f(Q, K, V, torch.ones(7, 9, dtype=torch.int64))),
    "mask of another shape": (ShapeError, "attn_mask", lambda f: f(Q, K, V, torch.ones(9, 7))),
    "mask of more dimensions": (ShapeError, "attn_mask", lambda f: f(Q, K, V, torch.ones(1, 1, 1, 7, 9))),
    "mask beside is_causal": (
        InvalidArgumentError,
        "attn_mask",
        lambda f: f(Q, K, V, torch.ones(7, 9), is_causal=True),
    ),
    "dropout_p below 0": (InvalidArgumentError, "dropout_p", lambda f: f(Q, K, V, dropout_p=-0.1)),
    "dropout_p above 1": (InvalidArgumentError, "dropout_p", lambda f: f(Q, K, V, dropout_p=1.5)),
    "dropout_p of text": (DTypeError, "dropout_p", lambda f: f(Q, K, V, dropout_p="0.1")),
    "is_causal of a number": (DTypeError, "is_causal", lambda f: f(Q, K, V, is_causal=1)),
    "enable_gqa of text": (DTypeError, "enable_gqa", lambda f: f(Q, K, V, enable_gqa="no")),
    "scale of nan": (InvalidArgumentError, "scale", lambda f: f(Q, K, V, scale=float("nan"))),
    "scale of text": (DTypeError, "scale", lambda f: f(Q, K, V, scale="1")),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_name_the_argument(name):
    kind, argument, call = WRONG[name]
    with pytest.raises(kind) as caught:
        call(scaled_dot_product_attention)
    assert caught.value.argument == argument


def test_a_wrong_flag_of_the_context():
    with pytest.raises(DTypeError) as caught, dense_attention(always="yes"):
        pass
    assert caught.value.argument == "always"
