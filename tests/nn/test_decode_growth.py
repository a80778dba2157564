"""A decode step costs the rows it asks for, and a compiled one is not compiled anew for each length."""

from __future__ import annotations

import fractal_core as fc
import pytest
import torch
from fractal_core.errors import InvalidArgumentError
from fractal_core.nn import FractalAttention, KeyValueCache
from fractal_core.nn.patterns import grows_at_the_end

STREAMING = [name for name in fc.patterns.names() if grows_at_the_end(fc.pattern(name))]


@pytest.mark.parametrize("name", [*STREAMING, "dragon:radius=0", "dragon:radius=9", "julia:neighbours=3,window=0"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_last_rows_alone_are_those_of_the_whole_set(name, causal):
    pattern = fc.pattern(name)
    for n in (900, 3001, 700, 4096):
        whole, last = ((s.indptr, s.indices) for s in (pattern.index_set(m, n, causal=causal) for m in (n, 2)))
        start = whole[0][n - 2]
        assert (last[0] == whole[0][n - 2 :] - start).all()
        assert (last[1] == whole[1][start:]).all()


@pytest.mark.parametrize("name", [n for n in STREAMING if n != "julia"])
def test_a_row_of_a_billion_keys_is_built_without_the_others(name):
    # All positions would need tens of gigabytes. One beyond a power of two, since sierpinski has 2^ones keys.
    n = 2**30 + 1
    index_set = fc.pattern(name).index_set(1, n, causal=True)
    assert index_set.n_keys == n
    assert 0 < index_set.nnz < 2**20


def test_a_compiled_decode_step_is_compiled_once():
    torch.manual_seed(0)
    m, x = FractalAttention(16, 2, "window:radius=3|dragon", causal=True), torch.randn(1, 24, 16)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    step = torch.compile(lambda piece, cache: m(piece, cache=cache), backend=count)
    cache = KeyValueCache()
    with torch.no_grad():
        parts = [step(x[:, :1], cache)]
        first = len(graphs)
        parts += [step(x[:, i : i + 1], cache) for i in range(1, 24)]
        torch.testing.assert_close(torch.cat(parts, 1), m(x), rtol=0, atol=1e-5)
    assert len(graphs) == first
    assert first > 0


def test_a_symbolic_length_is_refused_in_words():
    m = FractalAttention(16, 2, "window", causal=True)
    length = torch.export.Dim("length", min=2, max=64)
    with pytest.raises(InvalidArgumentError, match="symbolic"):
        torch.export.export(m, (torch.randn(1, 8, 16),), dynamic_shapes={"x": {1: length}}, strict=False)
