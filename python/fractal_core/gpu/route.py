"""Where a call with `device="gpu"` or `device="auto"` runs, and why."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from fractal_core import _native
from fractal_core._arguments import integer
from fractal_core._locks import ForkSafeLock
from fractal_core.errors import GpuError, GpuUnavailableError, InvalidArgumentError
from fractal_core.gpu import probes, store
from fractal_core.gpu.costs import Features
from fractal_core.gpu.device import Adapter, adapters
from fractal_core.gpu.extension import built, need
from fractal_core.gpu.options import options
from fractal_core.gpu.router import Router

__all__ = ["CHOICES", "Route", "checked", "explain_route", "last_route", "run"]

CHOICES = ("cpu", "gpu", "auto")
"""What `device=` may be."""

_log = logging.getLogger("fractal_core.gpu")
_lock = ForkSafeLock()
_routers: dict[str, Router] = {}
_last: Route | None = None

R = TypeVar("R")


class Route(NamedTuple):
    """Where a call ran, or would run."""

    op: str
    device: str
    """"cpu" or "gpu"."""
    reason: str
    seconds: dict[str, float] | None = None
    """What the call was expected to take on each device, where that decided."""


def checked(device: object) -> str:
    """`device` if it is one of the choices.

    Raises:
        InvalidArgumentError: Another name.
    """
    if not isinstance(device, str) or device not in CHOICES:
        raise InvalidArgumentError("device", repr(device), '"cpu", "gpu" or "auto"')
    return device


def run(
    op: str,
    device: str,
    features: Callable[[], Features],
    *,
    cpu: Callable[[], R],
    gpu: Callable[[], R],
    refused: str | None = None,
) -> R:
    """Runs a call where `device` says; `last_route()` then tells where that was.

    Args:
        op: A key of `probes.OPS`.
        device: One of `CHOICES`.
        features: What the call has much of; asked for where that decides.
        cpu: The call on the CPU.
        gpu: The call on the GPU. It must leave nothing half done where it raises.
        refused: Why the GPU cannot do this call, or None.

    Raises:
        GpuError: With "gpu", what the GPU refuses; with "auto" it is logged, and the CPU does the call, unless
            `FRACTAL_CORE_REQUIRE_GPU` is set.
    """
    if device == "cpu":
        return cpu()
    if device == "gpu":
        need()
        result = gpu()
        _record(Route(op, "gpu", "asked for"))
        return result
    route = _decide(op, features, refused)
    if route.device == "gpu":
        try:
            result = gpu()
        except GpuError as error:
            if options().require:
                raise
            route = Route(op, "cpu", f"the GPU failed: {error}", route.seconds)
            _log.warning("%s runs on the CPU: %s", op, route.reason)
        else:
            _record(route)
            return result
    _record(route)
    return cpu()


def last_route() -> Route | None:
    """Where the last call with `device="gpu"` or `"auto"` ran, and why; None before the first one."""
    return _last


def explain_route(op: str, shape: Sequence[int], **sizes: int) -> Route:
    """Where `device="auto"` would run a call, and why. Measures the op if that has not been done on this machine.

    Args:
        op: "julia_escape", "mandelbrot_escape", "julia_soft_escape" or "julia_soft_escape_vjp", with `max_iter`;
            "hilbert_encode", "hilbert_decode", "morton_encode" or "morton_decode", with `order`; "attention" or
            "attention_backward", with `keys`.
        shape: Of the points of a field; of the coordinates of a codec, (..., ndim); of q, (B, H, N, D).
        sizes: `max_iter`, 64 if not given; `order`, 16; `keys`, how many a query has within tiles (a window has such
            ones), 64, or `row_keys`, how many stand alone (random ones do), 0.

    Returns:
        The device, the reason, and the expected seconds on each, where those decide.

    Raises:
        InvalidArgumentError: An unknown op or size, or a shape that is none of the op's.
    """
    if op not in probes.OPS:
        raise InvalidArgumentError("op", repr(op), f"one of {', '.join(probes.OPS)}")
    return _decide(op, lambda: _features(op, tuple(shape), sizes), None)


def _features(op: str, shape: tuple[int, ...], sizes: dict[str, int]) -> Features:
    sides = [integer("shape", side, 0, 2**40) for side in shape]
    count = 1
    for side in sides:
        count *= side

    def taken(**defaults: int) -> list[int]:
        unknown = [name for name in sizes if name not in defaults]
        if unknown:
            raise InvalidArgumentError(unknown[0], sizes[unknown[0]], f"none but {', '.join(defaults)} of {op}")
        return [integer(name, sizes.get(name, default), 0, 2**40) for name, default in defaults.items()]

    if op.startswith("attention"):
        if len(sides) != 4:
            raise InvalidArgumentError("shape", tuple(shape), "(batch, heads, length, head size)")
        keys, row_keys = taken(keys=64, row_keys=0)
        batch, heads, n, d = sides
        return probes.attention_features(batch, heads, heads, (n, n), 2 * d, (float(n * keys), float(n * row_keys)))
    if op.startswith(("hilbert", "morton")):
        if not sides:
            raise InvalidArgumentError("shape", tuple(shape), "(..., ndim)")
        (order,) = taken(order=16)
        return probes.codec_features(count // max(sides[-1], 1), sides[-1], order)
    (max_iter,) = taken(max_iter=64)
    return probes.field_features(count, max_iter, gradients=op.endswith("vjp"))


def _record(route: Route) -> None:
    global _last  # noqa: PLW0603
    _last = route
    _log.debug("%s on the %s: %s", route.op, route.device, route.reason)


def _decide(op: str, features: Callable[[], Features], refused: str | None) -> Route:
    wish = os.environ.get("FRACTAL_CORE_BACKEND") or "auto"
    if wish not in CHOICES:
        raise InvalidArgumentError("FRACTAL_CORE_BACKEND", repr(wish), ", ".join(CHOICES))
    if wish == "cpu" or refused is not None:
        return Route(op, "cpu", refused or "FRACTAL_CORE_BACKEND=cpu")
    adapter, why_not = _adapter()
    if adapter is None:
        if wish == "gpu" or (built() and options().require):
            raise GpuUnavailableError(f"no GPU: {why_not}")
        return Route(op, "cpu", why_not)
    if wish == "gpu":
        return Route(op, "gpu", "FRACTAL_CORE_BACKEND=gpu")
    if adapter.kind == "software":
        return Route(op, "cpu", f"{adapter.name} computes on the CPU, slower than the package's own kernels")
    return _expected(adapter, op, features())


def _expected(adapter: Adapter, op: str, features: Features) -> Route:
    """Where a call takes less time."""
    try:
        device, seconds = _router(adapter).predict(op, features)
    except GpuError as error:
        if options().require:
            raise
        return Route(op, "cpu", f"the GPU failed while it was measured: {error}")
    cpu, gpu = seconds["cpu"] * 1e3, seconds["gpu"] * 1e3
    return Route(op, device, f"expected {cpu:.3g} ms on the CPU, {gpu:.3g} ms on {adapter.name}", dict(seconds))


def _adapter() -> tuple[Adapter | None, str]:
    """The adapter that a call would use, or why there is none."""
    if not built():
        return None, "the extension was compiled without the cargo feature `gpu`"
    found = _listed()
    usable = next((adapter for adapter in found if adapter.rejected is None), None)
    if usable is not None:
        return usable, ""
    return None, "; ".join(f"{a.name}: {a.rejected}" for a in found) or "no adapter was found"


_seen: dict[tuple[object, ...], tuple[Adapter, ...]] = {}


def _listed() -> tuple[Adapter, ...]:
    """The adapters, listed once for each set of options: listing takes a tenth of a second."""
    now = options()
    key = (os.getpid(), now.adapter, now.api, now.allow_software, now.allow_noncompliant)
    with _lock:
        if key in _seen:
            return _seen[key]
    found = adapters()
    with _lock:
        return _seen.setdefault(key, found)


def _router(adapter: Adapter) -> Router:
    native = _native.thread_info()
    machine = " | ".join(
        map(str, (adapter.name, adapter.driver, adapter.api, native["simd"], native["threads"], _version()))
    )
    with _lock:
        if machine not in _routers:
            _routers[machine] = Router(
                probes.measure,
                lambda op: probes.OPS[op].sizes,
                lambda op, size: probes.OPS[op].features(*size),
                store.load(machine),
                lambda op, costs: store.save(machine, op, costs),
            )
        return _routers[machine]


def _version() -> str:
    from importlib.metadata import version

    return version("fractal-attn")
