"""Julia fields against numba and NumPy, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

from fractal_core.bench.peers import PeerError

from benches.peers.installed import need
from benches.processes import environment, in_turn
from benches.report.results import Row
from benches.settings import Settings
from benches.workers.julia import PARAMETERS

__all__ = ["julia"]

_PEERS = {"numba": "numba, parallel, float64", "numpy": "NumPy"}
_NOTE = "paired processes in turn, the call after 0.1 s of calls; the other one's threads sleep"


def julia(settings: Settings, *, side: int = 1024, max_iter: int = 256) -> Iterator[Row]:
    """Julia fields of two parameters, in float32 and float64, against numba in float64 and NumPy."""
    for kind, c in PARAMETERS.items():
        what = f"Julia {side}², {max_iter} iterations, c = {c:.4g}, ours in {{}}"
        rows = [
            Row(f"julia/{kind}-{dtype}", what.format(dtype), _PEERS["numba"], bar=8.0)
            for dtype in ("float32", "float64")
        ]
        yield from _paired(settings.count(9), "numba", kind, rows, (side, max_iter))
        slow = Row(f"julia/{kind}-numpy", what.format("float64"), _PEERS["numpy"])
        yield from _paired(min(2, settings.count(2)), "numpy", kind, [slow], (side, max_iter))


def _paired(rounds: int, peer: str, kind: str, rows: list[Row], sizes: tuple[int, int]) -> Iterator[Row]:
    """The rows with their figures: ours in each row's dtype and the peer's, in turn."""
    dtypes = {row.name: "float32" if row.name.endswith("float32") else "float64" for row in rows}
    try:
        need(peer, peer)
        commands = {name: [sys.executable, name, *map(str, sizes)] for name in (*dtypes.values(), peer)}
        times = in_turn(commands, environment(), "julia", kind, rounds)
    except PeerError as error:
        yield from (replace(row, note=str(error)) for row in rows)
        return
    for row in rows:
        yield Row.faster(
            row.name, row.what, row.peer, times, ours=dtypes[row.name], theirs=peer, bar=row.bar, note=_NOTE
        )
