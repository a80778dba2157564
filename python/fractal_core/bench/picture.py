"""The rows with a bar as one picture."""

from __future__ import annotations

from pathlib import Path

from fractal_core.bench import text
from fractal_core.bench.results import Results, Verdict

__all__ = ["draw"]

_COLOURS = {Verdict.MET: "#2a7f62", Verdict.SHORT: "#c4572e", Verdict.MISSING: "#999999"}


def draw(results: Results, out: Path) -> Path:
    """Writes a PNG: each row with a bar as a multiple of its bar, to the right of 1 where it is met.

    Args:
        results: What was measured.
        out: The PNG; its folder is made if missing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in results.rows if row.bar is not None]
    figure = Figure(figsize=(10, 1.6 + 0.3 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    margins = [max(1 / 64, min(64.0, row.margin)) if row.margin is not None else 1.0 for row in rows]
    at = range(len(rows))
    axes.barh(
        at,
        [margin - 1.0 for margin in margins],
        left=1.0,
        color=[_COLOURS[row.verdict] for row in rows],
    )
    axes.axvline(1.0, color="black", linewidth=1)
    for y, row, margin in zip(at, rows, margins, strict=True):
        shown = f"{text.value(row)} (bar {text.bar(row)})" if row.value is not None else "not measured"
        axes.annotate(shown, (max(margin, 1.0), y), (4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xscale("log", base=2)
    axes.set_yticks(at, [f"{row.what} — {row.peer}" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set_xlabel("multiple of the bar")
    machine = results.machine
    axes.set_title(f"{machine['processor']}, {machine['simd']}, {machine['threads']} threads", fontsize=9, loc="left")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    return out
