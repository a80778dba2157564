"""Dense attention with torch's signature against torch's own: a training step, by length.

Our kernel runs at every length, also where `fc.nn.scaled_dot_product_attention` would call torch's, so that the rule it
goes by (fractal_core/nn/_dense_rule.py) can be read off these rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from fractal_core.bench.clock import SHORT, Call, Times, interleaved
from fractal_core.nn import dense_attention, scaled_dot_product_attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as torchs

from benches.machine import processor
from benches.measurements.attention import Peak
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["dense"]

_BARS = {torch.float32: 1.3, torch.bfloat16: 1.1}


def dense(
    settings: Settings,
    *,
    lengths: Sequence[int] = (256, 512, 1024, 2048, 4096, 8192),
    widths: Sequence[int] = (64, 128),
    first: int = 512,
) -> Iterator[Row]:
    """Full, causal and with shared key heads; the value is the lowest ratio from the length `first` on."""
    for kind in ("full", "causal", "grouped"):
        for dtype in _BARS:
            for width in widths:
                yield _row(_scan(settings, kind, dtype, width, lengths), kind, dtype, width, first)


class _Found(NamedTuple):
    """The times of a length."""

    times: Times
    flops: float

    @property
    def ratio(self) -> float:
        return self.times.ratio("ours", "theirs").value


def _scan(settings: Settings, kind: str, dtype: torch.dtype, width: int, lengths: Sequence[int]) -> dict[int, _Found]:
    """Fewer heads at more tokens, so that a call takes seconds at most."""
    found: dict[int, _Found] = {}
    for n in lengths:
        heads = max(1, min(4, 4096 // n)) if kind != "grouped" else 4
        if heads * n > 8192:
            continue
        ours, theirs = _calls(kind, dtype, width, n, heads)
        times = interleaved({"ours": ours, "theirs": theirs, "peak": Peak()}, settings.count(3), least=SHORT)
        flops = 3.5 * 4 * width * heads * n * n * (0.5 if kind == "causal" else 1.0)
        found[n] = _Found(times, flops)
    return found


def _row(scan: dict[int, _Found], kind: str, dtype: torch.dtype, width: int, first: int) -> Row:
    """The lowest ratio of a scan, with the others beside it."""
    name = str(dtype).removeprefix("torch.")
    lowest = min((n for n in scan if n >= first), key=lambda n: scan[n].ratio)
    times, flops = scan[lowest]
    shown = ", ".join(f"{n}: {found.ratio:.2f}" for n, found in scan.items())
    share = Peak().share(times, "ours", flops).value
    return Row.faster(
        f"dense/{kind}-{name}-{width}",
        f"{kind} attention, {name}, D = {width}, lowest of n = {first} to {max(scan)}: {lowest}, forward + backward",
        "SDPA",
        times,
        theirs="theirs",
        bar=_BARS[dtype],
        limit=Peak().limit(times.median("theirs"), times, flops),
        note=f"times as fast at n: {shown}; {share:.2f} of the FMA peak at {lowest}; {processor()}, {_dots()}",
    )


def _calls(kind: str, dtype: torch.dtype, width: int, n: int, heads: int) -> tuple[Call, Call]:
    """A training step of ours and of torch's on one problem of batch 1."""
    generator = torch.Generator().manual_seed(0)

    def drawn(heads: int) -> Tensor:
        return torch.randn(1, heads, n, width, generator=generator).to(dtype)

    causal, grouped = kind == "causal", kind == "grouped"
    shared = 1 if grouped else heads
    q, k, v = (drawn(h).requires_grad_() for h in (heads, shared, shared))
    grad = drawn(heads)

    def ours() -> object:
        with dense_attention(always=True):
            out = scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped)
        return torch.autograd.grad(out, (q, k, v), grad)

    def theirs() -> object:
        return torch.autograd.grad(torchs(q, k, v, is_causal=causal, enable_gqa=grouped), (q, k, v), grad)

    return ours, theirs


def _dots() -> str:
    """Whether the processor multiplies bfloat16."""
    capable = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "with bfloat16 dot products" if capable is not None and capable() else "without bfloat16 dot products"
