"""`fractal-core bench --gpu`: every kernel on the GPU, beside the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fractal_core import gpu
from fractal_core.bench.gpu import Timed, Tried, copied, measure, try_families
from fractal_core.cli.console import ACCENT, console, digits, print_json

__all__ = ["run"]

SOFTWARE = "a software adapter: it computes on the CPU, so that these figures prove values and no speed"


def run(names: Sequence[str], rounds: int, *, as_json: bool) -> None:
    """Measures and prints a table, or one JSON document.

    Args:
        names: Kernels; all when empty.
        rounds: Timings that count.
        as_json: Print JSON.

    Raises:
        InvalidArgumentError: An unknown kernel.
        GpuError: No GPU that may be used, or one that failed.
    """
    device, show = gpu.device(), console(quiet=as_json)
    show.print(f"{device.name}, {device.api}, {device.driver}", markup=False, soft_wrap=True)
    if device.kind == "software":
        show.print(SOFTWARE, style="yellow", markup=False, soft_wrap=True)
    bandwidth = copied()
    show.print(f"it copies {digits(bandwidth)} GB/s, reads and writes together; times are medians of {rounds}, ms")
    found: list[Timed] = []
    tried: list[Tried] = []
    with show.status("measuring"):
        found.extend(measure(names, rounds))
        if not names:
            tried.extend(try_families(rounds))
    show.print(_table(found))
    if tried:
        show.print(f"\nevery family of shaders, which agreed with its CPU twins on a problem of size {tried[0].size}")
        show.print(_families(tried))
    if as_json:
        about = {**device._asdict(), "software": device.kind == "software"}
        rows, families = [row.to_dict() for row in found], [row.to_dict() for row in tried]
        print_json({"device": about, "copy_gbytes": bandwidth, "rows": rows, "families": families})


def _table(rows: Sequence[Timed]) -> Table:
    table = Table(box=None, header_style=ACCENT, padding=(0, 1, 0, 0))
    for name in ("kernel", "size"):
        table.add_column(name, overflow="fold")
    for name in ("device", "resident", "end to end", "CPU", "GB/s", "GFLOP/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("CPU by", no_wrap=True)
    for row in rows:
        times = (row.device_ms, row.resident_ms, row.end_ms)
        cells = ["–" if x is None else digits(x) for x in times]
        rates = ["–" if x is None else digits(x) for x in (row.gbytes, row.gflops)]
        table.add_row(row.kernel, row.size, *cells, digits(row.cpu_ms), *rates, row.cpu)
    return table


def _families(rows: Sequence[Tried]) -> Table:
    table = Table(box=None, header_style=ACCENT, padding=(0, 1, 0, 0))
    table.add_column("family", overflow="fold")
    for name in ("device", "twins, one thread"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.family, "–" if row.device_ms is None else digits(row.device_ms), digits(row.twins_ms))
    return table
