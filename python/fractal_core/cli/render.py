"""`fractal-core render`: a pattern's mask, a curve, a field, or all of them as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fractal_core import curves, fields, patterns
from fractal_core._files import written
from fractal_core.cli.failures import blamed, failure_of
from fractal_core.errors import InvalidArgumentError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CURVES", "FIELDS", "render"]

_Path: TypeAlias = "NDArray[np.integer]"
_Points: TypeAlias = "NDArray[np.complex128]"
_Values: TypeAlias = "NDArray[np.floating]"

JULIA_C = -0.7 + 0.27j
INK = "#3155e6"


def _hilbert(order: int) -> _Path:
    index: NDArray[np.int64] = np.arange(4**order, dtype=np.int64)
    return curves.hilbert_decode(index, order)


def _morton(order: int) -> _Path:
    index: NDArray[np.int64] = np.arange(4**order, dtype=np.int64)
    return curves.morton_decode(index, order)


def _dragon(order: int) -> _Path:
    return curves.dragon_vertices(4**order)


CURVES: dict[str, Callable[[int], _Path]] = {"hilbert": _hilbert, "morton": _morton, "dragon": _dragon}
CURVE_ORDER = 5


def _julia(points: _Points) -> _Values:
    return fields.julia_escape(points, JULIA_C, max_iter=128)


def _mandelbrot(points: _Points) -> _Values:
    return fields.mandelbrot_escape(points, max_iter=128)


def _soft_julia(points: _Points) -> _Values:
    return fields.julia_soft_escape(points, JULIA_C, max_iter=64)


# What each field is drawn over: left, right, bottom, top of the complex plane.
FIELDS: dict[str, tuple[Callable[[_Points], _Values], tuple[float, float, float, float]]] = {
    "julia": (_julia, (-1.6, 1.6, -1.2, 1.2)),
    "mandelbrot": (_mandelbrot, (-2.2, 0.8, -1.125, 1.125)),
    "soft-julia": (_soft_julia, (-1.6, 1.6, -1.2, 1.2)),
}


def _draw_pattern(axes: Axes, text: str, n: int, causal: bool) -> None:
    found = patterns.create(text).index_set(n, n, causal=causal)
    axes.imshow(~found.to_mask(), cmap="gray", interpolation="nearest", vmin=0, vmax=1)
    axes.set_title(f"{text}\n{found.nnz / n:.1f} keys per query", fontsize=9)
    axes.set_xlabel("key")
    axes.set_ylabel("query")


def _draw_curve(axes: Axes, name: str) -> None:
    path = np.asarray(CURVES[name](CURVE_ORDER), dtype=np.float64)
    axes.plot(path[:, 0], path[:, 1], color=INK, linewidth=0.9)
    axes.set_aspect("equal")
    axes.set_title(f"{name} curve, {len(path)} points", fontsize=9)
    axes.set_axis_off()


def _draw_field(axes: Axes, name: str, size: int) -> None:
    field, (left, right, bottom, top) = FIELDS[name]
    height = max(2, round(size * (top - bottom) / (right - left)))
    x, y = np.meshgrid(np.linspace(left, right, size), np.linspace(top, bottom, height))
    values = np.asarray(field(x + 1j * y)).reshape(height, size)
    axes.imshow(np.log1p(values - values.min()), cmap="twilight_shifted", extent=(left, right, bottom, top))
    axes.set_title(f"{name} escape field", fontsize=9)
    axes.set_xlabel("Re")
    axes.set_ylabel("Im")


def _save(figure: Figure, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with written(out) as file:
        figure.savefig(file, dpi=120, format=out.suffix[1:].lower())


def render(what: str, name: str, out: Path, *, n: int, causal: bool) -> Path:
    """Writes one picture, in the format of `out`'s ending.

    Args:
        what: `pattern`, `curve`, `field` or `gallery`.
        name: A pattern or specification, a name of `CURVES` or `FIELDS`; nothing for the gallery.
        out: The file to write.
        n: Queries and keys of a mask, 1 to 8192; also the width of a field in pixels.
        causal: Leave out the keys after each query.

    Returns:
        The file written.

    Raises:
        InvalidArgumentError: Another `what` or `name`, n out of range, or an ending that cannot be written.
        PluginError: An unknown pattern, or a plug-in that did not load.
    """
    from matplotlib.figure import Figure

    kinds = sorted(Figure().canvas.get_supported_filetypes())
    if out.suffix[1:].lower() not in kinds:
        raise InvalidArgumentError("out", repr(str(out)), f"a file ending in one of {', '.join(kinds)}")
    if not 1 <= n <= 8192:
        raise InvalidArgumentError("n", n, "1 to 8192")
    known: dict[str, list[str]] = {"curve": list(CURVES), "field": list(FIELDS)}
    if what in known and name not in known[what]:
        raise InvalidArgumentError("name", repr(name), ", ".join(known[what]))
    if what == "gallery":
        return _gallery(out, n=n, causal=causal)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.add_subplot()
    if what == "pattern":
        with blamed(name):
            _draw_pattern(axes, name, n, causal)
    elif what == "curve":
        _draw_curve(axes, name)
    elif what == "field":
        _draw_field(axes, name, n)
    else:
        raise InvalidArgumentError("what", repr(what), "pattern, curve, field or gallery")
    _save(figure, out)
    return out


def _gallery(out: Path, *, n: int, causal: bool) -> Path:
    from matplotlib.figure import Figure

    drawings: list[Callable[[Axes], None]] = []
    names = [*patterns.names(), *CURVES, *FIELDS]
    for name in patterns.names():
        drawings.append(lambda axes, name=name: _draw_pattern(axes, name, n, causal))
    for name in CURVES:
        drawings.append(lambda axes, name=name: _draw_curve(axes, name))
    for name in FIELDS:
        drawings.append(lambda axes, name=name: _draw_field(axes, name, n))
    columns = 4
    rows = -(-len(drawings) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.4 * rows), layout="constrained")
    for i in range(rows * columns):
        axes = figure.add_subplot(rows, columns, i + 1)
        if i >= len(drawings):
            axes.set_axis_off()
            continue
        try:
            drawings[i](axes)
        except Exception as error:  # a broken plug-in costs its own picture only
            axes.clear()
            axes.set_axis_off()
            axes.text(
                0.5,
                0.5,
                failure_of(names[i], error),
                ha="center",
                va="center",
                fontsize=7,
                wrap=True,
                parse_math=False,
            )
    _save(figure, out)
    return out
