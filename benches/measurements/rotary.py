"""Rotary embedding of queries and keys, beside a copy of them and beside the peers' functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from fractal_core.bench.clock import interleaved
from fractal_core.bench.peers import PeerError
from fractal_core.nn import RotaryEmbedding
from torch import Tensor

from benches.peers import rotary as peers
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["rotary"]

_Rotate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_BARS = {
    "interleaved-forward": 3.0,
    "interleaved-training": 3.0,
    "half-forward": 1.0,
    "half-training": 1.0,
}


def rotary(settings: Settings, *, batch: int = 4, heads: int = 8, n: int = 512, width: int = 64) -> Iterator[Row]:
    """Both layouts against the package that has each, forward and with backward."""
    q, k = (torch.randn(batch, heads, n, width).requires_grad_() for _ in range(2))
    sizes = f"q and k of {batch} × {heads} × {n} × {width}, float32"
    peer_of: dict[str, tuple[str, Callable[[], _Rotate]]] = {
        "interleaved": ("rotary-embedding-torch", lambda: peers.rotary_embedding_torch(width)),
        "half": ("transformers", lambda: peers.transformers(n, width)),
    }
    for layout, (name, make) in peer_of.items():
        for way in ("forward", "training"):
            direction = "forward" if way == "forward" else "forward + backward"
            key = f"{layout}-{way}"
            row = Row(f"rotary/{key}", f"rotary embedding, {layout} pairs, {sizes}, {direction}", name, bar=_BARS[key])
            try:
                calls = {"ours": RotaryEmbedding(width, layout=layout), "theirs": make()}
            except PeerError as error:
                yield replace(row, note=str(error))
                continue
            run = _forward if way == "forward" else _training
            times = interleaved({who: run(call, q, k) for who, call in calls.items()}, settings.count(41))
            note = "positions from 0 on; each keeps or is given its cosines and sines; the other one runs in between"
            yield Row.faster(row.name, row.what, name, times, theirs="theirs", bar=row.bar, note=note)
    yield _copy(settings, q, k, f"rotary embedding, interleaved pairs, {sizes}, forward")


def _copy(settings: Settings, q: Tensor, k: Tensor, what: str) -> Row:
    """Against a copy of both, which is what memory allows."""
    ours = RotaryEmbedding(q.shape[-1])
    calls = {"ours": _forward(ours, q, k), "copy": _forward(lambda q, k: (q.clone(), k.clone()), q, k)}
    times = interleaved(calls, settings.count(41))
    return Row.faster("rotary/copy", what, "a copy of both", times, theirs="copy", limit=1.0)


def _forward(rotate: _Rotate, q: Tensor, k: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return rotate(q, k)

    return run


def _training(rotate: _Rotate, q: Tensor, k: Tensor) -> Callable[[], object]:
    def run() -> object:
        turned = rotate(q, k)
        return torch.autograd.grad(turned, (q, k), tuple(torch.ones_like(t) for t in turned))

    return run
