"""Julia fields as one side of a pair of processes computes them, ours and the peers'.

Reads the name of a parameter a line and prints the seconds that the field took. `python -m
benches.workers.julia SIDE POINTS_A_SIDE ITERATIONS`: a peer's process holds no other package's threads.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

RADIUS = 16.0
EXTENT = (-1.6, 1.6, -1.2, 1.2)
PARAMETERS = {"dendritic": -0.7 + 0.27j, "interior-heavy": -0.123 + 0.745j}

Field = Callable[[NDArray[Any], complex, int], NDArray[Any]]


def numba_julia() -> Field:
    """The smooth count as one writes it with numba: a loop over the points, parallel, in float64."""
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
                if square > RADIUS * RADIUS:
                    value = k + 1 - math.log2(0.5 * math.log(square) / math.log(RADIUS))
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
        gone = modulus > RADIUS
        out[left[gone]] = k + 1 - np.log2(np.log(modulus[gone]) / math.log(RADIUS))
        left, z = left[~gone], np.square(z[~gone]) + c
    return out


def ours(points: NDArray[Any], c: complex, max_iter: int) -> NDArray[Any]:
    """The smooth count by this package."""
    from fractal_core import fields

    return fields.julia_escape(points, c, max_iter, radius=RADIUS)


def grid(side: int) -> NDArray[np.complex128]:
    """The points, row by row."""
    across, down = np.linspace(*EXTENT[:2], side), np.linspace(*EXTENT[2:], side)
    return (across + 1j * down[:, None]).reshape(-1)


SIDES: dict[str, tuple[type[np.complexfloating], Callable[[], Field]]] = {
    "float32": (np.complex64, lambda: ours),
    "float64": (np.complex128, lambda: ours),
    "numba": (np.complex128, numba_julia),
    "numpy": (np.complex128, lambda: numpy_julia),
}
"""What each side is given, and its function."""


AWAKE = 0.1
"""Seconds of calls before the one that counts."""


def awake(call: Callable[[], object]) -> float:
    """Seconds of a call, once whoever ran before has gone to sleep and the system has given each thread a core."""
    start = time.perf_counter()
    while time.perf_counter() - start < AWAKE:
        call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Serves until the input ends."""
    name, side, max_iter = sys.argv[1:]
    dtype, make = SIDES[name]
    points, field = grid(int(side)).astype(dtype), make()
    for line in sys.stdin:
        c = PARAMETERS[line.strip()]
        print(awake(lambda c=c: field(points, c, int(max_iter))), flush=True)


if __name__ == "__main__":
    main()
