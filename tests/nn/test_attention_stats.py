"""Statistics of the weights: against weights written out in float64, gradients, the op, refusals."""

from __future__ import annotations

import math
import subprocess
import sys

import fractal_core as fc
import numpy as np
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import AttentionStats, attention_stats, sparse_attention
from fractal_core.nn._statistics import attention_statistics, attention_statistics_backward, attention_weights

# opcheck itself reads .grad of the non-leaf tensors that it makes
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

NAMES = ("entropy", "maximum", "mean_distance", "column_mass")


def dense_weights(q, k, index_set, *, bias=None, edge_bias=None, padding=None, scale=None):
    """(B, H, Nq, Nk) in float64; rows without keys are 0."""
    q, k = q.double(), k.double().repeat_interleave(q.shape[1] // k.shape[1], 1)
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias.double().reshape((1,) * (3 - bias.ndim) + bias.shape)[..., None, :]
    mask = torch.from_numpy(index_set.to_mask())
    if edge_bias is not None:
        edge_bias = edge_bias.double().expand(q.shape[1], -1)
        spread = torch.zeros(q.shape[1], *mask.shape, dtype=torch.float64)
        spread[:, mask] = edge_bias
        scores = scores + spread
    seen = mask.expand(scores.shape)
    if padding is not None:
        seen = seen & ~padding[:, None, None]
    some = seen.any(-1, keepdim=True)
    scores = torch.where(seen, scores, -torch.inf)
    return torch.where(some, torch.where(some, scores, 0.0).softmax(-1), 0.0)


def dense_stats(weights, first=None):
    n, n_keys = weights.shape[2:]
    first = n_keys - n if first is None else first
    far = (torch.arange(n)[:, None] + first - torch.arange(n_keys)).abs().double()
    surprise = torch.where(weights > 0, -weights * torch.where(weights > 0, weights, 1.0).log(), 0.0)
    return surprise.sum(-1), weights.amax(-1), (weights * far).sum(-1), weights.sum(-2)


def index_sets(n=150):
    rng = np.random.default_rng(3)
    window, cantor = fc.pattern("window", radius=9), fc.pattern("cantor")
    some = rng.random((n, n)) < 0.1
    some[::7] = False
    return {
        "window": window.index_set(n),
        "causal window": window.index_set(n, causal=True),
        "cantor": cantor.index_set(n, causal=True),
        "hilbert": fc.pattern("hilbert", window=3, shape=(n // 5, 5)).index_set(n),
        "random": fc.pattern("random", k=8, seed=1).index_set(n),
        "union": window.index_set(n, causal=True) | cantor.index_set(n, causal=True),
        "lists": fc.IndexSet.from_padded([rng.choice(n, 12, replace=False) for _ in range(n)], n),
        "mask with empty rows": fc.IndexSet.from_mask(some),
        "all": fc.IndexSet.from_mask(np.ones((n, n), bool)),
    }


def arrays(dtype, *, batch=2, heads=4, kv_heads=2, n=150, dim=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(batch, h, n, dim, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
        for h in (heads, kv_heads)
    )


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("name", list(index_sets(20)))
def test_equal_to_dense_weights(name, dtype, tolerance, biases):
    index_set = index_sets()[name]
    q, k = arrays(dtype)
    g = torch.Generator().manual_seed(7)
    more, padding = {}, None
    if biases:
        padding = torch.rand(2, 150, generator=g) < 0.3
        bias = torch.randn(2, 4, 150, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
        edge_bias = torch.randn(4, index_set.nnz, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
        more = {"bias": bias, "edge_bias": edge_bias}
    given = attention_stats(q, k, index_set, key_padding_mask=padding, **more)
    wanted = dense_stats(dense_weights(q, k, index_set, padding=padding, **more))
    weights = torch.rand(3, generator=g, dtype=torch.float64)
    for i, stat in enumerate(NAMES):
        got, want = getattr(given, stat), wanted[i]
        assert got.dtype == dtype
        size = max(1.0, want.abs().max().item())
        torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance * size, msg=stat)
    mass_of = torch.randn(wanted[3].shape, generator=g, dtype=torch.float64)

    def loss(entropy, mean_distance, column_mass):
        return (
            weights[0] * entropy.square().sum()
            + weights[1] * mean_distance.sum()
            + weights[2] * (column_mass * mass_of.to(column_mass.dtype)).sum()
        )

    inputs = (q, k, *more.values())
    grads = torch.autograd.grad(loss(given.entropy, given.mean_distance, given.column_mass), inputs)
    dense = torch.autograd.grad(loss(wanted[0], wanted[2], wanted[3]), inputs)
    for got, want in zip(grads, dense, strict=True):
        size = max(1.0, want.abs().max().item())
        torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=10 * tolerance * size)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_storage(dtype):
    index_set = index_sets()["union"]
    q, k = arrays(dtype)
    given = attention_stats(q, k, index_set)
    wanted = dense_stats(dense_weights(q, k, index_set))
    for i, stat in enumerate(NAMES):
        assert getattr(given, stat).dtype == torch.float32
        size = max(1.0, wanted[i].abs().max().item())
        torch.testing.assert_close(getattr(given, stat).double(), wanted[i], rtol=0, atol=1e-5 * size)
    given.entropy.sum().backward()
    assert q.grad.dtype == k.grad.dtype == dtype


def test_each_gradient_alone(random_mask):
    q, k = arrays(torch.float64, n=20)
    index_set = fc.IndexSet.from_mask(random_mask(20, 20))
    for i in (0, 2, 3):
        got = torch.autograd.grad(attention_stats(q, k, index_set)[i].sin().sum(), (q, k))
        want = torch.autograd.grad(dense_stats(dense_weights(q, k, index_set))[i].sin().sum(), (q, k))
        for g, w in zip(got, want, strict=True):
            torch.testing.assert_close(g, w, rtol=0, atol=1e-11)


def op_arguments(random_mask, dtype=torch.float64, biases=True):
    q, k = arrays(dtype, n=9, dim=5)
    q = q[:, :, :7]
    index_set = fc.IndexSet.from_mask(random_mask(7, 9))
    g = torch.Generator().manual_seed(1)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    bias = torch.randn(2, 4, 9, generator=g, dtype=exact).requires_grad_() if biases else None
    edge_bias = torch.randn(4, index_set.nnz, generator=g, dtype=exact).requires_grad_() if biases else None
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 6:] = True
    leaf = q.detach().clone().requires_grad_()
    return (leaf, k, torch.from_numpy(index_set.handle), bias, edge_bias, padding, 0.4, 2), index_set


@pytest.mark.parametrize("biases", [False, True])
def test_gradcheck(random_mask, biases):
    (q, k, handle, bias, edge_bias, padding, scale, first), _alive = op_arguments(random_mask, biases=biases)

    def f(q, k, bias, edge_bias):
        entropy, _, distance, mass = attention_statistics(q, k, handle, bias, edge_bias, padding, scale, first)
        return entropy, distance, mass

    assert torch.autograd.gradcheck(f, (q, k, bias, edge_bias))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_opcheck(random_mask, dtype):
    args, _alive = op_arguments(random_mask, dtype)
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {}
    torch.library.opcheck(attention_statistics, args, **tolerance)
    args = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
    rows = torch.ones(2, 4, 7, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    torch.library.opcheck(attention_statistics_backward, (rows, None, None, *args))
    edges = int(_alive.indptr[3])
    torch.library.opcheck(attention_weights, (*args[:-1], torch.arange(3), edges))


def test_compiles():
    q, k = arrays(torch.float32)
    index_set = index_sets()["union"]

    def f(q, k):
        stats = attention_stats(torch.sin(q), k, index_set)
        return stats.entropy.sum() + stats.column_mass.square().sum()

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    expected, given = f(q, k), compiled(q, k)
    torch.testing.assert_close(given, expected)
    for g, w in zip(torch.autograd.grad(given, (q, k)), torch.autograd.grad(expected, (q, k)), strict=True):
        torch.testing.assert_close(g, w)


@pytest.mark.parametrize("name", ["cantor", "mask with empty rows", "lists"])
def test_chosen_rows(name):
    index_set = index_sets()[name]
    q, k = arrays(torch.float64)
    edge_bias = torch.randn(4, index_set.nnz, dtype=torch.float64)
    padding = torch.rand(2, 150) < 0.3
    stats = attention_stats(q, k, index_set, edge_bias=edge_bias, key_padding_mask=padding, rows=[149, 7, 0, 7])
    assert stats.weights is not None
    rows, indptr, keys, weights = stats.weights
    assert not weights.requires_grad
    assert rows.tolist() == [149, 7, 0, 7]
    dense = dense_weights(q, k, index_set, edge_bias=edge_bias, padding=padding)
    for r, row in enumerate(rows.tolist()):
        place = slice(int(indptr[r]), int(indptr[r + 1]))
        assert keys[place].tolist() == index_set.rows(row, row + 1).indices.tolist()
        torch.testing.assert_close(weights[..., place], dense[:, :, row, keys[place]], rtol=0, atol=1e-12)
    assert indptr[-1] == weights.shape[-1] == keys.shape[0]
    assert attention_stats(q, k, index_set, rows=[]).weights.weights.shape == (2, 4, 0)


def test_lists_of_keys(random_mask):
    q, k = arrays(torch.float64, n=20)
    index_set = fc.IndexSet.from_mask(random_mask(20, 20))
    lists = torch.from_numpy(index_set.to_padded()).expand(2, 2, -1, -1)
    given, wanted = attention_stats(q, k, lists), attention_stats(q, k, index_set)
    for stat in NAMES:
        torch.testing.assert_close(getattr(given, stat), getattr(wanted, stat), rtol=0, atol=1e-12)


def test_q_offset_moves_rows_and_positions():
    q, k = arrays(torch.float64)
    index_set = fc.pattern("window", radius=5).index_set(150)
    all_rows = attention_stats(q, k, index_set)
    for offset, first in ((None, 110), (30, 30)):
        part = attention_stats(q[:, :, first : first + 40], k, index_set, q_offset=offset)
        for stat in NAMES[:3]:
            wanted = getattr(all_rows, stat)[:, :, first : first + 40]
            torch.testing.assert_close(getattr(part, stat), wanted, rtol=0, atol=1e-12)


def test_no_keys_give_zeros_and_no_gradient():
    q, k = arrays(torch.float64, n=40)
    index_set = fc.IndexSet.from_mask(np.zeros((40, 40), bool))
    stats = attention_stats(q, k, index_set)
    padded = attention_stats(
        q, k, fc.pattern("window", radius=3).index_set(40), key_padding_mask=torch.ones(2, 40).bool()
    )
    for some in (stats, padded):
        assert all(torch.equal(getattr(some, stat), torch.zeros_like(getattr(some, stat))) for stat in NAMES)
        grads = torch.autograd.grad((some.entropy + some.mean_distance).sum() + some.column_mass.sum(), (q, k))
        assert all(torch.equal(g, torch.zeros_like(g)) for g in grads)


def test_one_key_has_no_entropy_and_uniform_weights_have_the_most():
    q, k = arrays(torch.float32, n=64)
    one = attention_stats(q, k, fc.pattern("window", radius=0).index_set(64))
    assert torch.equal(one.entropy, torch.zeros_like(one.entropy))
    assert torch.equal(one.maximum, torch.ones_like(one.maximum))
    assert torch.equal(one.column_mass, torch.ones_like(one.column_mass))
    everything = attention_stats(0 * q, k, fc.IndexSet.from_mask(np.ones((64, 64), bool)))
    torch.testing.assert_close(everything.entropy, torch.full_like(everything.entropy, math.log(64)))


def test_large_biases_keep_the_statistics():
    q, k = arrays(torch.float32)
    index_set = index_sets()["window"]
    bias = torch.full((150,), -1e9)
    plain, moved = attention_stats(q, k, index_set), attention_stats(0 * q, k, index_set, bias=bias)
    assert plain.entropy.isfinite().all()
    degrees = torch.from_numpy(np.diff(index_set.indptr)).float()
    torch.testing.assert_close(moved.entropy, degrees.log().expand(2, 4, -1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_bit(threads):
    q, k = arrays(torch.float32)
    index_set = index_sets()["random"]
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            stats = attention_stats(q, k, index_set)
            grads = torch.autograd.grad(stats.entropy.sum() + stats.column_mass.square().sum(), (q, k))
            results.append((*stats[:4], *grads))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_returned_beside_the_output():
    q, k = arrays(torch.float32)
    index_set = index_sets()["union"]
    out, stats = sparse_attention(q, k, k, index_set, return_stats=True)
    assert isinstance(stats, AttentionStats)
    torch.testing.assert_close(out, sparse_attention(q, k, k, index_set))
    wanted = attention_stats(q, k, index_set)
    assert all(torch.equal(a, b) for a, b in zip(stats[:4], wanted[:4], strict=True))
    assert len(sparse_attention(q, k, k, index_set, return_stats=True, return_lse=True)) == 3
    with pytest.raises(InvalidArgumentError, match="device"):
        sparse_attention(q, k, k, index_set, return_stats=True, device="auto")


MEMORY = """
import re
import fractal_core as fc
import torch
from pathlib import Path

def kib(name):
    return int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

n = 65_536
index_set = (fc.pattern("window", radius=64) | fc.pattern("cantor", base=4)).index_set(n, causal=True)
index_set.plan()
small = torch.randn(1, 1, 64, 64)
fc.nn.attention_stats(small, small, fc.pattern("window", radius=3).index_set(64))
before = kib("VmRSS")
q, k = torch.randn(1, 4, n, 64), torch.randn(1, 4, n, 64)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
stats = fc.nn.attention_stats(q, k, index_set)
assert torch.isfinite(stats.entropy).all()
print((kib("VmHWM") - before) * 1024 / (4 * sum(t.numel() for t in (q, k, *stats[:4]))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_long_inputs_is_little_beyond_inputs_and_outputs():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1.2


def test_flops():
    from torch.utils.flop_counter import FlopCounterMode

    q, k = arrays(torch.float32)
    index_set = index_sets()["window"]
    with FlopCounterMode(display=False) as counter:
        attention_stats(q, k, index_set).entropy.sum().backward()
    assert counter.get_total_flops() == 2 * 8 * index_set.nnz * 4 * 16


X = torch.randn(2, 4, 10, 8)
WINDOW = fc.pattern("window", radius=2).index_set(10)
LISTS = torch.zeros(1, 1, 10, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda: attention_stats(X.long(), X, WINDOW), DTypeError, "q"),
        (lambda: attention_stats([1], X, WINDOW), DTypeError, "q"),
        (lambda: attention_stats(X, X.double(), WINDOW), DTypeError, "k"),
        (lambda: attention_stats(X[0], X, WINDOW), ShapeError, "q"),
        (lambda: attention_stats(X, X[:, :3], WINDOW), ShapeError, "k"),
        (lambda: attention_stats(X, X[:, :, :9], WINDOW), ShapeError, "index_set"),
        (lambda: attention_stats(X, X, "window"), DTypeError, "index_set"),
        (lambda: attention_stats(X, X.mT.contiguous().mT, WINDOW), InvalidArgumentError, "k"),
        (lambda: attention_stats(X, X, WINDOW, scale=math.inf), InvalidArgumentError, "scale"),
        (lambda: attention_stats(X, X, WINDOW, bias=X[0, 0]), ShapeError, "bias"),
        (lambda: attention_stats(X, X, WINDOW, edge_bias=torch.zeros(3)), ShapeError, "edge_bias"),
        (lambda: attention_stats(X, X, WINDOW, key_padding_mask=X[:, 0, :, 0]), DTypeError, "key_padding_mask"),
        (lambda: attention_stats(X, X, WINDOW, q_offset=1), InvalidArgumentError, "q_offset"),
        (lambda: attention_stats(X, X, WINDOW, rows=[10]), KeyIndexError, "rows"),
        (lambda: attention_stats(X, X, WINDOW, rows=[-1]), KeyIndexError, "rows"),
        (lambda: attention_stats(X, X, WINDOW, rows=[0.5]), DTypeError, "rows"),
        (lambda: attention_stats(X, X, WINDOW, rows=torch.tensor([0.5])), DTypeError, "rows"),
        (lambda: attention_stats(X, X, LISTS, rows=[0]), InvalidArgumentError, "rows"),
        (lambda: attention_stats(X, X, LISTS, q_offset=0), InvalidArgumentError, "q_offset"),
        (lambda: sparse_attention(X, X, X, WINDOW, return_stats=1), DTypeError, "return_stats"),
    ],
)
def test_refusals(call, error, argument):
    with pytest.raises(FractalError) as caught:
        call()
    assert isinstance(caught.value, error)
    assert caught.value.argument == argument


def test_transforms_and_second_derivatives_are_refused():
    with pytest.raises(NotImplementedError, match=r"torch\.func"):
        torch.func.grad(lambda q: attention_stats(q, X, WINDOW).entropy.sum())(X)
    q = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(attention_stats(q, X, WINDOW).entropy.sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        grad.sum().backward()
