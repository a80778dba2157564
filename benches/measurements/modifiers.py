"""What modifiers of scores, biases of edges and stacks of sets cost, beside the same call without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from fractal_core import IndexSet
from fractal_core.bench.case import HEADS, WIDTH
from fractal_core.bench.clock import interleaved
from fractal_core.nn import sparse_attention
from fractal_core.nn.modifiers import (
    Alibi,
    DisplacementTable,
    DistanceTable,
    Modifier,
    Sink,
    SoftCap,
    SpanRamp,
    T5Bias,
    alibi_slopes,
)
from torch import Tensor

from benches.report.results import Row
from benches.settings import Settings

__all__ = ["edge_biases", "modifiers", "sets"]

_MODIFIER = 1 / 1.25
_EDGE_FORWARD, _EDGE_BOTH = 1 / 1.3, 1 / 1.4


class _Call(NamedTuple):
    """A call, and what it has gradients for."""

    attend: Callable[[], Tensor]
    leaves: list[Tensor]


def modifiers(
    settings: Settings, *, n: int = 4096, radius: int = 64, heads: int = HEADS, width: int = WIDTH
) -> Iterator[Row]:
    """Each modifier over a window, forward and with backward."""
    side = int(n**0.5)

    def learned(*shape: int) -> Tensor:
        return torch.randn(shape).requires_grad_()

    given: dict[str, list[Modifier]] = {
        "soft-cap": [SoftCap(30.0)],
        "alibi": [Alibi(alibi_slopes(heads))],
        "table": [DistanceTable(learned(heads, 2 * radius + 1))],
        "t5": [T5Bias(learned(32, heads))],
        "span": [SpanRamp(torch.full((heads,), radius / 2).requires_grad_())],
        "displacement": [DisplacementTable(learned(heads, 13, 13), (side, n // side))],
        "sink": [Sink(learned(heads))],
    }
    window = IndexSet.from_offsets(range(-radius, radius + 1), n)
    q, k, v = (learned(1, heads, n, width) for _ in range(3))

    def call(changes: list[Modifier]) -> _Call:
        parameters = [t for change in changes for t in vars(change).values() if isinstance(t, Tensor)]
        leaves = [q, k, v, *(t for t in parameters if t.requires_grad)]
        return _Call(lambda: sparse_attention(q, k, v, window, modifiers=changes), leaves)

    calls = {"plain": call([]), **{name: call(changes) for name, changes in given.items()}}
    bars = {"forward": _MODIFIER, "forward + backward": _MODIFIER}
    for name in given:
        yield from _rows(settings, (f"modifier/{name}", f"{name}, window ±{radius}, n = {n}"), calls, name, bars)


def edge_biases(
    settings: Settings, *, n: int = 4096, radius: int = 64, full: int = 1024, heads: int = HEADS, width: int = WIDTH
) -> Iterator[Row]:
    """A bias of each edge, of a window and of a full set."""
    sets = {
        "window": (IndexSet.from_offsets(range(-radius, radius + 1), n), f"window ±{radius}, n = {n}"),
        "full": (IndexSet.from_offsets(range(1 - full, full), full), f"full set, n = {full}"),
    }
    bars = {"forward": _EDGE_FORWARD, "forward + backward": _EDGE_BOTH}
    for name, (index_set, sizes) in sets.items():
        q, k, v = (torch.randn(1, heads, index_set.n_queries, width).requires_grad_() for _ in range(3))
        bias = torch.randn(heads, index_set.nnz).requires_grad_()

        def plain(q: Tensor = q, k: Tensor = k, v: Tensor = v, index_set: IndexSet = index_set) -> Tensor:
            return sparse_attention(q, k, v, index_set)

        def biased(
            q: Tensor = q, k: Tensor = k, v: Tensor = v, index_set: IndexSet = index_set, bias: Tensor = bias
        ) -> Tensor:
            return sparse_attention(q, k, v, index_set, edge_bias=bias)

        calls = {"plain": _Call(plain, [q, k, v]), "biased": _Call(biased, [q, k, v, bias])}
        yield from _rows(settings, (f"edge-bias/{name}", f"a bias of each edge, {sizes}"), calls, "biased", bars)


def sets(settings: Settings, *, n: int = 4096, radius: int = 64, heads: int = 8, width: int = WIDTH) -> Iterator[Row]:
    """A stack of two windows over the heads, and windows within segments, beside one window for all."""
    window = IndexSet.from_offsets(range(-radius, radius + 1), n)
    causal = IndexSet.from_offsets(range(2 * radius + 1), n)
    segments = IndexSet.from_segments(range(0, n + 1, n // 8), window=radius)
    stack = IndexSet.stack([window] * (heads // 2) + [causal] * (heads // 2))
    q, k, v = (torch.randn(1, heads, n, width).requires_grad_() for _ in range(3))
    calls = {
        "plain": _Call(lambda: sparse_attention(q, k, v, window), [q, k, v]),
        "stack": _Call(lambda: sparse_attention(q, k, v, stack), [q, k, v]),
        "segments": _Call(lambda: sparse_attention(q, k, v, segments), [q, k, v]),
    }
    bars = {"forward": _MODIFIER, "forward + backward": _MODIFIER}
    what = {
        "stack": f"{heads} heads, two windows in a stack, ±{radius}, n = {n}",
        "segments": f"windows ±{radius} within 8 segments, n = {n}",
    }
    for name, words in what.items():
        yield from _rows(settings, (f"sets/{name}", words), calls, name, bars)


def _rows(
    settings: Settings, named: tuple[str, str], calls: Mapping[str, _Call], name: str, bars: Mapping[str, float]
) -> Iterator[Row]:
    """The plain call's time over that of another, forward and with backward; `named` are the row and what it is."""
    row, what = named

    def forward(call: _Call) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return call.attend()

        return run

    def training(call: _Call) -> Callable[[], object]:
        def run() -> object:
            out = call.attend()
            # Gradients as they come: adding them to those of before is no part of attention.
            return torch.autograd.grad(out, call.leaves, torch.ones_like(out))

        return run

    for direction, kind in (("forward", forward), ("forward + backward", training)):
        times = interleaved({who: kind(calls[who]) for who in ("plain", name)}, settings.count(21))
        ending = "forward" if direction == "forward" else "training"
        note = "the plain call runs in between"
        yield Row.faster(
            f"{row}-{ending}", f"{what}, {direction}", "our call without it", times, ours=name, theirs="plain",
            bar=bars[direction], note=note,
        )  # fmt: skip
