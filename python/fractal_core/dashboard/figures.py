"""The figures of the page as plain dictionaries that plotly draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.dashboard.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fractal_core.analysis import Table
    from fractal_core.dimension import Slope

__all__ = ["empty", "grid", "matrix", "null_figure", "scaling"]

_MARGIN = {"l": 56, "r": 12, "t": 40, "b": 44}
_LABELS = 40
_INK = [[0, "#ffffff"], [0.02, "#e3ecf9"], [0.15, "#9dbdec"], [0.5, "#3f6fd1"], [1, "#0a1a52"]]
"""White where there is nothing, and soon not: most weights are small."""


def _figure(data: list[dict[str, Any]], title: str, x: str, y: str, **layout: Any) -> dict[str, Any]:  # noqa: ANN401
    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    for axis, given in layout.pop("axes", {}).items():
        axes[axis].update(given)
    return {"data": data, "layout": {"title": {"text": title}, "margin": _MARGIN, "template": "none", **axes, **layout}}


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    return np.where(np.isfinite(values), values.astype(object), np.array(None)).tolist()


def empty(why: str) -> dict[str, Any]:
    """No picture, and the reason."""
    return {"data": [], "layout": {"title": {"text": why}, "template": "none"}}


def grid(table: Table, measure: str, other: Table | None = None) -> dict[str, Any]:
    """A measure of every head, layers down and heads across; of two models, the difference."""
    values = table.grid(measure)
    title = measure
    if other is not None:
        second = other.grid(measure)
        rows, columns = (min(a, b) for a, b in zip(values.shape, second.shape, strict=True))
        values = values[:rows, :columns] - second[:rows, :columns]
        title = f"{measure}: first less second"
    names = list(dict.fromkeys(table["name"].tolist()))[: len(values)]
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": _plain(values),
        "y": names,
        "x": list(range(values.shape[1])),
        "colorscale": "RdBu" if other is not None else "Viridis",
        "hovertemplate": "%{y}, head %{x}: %{z}<extra></extra>",
    }
    if other is not None:
        heat["zmid"] = 0
    return _figure([heat], title, "head", "", axes={"yaxis": {"autorange": "reversed", "type": "category"}})


def matrix(
    found: Tile,
    tokens: Sequence[str] | None,
    title: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """A tile, with tokens at its sides where they can be read, and the view that was zoomed to."""
    half = (found.side - 1) / 2
    x, y = found.keys + half, found.queries + half
    heat = {
        "type": "heatmap",
        "z": found.values.tolist(),
        "x": x.tolist(),
        "y": y.tolist(),
        "colorscale": _INK,
        "zmin": 0,
        "hovertemplate": "query %{y}, key %{x}: %{z:.4g}<extra></extra>",
    }
    axes: dict[str, dict[str, Any]] = {"xaxis": {"constrain": "domain"}, "yaxis": {"autorange": "reversed"}}
    if tokens is not None and found.side == 1 and max(found.values.shape) <= _LABELS:
        offset = len(tokens)
        for axis, places in (("xaxis", found.keys), ("yaxis", found.queries)):
            labels = [tokens[i] for i in places.tolist() if i < offset]
            axes[axis] |= {"tickvals": places.tolist(), "ticktext": labels}
    for axis, seen in (("xaxis", x_range), ("yaxis", y_range)):
        if seen is not None:
            axes[axis] |= {"range": list(seen), "autorange": False}
    shown = title if found.side == 1 else f"{title} (largest weight of {found.side} × {found.side})"
    return _figure([heat], shown, "key", "query", axes=axes)


def scaling(slope: Slope, order: str) -> dict[str, Any]:
    """The line of one dimension: what it is fitted to over the logarithm of the side."""
    x, y = slope.log_x, slope.log_y
    line = slope.intercept + (np.polyfit(x, y, 1)[0] if len(x) > 1 else 0) * x
    points = {"type": "scatter", "mode": "markers", "x": x.tolist(), "y": _plain(y), "name": "measured"}
    fit = {"type": "scatter", "mode": "lines", "x": x.tolist(), "y": _plain(line), "name": "fit"}
    value = float(slope.value)
    title = f"{order} = {value:.4f} ± {float(slope.stderr):.4f}" if np.isfinite(value) else f"{order}: too few scales"
    return _figure([points, fit], title, "ln side", "ln sum")


def null_figure(observed: float, drawn: npt.NDArray[np.float64], p: float) -> dict[str, Any]:
    """D1 of row shuffles, and of the head itself."""
    bars = {"type": "histogram", "x": drawn.tolist(), "name": "rows shuffled"}
    line = {"type": "line", "x0": observed, "x1": observed, "y0": 0, "y1": 1, "yref": "paper"}
    mark = {"x": observed, "y": 1, "yref": "paper", "text": "this head", "showarrow": False}
    return _figure(
        [bars], f"D1 of {len(drawn)} row shuffles, p = {p:.3g}", "D1", "draws", shapes=[line], annotations=[mark]
    )
