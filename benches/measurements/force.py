"""Force attention over neighbours, against gathering them in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from fractal_core.bench.clock import interleaved
from fractal_core.index_sets import IndexSet
from fractal_core.nn import force_attention
from torch import Tensor

from benches.measurements.attention import random_keys
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["force", "gathered"]

_PEER = "torch, neighbours gathered"
_FORWARD, _BOTH = 4.0, 4.0


def gathered(e: Tensor, r: Tensor, v: Tensor, directions: Tensor, keys: Tensor) -> Tensor:
    """The same by gathers, with the identity that keeps unit vectors out of memory.

    Args:
        e: (1, 1, N, C).
        r: (1, 1, N, C).
        v: (1, H, N, D).
        directions: (H, C).
        keys: (N, K) int64.

    Returns:
        (1, H, N, D).
    """
    near = r[0, 0, keys]
    distance: Tensor = (e[0, 0, :, None] - near).square().sum(-1).sqrt()
    shifts = (e[0, 0] @ directions.T)[:, None] - (r[0, 0] @ directions.T)[keys]
    scores = shifts * (torch.exp(-distance / e.shape[3] ** 0.5) / (distance + 1e-6))[..., None]
    of_heads = v[0].transpose(0, 1)[keys]
    return torch.einsum("nkh,nkhd->hnd", scores.softmax(1), of_heads)[None]


def force(
    settings: Settings, *, n: int = 4096, k: int = 32, width: int = 64, heads: int = 8, sizes: tuple[int, ...] = (8, 64)
) -> Iterator[Row]:
    """Random neighbours, the worst case for both, forward and with backward; `sizes` are those of a head's values."""
    index_set = random_keys(n, k)
    keys = torch.from_numpy(index_set.to_padded()).long()
    for size in sizes:
        points = [torch.randn(1, 1, n, width).requires_grad_() for _ in range(2)]
        leaves = [*points, torch.randn(1, heads, n, size).requires_grad_(), torch.randn(heads, width).requires_grad_()]
        calls: dict[str, Callable[[], Tensor]] = {"ours": _ours(leaves, index_set), "gathered": _theirs(leaves, keys)}
        torch.testing.assert_close(*(call() for call in calls.values()), rtol=1e-4, atol=1e-4)
        what = f"forces over {k} random neighbours, {width} coordinates, {heads} heads of {size}, n = {n}"
        for direction, bar in (("forward", _FORWARD), ("forward + backward", _BOTH)):
            runs = {name: _run(call, leaves if direction != "forward" else []) for name, call in calls.items()}
            times = interleaved(runs, settings.count(11))
            name = f"force/{size}-{direction.replace(' + ', '-')}"
            note = "both run in turn"
            yield Row.faster(name, f"{what}, {direction}", _PEER, times, theirs="gathered", bar=bar, note=note)


def _ours(leaves: list[Tensor], index_set: IndexSet) -> Callable[[], Tensor]:
    e, r, v, directions = leaves
    return lambda: force_attention(e, r, v, directions, index_set)


def _theirs(leaves: list[Tensor], keys: Tensor) -> Callable[[], Tensor]:
    e, r, v, directions = leaves
    return lambda: gathered(e, r, v, directions, keys)


def _run(call: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], object]:
    """The call, with gradients where there are leaves."""

    def run() -> object:
        if not leaves:
            with torch.no_grad():
                return call()
        out = call()
        return torch.autograd.grad(out, leaves, torch.ones_like(out))

    return run
