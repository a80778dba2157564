"""`na1d`, `na2d`, `na3d` against a dense reference written from NATTEN's documentation, and their refusals."""

from __future__ import annotations

import itertools
import math

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError
from fractal_core.nn import _neighborhoods

FUNCTIONS = {1: fc.nn.na1d, 2: fc.nn.na2d, 3: fc.nn.na3d}


def neighbours(i: int, length: int, kernel: int, stride: int, dilation: int, causal: bool) -> list[int]:
    """The keys of coordinate i along one axis, as the papers on NA, DiNA and GNA describe them."""
    line = [j for j in range(length) if j % dilation == i % dilation]
    place = line.index(i)
    group = range(len(line))[place // stride * stride :][:stride]
    if causal:
        return [j for p, j in enumerate(line) if group[-1] - (kernel - 1) <= p <= place]
    leader = group[min(stride // 2, len(group) - 1)]
    left, right = leader - kernel // 2, leader - kernel // 2 + kernel - 1
    while left < 0:
        left, right = left + 1, right + 1
    while right > len(line) - 1:
        left, right = left - 1, right - 1
    return line[left : right + 1]


def dense(q, k, v, kernel, stride, dilation, causal, scale=None):
    """One query at a time, one axis at a time."""
    batch, *shape, heads, dim = q.shape
    scale = dim**-0.5 if scale is None else scale
    group = heads // k.shape[-2]
    k, v = k.repeat_interleave(group, -2), v.repeat_interleave(group, -2)
    out = torch.empty(batch, *shape, heads, v.shape[-1], dtype=q.dtype)
    for cell in itertools.product(*map(range, shape)):
        axes = [neighbours(*rule) for rule in zip(cell, shape, kernel, stride, dilation, causal, strict=True)]
        cells = list(itertools.product(*axes))
        keys = torch.stack([k[(slice(None), *c)] for c in cells], 2)
        values = torch.stack([v[(slice(None), *c)] for c in cells], 2)
        scores = torch.einsum("bhd,bhkd->bhk", q[(slice(None), *cell)], keys) * scale
        out[(slice(None), *cell)] = torch.einsum("bhk,bhkd->bhd", scores.softmax(-1), values)
    return out


def qkv(shape, heads=2, key_heads=None, dim=5, value_dim=None, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(heads, dim), (key_heads or heads, dim), (key_heads or heads, value_dim or dim)]
    return [torch.randn(batch, *shape, *size, dtype=torch.float64, generator=generator) for size in sizes]


LINES = [
    (1, 1, 1),
    (2, 1, 1),
    (3, 1, 1),
    (4, 1, 1),
    (7, 1, 1),
    (3, 2, 1),
    (4, 3, 1),
    (5, 5, 1),
    (6, 6, 1),
    (3, 1, 2),
    (3, 1, 4),
    (4, 2, 3),
    (5, 4, 2),
    (13, 1, 1),
    (13, 13, 1),
    (2, 2, 6),
]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), LINES)
@pytest.mark.parametrize("length", [13, 14, 16, 29])
def test_lines(length, kernel, stride, dilation, causal):
    q, k, v = qkv((length,))
    got = fc.nn.na1d(q, k, v, kernel, stride, dilation, causal)
    expected = dense(q, k, v, (kernel,), (stride,), (dilation,), (causal,))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


BOXES = [
    ((6, 9), (3, 5), (1, 1), (1, 1), (False, False)),
    ((9, 6), (4, 3), (2, 3), (1, 2), (False, False)),
    ((8, 8), (8, 3), (8, 1), (1, 2), (False, True)),
    ((5, 11), (2, 3), (1, 2), (2, 3), (True, False)),
    ((7, 7), (3, 3), (3, 3), (2, 2), (True, True)),
    ((20, 18), (7, 7), (1, 1), (1, 1), (False, False)),
    ((1, 9), (1, 3), (1, 1), (1, 1), (False, False)),
    ((3, 4, 5), (3, 3, 3), (1, 1, 1), (1, 1, 1), (False, False, False)),
    ((4, 6, 5), (2, 3, 4), (2, 1, 3), (2, 2, 1), (False, False, True)),
    ((5, 4, 6), (3, 1, 3), (1, 1, 2), (1, 2, 2), (True, False, False)),
    ((4, 4, 4), (4, 4, 4), (4, 4, 4), (1, 1, 1), (True, True, True)),
    ((6, 5, 4), (2, 2, 2), (1, 2, 1), (3, 2, 2), (True, False, True)),
]


@pytest.mark.parametrize(("shape", "kernel", "stride", "dilation", "causal"), BOXES)
def test_boxes(shape, kernel, stride, dilation, causal):
    q, k, v = qkv(shape)
    got = FUNCTIONS[len(shape)](q, k, v, kernel, stride, dilation, causal)
    expected = dense(q, k, v, kernel, stride, dilation, causal)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert got.is_contiguous()


def test_one_number_stands_for_all_axes():
    q, k, v = qkv((8, 9))
    got = fc.nn.na2d(q, k, v, 3, stride=2, dilation=2, is_causal=True)
    torch.testing.assert_close(got, fc.nn.na2d(q, k, v, (3, 3), (2, 2), [2, 2], (True, True)), rtol=0, atol=0)


def test_grouped_heads_value_size_scale_and_strides():
    q, k, v = qkv((6, 7), heads=4, key_heads=2, value_dim=3)
    expected = dense(q, k, v, (3, 5), (1, 1), (1, 1), (False, False), scale=0.3)
    torch.testing.assert_close(fc.nn.na2d(q, k, v, (3, 5), scale=0.3), expected, rtol=0, atol=1e-12)
    turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    assert not turned[0].is_contiguous()
    torch.testing.assert_close(fc.nn.na2d(*turned, (3, 5), scale=0.3), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_narrow_dtypes(dtype, tolerance):
    q, k, v = (t.to(dtype) for t in qkv((9, 10)))
    got = fc.nn.na2d(q, k, v, 5)
    assert got.dtype == dtype
    expected = dense(q.double(), k.double(), v.double(), (5, 5), (1, 1), (1, 1), (False, False))
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("shape", "rules"),
    [
        ((9,), (3, 2, 2, True)),
        ((4, 5), ((3, 2), (2, 1), (1, 2), False)),
        ((3, 2, 4), ((2, 1, 3), 1, 1, (True, False, False))),
    ],
)
def test_gradients(shape, rules):
    q, k, v = (t.requires_grad_() for t in qkv(shape, heads=2, key_heads=1, dim=3, batch=1))
    assert torch.autograd.gradcheck(lambda *t: FUNCTIONS[len(shape)](*t, *rules), (q, k, v))


def test_gradients_are_those_of_the_reference():
    shape, rules = (19, 18), ((5, 4), (2, 1), (1, 2), (False, True))
    given = [t.requires_grad_() for t in qkv(shape)]
    fc.nn.na2d(*given, *rules).sum().backward()
    expected = [t.detach().clone().requires_grad_() for t in given]
    dense(*expected, *rules).sum().backward()
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)


def test_pattern_is_the_reference():
    shape, rules = (7, 9), ((3, 4), (2, 1), (2, 2), (False, True))
    pattern = fc.pattern(
        "neighborhood", shape=shape, kernel_size=rules[0], stride=rules[1], dilation=rules[2], is_causal=rules[3]
    )
    mask = torch.zeros(63, 63, dtype=torch.bool)
    for cell in itertools.product(*map(range, shape)):
        axes = [neighbours(*rule) for rule in zip(cell, shape, *rules, strict=True)]
        for y, x in itertools.product(*axes):
            mask[cell[0] * 9 + cell[1], y * 9 + x] = True
    index_set = pattern.index_set(63)
    assert (torch.from_numpy(index_set.to_mask()) == mask).all()
    assert sorted(index_set.order) == list(range(63))
    assert pattern.length == 63
    fc.testing.check_pattern(lambda: pattern)


def test_sets_are_kept():
    _neighborhoods._index_set.cache_clear()
    q, k, v = qkv((6, 6))
    for _ in range(3):
        fc.nn.na2d(q, k, v, 3)
    fc.nn.na2d(q, k, v, (3, 3), dilation=2)
    assert _neighborhoods._index_set.cache_info()[:2] == (2, 2)


def test_compiles_whole():
    q, k, v = (t.float() for t in qkv((8, 8)))
    compiled = torch.compile(lambda q, k, v: fc.nn.na2d(q, k, v, 3) * 2, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, k, v), fc.nn.na2d(q, k, v, 3) * 2, rtol=0, atol=0)


def test_autocast():
    q, k, v = (t.float() for t in qkv((6, 6)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fc.nn.na2d(q, k.bfloat16(), v, 3).dtype == torch.bfloat16


def with_more(q, k, v, more_keys, more_values, kernel, causal, scale=None):
    """Output and lse of one softmax over a cell's window and the additional keys."""
    _, *shape, heads, dim = q.shape
    group = heads // k.shape[-2]
    k, v, more_keys, more_values = (t.repeat_interleave(group, -2) for t in (k, v, more_keys, more_values))
    rows = []
    for cell in itertools.product(*map(range, shape)):
        rules = zip(cell, shape, kernel, causal, strict=True)
        axes = [neighbours(i, length, size, 1, 1, one_way) for i, length, size, one_way in rules]
        cells = list(itertools.product(*axes))
        keys, values = (torch.stack([t[(slice(None), *c)] for c in cells], 1) for t in (k, v))
        keys, values = torch.cat([keys, more_keys], 1), torch.cat([values, more_values], 1)
        scores = torch.einsum("bhd,bkhd->bhk", q[(slice(None), *cell)], keys) * (dim**-0.5 if scale is None else scale)
        rows.append((torch.einsum("bhk,bkhd->bhd", scores.softmax(-1), values), scores.logsumexp(-1)))
    out, lse = (torch.stack(part, 1).unflatten(1, tuple(shape)) for part in zip(*rows, strict=True))
    return out, lse


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize(
    ("shape", "kernel", "causal", "scale"),
    [
        ((13,), (5,), (False,), None),
        ((8,), (8,), (True,), 0.7),
        ((6, 7), (3, 5), (False, True), None),
        ((3, 4, 5), (3, 2, 3), (False, False, True), -0.2),
    ],
)
def test_additional_keys(shape, kernel, causal, scale, count):
    given = [t.requires_grad_() for t in qkv(shape, heads=4, key_heads=2, value_dim=3)]
    more = [torch.randn(2, count, 2, size, dtype=torch.float64, requires_grad=True) for size in (5, 3)]
    out, lse = FUNCTIONS[len(shape)](
        *given,
        kernel,
        is_causal=causal,
        scale=scale,
        additional_keys=more[0],
        additional_values=more[1],
        return_lse=True,
    )
    expected = with_more(*given, *more, kernel, causal, scale)
    torch.testing.assert_close((out, lse), expected, rtol=0, atol=1e-12)
    assert out.is_contiguous()
    weights = torch.randn_like(out)
    wanted = [*given, *more]
    grads = [torch.autograd.grad((o * weights).sum() + s.cos().sum(), wanted) for o, s in ((out, lse), expected)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_additional_keys_in_narrow_dtypes(dtype):
    given = [t.to(dtype) for t in qkv((6, 7))]
    more = [torch.randn(2, 4, 2, 5, dtype=torch.float64).to(dtype) for _ in range(2)]
    out, lse = fc.nn.na2d(*given, 3, additional_keys=more[0], additional_values=more[1], return_lse=True)
    assert (out.dtype, lse.dtype) == (dtype, torch.float32)
    expected = with_more(*(t.double() for t in (*given, *more)), (3, 3), (False, False))
    torch.testing.assert_close(out.double(), expected[0], rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)
    torch.testing.assert_close(lse.double(), expected[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_lse_and_none_for_the_rules(axes):
    shape = (5, 4, 6)[:axes]
    given = qkv(shape)
    none = [torch.zeros(2, 0, 2, 5, dtype=torch.float64)] * 2
    got = FUNCTIONS[axes](*given, 3, None, None, None, return_lse=True)
    torch.testing.assert_close(got, with_more(*given, *none, (3,) * axes, (False,) * axes), rtol=0, atol=1e-12)
    assert got[1].shape == (2, *shape, 2)
    torch.testing.assert_close(got[0], FUNCTIONS[axes](*given, 3), rtol=0, atol=0)


def test_additional_keys_compile_whole_and_under_torch_func():
    q, k, v = (t.float() for t in qkv((8, 8)))
    more = torch.randn(2, 3, 2, 5)

    def attend(q, more):
        return fc.nn.na2d(q, k, v, 3, additional_keys=more, additional_values=more)

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, more), attend(q, more), rtol=0, atol=1e-6)
    grads = torch.func.grad(lambda q, more: attend(q, more).sum(), argnums=(0, 1))(q, more)
    expected = torch.autograd.grad(attend(q.requires_grad_(), more.requires_grad_()).sum(), (q, more))
    torch.testing.assert_close(grads, expected, rtol=0, atol=1e-6)


def test_no_queries_beside_additional_keys():
    q, more = torch.zeros(2, 0, 5, 2, 4, requires_grad=True), torch.randn(2, 3, 2, 4, requires_grad=True)
    out, lse = fc.nn.na2d(q, q, q, 3, additional_keys=more, additional_values=more, return_lse=True)
    assert (out.shape, lse.shape) == ((2, 0, 5, 2, 4), (2, 0, 5, 2))
    out.sum().backward()
    assert not more.grad.any()


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


def call(q, k=None, v=None, kernel_size=3, **rules):
    function = FUNCTIONS.get(q.ndim - 3, fc.nn.na2d) if isinstance(q, torch.Tensor) else fc.nn.na2d
    return function(q, q if k is None else k, q if v is None else v, kernel_size, **rules)


def more(k=None, v=None):
    """Three additional keys and values for `IMAGE`, or others."""
    return {
        "additional_keys": ones(1, 3, 2, 4) if k is None else k,
        "additional_values": ones(1, 3, 2, 4) if v is None else v,
    }


IMAGE = (1, 6, 8, 2, 4)
WRONG = [
    ("kernel_size", InvalidArgumentError, lambda: call(ones(*IMAGE), kernel_size=7)),
    ("kernel_size", InvalidArgumentError, lambda: call(ones(*IMAGE), kernel_size=(3, 9))),
    ("kernel_size", InvalidArgumentError, lambda: call(ones(*IMAGE), kernel_size=0)),
    ("kernel_size", InvalidArgumentError, lambda: call(ones(*IMAGE), kernel_size=(3, -3))),
    ("kernel_size", ShapeError, lambda: call(ones(*IMAGE), kernel_size=(3, 3, 3))),
    ("kernel_size", DTypeError, lambda: call(ones(*IMAGE), kernel_size=3.0)),
    ("kernel_size", DTypeError, lambda: call(ones(*IMAGE), kernel_size=(3, "3"))),
    ("kernel_size", DTypeError, lambda: call(ones(*IMAGE), kernel_size=None)),
    ("stride", InvalidArgumentError, lambda: call(ones(*IMAGE), stride=4)),
    ("stride", InvalidArgumentError, lambda: call(ones(*IMAGE), stride=0)),
    ("stride", ShapeError, lambda: call(ones(*IMAGE), stride=(1,))),
    ("stride", DTypeError, lambda: call(ones(*IMAGE), stride=True)),
    ("dilation", InvalidArgumentError, lambda: call(ones(*IMAGE), dilation=(1, 3))),
    ("dilation", InvalidArgumentError, lambda: call(ones(*IMAGE), dilation=-1)),
    ("dilation", ShapeError, lambda: call(ones(*IMAGE), dilation=[1, 1, 1])),
    ("is_causal", DTypeError, lambda: call(ones(*IMAGE), is_causal=1)),
    ("is_causal", ShapeError, lambda: call(ones(*IMAGE), is_causal=(True, False, False))),
    ("scale", InvalidArgumentError, lambda: call(ones(*IMAGE), scale=math.inf)),
    ("scale", DTypeError, lambda: call(ones(*IMAGE), scale="1")),
    ("scale", InvalidArgumentError, lambda: call(ones(*IMAGE), scale=0)),
    ("scale", InvalidArgumentError, lambda: call(ones(*IMAGE), scale=0.0)),
    ("return_lse", DTypeError, lambda: call(ones(*IMAGE), return_lse=1)),
    ("additional_keys", InvalidArgumentError, lambda: call(ones(*IMAGE), additional_values=ones(1, 3, 2, 4))),
    ("additional_values", InvalidArgumentError, lambda: call(ones(*IMAGE), additional_keys=ones(1, 3, 2, 4))),
    ("additional_keys", ShapeError, lambda: call(ones(*IMAGE), **more(k=ones(2, 3, 2, 4)))),
    ("additional_keys", ShapeError, lambda: call(ones(*IMAGE), **more(k=ones(1, 3, 1, 4)))),
    ("additional_keys", ShapeError, lambda: call(ones(*IMAGE), **more(k=ones(1, 3, 2, 5)))),
    ("additional_keys", ShapeError, lambda: call(ones(*IMAGE), **more(k=ones(*IMAGE)))),
    ("additional_keys", DTypeError, lambda: call(ones(*IMAGE), **more(k=ones(1, 3, 2, 4).double()))),
    ("additional_keys", DTypeError, lambda: call(ones(*IMAGE), **more(k=3))),
    ("additional_values", ShapeError, lambda: call(ones(*IMAGE), **more(v=ones(1, 4, 2, 4)))),
    ("additional_values", ShapeError, lambda: call(ones(*IMAGE), **more(v=ones(1, 3, 2, 5)))),
    ("attention_kwargs", InvalidArgumentError, lambda: call(ones(*IMAGE), attention_kwargs={"scale": 1.0})),
    ("attention_kwargs", DTypeError, lambda: call(ones(*IMAGE), attention_kwargs=[("backend", None)])),
    ("query", DTypeError, lambda: call([[1.0]])),
    ("query", DTypeError, lambda: call(ones(*IMAGE, dtype=torch.int64))),
    ("query", ShapeError, lambda: fc.nn.na1d(*[ones(*IMAGE)] * 3, 3)),
    ("query", ShapeError, lambda: fc.nn.na3d(*[ones(*IMAGE)] * 3, 3)),
    ("query", ShapeError, lambda: call(ones(1, 6, 8, 2, 0))),
    ("query", InvalidArgumentError, lambda: call(ones(1, 6, 8, 4, 2).transpose(-1, -2))),
    ("key", DTypeError, lambda: call(ones(*IMAGE), k=ones(*IMAGE, dtype=torch.float64))),
    ("key", ShapeError, lambda: call(ones(*IMAGE), k=ones(1, 8, 6, 2, 4))),
    ("key", ShapeError, lambda: call(ones(*IMAGE), k=ones(1, 6, 8, 3, 4))),
    ("key", ShapeError, lambda: call(ones(*IMAGE), k=ones(1, 6, 8, 2, 5))),
    ("value", ShapeError, lambda: call(ones(*IMAGE), v=ones(2, 6, 8, 2, 4))),
    ("value", ShapeError, lambda: call(ones(*IMAGE), v=ones(1, 6, 8, 1, 4))),
    ("shape", ShapeError, lambda: fc.pattern("neighborhood", shape=(2, 2, 2, 2))),
    ("shape", DTypeError, lambda: fc.pattern("neighborhood", shape=4)),
    ("n_keys", ShapeError, lambda: fc.pattern("neighborhood", shape=(9, 9)).index_set(80)),
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
