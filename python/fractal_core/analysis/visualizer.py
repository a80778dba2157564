"""Pictures of attention, under the names of Fractal-Attention Analysis. No global setting of matplotlib is touched."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core._arguments import integer
from fractal_core._files import checked_path, written
from fractal_core.dimension.given import finite
from fractal_core.errors import InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import SupportsIndex

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["AttentionVisualizer"]

_LABELS = 40
_LONGEST = 14

_figures: weakref.WeakSet[Any] = weakref.WeakSet()


class AttentionVisualizer:
    """Makes figures that belong to the caller: none is kept by pyplot, and none needs a display.

    Every method returns a `matplotlib.figure.Figure` and writes it where `save_path` says, in the format of its suffix,
    under a temporary name first.
    """

    def __init__(self, style: str | None = None) -> None:
        """Choose one of matplotlib's styles, for these figures alone.

        Raises:
            ImportError: matplotlib is not installed.
            InvalidArgumentError: An unknown style.
        """
        try:
            from matplotlib import style as styles
        except ImportError as error:
            raise ImportError('pictures need matplotlib: pip install "fractal-attn[viz]"') from error
        if style is not None and style not in styles.available:
            raise InvalidArgumentError("style", repr(style), ", ".join(styles.available))
        self.style = style

    def _figure(self, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
        from matplotlib import style as styles
        from matplotlib.figure import Figure

        with styles.context(self.style) if self.style else nullcontext():
            figure = Figure(figsize=size, layout="constrained")
            axes = list(figure.subplots(1, columns, squeeze=False)[0])
        _figures.add(figure)
        return figure, axes

    def plot_attention_matrix(
        self,
        attention_matrix: npt.ArrayLike,
        tokens: Sequence[str] | None = None,
        title: str = "Attention",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """A matrix of any size, with as many tokens at its sides as can be read.

        Args:
            attention_matrix: Shape (N, M), finite.
            tokens: One for each key; the last N are the queries.
            title: Above the picture.
            save_path: Where to write it.

        Raises:
            InvalidArgumentError: A weight is not finite.
            ShapeError: No matrix, or another number of tokens than of keys.
            DTypeError: No real dtype.
        """
        weights = _matrix("attention_matrix", attention_matrix)
        n, m = weights.shape
        if tokens is not None and len(tokens) != m:
            raise ShapeError("tokens", f"{len(tokens)} tokens", f"{m}, one for each key")
        figure, (axes,) = self._figure(1, (7.2, 6))
        self._show(figure, axes, weights, float(weights.max()))
        if tokens is not None:
            shown = [_short(token) for token in tokens]
            for axis, labels in ((axes.xaxis, shown), (axes.yaxis, shown[m - n :] if n <= m else shown)):
                step = -(-len(labels) // _LABELS)
                places = range(0, len(labels), step)
                axis.set_ticks(list(places), [labels[i] for i in places], fontsize=7)
            axes.tick_params("x", rotation=90)
        axes.set(title=title, xlabel="key", ylabel="query")
        return _saved(figure, save_path)

    @staticmethod
    def _show(figure: Figure, axes: Axes, weights: npt.NDArray[Any], most: float) -> None:
        image = axes.imshow(weights, cmap="magma_r", vmin=0, vmax=most or 1.0, aspect="auto", interpolation="nearest")
        figure.colorbar(image, ax=axes, label="weight", shrink=0.8)

    def plot_fractal_comparison(
        self,
        original_attention: npt.ArrayLike,
        transformed_attention: npt.ArrayLike,
        title: str = "Attention and its transformation",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Two matrices on one scale of colours, side by side.

        Args:
            original_attention: Shape (N, M), finite.
            transformed_attention: The same shape.
            title: Above both.
            save_path: Where to write it.

        Raises:
            InvalidArgumentError: A weight is not finite.
            ShapeError: Shapes that differ.
            DTypeError: No real dtype.
        """
        left = _matrix("original_attention", original_attention)
        right = _matrix("transformed_attention", transformed_attention)
        if left.shape != right.shape:
            raise ShapeError("transformed_attention", right.shape, left.shape)
        figure, axes = self._figure(2, (11, 5))
        most = float(max(left.max(), right.max()))
        for at, weights, name in zip(axes, (left, right), ("original", "transformed"), strict=True):
            self._show(figure, at, weights, most)
            at.set(title=name, xlabel="key", ylabel="query")
        figure.suptitle(title)
        return _saved(figure, save_path)

    def plot_metrics_comparison(
        self,
        metrics_dict: Mapping[str, Mapping[str, float]] | Mapping[str, float],
        title: str = "Metrics",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Every metric of one result or of several, as bars.

        Args:
            metrics_dict: Numbers by name, or such for each of several names.
            title: Above the picture.
            save_path: Where to write it.

        Raises:
            InvalidArgumentError: No metric.
        """
        groups: dict[str, dict[str, float]] = {}
        for name, value in metrics_dict.items():
            if isinstance(value, (int, float)):
                groups.setdefault("", {})[name] = float(value)
            else:
                groups[name] = {key: float(x) for key, x in value.items()}
        names = list(dict.fromkeys(name for group in groups.values() for name in group))
        if not names:
            raise InvalidArgumentError("metrics_dict", metrics_dict, "one metric or more")
        figure, (axes,) = self._figure(1, (8, 0.8 + 0.32 * len(names) * max(1, len(groups))))
        place, height = np.arange(len(names)), 0.8 / len(groups)
        for i, (group, values) in enumerate(groups.items()):
            bars = axes.barh(place + i * height, [values.get(name, np.nan) for name in names], height, label=group)
            axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
        axes.set_yticks(place + 0.4 - height / 2, names)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_title(title)
        if len(groups) > 1:
            axes.legend()
        return _saved(figure, save_path)

    def plot_fractal_dimension_analysis(
        self,
        scales: npt.ArrayLike,
        counts: npt.ArrayLike,
        dimension: float,
        title: str = "Boxes by side",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Counts over sides, both logarithmic, with the slope as a line and what is left of it below.

        Args:
            scales: Sides, (K,), above 0.
            counts: Of boxes, (K,), above 0.
            dimension: Minus the slope.
            title: Above the picture.
            save_path: Where to write it.

        Raises:
            InvalidArgumentError: A number that is not above 0.
            ShapeError: Lengths that differ.
            DTypeError: No real dtype.
        """
        x, y = (finite(name, value) for name, value in (("scales", scales), ("counts", counts)))
        if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
            raise ShapeError("counts", y.shape, "as many as scales, two or more")
        for name, values in (("scales", x), ("counts", y)):
            if not (values > 0).all():
                raise InvalidArgumentError(name, "a number that is not above 0", "numbers above 0")
        figure, axes = self._figure(2, (10, 4.2))
        fit = np.exp(np.mean(np.log(y) + dimension * np.log(x))) * x**-dimension
        axes[0].loglog(x, y, "o", label="counted")
        axes[0].loglog(x, fit, "-", label=f"slope -{dimension:.4f}")
        axes[0].set(title=title, xlabel="side of a box", ylabel="boxes")
        axes[0].legend()
        axes[1].semilogx(x, np.log(y / fit), "o-")
        axes[1].axhline(0, color="gray", linewidth=0.8)
        axes[1].set(title="left over by the line", xlabel="side of a box", ylabel="ln(counted / line)")
        return _saved(figure, save_path)

    def plot_multi_scale_analysis(
        self,
        results: Sequence[tuple[float, npt.ArrayLike]],
        title: str = "Attention through larger boxes",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Matrices of several scales, as `FractalTransforms.multi_scale_analysis` gives them.

        Raises:
            InvalidArgumentError: No matrix, or a weight that is not finite.
            ShapeError: Not matrices.
        """
        if not results:
            raise InvalidArgumentError("results", results, "one scale or more")
        figure, axes = self._figure(len(results), (3.4 * len(results), 3.4))
        for at, (scale, values) in zip(axes, results, strict=True):
            weights = _matrix("results", values)
            self._show(figure, at, weights, float(weights.max()))
            at.set_title(f"side {scale:g}")
        figure.suptitle(title)
        return _saved(figure, save_path)

    def plot_token_importance(
        self,
        scores: npt.ArrayLike,
        tokens: Sequence[str],
        top_k: SupportsIndex = 10,
        title: str = "Tokens by attention",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """The largest scores with their tokens and places; all where there are fewer than `top_k`.

        Args:
            scores: Shape (N,), finite.
            tokens: One for each.
            top_k: How many, 1 or more.
            title: Above the picture.
            save_path: Where to write it.

        Raises:
            InvalidArgumentError: A score is not finite.
            ShapeError: Another number of tokens than of scores.
            DTypeError: No real dtype.
        """
        values = finite("scores", scores)
        if values.ndim != 1 or len(values) != len(tokens) or not len(values):
            raise ShapeError("scores", values.shape, f"({len(tokens)},), one or more")
        best = np.argsort(-values, kind="stable")[: integer("top_k", top_k, 1, 2**31 - 1)]
        figure, (axes,) = self._figure(1, (6.4, 0.9 + 0.3 * len(best)))
        axes.barh(np.arange(len(best)), values[best])
        axes.set_yticks(
            np.arange(len(best)), [f"{_short(tokens[i])}  ({i})" for i in cast("list[int]", best.tolist())], fontsize=8
        )
        axes.invert_yaxis()
        axes.set(title=title, xlabel="score")
        return _saved(figure, save_path)

    @staticmethod
    def close_all() -> None:
        """Empties every figure that was made here and is still held by somebody."""
        for figure in list(_figures):
            figure.clear()
        _figures.clear()


def _matrix(argument: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    array = finite(argument, value)
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(argument, array.shape, "(N, M), no axis of length 0")
    return array


def _short(token: str) -> str:
    """A token as a label: marks of tokenizers for spaces become spaces, dollars stay dollars."""
    text = token.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "⏎").replace("$", r"\$")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        suffix = checked_path(path).suffix.removeprefix(".")
        known = figure.canvas.get_supported_filetypes()
        if suffix not in known:
            raise InvalidArgumentError("save_path", str(path), f"a name that ends in one of {', '.join(sorted(known))}")
        with written(path) as file:
            figure.savefig(file, format=suffix, dpi=150)
    return figure
