"""Attention under the transforms of `torch.func` equals dense attention under them."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.nn import FractalAttention, sparse_attention
from fractal_core.nn.fields import soft_escape
from torch.func import functional_call, grad, jacrev, vjp, vmap

N = 9
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")


@pytest.fixture(params=["set", "lists"])
def keys(request, random_mask):
    mask = random_mask(N, N)
    index_set = fc.IndexSet.from_mask(mask)
    if request.param == "set":
        return index_set, mask
    return torch.from_numpy(index_set.to_padded())[None, None], mask


def loss_of(attend):
    def loss(q, k, v, bias):
        out, lse = attend(q, k, v, bias)
        return out.square().sum() + torch.where(lse.isfinite(), lse, 0).sum()

    return loss


@pytest.fixture
def losses(keys, dense):
    index_set, mask = keys
    ours = loss_of(lambda q, k, v, bias: sparse_attention(q, k, v, index_set, bias=bias, return_lse=True))
    return ours, loss_of(lambda q, k, v, bias: dense(q, k, v, mask, bias=bias[:, None]))


def inputs(*lead, heads=4, batch=2):
    g = torch.Generator().manual_seed(1)
    made = [
        torch.randn(*lead, batch, h, N, d, generator=g, dtype=torch.float64) for h, d in ((heads, 5), (2, 5), (2, 3))
    ]
    return (*made, torch.randn(*lead, heads, N, generator=g, dtype=torch.float64))


def equal(given, wanted):
    torch.testing.assert_close(given, wanted, rtol=1e-10, atol=1e-12)


def test_grad(losses):
    ours, oracle = losses
    equal(grad(ours, (0, 1, 2, 3))(*inputs()), grad(oracle, (0, 1, 2, 3))(*inputs()))


def test_vjp(keys, dense):
    index_set, mask = keys
    q, k, v, _ = inputs()
    seed = torch.randn(2, 4, N, 3, dtype=torch.float64)
    equal(
        vjp(lambda *t: sparse_attention(*t, index_set), q, k, v)[1](seed),
        vjp(lambda *t: dense(*t, mask)[0], q, k, v)[1](seed),
    )


@pytest.mark.parametrize("in_dims", [(0, 0, 0, 0), (0, None, None, None), (None, 1, 0, None), (None, None, None, 1)])
def test_vmap_and_vmap_of_grad(losses, in_dims):
    ours, oracle = losses
    args = [a.movedim(0, dim) if dim is not None else a[0] for a, dim in zip(inputs(3), in_dims, strict=True)]
    equal(vmap(ours, in_dims)(*args), vmap(oracle, in_dims)(*args))
    equal(vmap(grad(ours, (0, 1, 2, 3)), in_dims)(*args), vmap(grad(oracle, (0, 1, 2, 3)), in_dims)(*args))


def test_a_bias_for_all_of_the_batch(losses):
    ours, oracle = losses
    q, k, v, bias = inputs(3)
    args = (q, k, v, bias[:, None].squeeze(1))
    equal(vmap(grad(ours, 3))(*args), vmap(grad(oracle, 3))(*args))


def test_jacrev(keys, dense):
    index_set, mask = keys
    q, k, v, _ = inputs(batch=1, heads=2)
    equal(jacrev(lambda t: sparse_attention(t, k, v, index_set))(q), jacrev(lambda t: dense(t, k, v, mask)[0])(q))


def test_edge_bias(random_mask, dense):
    mask = random_mask(N, N, empty=False)
    index_set = fc.IndexSet.from_mask(mask)
    rows, columns = mask.nonzero()
    q, k, v, _ = inputs()
    edge_bias = torch.randn(3, 4, index_set.nnz, dtype=torch.float64)

    def oracle(bias):
        written = torch.zeros(4, N, N, dtype=torch.float64).index_put(
            (torch.arange(4)[:, None], torch.as_tensor(rows), torch.as_tensor(columns)), bias
        )
        return dense(q, k, v, mask, bias=written)[0].square().sum()

    def ours(bias):
        return sparse_attention(q, k, v, index_set, edge_bias=bias).square().sum()

    wanted = torch.stack([torch.autograd.functional.jacobian(oracle, b) for b in edge_bias])
    equal(vmap(grad(ours))(edge_bias), wanted)


def test_functional_call_with_grad():
    layer = FractalAttention(8, 2, "window", causal=True).double()
    x = torch.randn(5, 16, 8, dtype=torch.float64)
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return functional_call(layer, parameters, (x[None],)).square().sum()

    each = vmap(grad(loss), (None, 0))({n: p.detach() for n, p in parameters.items()}, x)
    for i, one in enumerate(x):
        layer.zero_grad()
        layer(one[None]).square().sum().backward()
        for name, parameter in parameters.items():
            equal(each[name][i], parameter.grad)


def test_a_second_derivative_is_refused(keys):
    index_set, _ = keys
    q, k, v, _ = inputs()
    with pytest.raises(RuntimeError, match="second derivatives"):
        grad(lambda t: grad(lambda u: sparse_attention(u, k, v, index_set).square().sum())(t).sum())(q)


def test_neighbourhoods():
    q, k, v = torch.randn(3, 2, 6, 6, 2, 4, dtype=torch.float64).unbind(0)

    def loss(q, k, v):
        return fc.nn.na2d(q, k, v, 3).square().sum()

    q.requires_grad_()
    equal(grad(loss)(q.detach(), k, v), torch.autograd.grad(loss(q, k, v), q)[0])


def test_the_soft_julia_field():
    g = torch.Generator().manual_seed(2)
    points = torch.complex(*torch.randn(2, 4, 5, generator=g, dtype=torch.float64))
    c = torch.tensor([-0.7 + 0.27j, -0.4 + 0.6j, -0.1 + 0.1j, 0.3j], dtype=torch.complex128)
    radius, smoothness = torch.tensor(2.0, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)

    def loss(points, c, radius, smoothness):
        return soft_escape(points, c, radius, smoothness, 8).square().sum()

    given = vmap(grad(loss, (0, 1, 2, 3)), (0, 0, None, None))(points, c, radius, smoothness)
    fields = vmap(lambda p: soft_escape(p, c[0], radius, smoothness, 8))(points)
    equal(fields, soft_escape(points, c[0], radius, smoothness, 8))
    for i in range(4):
        args = [t.clone().requires_grad_() for t in (points[i], c[i], radius, smoothness)]
        for one, wanted in zip(given, torch.autograd.grad(loss(*args), args), strict=True):
            equal(one[i], wanted)
