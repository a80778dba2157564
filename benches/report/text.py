"""Figures as people read them."""

from __future__ import annotations

import math

from fractal_core.cli.console import digits

from benches.report.results import Row

__all__ = ["bar", "limit", "milliseconds", "spread", "value"]


def _with_unit(x: float, unit: str) -> str:
    if unit == "x":
        return f"{digits(x)} ×"
    if unit in {"of peak", "slope", "of measured"}:
        return f"{x:.2f}"
    if math.isinf(x):
        return "none"
    return f"{x:.0f} {unit}" if unit == "tokens" else f"{digits(x)} {unit}"


def value(row: Row) -> str:
    """The median."""
    return "–" if row.value is None else _with_unit(row.value, row.unit)


def spread(row: Row) -> str:
    """Lowest and highest pair."""
    if row.low is None or row.high is None:
        return "–"
    if row.unit == "of peak":
        return f"{row.low:.2f} … {row.high:.2f}"
    return f"{digits(row.low)} … {digits(row.high)}"


def bar(row: Row) -> str:
    """What the value must reach."""
    return "–" if row.bar is None else f"{'≤' if row.at_most else '≥'} {_with_unit(row.bar, row.unit)}"


def limit(row: Row) -> str:
    """What the hardware would allow."""
    return "–" if row.limit is None else _with_unit(row.limit, row.unit)


def milliseconds(row: Row) -> str:
    """Both medians, for the terminal: a time says nothing of another machine."""
    return "–" if row.ours_ms is None or row.peer_ms is None else f"{row.ours_ms:.3g} to {row.peer_ms:.3g} ms"
