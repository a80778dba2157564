"""Hilbert codecs against others, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

from fractal_core.bench.peers import PeerError

from benches.peers.installed import need
from benches.peers.interpreters import hilbertsfc_python
from benches.processes import environment, in_turn
from benches.report.results import Row
from benches.settings import Settings

__all__ = ["hilbert"]


def hilbert(
    settings: Settings, *, points: int = 4_000_000, slow_points: int = 200_000, side: int = 4096
) -> Iterator[Row]:
    """Encode and decode on one thread, and the order of a whole box on all of them.

    Args:
        settings: How many rounds.
        points: Random points for hilbertsfc.
        slow_points: Random points for numpy-hilbert-curve, which takes microseconds for each.
        side: Of the box.
    """
    narrow, wide = (points, side), (slow_points, side)
    for task, whole in (("encode", "points"), ("decode", "codes")):
        what = f"Hilbert {task}, 2-D, 16 bit, {{}} random {whole}, one thread"
        fast = Row(f"hilbert/{task}-hilbertsfc", what.format(points), "hilbertsfc", bar=2.0)
        yield _pair(settings, fast, task, narrow, threads=1)
        slow = Row(f"hilbert/{task}-numpy-hilbert-curve", what.format(slow_points), "numpy-hilbert-curve")
        yield _pair(settings, slow, task, wide, threads=1)
    what = f"hilbert_order(({side}, {side})) against decoding every index"
    yield _pair(settings, Row("hilbert/order-hilbertsfc", what, "hilbertsfc", bar=3.0), "order", (1, side))


def _pair(settings: Settings, row: Row, task: str, sizes: tuple[int, int], *, threads: int | None = None) -> Row:
    """The row with its figures: one task of ours and of the row's peer, in turn."""
    names = ("FRACTAL_CORE_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS") if threads else ()
    env = environment(**dict.fromkeys(names, str(threads)))
    try:
        pythons = {"ours": sys.executable, row.peer: _PYTHONS[row.peer]()}
        commands = {side: [python, side, *map(str, sizes)] for side, python in pythons.items()}
        times = in_turn(commands, env, "curves", task, settings.count(11))
    except PeerError as error:
        return replace(row, note=str(error))
    note = "paired processes in turn; the other one waits"
    return Row.faster(row.name, row.what, row.peer, times, theirs=row.peer, bar=row.bar, note=note)


def _hilbertsfc() -> str:
    return str(hilbertsfc_python())


def _numpy_hilbert_curve() -> str:
    need("hilbert", "numpy-hilbert-curve")
    return sys.executable


_PYTHONS: dict[str, Callable[[], str]] = {
    "hilbertsfc": _hilbertsfc,
    "numpy-hilbert-curve": _numpy_hilbert_curve,
}
