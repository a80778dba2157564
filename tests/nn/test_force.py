"""`force_attention`: the definition with its n x n x d arrays, gradients, invariances, refusals, sizes of 0, threads.

Regressions of the seed's faults here: A13 and A14 (the direction keeps its coordinates and its axes), A15 (nothing of
the size of a pair of points is kept), A17 (scores keep their size in many dimensions). Those of the layer are in
`layers/test_relative_force.py`.
"""

from __future__ import annotations

import subprocess
import sys

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, FractalError, InvalidArgumentError, KeyIndexError, ShapeError
from fractal_core.nn import _force, force_attention
from torch.autograd import forward_ad

from tests.nn.force_reference import naive, naive_scores

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

B, H, N, M, C, D, DV = 2, 3, 11, 13, 5, 4, 6


def drawn(shared=True, dots=False, dtype=torch.float64, seed=0, sizes=(B, N, M)):
    """e, r, v, directions, q, k, tau and length."""
    g = torch.Generator().manual_seed(seed)
    (batch, n, m), groups = sizes, 1 if shared else H
    shapes = [(batch, groups, n, C), (batch, groups, m, C), (batch, H, m, DV), (H, C)]
    shapes += [(batch, H, n, D), (batch, H, m, D)]
    tensors = [torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]
    tau = (torch.rand(H, generator=g, dtype=torch.float64) + 0.5).to(dtype).requires_grad_()
    length = (torch.rand(H, generator=g, dtype=torch.float64) + 0.5).to(dtype).requires_grad_()
    q, k = tensors[4:] if dots else (None, None)
    return (*tensors[:4], q, k, tau, length)


def some_keys(n=N, m=M, seed=1):
    mask = torch.rand(n, m, generator=torch.Generator().manual_seed(seed)) < 0.4
    mask[4] = False
    return mask


def call(tensors, keys, **settings):
    e, r, v, w, q, k, tau, length = tensors
    return force_attention(e, r, v, w, keys, q=q, k=k, tau=tau, length=length, return_lse=True, **settings)


def wanted(tensors, mask, **settings):
    e, r, v, w, q, k, tau, length = (None if t is None else t.double() for t in tensors)
    return naive(e, r, v, w, mask, tau, length, dots=None if q is None else (q, k), **settings)


def gradients(results, tensors):
    g = torch.Generator().manual_seed(9)
    out, lse = results
    loss = (out * torch.randn(out.shape, generator=g, dtype=torch.float64)).sum()
    finite = torch.where(lse.isfinite(), lse, 0.0)
    loss = loss + (finite * torch.randn(lse.shape, generator=g, dtype=torch.float64)).sum()
    return torch.autograd.grad(loss, [t for t in tensors if t is not None])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dots", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_equals_the_definition_forward_and_backward(shared, dots, padded):
    """Identity 1 against the naive arrays of unit vectors; A13, A14."""
    tensors, mask = drawn(shared, dots), some_keys()
    index_set = fc.IndexSet.from_mask(mask.numpy())
    padding = torch.rand(B, M, generator=torch.Generator().manual_seed(3)) < 0.3 if padded else None
    seen = mask if padding is None else mask & ~padding[:, None, None]
    got, want = call(tensors, index_set, key_padding_mask=padding), wanted(tensors, seen)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for one, other in zip(gradients(got, tensors), gradients(want, tensors), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("groups", "shared"), [(1, True), (1, False), (H, False)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lists_that_differ_by_batch_entry(groups, shared, dtype):
    tensors = drawn(shared, dots=True)
    g = torch.Generator().manual_seed(2)
    lists = torch.rand(B, groups, N, M, generator=g).argsort(-1)[..., :5].to(dtype)
    lists[torch.rand(lists.shape, generator=g) < 0.2] = -1
    lists[:, :, 3] = -1
    mask = torch.zeros(B, groups, N, M + 1, dtype=torch.bool).scatter(3, lists.long() % (M + 1), True)[..., :M]
    got, want = call(tensors, lists), wanted(tensors, mask)
    for one, other in zip((*got, *gradients(got, tensors)), (*want, *gradients(want, tensors)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_repeated_key_counts_twice():
    tensors = drawn()
    lists = torch.tensor([[2, 5, 2]]).expand(1, 1, N, 3)
    scores = naive_scores(*tensors[:2], tensors[3], *tensors[6:])[..., [2, 5, 2]]
    want = torch.einsum("bhnk,bhkd->bhnd", scores.softmax(-1), tensors[2][:, :, [2, 5, 2]])
    torch.testing.assert_close(call(tensors, lists)[0], want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 4e-3)])
def test_other_dtypes(dtype, atol):
    tensors, mask = drawn(dots=True, dtype=dtype), some_keys()
    got = call(tensors, fc.IndexSet.from_mask(mask.numpy()))
    want = wanted(tensors, mask)
    assert got[0].dtype == dtype
    assert got[1].dtype == torch.float32
    torch.testing.assert_close(got[0].double(), want[0], rtol=0, atol=atol)
    for grad, given in zip(gradients(got, tensors), [t for t in tensors if t is not None], strict=True):
        assert grad.dtype == given.dtype


@pytest.mark.parametrize(
    "spec", ["window:radius=3", "window:radius=40", "cantor:base=3", "hilbert:window=3", "random:k=5"]
)
def test_every_form_of_set(spec):
    """Offsets, runs and lists; `window:radius=40` is all keys, which equals the dense definition."""
    n = 24
    tensors = drawn(sizes=(1, n, n))
    index_set = fc.pattern(spec).index_set(n)
    got, want = call(tensors, index_set), wanted(tensors, torch.from_numpy(index_set.to_mask()))
    for one, other in zip((*got, *gradients(got, tensors)), (*want, *gradients(want, tensors)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_all_keys_equal_dense_in_single_precision():
    n = 64
    tensors = drawn(dtype=torch.float32, sizes=(1, n, n))
    full = fc.IndexSet.from_segments([0, n])
    want = wanted(tensors, torch.ones(n, n, dtype=torch.bool))[0]
    assert (call(tensors, full)[0].double() - want).abs().max() <= 4e-7


def test_rows_of_weights_sum_to_1():
    tensors, mask = drawn(), some_keys()
    ones = torch.ones(B, H, M, 1, dtype=torch.float64)
    out = force_attention(*tensors[:2], ones, tensors[3], fc.IndexSet.from_mask(mask.numpy()))
    some = mask.any(-1)
    torch.testing.assert_close(out[:, :, some], torch.ones_like(out[:, :, some]), rtol=0, atol=1e-12)
    assert (out[:, :, ~some] == 0).all()


def test_moving_and_rotating_all_points_changes_nothing():
    e, r, v, w, *_ = drawn()
    index_set = fc.IndexSet.from_mask(some_keys().numpy())
    want = force_attention(e, r, v, w, index_set)
    turn = torch.linalg.qr(torch.randn(C, C, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))[0]
    turned = force_attention(e @ turn, r @ turn, v, w @ turn, index_set)
    moved = force_attention(e + turn[0], r + turn[0], v, w, index_set)
    torch.testing.assert_close(turned, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(moved, want, rtol=0, atol=1e-12)


def test_permuted_tokens_give_permuted_results():
    n = 12
    e, r, v, w, *_ = drawn(sizes=(1, n, n))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(5))
    mask = some_keys(n, n)
    want = force_attention(e, r, v, w, fc.IndexSet.from_mask(mask.numpy()))[:, :, order]
    permuted = fc.IndexSet.from_mask(mask[order][:, order].numpy())
    got = force_attention(e[:, :, order], r[:, :, order], v[:, :, order], w, permuted)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_no_later_key_has_a_part():
    n = 20
    e, r, v, w, *_ = drawn(sizes=(1, n, n))
    index_set = fc.pattern("window", radius=6).index_set(n, causal=True)
    before = force_attention(e, r, v, w, index_set)
    later = [torch.cat([x[:, :, :12], torch.randn_like(x[:, :, 12:])], 2) for x in (e, r, v)]
    assert torch.equal(force_attention(*later, w, index_set)[:, :, :12], before[:, :, :12])
    grads = torch.autograd.grad(before[:, :, :12].sum(), (e, r, v))
    assert all((grad[:, :, 12:] == 0).all() for grad in grads)


def test_points_in_one_place_have_finite_gradients():
    n = 12
    tensors = list(drawn(sizes=(1, n, n)))
    tensors[1] = tensors[0].detach().clone().requires_grad_()
    mask = torch.ones(n, n, dtype=torch.bool)
    got, want = call(tensors, fc.IndexSet.from_segments([0, n])), wanted(tensors, mask)
    found = gradients(got, tensors)
    assert all(grad.isfinite().all() for grad in found)
    for one, other in zip(found, gradients(want, tensors), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [16, 64, 256, 512])
def test_scores_keep_their_size_in_many_dimensions(width):
    """A17: without a length in units of sqrt(C) the scores of random points shrink to 1e-8 at 512 coordinates."""
    g = torch.Generator().manual_seed(6)
    e, r = (torch.randn(1, 1, 64, width, generator=g) for _ in range(2))
    w, v = torch.randn(2, width, generator=g), torch.randn(1, 2, 64, 4, generator=g)
    one, value = torch.ones(2), naive_scores(e, r, w, torch.ones(2), torch.ones(2))
    assert 0.15 < float(value.std()) < 0.6
    full = fc.IndexSet.from_segments([0, 64])
    want = naive(e.double(), r.double(), v.double(), w.double(), torch.ones(64, 64, dtype=torch.bool), one, one)[0]
    torch.testing.assert_close(force_attention(e, r, v, w, full).double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_gradcheck(shared):
    tensors = drawn(shared, dots=True, sizes=(1, 5, 6))
    index_set = fc.IndexSet.from_mask(some_keys(5, 6).numpy())
    some = torch.from_numpy(index_set.to_mask().any(1))

    def of(*given):
        out, lse = call(given, index_set)
        return out, lse[:, :, some]

    assert torch.autograd.gradcheck(of, tensors)


def arguments(dots=True, shared=True):
    e, r, v, _, q, k, tau, length = drawn(shared, dots)
    groups = e.shape[1]
    a, c = (torch.randn(B, groups, n, H // groups, dtype=torch.float64).requires_grad_() for n in (N, M))
    index_set = fc.IndexSet.from_mask(some_keys().numpy())
    padding = torch.zeros(B, M, dtype=torch.bool)
    padding[1, 9:] = True
    handle = torch.from_numpy(index_set.handle)
    return (e, r, v, a, c, tau, length, q, k, handle, padding if dots else None, 0.5, 1e-6), index_set


@pytest.mark.parametrize("dots", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_opcheck(dots, shared):
    args, _alive = arguments(dots, shared)
    torch.library.opcheck(_force.force, args)
    args = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
    out, lse = _force.force(*args)
    torch.library.opcheck(_force.force_backward, (torch.ones_like(out), None, out, lse, *args))


def test_compiles_into_one_graph():
    tensors, index_set = drawn(dots=True), fc.IndexSet.from_mask(some_keys().numpy())
    compiled = torch.compile(lambda *given: call(given, index_set), fullgraph=True, backend="aot_eager")
    got, want = compiled(*tensors), call(tensors, index_set)
    for one, other in zip((*got, *gradients(got, tensors)), (*want, *gradients(want, tensors)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("lists", [True, False])
def test_the_bits_do_not_depend_on_the_threads(lists):
    n = 400
    tensors = drawn(dots=True, dtype=torch.float32, sizes=(2, n, n))
    keys = fc.pattern("window:radius=9|random:k=7").index_set(n)
    if lists:
        keys = torch.from_numpy(keys.to_padded()).expand(2, 1, -1, -1)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found = call(tensors, keys)
            results.append([*found, *gradients(found, tensors)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_strided_inputs_are_read_in_place():
    e, r, v, w, *_ = drawn()
    index_set = fc.IndexSet.from_mask(some_keys().numpy())
    strided = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in (e, r, v)]
    assert torch.equal(force_attention(*strided, w, index_set), force_attention(e, r, v, w, index_set))


def test_rows_of_a_longer_set_are_the_last_or_those_named():
    e, r, v, w, *_ = drawn()
    longer = fc.IndexSet.from_mask(some_keys(N + 4).numpy())
    for q_offset, first in ((None, 4), (1, 1)):
        want = force_attention(e, r, v, w, longer.rows(first, first + N))
        assert torch.equal(force_attention(e, r, v, w, longer, q_offset=q_offset), want)


@pytest.mark.parametrize(("batch", "n", "m"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_sizes_of_0(batch, n, m):
    tensors = drawn(dots=True, sizes=(batch, n, m))
    for keys in (fc.IndexSet.from_csr([0] * (n + 1), [], m), torch.zeros(1, 1, n, 0, dtype=torch.int64)):
        out, lse = call(tensors, keys)
        assert out.shape == (batch, H, n, DV)
        assert (out == 0).all()
        assert (lse == -torch.inf).all()
        grads = torch.autograd.grad(out.sum(), [t for t in tensors if t is not None])
        assert all((grad == 0).all() for grad in grads)


def test_a_set_without_edges_gives_0():
    tensors = drawn()
    out, lse = call(tensors, fc.IndexSet.from_csr([0] * (N + 1), [], M))
    assert (out == 0).all()
    assert (lse == -torch.inf).all()
    assert all((grad == 0).all() for grad in torch.autograd.grad(out.sum(), tensors[:4]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_and_infinity_stay_in_their_rows(bad):
    e, r, v, w, *_ = (None if t is None else t.detach().clone() for t in drawn())
    e[0, 0, 2, 1] = bad
    index_set = fc.IndexSet.from_segments([0, N], [0, M])
    out = force_attention(e, r, v, w, index_set)
    rows = out.isfinite().all(-1)
    assert not rows[0, :, 2].any()
    assert rows[1].all()
    assert rows[0, :, :2].all()
    assert rows[0, :, 3:].all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
def test_no_forward_mode_and_no_transforms():
    e, r, v, w, *_ = drawn()
    index_set = fc.IndexSet.from_mask(some_keys().numpy())
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        force_attention(forward_ad.make_dual(e, e), r, v, w, index_set)
    with pytest.raises(NotImplementedError, match="force_attention"):
        torch.func.vmap(lambda x: force_attention(x, r, v, w, index_set))(e[None])
    (grad,) = torch.autograd.grad(force_attention(e, r, v, w, index_set).sum(), e, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        grad.sum().backward()


def test_autocast_computes_as_without_it():
    e, r, v, w, *_ = drawn(dtype=torch.float32)
    index_set = fc.IndexSet.from_mask(some_keys().numpy())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = force_attention(e, r, v, w, index_set)
    assert torch.equal(got, force_attention(e, r, v, w, index_set))


def changed(**other):
    e, r, v, w, q, k, *_ = drawn(dots=True)
    given = {"e": e, "r": r, "v": v, "directions": w, "index_set": fc.IndexSet.from_mask(some_keys().numpy())}
    if "q" in other or "k" in other or "scale" in other:
        given |= {"q": q, "k": k}
    return force_attention(**(given | other))


def lists_of(value, shape=(1, 1, N, 2), dtype=torch.int64):
    return torch.full(shape, value, dtype=dtype)


WRONG = [
    ("e", DTypeError, lambda: changed(e=1.0)),
    ("e", DTypeError, lambda: changed(e=torch.zeros(B, 1, N, C, dtype=torch.int64))),
    ("e", ShapeError, lambda: changed(e=torch.zeros(B, N, C, dtype=torch.float64))),
    ("e", ShapeError, lambda: changed(e=torch.zeros(B, 2, N, C, dtype=torch.float64))),
    ("e", ShapeError, lambda: changed(e=torch.zeros(B, 1, N, 0, dtype=torch.float64))),
    ("r", DTypeError, lambda: changed(r=torch.zeros(B, 1, M, C))),
    ("r", ShapeError, lambda: changed(r=torch.zeros(B, 1, M, C + 1, dtype=torch.float64))),
    ("r", ShapeError, lambda: changed(r=torch.zeros(B, 1, M + 1, C, dtype=torch.float64))),
    ("v", ShapeError, lambda: changed(v=torch.zeros(B + 1, H, M, DV, dtype=torch.float64))),
    ("directions", ShapeError, lambda: changed(directions=torch.zeros(H, C + 1))),
    ("directions", DTypeError, lambda: changed(directions=[[1.0] * C] * H)),
    ("index_set", DTypeError, lambda: changed(index_set=some_keys().numpy())),
    ("index_set", ShapeError, lambda: changed(index_set=fc.IndexSet.from_offsets([0], N))),
    ("index_set", DTypeError, lambda: changed(index_set=lists_of(0.0, dtype=torch.float64))),
    ("index_set", ShapeError, lambda: changed(index_set=lists_of(0, (1, 2, N, 2)))),
    ("index_set", KeyIndexError, lambda: changed(index_set=lists_of(M))),
    ("index_set", KeyIndexError, lambda: changed(index_set=lists_of(-2))),
    ("index_set", DTypeError, lambda: changed(index_set=fc.IndexSet.stack([fc.IndexSet.from_offsets([0], N, M)]))),
    ("q", InvalidArgumentError, lambda: changed(q=None)),
    ("k", InvalidArgumentError, lambda: changed(k=None)),
    ("q", ShapeError, lambda: changed(q=torch.zeros(B, 1, N, D, dtype=torch.float64))),
    ("k", DTypeError, lambda: changed(k=torch.zeros(B, H, M, D))),
    ("scale", InvalidArgumentError, lambda: changed(scale=float("nan"))),
    ("scale", InvalidArgumentError, lambda: changed(q=None, k=None, scale=1.0)),
    ("tau", ShapeError, lambda: changed(tau=torch.ones(H + 1))),
    ("tau", DTypeError, lambda: changed(tau="1")),
    ("length", InvalidArgumentError, lambda: changed(length=0.0)),
    ("length", InvalidArgumentError, lambda: changed(length=-torch.ones(H))),
    ("eps", InvalidArgumentError, lambda: changed(eps=0.0)),
    ("eps", DTypeError, lambda: changed(eps=None)),
    ("key_padding_mask", DTypeError, lambda: changed(key_padding_mask=torch.zeros(B, M))),
    ("key_padding_mask", ShapeError, lambda: changed(key_padding_mask=torch.zeros(B, N, dtype=torch.bool))),
    ("q_offset", InvalidArgumentError, lambda: changed(q_offset=3)),
    ("q_offset", InvalidArgumentError, lambda: changed(index_set=lists_of(0), q_offset=0)),
    ("return_lse", DTypeError, lambda: changed(return_lse=1)),
]


@pytest.mark.parametrize(("argument", "error", "wrong"), WRONG)
def test_wrong_calls(argument, error, wrong):
    with pytest.raises(error) as caught:
        wrong()
    assert isinstance(caught.value, FractalError)
    assert caught.value.argument == argument


LEVELS = """
import sys
import fractal_core as fc, torch
from fractal_core import _native
g = torch.Generator().manual_seed(0)
e, r = (torch.randn(1, 1, 50, 9, generator=g).requires_grad_() for _ in range(2))
v, w = torch.randn(1, 2, 50, 5, generator=g), torch.randn(2, 9, generator=g)
before = _native.simd_passes()
fc.nn.force_attention(e, r, v, w, fc.pattern("window", radius=9).index_set(50)).sum().backward()
passes = {name: n - before[name] for name, n in _native.simd_passes().items() if n > before[name]}
print(_native.thread_info()["simd"], passes)
"""


def test_passes_run_at_the_level_in_use():
    from fractal_core import _native

    for name in _native.simd_passes():
        done = subprocess.run(
            [sys.executable, "-c", LEVELS],
            capture_output=True,
            text=True,
            check=True,
            env={"FRACTAL_CORE_SIMD": name, "PYTHONPATH": ":".join(sys.path)},
        )
        assert done.stdout == f"{name} {{'{name}': 3}}\n", done.stderr
