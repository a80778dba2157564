"""The rows with a bar as one picture."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

from benches.report import text
from benches.report.results import Results, Row, Verdict

__all__ = ["draw"]

_COLOURS = {Verdict.MET: "#2a7f62", Verdict.SHORT: "#c4572e", Verdict.MISSING: "#999999"}
_WIDEST = 16.0
"""Bars longer than this multiple are cut there."""


def draw(results: Results, out: Path) -> Path:
    """Writes a PNG: each row with a bar as a multiple of its bar, to the right of 1 where it is met.

    Args:
        results: What was measured.
        out: The PNG; its folder is made if missing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in results.rows if row.bar is not None]
    height = 1.4 + 0.36 * max(len(rows), 1)
    figure = Figure(figsize=(12, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.42, 0.7 / height, 0.4, 1 - 1.2 / height))
    margins = [min(_WIDEST, max(1 / _WIDEST, row.margin)) if row.margin is not None else 1.0 for row in rows]
    at = list(range(len(rows)))
    colours = [_COLOURS[row.verdict] for row in rows]
    axes.barh(at, [margin - 1.0 for margin in margins], left=1.0, color=colours)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.9 / _WIDEST, 1.1 * _WIDEST)
    axes.set_xticks([2.0**k for k in range(-4, 5)], ["1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8", "16"])
    axes.set_yticks(at, [fill(f"{row.what}; {row.peer}", 78) for row in rows], fontsize=7)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    right = axes.secondary_yaxis("right")
    right.set_yticks(at, [_figure(row) for row in rows], fontsize=7)
    right.tick_params(length=0)
    axes.set_xlabel("multiple of the bar: met from 1 on", fontsize=8)
    machine = results.machine
    title = f"{machine['processor']}; {machine['simd']}; {machine['threads']} threads"
    axes.set_title(title, fontsize=9, loc="left")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)
    return out


def _figure(row: Row) -> str:
    shown = text.value(row) if row.value is not None else row.verdict.value
    return f"{shown}  (bar {text.bar(row)})"
