"""What calls have much of, by op, and small calls that are timed on either device to learn what that costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fractal_core import _native
from fractal_core._calls import Attention, Gradients, Saved

__all__ = ["OPS", "Op", "attention_features", "codec_features", "field_features", "measure"]

_C = complex(-0.8, 0.156)
_RADIUS, _SMOOTHNESS = 2.0, 2.0
_HEAD_DIM = 64


def field_features(points: int, max_iter: int, *, gradients: bool = False) -> dict[str, float]:
    """Of an escape field: steps of orbits, and bytes of complex64 points and float32 values."""
    return {"steps": float(points) * max_iter, "bytes": points * (24.0 if gradients else 12.0)}


def codec_features(points: int, ndim: int, order: int) -> dict[str, float]:
    """Of a codec: levels of the curve, and bytes of uint32 coordinates and uint64 codes."""
    return {"levels": float(points) * order, "bytes": points * (4.0 * ndim + 8.0)}


def attention_features(  # noqa: PLR0917
    batch: int,
    heads: int,
    kv_heads: int,
    sizes: tuple[int, int],
    width: int,
    plan: tuple[float, float],
    itemsize: int = 4,
) -> dict[str, float]:
    """Of attention: multiply-adds in tiles and in rows, and bytes of q, k, v and the output.

    Args:
        batch: B.
        heads: H.
        kv_heads: Hkv.
        sizes: Nq and Nk.
        width: D and Dv together.
        plan: Lanes of tiles and edges of rows, of a head.
        itemsize: Bytes of a value.
    """
    lanes, rows = plan
    each = float(batch) * heads * width
    moved = (batch * heads * sizes[0] + batch * kv_heads * sizes[1]) * width * itemsize
    return {"tiles": lanes * each, "rows": rows * each, "bytes": float(moved)}


@dataclass(frozen=True)
class Op:
    """An op that runs on either device.

    Attributes:
        sizes: Of the calls that are timed, small ones first.
        features: Of a call of a size.
        make: A call of a size on a device, ready to be run.
    """

    sizes: Sequence[tuple[int, ...]]
    features: Callable[..., dict[str, float]]
    make: Callable[[str, tuple[int, ...]], Callable[[], object]]


def measure(op: str, device: str, size: tuple[int, ...], *, seconds: float = 0.008) -> float:
    """The least time of a call, in seconds, of some after a first one that is not counted."""
    call = OPS[op].make(device, size)
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best


def _points(n: int) -> Any:  # noqa: ANN401
    angles = np.linspace(0.0, 40.0, n)
    return (1.6 * np.linspace(0.0, 1.0, n) * np.exp(1j * angles)).astype(np.complex64)


def _escape(c: complex | None) -> Callable[[str, tuple[int, ...]], Callable[[], object]]:
    """Of the Julia set of c, or of the Mandelbrot set where there is none."""

    def make(device: str, size: tuple[int, ...]) -> Callable[[], object]:
        n, max_iter = size
        points = _points(n)
        if device == "gpu":
            return lambda: _native.gpu_escape(points, c, max_iter, 16.0, True)
        if c is None:
            return lambda: _native.mandelbrot_escape(points, max_iter, 16.0, True)
        return partial(_native.julia_escape, points, c, max_iter, 16.0, True)

    return make


def _soft(device: str, size: tuple[int, ...]) -> Callable[[], object]:
    n, max_iter = size
    points = _points(n)
    native: Callable[..., object] = _native.gpu_soft_escape if device == "gpu" else _native.julia_soft_escape
    return lambda: native(points, _C, max_iter, _RADIUS, _SMOOTHNESS)


def _soft_vjp(device: str, size: tuple[int, ...]) -> Callable[[], object]:
    n, max_iter = size
    points, grad = _points(n), np.ones(n, np.float32)
    native: Callable[..., object] = _native.gpu_soft_escape_vjp if device == "gpu" else _native.julia_soft_escape_vjp
    return lambda: native(grad, points, _C, max_iter, _RADIUS, _SMOOTHNESS)


def _codec(curve: str, *, encode: bool) -> Callable[[str, tuple[int, ...]], Callable[[], object]]:
    def make(device: str, size: tuple[int, ...]) -> Callable[[], object]:
        n, ndim, order = size
        rng = np.random.default_rng(0)
        coords = rng.integers(0, 1 << order, (n, ndim), dtype=np.uint32)
        codes = np.empty(n, np.uint64)
        forward: Callable[..., object] = getattr(_native, f"{curve}_encode")
        backward: Callable[..., object] = getattr(_native, f"{curve}_decode")
        forward(coords, order, codes)
        if encode:
            if device == "gpu":
                return lambda: _native.gpu_encode(curve, coords, ndim, order)
            return lambda: forward(coords, order, codes)
        if device == "gpu":
            return lambda: _native.gpu_decode(curve, codes, ndim, order)
        return lambda: backward(codes, order, ndim, coords)

    return make


@dataclass(frozen=True)
class _Held:
    """A call over a set, which it keeps alive: the call itself has only its key."""

    index_set: _native.IndexSet
    call: Callable[[], object]

    def __call__(self) -> object:
        return self.call()


def _attention(*, gradients: bool) -> Callable[[str, tuple[int, ...]], Callable[[], object]]:
    def make(device: str, size: tuple[int, ...]) -> Callable[[], object]:
        n, keys, rows = size
        index_set = _probe_set(n, keys, rows=bool(rows))
        q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, n, _HEAD_DIM), dtype=np.float32)
        call = Attention(q, k, v, int(index_set.handle[0]), "f32", _HEAD_DIM**-0.5, device=device)
        out, (lse, rest) = np.empty_like(q), np.empty((2, 1, 1, n), np.float32)
        if not gradients:
            return _Held(index_set, lambda: _native.attention_forward(call, out, lse, rest))
        _native.attention_forward(call, out, lse, rest)
        saved, into = Saved(out, lse, rest, q), Gradients(np.empty_like(q), np.empty_like(q), np.empty_like(q))
        return _Held(index_set, lambda: _native.attention_backward(call, saved, into))

    return make


def _probe_set(n: int, keys: int, *, rows: bool) -> _native.IndexSet:
    """A causal window, which runs in tiles, or random lists, which run as rows."""
    return _native.random_set(n, n, False, keys, 1) if rows else _native.window_set(n, n, True, keys)


def _attention_probe(n: int, keys: int, rows: int) -> dict[str, float]:
    counts = _probe_set(n, keys, rows=bool(rows)).plan_report()
    plan = (float(counts["tile_lanes"]), float(counts["row_edges"]))
    return attention_features(1, 1, 1, (n, n), 2 * _HEAD_DIM, plan)


_FIELDS = ((1 << 10, 16), (1 << 14, 16), (1 << 14, 64), (1 << 17, 16), (1 << 17, 64))
_CODES = ((1 << 10, 2, 10), (1 << 14, 2, 10), (1 << 14, 2, 16), (1 << 18, 2, 10), (1 << 18, 3, 16))
_SETS = ((256, 16, 0), (1024, 64, 0), (4096, 16, 0), (4096, 64, 0), (1024, 16, 1), (2048, 32, 1))


def _vjp_features(points: int, max_iter: int) -> dict[str, float]:
    return field_features(points, max_iter, gradients=True)


OPS: Mapping[str, Op] = {
    "julia_escape": Op(_FIELDS, field_features, _escape(_C)),
    "mandelbrot_escape": Op(_FIELDS, field_features, _escape(None)),
    "julia_soft_escape": Op(_FIELDS, field_features, _soft),
    "julia_soft_escape_vjp": Op(_FIELDS, _vjp_features, _soft_vjp),
    "hilbert_encode": Op(_CODES, codec_features, _codec("hilbert", encode=True)),
    "hilbert_decode": Op(_CODES, codec_features, _codec("hilbert", encode=False)),
    "morton_encode": Op(_CODES, codec_features, _codec("morton", encode=True)),
    "morton_decode": Op(_CODES, codec_features, _codec("morton", encode=False)),
    "attention": Op(_SETS, _attention_probe, _attention(gradients=False)),
    "attention_backward": Op(_SETS, _attention_probe, _attention(gradients=True)),
}
"""What `device="auto"` chooses a device for."""
