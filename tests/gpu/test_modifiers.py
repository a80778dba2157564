"""Modifiers of scores on the GPU: against dense attention in float64, written from the definitions, and the CPU."""

from __future__ import annotations

import math

import fractal_core as fc
import pytest
from fractal_core.errors import DTypeError, InvalidArgumentError
from fractal_core.index_sets import IndexSet

torch = pytest.importorskip("torch")
sparse_attention, modifiers = fc.nn.sparse_attention, fc.nn.modifiers

N, H, KV = 70, 4, 2

SETS = {
    "causal window": lambda: IndexSet.from_offsets(range(20), N),
    "hilbert": lambda: fc.pattern("hilbert").index_set(N, N, causal=False),
    "random": lambda: fc.pattern("random:k=12").index_set(N, N, causal=False),
    "segments": lambda: IndexSet.from_segments([0, 30, 30, N], causal=True),
    "with an empty row": lambda: IndexSet.from_mask((torch.arange(N) != 11)[:, None].expand(N, N).numpy()),
}


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def grad(tensor):
    return tensor.requires_grad_()


def tensors(*, dtype=torch.float32, factor=1.0):
    shapes = ((2, H, N, 12), (2, KV, N, 12), (2, KV, N, 20))
    q, k, v = (drawn(*shape, seed=i) for i, shape in enumerate(shapes))
    return [grad(t.to(dtype)) for t in (q * factor, k * factor, v)]


def dense(q, k, v, mask, given, bias=None, padding=None):
    """Output and lse over all pairs: scale, soft cap, biases, mask, sink."""
    k, v = (t.repeat_interleave(H // KV, 1) for t in (k, v))
    s = q @ k.mT / q.shape[-1] ** 0.5
    far = torch.arange(N)[:, None] - torch.arange(N)[None, :]
    biases = [] if bias is None else [bias]
    sink = None
    for m in given:
        if isinstance(m, modifiers.SoftCap):
            s = m.cap * torch.tanh(s / m.cap)
        elif isinstance(m, modifiers.Alibi):
            biases.append(-m.slopes.double()[:, None, None] * far.abs())
        elif isinstance(m, modifiers.DistanceTable):
            r = m.values.shape[1] // 2
            biases.append(m.values.double()[:, far.clamp(-r, r) + r])
        elif isinstance(m, modifiers.DisplacementTable):
            (height, width), values = m.shape, m.values.double()
            rows, columns = (torch.arange(N) // width, torch.arange(N) % width)
            assert height * width == N
            at = [(a[:, None] - a[None, :]).clamp(-(n // 2), n // 2) + n // 2
                  for a, n in zip((rows, columns), values.shape[1:], strict=True)]  # fmt: skip
            biases.append(values[:, at[0], at[1]])
        else:
            sink = m.logits.double()
    for each in biases:
        s = s + each
    s = s.masked_fill(~mask, -math.inf)
    if padding is not None:
        s = s.masked_fill(padding[:, None, None, :], -math.inf)
    if sink is not None:
        s = torch.cat([s, sink[None, :, None, None].expand(*s.shape[:3], 1)], -1)
        v = torch.cat([v, v.new_zeros(*v.shape[:2], 1, v.shape[3])], 2)
    top = s.detach().amax(-1, keepdim=True).clamp_min(-1e300)
    e = (s - top).exp()
    total = e.sum(-1, keepdim=True)
    lse = (top + total.log()).squeeze(-1)
    return (e / total.clamp_min(1e-300)) @ v, lse


def results(out, lse, leaves):
    """Output, lse, and the gradients of a function of both."""
    finite = torch.isfinite(lse)
    loss = (out * drawn(*out.shape, seed=8).to(out)).sum() + (lse * drawn(*lse.shape, seed=9).to(lse))[finite].sum()
    return out.detach(), lse.detach(), *torch.autograd.grad(loss, leaves)


def close(got, wanted, forward, gradient):
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        finite = torch.isfinite(b)
        assert torch.equal(torch.isfinite(a), finite)
        size = b[finite].abs().max().clamp_min(1.0)
        assert (a[finite].double() - b[finite].double()).abs().max() <= (forward if i < 2 else gradient) * size


def by_edge(pairs, index_set):
    """(B, H, E) of (B, H, N, N)."""
    return pairs[..., torch.from_numpy(index_set.to_mask())]


def cap():
    return [modifiers.SoftCap(0.7)], []


def everything():
    table, slopes, sinks, grid = (grad(drawn(*s, seed=5)) for s in ((H, 9), (H,), (H,), (1, 3, 5)))
    given = [modifiers.Sink(sinks), modifiers.DistanceTable(table), modifiers.SoftCap(1.3), modifiers.Alibi(slopes),
             modifiers.DisplacementTable(grid, (7, 10))]  # fmt: skip
    return given, [table, slopes, sinks, grid]


def one_of(kind):
    parameter = grad(drawn(*((H,) if kind is not modifiers.DistanceTable else (H, 13)), seed=6))
    return lambda: ([kind(parameter), modifiers.SoftCap(0.9)], [parameter])


GIVEN = {
    "cap": cap,
    "alibi": one_of(modifiers.Alibi),
    "table": one_of(modifiers.DistanceTable),
    "sink": one_of(modifiers.Sink),
    "everything": everything,
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("of", SETS)
def test_a_soft_cap_is_that_of_dense_attention(of, name):
    index_set, (given, parameters) = SETS[of](), GIVEN[name]()
    inputs = tensors()
    out, lse = sparse_attention(*inputs, index_set, modifiers=given, return_lse=True, device="gpu")
    got = results(out, lse, [*inputs, *parameters])
    assert fc.gpu.last_route() == fc.gpu.Route("attention_backward", "gpu", "asked for")
    exact = [t.detach().double().requires_grad_() for t in inputs]
    wanted = results(*dense(*exact, torch.from_numpy(index_set.to_mask()), given), [*exact, *parameters])
    close(got, wanted, 1e-5, 1e-4)


@pytest.mark.parametrize("shape", [(N,), (H, N), (2, H, N)], ids=str)
def test_a_soft_cap_comes_before_biases_and_padding(shape):
    index_set, (given, parameters) = SETS["causal window"](), everything()
    inputs = tensors()
    keys, pairs = grad(drawn(*shape, seed=3)), grad(drawn(2 if len(shape) == 3 else 1, H, N, N, seed=4))
    padding = torch.zeros(2, N, dtype=torch.bool)
    padding[1, 40:] = True
    edges = by_edge(pairs, index_set)
    more = {"bias": keys, "edge_bias": edges if len(shape) == 3 else edges[0], "key_padding_mask": padding}
    out, lse = sparse_attention(*inputs, index_set, modifiers=given, return_lse=True, device="gpu", **more)
    got = results(out, lse, [*inputs, *parameters, keys, pairs])
    exact = [t.detach().double().requires_grad_() for t in inputs]
    bias = keys.double()[..., None, :] + pairs.double()
    mask = torch.from_numpy(index_set.to_mask())
    wanted = results(*dense(*exact, mask, given, bias, padding), [*exact, *parameters, keys, pairs])
    close(got, wanted, 1e-5, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_storage(dtype):
    index_set, (given, parameters) = SETS["causal window"](), GIVEN["sink"]()
    both = []
    for device in ("gpu", "cpu"):
        inputs = tensors(dtype=dtype)
        out, lse = sparse_attention(*inputs, index_set, modifiers=given, return_lse=True, device=device)
        both.append(results(out, lse, [*inputs, *parameters]))
    assert both[0][0].dtype == dtype
    close(*both, 2e-2, 2e-2)


def test_stacks_and_lists_and_dropout():
    window = SETS["causal window"]()
    stack = IndexSet.stack([window, window, fc.pattern("window:radius=3").index_set(N), window])
    rows = torch.randint(0, N, (2, KV, N, 9), generator=torch.Generator().manual_seed(3))
    rows[:, :, 5] = -1
    sinks = grad(drawn(H, seed=5))
    for of, given, leaves, p in (
        (stack, [modifiers.SoftCap(0.7), modifiers.Sink(sinks)], [sinks], 0.0),
        (rows, [modifiers.SoftCap(0.7)], [], 0.0),
        (window, [modifiers.SoftCap(0.7)], [], 0.4),
    ):
        both = []
        for device in ("gpu", "cpu"):
            torch.manual_seed(5)
            inputs = tensors()
            out, lse = sparse_attention(*inputs, of, modifiers=given, return_lse=True, device=device, dropout_p=p)
            both.append(results(out, lse, [*inputs, *leaves]))
        close(*both, 1e-5, 1e-4)


@pytest.mark.parametrize(("factor", "soft_cap"), [(60.0, 30.0), (1e4, 5.0), (0.03, 1e5)])
def test_extreme_scores(factor, soft_cap):
    """To ±1e4 and 1e9 they are the cap, without a gradient; under a large cap they are what they are."""
    index_set, given, mask = SETS["causal window"](), [modifiers.SoftCap(soft_cap)], None
    inputs = tensors(factor=factor)
    out, lse = sparse_attention(*inputs, index_set, modifiers=given, return_lse=True, device="gpu")
    got = results(out, lse, inputs)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    mask = torch.from_numpy(index_set.to_mask())
    wanted = results(*dense(*exact, mask, given), exact)
    assert wanted[2].abs().max() < 1e-3 if factor == 1e4 else wanted[2].abs().max() > 0
    close(got, wanted, 1e-5, 1e-4)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_what_it_is_on_the_cpu(bad):
    index_set, given = SETS["causal window"](), [modifiers.SoftCap(2.0)]
    both = []
    for device in ("gpu", "cpu"):
        inputs = [t.detach() for t in tensors()]
        inputs[0][0, 1, 20, 3] = bad
        both.append(sparse_attention(*inputs, index_set, modifiers=given, return_lse=True, device=device))
    for got, wanted in zip(*both, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)
    # The cap of an infinite score is a number.
    assert torch.isfinite(both[0][0]).all() == (not math.isnan(bad))


def test_auto_takes_a_soft_cap_along(monkeypatch):
    index_set, inputs = SETS["causal window"](), [t.detach() for t in tensors()]
    alone, (more, _) = [modifiers.SoftCap(0.7)], everything()
    sparse_attention(*inputs, index_set, modifiers=alone, device="auto")
    first = fc.gpu.last_route()
    assert first.op == "attention"
    if fc.gpu.device().kind == "software":
        assert "computes on the CPU" in first.reason
    monkeypatch.setenv("FRACTAL_CORE_BACKEND", "gpu")
    got = sparse_attention(*inputs, index_set, modifiers=alone, device="auto")
    assert fc.gpu.last_route() == fc.gpu.Route("attention", "gpu", "FRACTAL_CORE_BACKEND=gpu")
    assert torch.equal(got, sparse_attention(*inputs, index_set, modifiers=alone, device="gpu"))
    wanted = sparse_attention(*inputs, index_set, modifiers=more)
    torch.testing.assert_close(
        sparse_attention(*inputs, index_set, modifiers=more, device="auto"), wanted, rtol=0, atol=0
    )


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_graph():
    index_set, given = SETS["causal window"](), [modifiers.SoftCap(0.7)]
    inputs = tensors()

    def loss(q, k, v):
        return sparse_attention(q, k, v, index_set, modifiers=given, device="gpu").square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    got, wanted = (torch.autograd.grad(f(*inputs), inputs) for f in (compiled, loss))
    assert all(map(torch.equal, got, wanted))


def changes():
    table, slopes, sinks = (grad(drawn(*s, seed=5)) for s in ((H, 9), (H,), (H,)))
    return [modifiers.DistanceTable(table), modifiers.Alibi(slopes), modifiers.Sink(sinks)], [table, slopes, sinks]


@pytest.mark.parametrize("name", ["causal window", "with an empty row", "hilbert"])
def test_modifiers_and_stacks(name):
    index_set = SETS[name]()
    inputs, (given, parameters) = tensors(), changes()
    edges = grad(drawn(2, H, index_set.nnz, seed=6))
    stack = IndexSet.stack([index_set, index_set, fc.pattern("window:radius=3").index_set(N), index_set])
    calls = {
        "modifiers": (index_set, {"modifiers": given}, parameters),
        "biases by entry": (index_set, {"edge_bias": edges}, [edges]),
        "stack": (stack, {}, []),
    }
    for of, more, leaves in calls.values():
        both = []
        for device in ("gpu", "cpu"):
            out, lse = sparse_attention(*inputs, of, return_lse=True, device=device, **more)
            both.append(results(out, lse, [*inputs, *leaves]))
        close(*both, 2e-5, 2e-5)


def test_what_the_gpu_has_not_is_refused_by_name():
    inputs, stack = tensors(), IndexSet.stack([SETS["causal window"]()])
    with pytest.raises(InvalidArgumentError, match="index_set"):
        sparse_attention(*inputs, stack, modifiers=changes()[0], device="gpu")
    # The op alone, which was given what its kernel has no part for.
    handle = torch.from_numpy(SETS["causal window"]().handle)
    args = (*inputs, handle, None, None, None, None, 0.3, 0.0, "gpu")
    for table, sinks in ((torch.zeros(1, 3), None), (None, torch.zeros(H))):
        with pytest.raises(InvalidArgumentError, match="modifiers"):
            torch.ops.fractal_core.attention(*args, table, None, sinks, 1, 0.0)
    exact = [t.detach().double() for t in inputs]
    with pytest.raises(DTypeError, match="float32"):
        sparse_attention(*exact, SETS["causal window"](), modifiers=[modifiers.SoftCap(1.0)], device="gpu")
