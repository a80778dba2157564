"""`merge_attentions` against one softmax over all keys, and its gradients."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, ShapeError


def parts(count=2, shape=(2, 5, 3, 4), dtype=torch.float64):
    generator = torch.Generator().manual_seed(count)
    outputs = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(count)]
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    lses = [torch.randn(shape[:3], generator=generator, dtype=torch.float64).to(exact) for _ in range(count)]
    return outputs, lses


@pytest.mark.parametrize("count", [2, 3, 5])
def test_parts_of_the_keys_make_the_whole(count):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 7, 4, 6, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    results = [
        fc.nn.attention(q, *(t.tensor_split(count, 1)[i] for t in (k, v)), return_lse=True) for i in range(count)
    ]
    out, lse = fc.nn.merge_attentions([o for o, _ in results], [s for _, s in results])
    whole, whole_lse = fc.nn.attention(q, k, v, return_lse=True)
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(lse, whole_lse, rtol=0, atol=1e-12)
    weights = torch.randn(2, 7, 4, 6, generator=generator, dtype=torch.float64)
    got = torch.autograd.grad((out * weights).sum() + lse.cos().sum(), (q, k, v))
    expected = torch.autograd.grad((whole * weights).sum() + whole_lse.cos().sum(), (q, k, v))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("count", [2, 4])
def test_gradients(count):
    outputs, lses = parts(count, (1, 2, 2, 3))

    def merge(*tensors):
        return fc.nn.merge_attentions(list(tensors[:count]), list(tensors[count:]))

    assert torch.autograd.gradcheck(merge, tuple(t.requires_grad_() for t in (*outputs, *lses)))


def test_rows_without_keys():
    outputs, lses = parts(3)
    for out, lse, rows in zip(outputs, lses, (slice(0, 3), slice(1, 4), slice(1, 3)), strict=True):
        out[:, rows], lse[:, rows] = 0.0, -torch.inf
    tensors = [t.requires_grad_() for t in (*outputs, *lses)]
    out, lse = fc.nn.merge_attentions(outputs, lses)
    assert not out[:, 1:3].any()
    assert (lse[:, 1:3] == -torch.inf).all()
    pair = fc.nn.merge_attentions(outputs[1:], lses[1:])
    torch.testing.assert_close(out[:, 0], pair[0][:, 0], rtol=0, atol=1e-15)
    torch.testing.assert_close(out[:, 3], fc.nn.merge_attentions(outputs[::2], lses[::2])[0][:, 3], rtol=0, atol=1e-15)
    (out.sum() + lse[:, [0, 3, 4]].sum()).backward()
    for t in tensors:
        assert t.grad.isfinite().all()
        assert not t.grad[:, 1:3].any()


def test_far_apart_lses_stay_finite():
    outputs, _ = parts(2)
    lses = [torch.full((2, 5, 3), 1e30, dtype=torch.float64), torch.full((2, 5, 3), -1e30, dtype=torch.float64)]
    out, lse = fc.nn.merge_attentions(outputs, lses)
    torch.testing.assert_close(out, outputs[0], rtol=0, atol=0)
    torch.testing.assert_close(lse, lses[0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    outputs, lses = parts(2, dtype=dtype)
    out, lse = fc.nn.merge_attentions(outputs, lses)
    assert (out.dtype, lse.dtype) == (dtype, torch.float32)
    exact, _ = fc.nn.merge_attentions([o.double() for o in outputs], [s.double() for s in lses])
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-2)


def test_flags_of_natten_are_without_effect_and_strides_are_free():
    outputs, lses = parts(2)
    expected = fc.nn.merge_attentions(outputs, lses)
    turned = ([o.transpose(1, 2).contiguous().transpose(1, 2) for o in outputs], [s.mT.contiguous().mT for s in lses])
    for torch_compile in (False, True):
        for use_autograd_fix in (False, True):
            got = fc.nn.merge_attentions(*turned, torch_compile, use_autograd_fix)
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_compiles_whole_and_under_torch_func():
    outputs, lses = parts(2)
    compiled = torch.compile(fc.nn.merge_attentions, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(outputs, lses), fc.nn.merge_attentions(outputs, lses), rtol=0, atol=1e-15)
    grads = torch.func.grad(lambda o: fc.nn.merge_attentions([o, outputs[1]], lses)[0].sum())(outputs[0])
    assert grads.shape == outputs[0].shape


def test_sizes_of_0():
    for shape in ((0, 5, 3, 4), (2, 0, 3, 4), (2, 5, 0, 4), (2, 5, 3, 0)):
        outputs, lses = parts(2, shape)
        out, lse = fc.nn.merge_attentions(outputs, lses)
        assert (out.shape, lse.shape) == (shape, shape[:3])


OUT, LSE = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3)
WRONG = [
    ("outputs", ShapeError, lambda: fc.nn.merge_attentions([OUT], [LSE])),
    ("outputs", ShapeError, lambda: fc.nn.merge_attentions([], [])),
    ("outputs", DTypeError, lambda: fc.nn.merge_attentions(OUT, LSE)),
    ("outputs", DTypeError, lambda: fc.nn.merge_attentions([OUT, 1.0], [LSE, LSE])),
    ("outputs", DTypeError, lambda: fc.nn.merge_attentions([OUT, OUT.double()], [LSE, LSE])),
    ("outputs", ShapeError, lambda: fc.nn.merge_attentions([OUT, OUT[:, :1]], [LSE, LSE])),
    ("outputs", ShapeError, lambda: fc.nn.merge_attentions([OUT[0], OUT[0]], [LSE[0], LSE[0]])),
    ("lse_tensors", ShapeError, lambda: fc.nn.merge_attentions([OUT, OUT], [LSE])),
    ("lse_tensors", ShapeError, lambda: fc.nn.merge_attentions([OUT, OUT], [LSE, LSE.mT])),
    ("lse_tensors", DTypeError, lambda: fc.nn.merge_attentions([OUT, OUT], LSE)),
    ("lse_tensors", DTypeError, lambda: fc.nn.merge_attentions([OUT, OUT], [LSE, LSE.long()])),
    ("outputs", ShapeError, lambda: fc.nn.merge_attentions([OUT, OUT[..., :2]], [LSE, LSE])),
]


@pytest.mark.parametrize(
    ("argument", "kind", "wrong"), WRONG, ids=[f"{n}-{argument}" for n, (argument, *_) in enumerate(WRONG)]
)
def test_wrong_call(argument, kind, wrong):
    with pytest.raises(kind, match=rf"^{argument}") as caught:
        wrong()
    assert isinstance(caught.value, FractalError)
    assert caught.value.argument == argument
