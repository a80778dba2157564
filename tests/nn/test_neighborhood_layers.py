"""`NeighborhoodAttention1D/2D/3D`: parameters, values, refusals."""

from __future__ import annotations

import copy
import io

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, ShapeError

LAYERS = {1: fc.nn.NeighborhoodAttention1D, 2: fc.nn.NeighborhoodAttention2D, 3: fc.nn.NeighborhoodAttention3D}
FUNCTIONS = {1: fc.nn.na1d, 2: fc.nn.na2d, 3: fc.nn.na3d}
SHAPES = {1: (9,), 2: (6, 7), 3: (3, 4, 5)}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_state_dict(axes, bias):
    layer = LAYERS[axes](12, 3, 3, qkv_bias=bias)
    names = {"qkv.weight": (36, 12), "qkv.bias": (36,), "proj.weight": (12, 12), "proj.bias": (12,)}
    if not bias:
        del names["qkv.bias"]
    assert {name: tuple(t.shape) for name, t in layer.state_dict().items()} == names
    other = LAYERS[axes](12, 3, 3, qkv_bias=bias)
    other.load_state_dict({name: torch.randn(shape) for name, shape in names.items()}, strict=True)
    layer.load_state_dict(other.state_dict())
    x = torch.randn(2, *SHAPES[axes], 12)
    torch.testing.assert_close(layer(x), other(x), rtol=0, atol=0)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation", "causal"), [(1, 1, False), (2, 1, True), (None, None, None)])
def test_values(axes, stride, dilation, causal):
    torch.manual_seed(axes)
    layer = LAYERS[axes](12, 3, 3, stride, dilation, causal, True, 0.4).double()
    x = torch.randn(2, *SHAPES[axes], 12, dtype=torch.float64, requires_grad=True)
    q, k, v = (t.unflatten(-1, (3, 4)) for t in torch.nn.functional.linear(x, *layer.qkv.parameters()).chunk(3, -1))
    out = FUNCTIONS[axes](q, k, v, 3, stride, dilation, causal, scale=0.4).flatten(-2)
    expected = torch.nn.functional.linear(out, *layer.proj.parameters())
    got = layer(x)
    assert got.shape == x.shape
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    wanted = (x, *layer.parameters())
    weights = torch.randn_like(got)
    grads = [torch.autograd.grad((y * weights).sum(), wanted, retain_graph=True) for y in (got, expected)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_attributes_and_words():
    layer = fc.nn.NeighborhoodAttention2D(8, 2, 3, is_causal=(True, False))
    assert (layer.kernel_size, layer.stride, layer.dilation) == ((3, 3), (1, 1), (1, 1))
    assert (layer.is_causal, layer.scale, layer.head_dim, layer.na_dim) == ((True, False), 0.5, 4, 2)
    assert "kernel_size=(3, 3)" in repr(layer)


def test_dropout_of_the_output_in_training_only():
    layer = fc.nn.NeighborhoodAttention1D(8, 2, 3, proj_drop=0.5)
    x = torch.randn(4, 9, 8)
    assert (layer(x) == 0).any()
    assert (layer.eval()(x) != 0).all()


@pytest.mark.parametrize("shape", [(0, 6, 7), (2, 0, 7), (2, 6, 0)])
def test_sizes_of_0(shape):
    layer = fc.nn.NeighborhoodAttention2D(8, 2, 3)
    x = torch.randn(*shape, 8, requires_grad=True)
    out = layer(x)
    assert out.shape == x.shape
    out.sum().backward()
    assert all(t.grad is not None and not t.grad.any() for t in (x, *layer.parameters()))


def test_copies_saves_and_compiles():
    layer = fc.nn.NeighborhoodAttention2D(8, 2, 3)
    x = torch.randn(2, 6, 7, 8)
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x), rtol=0, atol=0)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    torch.testing.assert_close(torch.load(file, weights_only=False)(x), layer(x), rtol=0, atol=0)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=1e-6)


LAYER = fc.nn.NeighborhoodAttention2D
WRONG = [
    ("embed_dim", InvalidArgumentError, lambda: LAYER(0, 1, 3)),
    ("embed_dim", DTypeError, lambda: LAYER(8.0, 2, 3)),
    ("num_heads", InvalidArgumentError, lambda: LAYER(8, 3, 3)),
    ("num_heads", InvalidArgumentError, lambda: LAYER(8, 0, 3)),
    ("kernel_size", InvalidArgumentError, lambda: LAYER(8, 2, 0)),
    ("kernel_size", ShapeError, lambda: LAYER(8, 2, (3, 3, 3))),
    ("kernel_size", DTypeError, lambda: LAYER(8, 2, None)),
    ("stride", InvalidArgumentError, lambda: LAYER(8, 2, 3, 0)),
    ("dilation", DTypeError, lambda: LAYER(8, 2, 3, 1, "2")),
    ("is_causal", DTypeError, lambda: LAYER(8, 2, 3, is_causal="no")),
    ("qkv_bias", DTypeError, lambda: LAYER(8, 2, 3, qkv_bias=1)),
    ("qk_scale", InvalidArgumentError, lambda: LAYER(8, 2, 3, qk_scale=0)),
    ("qk_scale", InvalidArgumentError, lambda: LAYER(8, 2, 3, qk_scale=float("inf"))),
    ("proj_drop", InvalidArgumentError, lambda: LAYER(8, 2, 3, proj_drop=1.5)),
    ("device", InvalidArgumentError, lambda: LAYER(8, 2, 3, device="cuda")),
    ("x", ShapeError, lambda: LAYER(8, 2, 3)(torch.zeros(2, 6, 8))),
    ("x", ShapeError, lambda: LAYER(8, 2, 3)(torch.zeros(2, 6, 7, 9))),
    ("x", DTypeError, lambda: LAYER(8, 2, 3)([[0.0]])),
    ("kernel_size", InvalidArgumentError, lambda: LAYER(8, 2, 7)(torch.zeros(2, 6, 7, 8))),
    ("stride", InvalidArgumentError, lambda: LAYER(8, 2, 3, 4)(torch.zeros(2, 6, 7, 8))),
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
