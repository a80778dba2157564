"""The tutorial's four modules by their published formulas, a query at a time, as the tutorial calls them.

The formulas are written here anew from the tutorial's text. What it looks up per query in Python loops (cells, samples,
vertices) is prepared outside of the clock, in its favour; what it must compute at each call, because parameters learn,
is inside. Dense SDPA on the same queries is the measure of its claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from fractal_core import curves, sets
from fractal_core.bench.clock import SHORT, Call, interleaved
from fractal_core.bench.peers import dense
from fractal_core.nn import (
    CantorSetAttention,
    DragonCurveAttention,
    FractalConfig,
    HilbertCurveAttention,
    JuliaSetAttention,
)
from fractal_core.patterns import create
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benches.report.results import Row
from benches.settings import Settings
from benches.workers.soft_julia import torch_soft_julia

__all__ = ["originals", "published"]

OneQuery = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Output (D,) of a query (D,) at a position over keys and values (N, D)."""


def _weighted(query: Tensor, key: Tensor, value: Tensor, log_weight: Tensor | float) -> Tensor:
    scores = key @ query * query.shape[0] ** -0.5 + log_weight
    return scores.softmax(0) @ value


def published(n: int, config: FractalConfig) -> dict[str, OneQuery]:
    """Each module's formula over n keys."""
    order = config.hilbert_order
    cells = torch.from_numpy(curves.hilbert_decode(np.arange(n), order).astype(np.int64))
    square = create("hilbert", window=config.hilbert_window_size).index_set(n)
    near = [
        torch.from_numpy(square.indices[a:b].astype(np.int64))
        for a, b in zip(square.indptr, square.indptr[1:], strict=False)
    ]
    spread = np.unique((sets.cantor_points(config.cantor_depth) * (n - 1)).astype(np.int64))
    samples = torch.from_numpy(spread)
    ends = [
        curves.dragon_vertices(2**i + 1)[np.arange(n) * 2**i // max(n - 1, 1)]
        for i in range(1, config.dragon_iterations + 1)
    ]
    dragon = torch.stack([torch.from_numpy(np.exp(-np.abs(v - v[-1]).sum(1) / n)).float() for v in ends])
    logits = torch.zeros(len(ends))
    axis = torch.linspace(-1.5, 1.5, n)
    c, radius = config.julia_c, config.julia_escape_radius
    julia = tuple(torch.tensor(x) for x in (c.real, c.imag, radius, 2.0))

    def by_hilbert(query: Tensor, key: Tensor, value: Tensor, at: int) -> Tensor:
        keys = near[at]
        distance = (cells[keys] - cells[at]).abs().sum(1)
        return _weighted(query, key[keys], value[keys], -0.1 * distance)

    def by_cantor(query: Tensor, key: Tensor, value: Tensor, _at: int) -> Tensor:
        return _weighted(query, key[samples], value[samples], 0.0)

    def by_dragon(query: Tensor, key: Tensor, value: Tensor, _at: int) -> Tensor:
        return _weighted(query, key, value, (logits.softmax(0) @ dragon).clamp(min=1e-6).log())

    def by_julia(query: Tensor, key: Tensor, value: Tensor, _at: int) -> Tensor:
        field = torch_soft_julia((axis, torch.zeros_like(axis), *julia), config.julia_iterations)
        return _weighted(query, key, value, field / config.julia_iterations)

    return {"hilbert": by_hilbert, "cantor": by_cantor, "dragon": by_dragon, "julia": by_julia}


def originals(settings: Settings, *, n: int = 4096, queries: int = 16, width: int = 64) -> Iterator[Row]:
    """Ours under the tutorial's names, and dense SDPA, against the tutorial's formulas."""
    config = FractalConfig()
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, m, width) for m in (queries, n, n))
    positions = torch.linspace(0, n - 1, queries).long()
    layers = {
        "hilbert": HilbertCurveAttention(config),
        "cantor": CantorSetAttention(config),
        "dragon": DragonCurveAttention(config),
        "julia": JuliaSetAttention(config),
    }
    extra: dict[str, tuple[object, ...]] = {"hilbert": (positions[None],), "cantor": (0.5,)}
    for kind, formula in published(n, config).items():

        def theirs(formula: OneQuery = formula) -> Tensor:
            return torch.stack([formula(q[0, i], k[0], v[0], int(at)) for i, at in enumerate(positions)])

        def ours(kind: str = kind) -> Tensor:
            return layers[kind](q, k, v, *extra.get(kind, ()))

        calls: dict[str, Call] = {
            "ours": _no_grad(ours),
            "formula": _no_grad(theirs),
            "dense": _no_grad(lambda: dense(q[:, None], k[:, None], v[:, None])),
        }
        times = interleaved(calls, settings.count(5))
        what = f"{type(layers[kind]).__name__}, {queries} queries over {n} keys"
        yield Row.faster(f"tutorial/{kind}", what, "the tutorial's formula", times, theirs="formula")
        what = f"the tutorial's formula of {type(layers[kind]).__name__}, {queries} queries over {n} keys"
        yield Row.faster(f"tutorial/{kind}-dense", what, "SDPA dense", times, ours="formula", theirs="dense")
    for kind, layer in layers.items():
        if isinstance(layer, (DragonCurveAttention, JuliaSetAttention)):
            yield from _with_bias(settings, kind, layer, (q, k, v))


def _with_bias(
    settings: Settings, kind: str, layer: DragonCurveAttention | JuliaSetAttention, qkv: tuple[Tensor, Tensor, Tensor]
) -> Iterator[Row]:
    """A module that keeps its log-bias against SDPA that is given it, and what making it costs."""
    q, k, v = qkv
    n = k.shape[1]
    bias = layer.log_bias(n).detach().expand(q.shape[1], n)
    calls: dict[str, Call] = {
        "ours": _no_grad(lambda: layer(q, k, v)),
        "dense": _no_grad(lambda: scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=bias)),
        "bias": _no_grad(lambda: layer.log_bias(n)),
    }
    times = interleaved(calls, settings.count(9), least=SHORT)
    what, peer = f"{type(layer).__name__}, {q.shape[1]} queries over {n} keys", "SDPA with the same bias, ready"
    yield Row.faster(f"tutorial/{kind}-ready", what, peer, times, theirs="dense", bar=1 / 1.2)
    what = f"the log-bias of {type(layer).__name__} for {n} keys, made when its parameters change"
    yield Row.faster(f"tutorial/{kind}-bias", what, peer, times, ours="bias", theirs="dense")


def _no_grad(call: Callable[[], Tensor]) -> Call:
    def without() -> Tensor:
        with torch.no_grad():
            return call()

    return without
