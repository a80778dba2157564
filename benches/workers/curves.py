"""One side of a pair of processes: reads the name of a task a line, runs it, and prints the seconds it took.

`python -m benches.workers.curves SIDE POINTS BOX_SIDE`; the other side's interpreter does not have fractal_core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

ORDER = 16
"""Bits of a coordinate."""


def ours(points: int, side: int) -> dict[str, Callable[[], object]]:
    """This package's codecs, given and giving the same narrow dtypes as hilbertsfc."""
    from fractal_core import curves

    coords, codes = _inputs(points)
    return {
        "encode": lambda: curves.hilbert_encode(coords, ORDER, dtype=np.uint32),
        "decode": lambda: curves.hilbert_decode(codes, ORDER, ndim=2, dtype=np.uint16),
        "order": lambda: curves.hilbert_order((side, side)),
    }


def hilbertsfc(points: int, side: int) -> dict[str, Callable[[], object]]:
    """The package hilbertsfc; arrays in the narrow dtypes that it is quickest with."""
    peer: Any = import_module("hilbertsfc")
    encode, decode = peer.hilbert_encode_2d, peer.hilbert_decode_2d
    coords, codes = _inputs(points)
    x, y = (np.ascontiguousarray(coords[:, axis]) for axis in range(2))
    bits = (side - 1).bit_length()

    def order() -> object:
        rows, columns = decode(np.arange(side * side, dtype=np.uint32), nbits=bits, parallel=True)
        return rows.astype(np.int64) * side + columns

    return {
        "encode": lambda: encode(x, y, nbits=ORDER),
        "decode": lambda: decode(codes, nbits=ORDER),
        "order": order,
    }


def numpy_hilbert_curve(points: int, _side: int) -> dict[str, Callable[[], object]]:
    """The package numpy-hilbert-curve."""
    peer: Any = import_module("hilbert")
    coords, codes = _inputs(points)
    wide, index = coords.astype(np.int64), codes.astype(np.int64)
    return {"encode": lambda: peer.encode(wide, 2, ORDER), "decode": lambda: peer.decode(index, 2, ORDER)}


def _inputs(points: int) -> tuple[Any, Any]:
    """Random points of 2 x 16 bits, and random codes of 32 bits."""
    rng = np.random.default_rng(0)
    coords = rng.integers(0, 1 << ORDER, (points, 2), dtype=np.uint16)
    return coords, rng.integers(0, 1 << (2 * ORDER), points, dtype=np.uint32)


SIDES = {"ours": ours, "hilbertsfc": hilbertsfc, "numpy-hilbert-curve": numpy_hilbert_curve}


def main() -> None:
    """Serves until the input ends."""
    name, points, side = sys.argv[1:]
    tasks = SIDES[name](int(points), int(side))
    for line in sys.stdin:
        task = tasks[line.strip()]
        start = time.perf_counter()
        task()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
