"""What figures share: matrices at the size of a screen, tokens that a font can show, files that are whole."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_core.analysis.writing import replacing, target
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

try:
    import matplotlib
except ImportError as error:
    raise ImportError(
        'figures need matplotlib, which is an optional dependency: pip install "fractal-attn[viz]"'
    ) from error

del matplotlib

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

PIXELS = 1024
LABELS = 40
LONGEST = 16


def matrix(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A matrix of finite numbers.

    Raises:
        ShapeError: It is not (N, M).
        InvalidArgumentError: A number is not finite.
        DTypeError: It holds no numbers.
    """
    array: npt.NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise DTypeError(argument, array.dtype, "a real dtype")
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(argument, array.shape, "(N, M), no axis of length 0")
    if not np.isfinite(array).all():
        raise InvalidArgumentError(argument, "NaN or infinity", "finite numbers")
    return array.astype(np.float64)


def shrunk(array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest number of each square of cells, so that no side has more than `PIXELS`."""
    side = -(-max(array.shape) // PIXELS)
    if side == 1:
        return array
    n, m = (-(-length // side) * side for length in array.shape)
    padded = np.full((n, m), -np.inf)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded.reshape(n // side, side, m // side, side).max(axis=(1, 3))


def figure(width: float, height: float) -> Figure:
    """A figure that no window manager and no global list holds: it goes when its last user does."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def show(axes: Any, array: npt.NDArray[np.float64], **settings: Any) -> Any:  # noqa: ANN401
    """An image of a matrix in the coordinates of its cells, whatever it was shrunk to."""
    n, m = array.shape
    axes.set_xlabel("key")
    axes.set_ylabel("query")
    extent = (-0.5, m - 0.5, n - 0.5, -0.5)
    return axes.imshow(shrunk(array), extent=extent, interpolation="nearest", aspect="equal", **settings)


def label(axis: Any, tokens: Sequence[str], *, rotation: float = 0) -> None:  # noqa: ANN401
    """At most `LABELS` tokens along an axis, spaced evenly."""
    places = list(range(0, len(tokens), -(-len(tokens) // LABELS)))
    axis.set_ticks(places)
    axis.set_ticklabels([readable(tokens[place]) for place in places], rotation=rotation, fontsize=7)
    for text in axis.get_ticklabels():
        text.set_parse_math(False)


def readable(token: str) -> str:
    """A token in one short line of characters that the font has; others as their code."""
    there = _characters()
    shown = "".join(
        c if c.isprintable() and ord(c) in there else c.encode("unicode_escape").decode() for c in str(token)
    )
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def _characters() -> frozenset[int]:
    from matplotlib import font_manager

    return _of_font(str(font_manager.findfont(font_manager.FontProperties())))


@lru_cache(maxsize=4)
def _of_font(path: str) -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(path).get_charmap())


def saved(made: Figure, path: str | os.PathLike[str] | None, dpi: int) -> None:
    """Writes a figure where a path is given; its folder is made."""
    if path is None:
        return
    if not isinstance(path, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("save_path", repr(path), "a path")
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place = target("save_path", place)
    kind = place.suffix.removeprefix(".") or "png"
    if kind not in made.canvas.get_supported_filetypes():
        allowed = ", ".join(sorted(made.canvas.get_supported_filetypes()))
        raise InvalidArgumentError("save_path", str(path), f"a name that ends in one of {allowed}")
    with replacing(place) as temporary:
        made.savefig(temporary, dpi=dpi, format=kind)
