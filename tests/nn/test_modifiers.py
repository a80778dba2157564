"""Modifiers of scores: against dense attention in float64, over sets of every form; gradients; what is refused."""

from __future__ import annotations

import math
import subprocess
import sys

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError
from fractal_core.nn import modifiers as mods
from fractal_core.nn import sparse_attention
from torch.autograd import gradcheck
from torch.nn.functional import scaled_dot_product_attention

H, D = 4, 8


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def distances(n, m, first=None):
    first = m - n if first is None else first
    return (torch.arange(n) + first)[:, None] - torch.arange(m)[None, :]


def bias_of(modifier, far, shape=None):
    """(H|1, Nq, Nk), straight from the definitions."""
    if isinstance(modifier, mods.Alibi):
        return -modifier.slopes[:, None, None] * far.abs()
    if isinstance(modifier, mods.DistanceTable):
        r = modifier.values.shape[1] // 2
        return modifier.values[:, far.clamp(-r, r) + r]
    if isinstance(modifier, mods.T5Bias):
        buckets = [[t5_bucket(-int(d), modifier) for d in row] for row in far]
        return modifier.weight[torch.tensor(buckets)].permute(2, 0, 1)
    if isinstance(modifier, mods.SpanRamp):
        share = (modifier.ramp + modifier.spans[:, None, None] - far.abs()) / modifier.ramp
        return share.clamp(0, 1).log()
    sides = modifier.shape
    at = torch.stack(torch.meshgrid(*map(torch.arange, sides), indexing="ij")).flatten(1)
    first = at.shape[1] - far.shape[0]
    moved = at[:, first:, None] - at[:, None, :]
    index = [(d + size // 2).clamp(0, size - 1) for d, size in zip(moved, modifier.values.shape[1:], strict=True)]
    return modifier.values[(slice(None), *index)]


def t5_bucket(relative, modifier):
    """`_relative_position_bucket` of T5, for key - query, one number at a time."""
    count, found = modifier.weight.shape[0], 0
    if modifier.bidirectional:
        count //= 2
        found = count if relative > 0 else 0
        size = abs(relative)
    else:
        size = max(-relative, 0)
    exact = count // 2
    if size < exact:
        return found + size
    wide = math.log(size / exact) / math.log(modifier.max_distance / exact) * (count - exact)
    return found + min(exact + int(wide), count - 1)


def dense(q, k, v, mask, given, bias=None):
    """Output and lse over all pairs, by the order that the docs give."""
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    s = q @ k.mT / q.shape[-1] ** 0.5
    for m in given:
        if isinstance(m, mods.SoftCap):
            s = m.cap * torch.tanh(s / m.cap)
    far = distances(*s.shape[-2:])
    for m in given:
        if not isinstance(m, (mods.SoftCap, mods.Sink)):
            s = s + bias_of(m, far).to(s.dtype)
    if bias is not None:
        s = s + bias
    s = s.masked_fill(~mask, -math.inf)
    for m in given:
        if isinstance(m, mods.Sink):
            s = torch.cat([s, m.logits.to(s.dtype)[None, :, None, None].expand(*s.shape[:3], 1)], -1)
            v = torch.cat([v, v.new_zeros(*v.shape[:2], 1, v.shape[3])], 2)
    lse = s.logsumexp(-1)
    p = (s - lse[..., None]).exp()
    return p.nan_to_num(0.0) @ v, lse


def grad(tensor):
    return tensor.requires_grad_()


SETS = {
    "window": lambda n: fc.IndexSet.from_offsets(range(-9, 10), n),
    "causal window": lambda n: fc.IndexSet.from_offsets(range(20), n),
    "ladder": lambda n: fc.IndexSet.from_offsets([0, 1, 2, 5, 17, 40], n),
    "listed": lambda n: (
        fc.patterns.create("random:k=7,seed=3").index_set(n, n)
        if "random" in fc.patterns.names()
        else fc.IndexSet.from_mask((distances(n, n) * 7 % 11 < 3).numpy())
    ),
    "hilbert": lambda n: fc.patterns.create("hilbert").index_set(n, n),
    "all": lambda n: fc.IndexSet.from_offsets(range(-n + 1, n), n),
}

GIVEN = {
    "cap": lambda: [mods.SoftCap(0.7)],
    "alibi": lambda: [mods.Alibi(grad(mods.alibi_slopes(H).double()))],
    "table": lambda: [mods.DistanceTable(grad(drawn(H, 13, seed=5)))],
    "shared table": lambda: [mods.DistanceTable(grad(drawn(1, 41, seed=5)))],
    "t5": lambda: [mods.T5Bias(grad(drawn(12, H, seed=6)), max_distance=40)],
    "t5 decoder": lambda: [mods.T5Bias(grad(drawn(12, H, seed=6)), bidirectional=False, max_distance=40)],
    "span": lambda: [mods.SpanRamp(grad(torch.tensor([3.5, 0.3, 20.25, 9.4], dtype=torch.float64)), ramp=6.0)],
    "sink": lambda: [mods.Sink(grad(torch.tensor([0.5, 4.0, -2.0, 0.0], dtype=torch.float64)))],
    "grid": lambda: [mods.DisplacementTable(grad(drawn(H, 7, 5, seed=7)), (8, 8))],
    "all": lambda: [
        mods.Sink(grad(drawn(H, seed=8))),
        mods.DistanceTable(grad(drawn(1, 9, seed=9))),
        mods.Alibi(grad(mods.alibi_slopes(H).double())),
        mods.SoftCap(1.3),
        mods.DisplacementTable(grad(drawn(1, 3, 15, seed=7)), (8, 8)),
    ],
}


def parameters(given):
    return [t for m in given for t in vars(m).values() if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("of", SETS)
def test_values_and_gradients_are_those_of_dense_attention(of, name):
    n = 64
    index_set = SETS[of](n)
    mask = torch.from_numpy(index_set.to_mask())
    tensors = [grad(drawn(2, heads, n, D, seed=i)) for i, heads in enumerate((H, 2, 2))]
    bias = grad(drawn(2, H, n, seed=11))
    given = GIVEN[name]()
    wanted = dense(*tensors, mask, given, bias[:, :, None, :])
    found = sparse_attention(*tensors, index_set, bias=bias, modifiers=given, return_lse=True)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    into = [*tensors, bias, *parameters(given)]
    weights = [drawn(*t.shape, seed=20 + i) for i, t in enumerate(wanted)]
    ours, theirs = (torch.autograd.grad(both, into, weights) for both in (found, wanted))
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 1e-10 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 4e-3)])
@pytest.mark.parametrize("name", GIVEN)
def test_other_dtypes(name, dtype, bound):
    index_set = SETS["window"](64)
    q, k, v = (drawn(1, H, 64, D, seed=i, dtype=dtype) for i in range(3))
    given = GIVEN[name]()
    wanted, _ = dense(q.double(), k.double(), v.double(), torch.from_numpy(index_set.to_mask()), given)
    found = sparse_attention(q, k, v, index_set, modifiers=given)
    assert found.dtype == dtype
    assert (found.double() - wanted).abs().max() <= bound


@pytest.mark.parametrize("name", GIVEN)
def test_a_step_of_decoding_is_the_last_row(name):
    index_set = SETS["causal window"](64)
    q, k, v = (drawn(1, heads, 64, D, seed=i) for i, heads in enumerate((H, 2, 2)))
    given = GIVEN[name]()
    whole = sparse_attention(q, k, v, index_set, modifiers=given, return_lse=True)
    step = sparse_attention(q[:, :, -1:], k, v, index_set, modifiers=given, return_lse=True)
    for one, all_ in zip(step, whole, strict=True):
        torch.testing.assert_close(one, all_[:, :, -1:], rtol=0, atol=1e-12)
    some = sparse_attention(q[:, :, 40:50], k, v, index_set, modifiers=given, q_offset=40)
    if name not in {"grid", "all"}:
        torch.testing.assert_close(some, whole[0][:, :, 40:50], rtol=0, atol=1e-12)


def test_lists_of_keys_take_modifiers():
    n = 64
    lists = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(i))[:9] for i in range(n)])
    mask = torch.zeros(n, n, dtype=torch.bool).scatter_(1, lists, True)
    q, k, v = (drawn(1, H, n, D, seed=i) for i in range(3))
    for name, make in GIVEN.items():
        given = make()
        found = sparse_attention(q, k, v, lists[None, None], modifiers=given)
        torch.testing.assert_close(found, dense(q, k, v, mask, given)[0], rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", GIVEN)
def test_gradcheck(name):
    index_set = SETS["ladder"](64)
    given = GIVEN[name]()
    tensors = [grad(drawn(1, H, 64, 2, seed=i) * 0.7) for i in range(3)]

    def run(*_):
        return sparse_attention(*tensors, index_set, modifiers=given, return_lse=True)

    # Ramps have corners: the spans of these tests are off the whole numbers, or beyond the keys.
    assert gradcheck(run, [*tensors, *parameters(given)], fast_mode=True)


def test_a_query_without_keys_has_the_sink_alone():
    index_set = fc.IndexSet.from_mask((distances(20, 20) > 3).numpy())
    q, k, v = (drawn(1, H, 20, D, seed=i) for i in range(3))
    v[:, :, -3:] = math.nan
    logits = grad(drawn(H, seed=1))
    out, lse = sparse_attention(q, k, v, index_set, modifiers=[mods.Sink(logits)], return_lse=True)
    assert (out[:, :, :4] == 0).all()
    torch.testing.assert_close(lse[0, :, 0], logits)
    one, alone = sparse_attention(
        q[:, :, :1], k, v, index_set, q_offset=0, modifiers=[mods.Sink(logits)], return_lse=True
    )
    assert (one == 0).all()
    torch.testing.assert_close(alone[0, :, 0], logits)
    without = sparse_attention(q, k, v, index_set, modifiers=[mods.Sink(torch.full((H,), -math.inf))])
    assert torch.equal(without, sparse_attention(q, k, v, index_set))


def test_sizes_of_0():
    logits, table = grad(drawn(H, seed=1)), grad(drawn(H, 5))
    given = [mods.Sink(logits), mods.DistanceTable(table), mods.SoftCap(1.0)]
    for n, m in ((3, 0), (0, 4), (0, 0)):
        q, k = torch.zeros(2, H, n, D, dtype=torch.float64), torch.zeros(2, H, m, D, dtype=torch.float64)
        index_set = fc.IndexSet.from_runs([0] * (n + 1), [], [], m)
        out, lse = sparse_attention(q, k, k, index_set, modifiers=given, return_lse=True)
        assert out.shape == q.shape
        assert torch.equal(lse, logits[:, None].expand(2, H, n))
        dlogits, dtable = torch.autograd.grad(lse.sum(), [logits, table])
        assert torch.equal(dlogits, torch.full((H,), 2.0 * n, dtype=torch.float64))
        assert not dtable.any()


def test_a_sink_far_above_the_scores_takes_everything_but_loses_no_digit():
    index_set = SETS["window"](64)
    q, k, v = (drawn(1, H, 64, D, seed=i) for i in range(3))
    for logit in (-800.0, 0.0, 30.0, 800.0):
        given = [mods.Sink(torch.full((H,), logit, dtype=torch.float64))]
        out, lse = sparse_attention(q, k, v, index_set, modifiers=given, return_lse=True)
        wanted = dense(q, k, v, torch.from_numpy(index_set.to_mask()), given)
        torch.testing.assert_close(out, wanted[0], rtol=1e-11, atol=1e-20)
        torch.testing.assert_close(lse, wanted[1], rtol=1e-14, atol=0)


def test_the_order_given_does_not_matter():
    index_set = SETS["window"](64)
    q, k, v = (drawn(1, H, 64, D, seed=i) for i in range(3))
    given = GIVEN["all"]()
    assert torch.equal(
        sparse_attention(q, k, v, index_set, modifiers=given),
        sparse_attention(q, k, v, index_set, modifiers=given[::-1]),
    )


def test_t5_buckets_are_t5s():
    from transformers.models.t5.modeling_t5 import T5Attention

    for bidirectional in (True, False):
        for buckets, most in ((32, 128), (16, 40)):
            relative = torch.arange(-300, 301)
            theirs = T5Attention._relative_position_bucket(relative, bidirectional, buckets, most)
            assert torch.equal(mods.t5_buckets(-relative, buckets, bidirectional, most), theirs)


def test_published_layouts_are_sdpa_with_their_bias():
    # Swin's table: (15 * 15, H), indexed by coordinates of query - key.
    table = drawn(15 * 15, H, seed=3)
    at = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")).flatten(1)
    moved = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + 7
    bias = table[moved[..., 0] * 15 + moved[..., 1]].permute(2, 0, 1)
    q, k, v = (drawn(2, H, 64, D, seed=i) for i in range(3))
    swin = mods.DisplacementTable(table.T.reshape(H, 15, 15), (8, 8))
    found = sparse_attention(q, k, v, SETS["all"](64), modifiers=[swin])
    torch.testing.assert_close(found, scaled_dot_product_attention(q, k, v, bias[None]), rtol=0, atol=1e-12)


def test_slopes_are_the_published_ones():
    assert mods.alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    twelve = mods.alibi_slopes(12)
    assert twelve[:8].tolist() == mods.alibi_slopes(8).tolist()
    assert twelve[8:].tolist() == mods.alibi_slopes(16)[::2][:4].tolist()


def test_threads_and_levels_agree_bit_for_bit():
    index_set = SETS["ladder"](200)
    given = GIVEN["all"]()[:4]
    tensors = [grad(drawn(1, H, 200, D, seed=i, dtype=torch.float32)) for i in range(3)]
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            out = sparse_attention(*tensors, index_set, modifiers=given)
            results.append((out, *torch.autograd.grad(out.sum(), [*tensors, *parameters(given)])))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_compiled_without_a_break():
    index_set = SETS["window"](64)
    q, k, v = (grad(drawn(1, H, 64, D, seed=i, dtype=torch.float32)) for i in range(3))
    table, sink = grad(drawn(H, 9, dtype=torch.float32)), grad(drawn(H, dtype=torch.float32))

    def run(table, sink):
        given = [mods.DistanceTable(table), mods.Sink(sink), mods.SoftCap(2.0)]
        return sparse_attention(q, k, v, index_set, modifiers=given)

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(table, sink), run(table, sink))
    ours, theirs = (torch.autograd.grad(f(table, sink).sum(), [table, sink, q]) for f in (compiled, run))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_functional_transforms():
    index_set = SETS["window"](32)
    q, k, v = (drawn(1, H, 32, D, seed=i) for i in range(3))
    tables = drawn(3, H, 9)

    def loss(table):
        return sparse_attention(q, k, v, index_set, modifiers=[mods.DistanceTable(table)]).square().sum()

    mapped = torch.func.vmap(torch.func.grad(loss))(tables)
    for table, found in zip(tables, mapped, strict=True):
        torch.testing.assert_close(found, torch.func.grad(loss)(table))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the highest water from Linux alone")
def test_a_learned_table_takes_the_memory_of_the_table():
    # In a process of its own: its highest water is that of both passes at 65,536 tokens.
    code = """
import re, sys, torch, fractal_core as fc
from fractal_core.nn import modifiers, sparse_attention
n, radius = 65536, 256
index_set = fc.IndexSet.from_offsets(range(-radius, radius + 1), n)
q, k, v = (torch.randn(1, 1, n, 16).requires_grad_() for _ in range(3))
table = torch.zeros(1, 2 * radius + 1, requires_grad=True)
given = [modifiers.DistanceTable(table)] if sys.argv[1] == "table" else []
for _ in range(2):
    sparse_attention(q, k, v, index_set, modifiers=given).sum().backward()
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]))
"""
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, what], capture_output=True, text=True, check=True).stdout)
        for what in ("table", "none")
    ]
    # Every edge once in float32 would be 128 MiB.
    assert peaks[0] - peaks[1] < 8 << 10


WRONG = [
    (lambda: mods.SoftCap(0.0), InvalidArgumentError, "cap"),
    (lambda: mods.SoftCap(math.inf), InvalidArgumentError, "cap"),
    (lambda: mods.SoftCap("5"), DTypeError, "cap"),
    (lambda: mods.Sink(torch.zeros(2, 2)), ShapeError, "logits"),
    (lambda: mods.Sink(torch.zeros(2, dtype=torch.int64)), DTypeError, "logits"),
    (lambda: mods.Sink([0.0]), DTypeError, "logits"),
    (lambda: mods.Alibi(torch.zeros(0)), ShapeError, "slopes"),
    (lambda: mods.alibi_slopes(0), InvalidArgumentError, "heads"),
    (lambda: mods.DistanceTable(torch.zeros(4, 6)), ShapeError, "values"),
    (lambda: mods.DistanceTable(torch.zeros(5)), ShapeError, "values"),
    (lambda: mods.T5Bias(torch.zeros(3, 4)), InvalidArgumentError, "buckets"),
    (lambda: mods.T5Bias(torch.zeros(32, 4), max_distance=8), InvalidArgumentError, "max_distance"),
    (lambda: mods.T5Bias(torch.zeros(32, 4), bidirectional=1), DTypeError, "bidirectional"),
    (lambda: mods.SpanRamp(torch.zeros(4), ramp=0), InvalidArgumentError, "ramp"),
    (lambda: mods.DisplacementTable(torch.zeros(4, 3, 3), (8,)), ShapeError, "shape"),
    (lambda: mods.DisplacementTable(torch.zeros(4, 3, 3), (0, 8)), InvalidArgumentError, "shape"),
    (lambda: mods.DisplacementTable(torch.zeros(4, 3, 4), (8, 8)), ShapeError, "values"),
    (lambda: mods.DisplacementTable(torch.zeros(4, 3, 3, 3), (8, 8)), ShapeError, "values"),
    (lambda: attend(mods.SoftCap(1.0)), DTypeError, "modifiers"),
    (lambda: attend([mods.SoftCap(1e39)]), InvalidArgumentError, "cap"),
    (lambda: attend(["cap"]), DTypeError, "modifiers"),
    (lambda: attend([mods.SoftCap(1.0), mods.SoftCap(2.0)]), InvalidArgumentError, "modifiers"),
    (lambda: attend([mods.Sink(torch.zeros(1))]), ShapeError, "modifiers"),
    (lambda: attend([mods.Alibi(torch.zeros(3))]), ShapeError, "modifiers"),
    (lambda: attend([mods.DistanceTable(torch.zeros(2, 3))]), ShapeError, "modifiers"),
    (lambda: attend([mods.DisplacementTable(torch.zeros(1, 3, 3), (4, 4))]), ShapeError, "modifiers"),
    (lambda: attend([mods.SoftCap(1.0)], device="gpu", return_stats=True), InvalidArgumentError, "device"),
    (lambda: attend([mods.SoftCap(1.0)], device="tpu"), InvalidArgumentError, "device"),
    (lambda: attend([mods.SoftCap(1.0)], return_stats=True), InvalidArgumentError, "modifiers"),
]


def attend(given, **others):
    q = torch.zeros(1, H, 64, D)
    return sparse_attention(q, q, q, SETS["window"](64), modifiers=given, **others)


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_refused(number):
    call, error, named = WRONG[number]
    with pytest.raises(error, match=named):
        call()
