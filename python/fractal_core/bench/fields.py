"""Escape fields against numba, NumPy and torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_core import fields
from fractal_core.bench.clock import Call, interleaved
from fractal_core.bench.peers import PeerError, need
from fractal_core.bench.results import Row
from fractal_core.bench.settings import Settings
from fractal_core.nn.fields import julia_soft_escape

__all__ = ["julia", "numpy_julia", "soft_julia", "torch_soft_julia"]

_RADIUS = 16.0
_EXTENT = (-1.6, 1.6, -1.2, 1.2)
PARAMETERS = {"dendritic": -0.7 + 0.27j, "interior-heavy": -0.123 + 0.745j}


def numba_julia() -> Callable[[NDArray[Any], complex, int], NDArray[Any]]:
    """The smooth count as one writes it with numba: a loop over the points, parallel, in float64.

    Raises:
        PeerError: numba is not installed.
    """
    need("numba", "numba")
    numba: Any = import_module("numba")
    prange: Any = numba.prange

    @numba.njit(parallel=True)
    def count(points: Any, c: Any, max_iter: Any) -> Any:  # noqa: ANN401
        out = np.empty(points.size, dtype=np.float64)
        for i in prange(points.size):
            x, y = points[i].real, points[i].imag
            value = float(max_iter)
            for k in range(max_iter):
                square = x * x + y * y
                if square > _RADIUS * _RADIUS:
                    value = k + 1 - math.log2(0.5 * math.log(square) / math.log(_RADIUS))
                    break
                x, y = x * x - y * y + c.real, 2.0 * x * y + c.imag
            out[i] = value
        return out

    return count


def numpy_julia(points: NDArray[np.complex128], c: complex, max_iter: int) -> NDArray[np.float64]:
    """The smooth count with whole arrays: points that have escaped are left out of the next step."""
    out = np.full(points.size, float(max_iter))
    z: NDArray[Any] = points
    left = np.arange(points.size)
    for k in range(max_iter):
        modulus = np.abs(z)
        gone = modulus > _RADIUS
        out[left[gone]] = k + 1 - np.log2(np.log(modulus[gone]) / math.log(_RADIUS))
        left, z = left[~gone], np.square(z[~gone]) + c
    return out


def julia(settings: Settings, *, side: int = 1024, max_iter: int = 256) -> Iterator[Row]:
    """Julia fields of two parameters, in float32 and float64, against numba in float64 and NumPy."""
    points = fields.grid((side, side), _EXTENT).reshape(-1)
    narrow = points.astype(np.complex64)
    for kind, c in PARAMETERS.items():
        calls: dict[str, Call] = {
            "float32": lambda c=c: fields.julia_escape(narrow, c, max_iter, radius=_RADIUS),
            "float64": lambda c=c: fields.julia_escape(points, c, max_iter, radius=_RADIUS),
        }
        why = ""
        try:
            peer = numba_julia()
            calls["numba"] = lambda c=c, peer=peer: peer(points, c, max_iter)
        except PeerError as error:
            why = str(error)
        times = interleaved(calls, settings.count(7))
        slow = interleaved(
            {"float64": calls["float64"], "numpy": lambda c=c: numpy_julia(points, c, max_iter)},
            min(2, settings.count(2)),
        )
        for dtype in ("float32", "float64"):
            name = f"julia/{kind}-{dtype}"
            what = f"Julia {side}², {max_iter} iterations, c = {c:.4g}, ours in {dtype}"
            bar = 8.0 if dtype == "float32" else None
            shown = "numba, parallel, float64"
            if why:
                yield Row(name, what, shown, bar=bar, note=why)
            else:
                yield Row.faster(
                    name, what, shown, times, ours=dtype, theirs="numba", bar=bar, note="all three in turn"
                )
        what = f"Julia {side}², {max_iter} iterations, c = {c:.4g}, ours in float64"
        yield Row.faster(f"julia/{kind}-numpy", what, "NumPy", slow, ours="float64", theirs="numpy")


def torch_soft_julia(parts: tuple[Tensor, ...], steps: int) -> Tensor:
    """The soft escape count out of torch's elementwise ops; the orbit stops where its squares could overflow.

    Args:
        parts: re, im of the points, re, im of c, radius, smoothness.
        steps: Iterations.
    """
    re, im, c_re, c_im, radius, smoothness = parts
    stop = float(radius.detach()) + 24 / float(smoothness.detach())
    survival, total = torch.ones_like(re), torch.zeros_like(re)
    for _ in range(steps):
        modulus = torch.sqrt(re * re + im * im)
        survival = survival * torch.sigmoid((radius - modulus) * smoothness)
        total = total + survival
        inside = modulus.detach() < stop
        re, im = torch.where(inside, re * re - im * im + c_re, re), torch.where(inside, 2 * re * im + c_im, im)
    return total


def soft_julia(settings: Settings, *, points: int = 65_536, steps: int = 64) -> Iterator[Row]:
    """The soft field and its gradients by points, c, radius and smoothness against torch's autograd."""
    c, radius, smoothness = -0.7 + 0.27j, 2.0, 2.0
    rng = np.random.default_rng(0)
    drawn = rng.uniform(-1.6, 1.6, points) + 1j * rng.uniform(-1.6, 1.6, points)
    for dtype, bar in ((np.complex64, 15.0), (np.complex128, 15.0)):
        z: Any = drawn.astype(dtype)
        seed = torch.from_numpy(np.ones_like(z.real))
        leaves = tuple(
            torch.as_tensor(x, dtype=seed.dtype).requires_grad_()
            for x in (z.real.copy(), z.imag.copy(), c.real, c.imag, radius, smoothness)
        )

        start = torch.from_numpy(z)
        inputs = (start.requires_grad_(), torch.tensor(c, dtype=start.dtype).requires_grad_())

        def ours(inputs: tuple[Tensor, ...] = (*inputs, *leaves[4:]), seed: Tensor = seed) -> None:
            torch.autograd.grad(julia_soft_escape(*inputs, steps), inputs, seed)

        def theirs(leaves: tuple[Tensor, ...] = leaves, seed: Tensor = seed) -> None:
            torch.autograd.grad(torch_soft_julia(leaves, steps), leaves, seed)

        times = interleaved({"ours": ours, "torch": theirs}, settings.count(7))
        real = "float32" if dtype is np.complex64 else "float64"
        yield Row.faster(
            f"soft-julia/{real}",
            f"soft Julia, {points} points × {steps}, {real}, forward + backward",
            "torch autograd, vectorised",
            times,
            theirs="torch",
            bar=bar,
            note="torch's elementwise ops run in between",
        )
