"""Attention of torch's CPU tensors on the GPU: values and gradients against float64 on the CPU."""

from __future__ import annotations

import fractal_core as fc
import numpy as np
import pytest
from fractal_core.errors import DTypeError, GpuError, InvalidArgumentError
from fractal_core.index_sets import IndexSet

torch = pytest.importorskip("torch")
sparse_attention = fc.nn.sparse_attention

N = 70


def segments() -> IndexSet:
    """Two documents, the second one causal, and a query without a key."""
    keep = np.zeros((N, N), bool)
    keep[:30, :30] = True
    keep[30:, 30:] = np.tri(N - 30, dtype=bool)
    keep[11] = False
    return IndexSet.from_mask(keep)


SETS = {
    "window": lambda: fc.pattern("window:radius=9").index_set(N, N, causal=True),
    "cantor": lambda: fc.pattern("cantor:base=3").index_set(N, N, causal=False),
    "hilbert": lambda: fc.pattern("hilbert").index_set(64, 64, causal=False),
    "random": lambda: fc.pattern("random:k=12").index_set(N, N, causal=False),
    "segments": segments,
    "union": lambda: fc.pattern("window:radius=4|cantor:base=4").index_set(N, N, causal=True),
}


def tensors(n: int, *, heads=4, kv_heads=2, d=12, dv=20, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, heads, n, d), (2, kv_heads, n, d), (2, kv_heads, n, dv))
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def both(index_set, *, inputs, device="gpu", weights=None, **rest):
    """Output, log-sum-exp and gradients of everything that has one."""
    out, lse = sparse_attention(*inputs, index_set, return_lse=True, device=device, **rest)
    leaves = [*inputs, *(t for t in rest.values() if isinstance(t, torch.Tensor) and t.requires_grad)]
    generator = torch.Generator().manual_seed(1)
    to_out = torch.randn(out.shape, generator=generator).to(out.dtype)
    to_lse = torch.randn(lse.shape, generator=generator).to(lse.dtype)
    finite = torch.isfinite(lse)
    loss = (out * to_out).sum() + (lse[finite] * to_lse[finite]).sum()
    return out.detach(), lse.detach(), *torch.autograd.grad(loss, leaves)


def close(got, wanted, relative):
    for a, b in zip(got, wanted, strict=True):
        finite = torch.isfinite(b)
        assert torch.equal(torch.isfinite(a), finite)
        difference, size = (a[finite].double() - b[finite].double()).abs().max(), b[finite].abs().max()
        assert difference <= relative * size.clamp_min(1.0)


@pytest.mark.parametrize("name", SETS)
def test_both_passes_agree_with_float64(name):
    index_set = SETS[name]()
    inputs = tensors(index_set.n_queries)
    wanted = both(index_set, inputs=[t.detach().double().requires_grad_() for t in inputs], device="cpu")
    got = both(index_set, inputs=inputs)
    close(got[:2], wanted[:2], 1e-5)
    close(got[2:], wanted[2:], 1e-4)
    assert fc.gpu.last_route() == fc.gpu.Route("attention_backward", "gpu", "asked for")
    assert all(map(torch.equal, got, both(index_set, inputs=inputs))), "the same bits from run to run"


@pytest.mark.parametrize("bias", ["one", "of heads", "of batches"])
def test_biases_and_padding(bias):
    index_set = SETS["union"]()
    shape = {"one": (N,), "of heads": (4, N), "of batches": (2, 4, N)}[bias]
    inputs = tensors(N)
    padding = torch.zeros(2, N, dtype=torch.bool)
    padding[1, 40:] = True
    rest = {
        "bias": torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape).requires_grad_(),
        "edge_bias": torch.linspace(-2, 2, 4 * index_set.nnz).reshape(4, -1).requires_grad_(),
        "key_padding_mask": padding,
    }
    exact = {k: v.detach().double().requires_grad_() if v.is_floating_point() else v for k, v in rest.items()}
    wanted = both(index_set, inputs=[t.detach().double().requires_grad_() for t in inputs], device="cpu", **exact)
    got = both(index_set, inputs=inputs, **rest)
    close(got[:2], wanted[:2], 1e-5)
    close(got[2:], wanted[2:], 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_storage(dtype):
    index_set = SETS["union"]()
    inputs = tensors(N, dtype=dtype)
    close(both(index_set, inputs=inputs), both(index_set, inputs=inputs, device="cpu"), 2e-2)


def test_the_same_edges_are_dropped():
    index_set = SETS["random"]()
    inputs = tensors(N)
    results = []
    for device in ("cpu", "gpu"):
        torch.manual_seed(5)
        results.append(both(index_set, inputs=inputs, device=device, dropout_p=0.4))
    close(results[1], results[0], 1e-4)
    torch.manual_seed(6)
    assert not torch.allclose(both(index_set, inputs=inputs, dropout_p=0.4)[0], results[1][0], atol=1e-2)


def test_lists_of_keys():
    rows = torch.randint(0, N, (2, 2, N, 9), generator=torch.Generator().manual_seed(3))
    rows[:, :, 5] = -1
    rows[0, 1, 8, 4:] = -1
    inputs = tensors(N)
    close(both(rows, inputs=inputs), both(rows, inputs=inputs, device="cpu"), 1e-5)


def test_one_query_over_many_keys():
    index_set = SETS["union"]()
    q, k, v = (t.detach() for t in tensors(N))
    whole = sparse_attention(q, k, v, index_set)
    one = sparse_attention(q[:, :, -1:], k, v, index_set, device="gpu")
    torch.testing.assert_close(one, whole[:, :, -1:], rtol=1e-5, atol=1e-5)


def test_strided_inputs_and_sizes_of_one():
    index_set = SETS["window"]()
    q, k, v = (t.detach().transpose(1, 2).contiguous().transpose(1, 2) for t in tensors(N, d=1, dv=3))
    out = sparse_attention(q, k, v, index_set, device="gpu")
    torch.testing.assert_close(out, sparse_attention(q, k, v, index_set), rtol=1e-5, atol=1e-5)


def test_double_precision_is_the_cpus():
    index_set = SETS["window"]()
    inputs = tensors(N, dtype=torch.float64)
    with pytest.raises(DTypeError, match="float32"):
        sparse_attention(*inputs, index_set, device="gpu")
    wanted = sparse_attention(*inputs, index_set)
    torch.testing.assert_close(sparse_attention(*inputs, index_set, device="auto"), wanted, rtol=0, atol=0)
    assert "float64" in fc.gpu.last_route().reason


def test_an_unknown_device_is_refused():
    inputs = tensors(N)
    for device in ("cuda", 0, None, "GPU"):
        with pytest.raises(InvalidArgumentError, match="device"):
            sparse_attention(*inputs, SETS["window"](), device=device)


def test_layers_take_a_device():
    torch.manual_seed(0)
    on_cpu = fc.nn.FractalAttention(32, 4, "window:radius=5", num_kv_heads=2, causal=True)
    on_gpu = fc.nn.FractalAttention(32, 4, "window:radius=5", num_kv_heads=2, causal=True, device="gpu")
    on_gpu.load_state_dict(on_cpu.state_dict())
    assert "device='gpu'" in repr(on_gpu)
    assert "device" not in repr(on_cpu)
    x = torch.randn(2, 40, 32)
    torch.testing.assert_close(on_gpu(x), on_cpu(x), rtol=1e-5, atol=1e-5)
    caches = [fc.nn.KeyValueCache(), fc.nn.KeyValueCache()]
    for step in range(3):
        a, b = (layer(x[:, step : step + 1], cache=c) for layer, c in zip((on_gpu, on_cpu), caches, strict=True))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    with pytest.raises(InvalidArgumentError, match="device"):
        fc.nn.FractalAttention(32, 4, "window", device="tpu")


def test_neighbourhoods():
    q, k, v = (torch.randn(1, 9, 8, 2, 16) for _ in range(3))
    got = fc.nn.na2d(q, k, v, 5, device="gpu")
    torch.testing.assert_close(got, fc.nn.na2d(q, k, v, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_op_and_a_compiled_graph():
    index_set = SETS["union"]()
    q, k, v = tensors(N)
    handle = torch.from_numpy(index_set.handle)
    args = (q, k, v, handle, None, None, None, None, 0.3, 0.0, "gpu")
    torch.library.opcheck(torch.ops.fractal_core.attention.default, args)

    def loss(q, k, v):
        return sparse_attention(q, k, v, index_set, device="gpu").square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    wanted = torch.autograd.grad(loss(q, k, v), (q, k, v))
    got = torch.autograd.grad(compiled(q, k, v), (q, k, v))
    assert all(map(torch.equal, got, wanted))


def test_transforms_of_functions():
    index_set = SETS["window"]()
    q, k, v = (t.detach() for t in tensors(N))

    def loss(q, device):
        return sparse_attention(q, k, v, index_set, device=device).square().sum()

    close([torch.func.grad(loss)(q, "gpu")], [torch.func.grad(loss)(q, "cpu")], 1e-4)


def test_auto_leaves_a_software_adapter_alone():
    if fc.gpu.device().kind != "software":
        pytest.skip("a real GPU is measured in tests/gpu/test_routing.py")
    inputs = tensors(N)
    sparse_attention(*inputs, SETS["window"](), device="auto")
    route = fc.gpu.last_route()
    assert (route.device, route.seconds) == ("cpu", None)
    assert "computes on the CPU" in route.reason


def test_a_lost_device_is_opened_once_more():
    inputs = [t.detach() for t in tensors(N)]
    index_set = SETS["union"]()
    wanted = sparse_attention(*inputs, index_set, device="gpu")
    fc.gpu.reset()
    assert torch.equal(sparse_attention(*inputs, index_set, device="gpu"), wanted)


def test_nothing_falls_back_in_silence(monkeypatch):
    inputs = [t.detach() for t in tensors(N)]
    fc.gpu.set_options(adapter="no such GPU")
    with pytest.raises(GpuError, match="no such GPU"):
        sparse_attention(*inputs, SETS["window"](), device="gpu")
    fc.gpu.set_options(require=True)
    with pytest.raises(GpuError, match="no such GPU"):
        sparse_attention(*inputs, SETS["window"](), device="auto")


def test_sizes_of_0():
    q, k, v = tensors(N)
    out, lse = sparse_attention(q, k[:, :, :0], v[:, :, :0], IndexSet.from_runs([0] * (N + 1), [], [], 0),
                                return_lse=True, device="gpu")  # fmt: skip
    assert not out.any()
    assert (lse == -torch.inf).all()
