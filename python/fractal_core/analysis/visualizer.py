"""Figures of attention, from one token to thousands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, cast
from weakref import WeakSet

import numpy as np

from fractal_core._arguments import INT32_MAX, integer, real
from fractal_core.analysis import drawing
from fractal_core.dimension import Slope
from fractal_core.errors import DTypeError, InvalidArgumentError, ShapeError

if TYPE_CHECKING:
    import os

    import numpy.typing as npt
    from matplotlib.figure import Figure

_LINE = "#b3402e"


class AttentionVisualizer:
    """Plots that leave matplotlib as it was: no global style, no list of open figures.

    Every method returns a `matplotlib.figure.Figure`, and writes it where `save_path` is given; the folder is made.

    Args:
        style: A style of matplotlib for these figures alone; its own by default.
        dpi: Dots per inch of files.

    Raises:
        InvalidArgumentError: No such style.
    """

    _made: ClassVar[WeakSet[Figure]] = WeakSet()

    def __init__(self, style: str | None = None, *, dpi: SupportsIndex = 150) -> None:
        from matplotlib import style as styles

        if style is not None and style not in {*styles.available, "default"}:
            raise InvalidArgumentError("style", repr(style), ", ".join(["default", *styles.available]))
        self.style = style
        self.dpi = integer("dpi", dpi, 10, 2400)

    def plot_attention_matrix(
        self,
        attention_matrix: npt.ArrayLike,
        tokens: Sequence[str] | None = None,
        title: str = "Attention",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """A heat map; long sequences show the largest weight of each pixel.

        Args:
            attention_matrix: Shape (N, M), finite.
            tokens: M strings, and for square matrices those of the queries, too; at most 40 are written.
            title: Above it.
            save_path: A file.

        Raises:
            ShapeError: The matrix has the wrong shape, or there are more or fewer tokens than keys.
            InvalidArgumentError: A number is not finite.
            DTypeError: An argument has no fitting type.
        """
        array = drawing.matrix("attention_matrix", attention_matrix)
        words = None if tokens is None else _tokens(tokens, array.shape[1])
        with self._styled():
            made = self._figure(7, 6)
            axes = made.subplots()
            image = drawing.show(axes, array, cmap="viridis", vmin=0 if array.min() >= 0 else None)
            made.colorbar(image, ax=axes, label="weight")
            if words is not None:
                drawing.label(axes.xaxis, words, rotation=90)
                if array.shape[0] == array.shape[1]:
                    drawing.label(axes.yaxis, words)
            return self._done(made, axes, title, save_path)

    def plot_fractal_comparison(
        self,
        original_attention: npt.ArrayLike,
        transformed_attention: npt.ArrayLike,
        title: str = "Attention, transformed, and the difference",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Two matrices on one scale of colours, and their difference.

        Args:
            original_attention: Shape (N, M), finite.
            transformed_attention: The same shape.
            title: Above it.
            save_path: A file.

        Raises:
            ShapeError: The shapes differ.
            InvalidArgumentError: A number is not finite.
            DTypeError: An argument has no fitting type.
        """
        first = drawing.matrix("original_attention", original_attention)
        second = drawing.matrix("transformed_attention", transformed_attention)
        if first.shape != second.shape:
            raise ShapeError("transformed_attention", second.shape, f"the shape of the original, {first.shape}")
        low, high = min(first.min(), second.min(), 0.0), max(first.max(), second.max())
        most = float(np.abs(second - first).max()) or 1.0
        with self._styled():
            made = self._figure(14, 4.6)
            axes = made.subplots(1, 3)
            image: Any = None
            for place, (name, array) in enumerate((("original", first), ("transformed", second))):
                image = drawing.show(axes[place], array, cmap="viridis", vmin=low, vmax=high)
                axes[place].set_title(name)
            made.colorbar(image, ax=list(axes[:2]), label="weight")
            change = drawing.show(axes[2], second - first, cmap="RdBu_r", vmin=-most, vmax=most)
            axes[2].set_title("difference")
            made.colorbar(change, ax=axes[2])
            return self._done(made, None, title, save_path)

    def plot_metrics_comparison(
        self,
        metrics_dict: Mapping[str, Any],
        title: str = "Metrics",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Every metric of one result, or of several beside each other, each on an axis of its own.

        Args:
            metrics_dict: Metric to value; or name of a result to such a mapping.
            title: Above it.
            save_path: A file.

        Raises:
            InvalidArgumentError: There is no metric.
            DTypeError: A value is no number.
        """
        series = _series(metrics_dict)
        names = list(dict.fromkeys(name for metrics in series.values() for name in metrics))
        if not names:
            raise InvalidArgumentError("metrics_dict", "nothing", "at least one metric")
        columns = min(4, len(names))
        rows = -(-len(names) // columns)
        with self._styled():
            made = self._figure(3.2 * columns, 1.1 + (1.1 + 0.35 * len(series)) * rows)
            grid = np.atleast_1d(made.subplots(rows, columns, squeeze=False)).reshape(-1)
            for axes, name in zip(grid, names, strict=False):
                values = [metrics.get(name, float("nan")) for metrics in series.values()]
                bars = axes.barh(range(len(values)), np.nan_to_num(values))
                axes.bar_label(bars, [f"{value:.4g}" for value in values], padding=2, fontsize=8)
                axes.set_yticks(range(len(values)), [drawing.readable(label) for label in series], fontsize=7)
                axes.set_title(name, fontsize=9, parse_math=False)
                axes.margins(x=0.35)
            for axes in grid[len(names) :]:
                axes.remove()
            return self._done(made, None, title, save_path)

    def plot_fractal_dimension_analysis(
        self,
        scales: npt.ArrayLike | Slope,
        counts: npt.ArrayLike | None = None,
        dimension: float | None = None,
        title: str = "Counts over scales",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """What a dimension is fitted to: points, the line, and the slope between neighbours.

        Args:
            scales: A `Slope` of a single matrix, alone; or sides of boxes, (K,), above 0.
            counts: Boxes of each side, (K,), above 0.
            dimension: The value in the legend; of a `Slope` its own.
            title: Above it.
            save_path: A file.

        Raises:
            ShapeError: There are not as many counts as scales, or the slope has leading axes.
            InvalidArgumentError: A number is not above 0.
            DTypeError: An argument has no fitting type.
        """
        if isinstance(scales, Slope):
            if counts is not None or scales.value.ndim:
                raise ShapeError("scales", scales.value.shape, "the slope of a single matrix, without counts")
            x, y, local = scales.log_x, scales.log_y, scales.local_slopes
            line = np.polyval(np.polyfit(x[np.isfinite(y)], y[np.isfinite(y)], 1), x) if scales.used > 1 else y
            value, said = float(scales.value), f"{scales.method}; {scales.support}"
            legend = f"{value:.4f} ± {float(scales.stderr):.4f}, R² {float(scales.r2):.4f}"
            notes = scales.reasons
        else:
            x, y = _logs("scales", scales), _logs("counts", counts if counts is not None else ())
            if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
                raise ShapeError("counts", y.shape, f"as many as scales, two or more: {x.shape}")
            line, local = np.polyval(np.polyfit(x, y, 1), x), -np.diff(y) / np.diff(x)
            slope = -float(np.polyfit(x, y, 1)[0])
            value = slope if dimension is None else real("dimension", dimension)
            said, legend, notes = "boxes", f"{value:.4f}", ()
        with self._styled():
            made = self._figure(9, 4)
            left, right = made.subplots(1, 2)
            left.plot(x, y, "o", label="measured")
            left.plot(x, line, "-", color=_LINE, label=legend)
            left.set(xlabel="ln scale", ylabel="what is fitted")
            left.set_title(said, fontsize=9)
            left.legend()
            right.plot((x[1:] + x[:-1]) / 2, local, "o-")
            right.axhline(value, color=_LINE)
            right.set(xlabel="ln scale", ylabel="local slope")
            right.set_title("\n".join(notes) or "no reason against it", fontsize=8)
            return self._done(made, None, title, save_path)

    def plot_multi_scale_analysis(
        self,
        results: Sequence[tuple[float, npt.ArrayLike]],
        title: str = "Attention at several scales",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """Matrices of `FractalTransforms.multi_scale_analysis` beside each other.

        Args:
            results: Scale and matrix of each.
            title: Above it.
            save_path: A file.

        Raises:
            InvalidArgumentError: There is nothing, or a number is not finite.
            ShapeError: A matrix is none.
        """
        pairs = [(real("results", scale), drawing.matrix("results", array)) for scale, array in results]
        if not pairs:
            raise InvalidArgumentError("results", "nothing", "at least one scale")
        columns = min(5, len(pairs))
        rows = -(-len(pairs) // columns)
        with self._styled():
            made = self._figure(3.2 * columns, 3.4 * rows)
            grid = np.atleast_1d(made.subplots(rows, columns, squeeze=False)).reshape(-1)
            for axes, (scale, array) in zip(grid, pairs, strict=False):
                image = drawing.show(axes, array, cmap="viridis", vmin=min(0.0, array.min()))
                axes.set_title(f"boxes of {scale:g}: {array.shape[0]} × {array.shape[1]}", fontsize=9)
                made.colorbar(image, ax=axes, shrink=0.7)
            for axes in grid[len(pairs) :]:
                axes.remove()
            return self._done(made, None, title, save_path)

    def plot_token_importance(
        self,
        scores: npt.ArrayLike,
        tokens: Sequence[str],
        top_k: SupportsIndex = 10,
        title: str = "Tokens by score",
        save_path: str | os.PathLike[str] | None = None,
    ) -> Figure:
        """The tokens with the largest scores, all where there are fewer than `top_k`.

        Args:
            scores: One for each token, (N,), finite; or a matrix of attention, whose columns' means count.
            tokens: N strings.
            top_k: How many, 1 or more.
            title: Above it.
            save_path: A file.

        Raises:
            ShapeError: There are not as many tokens as scores.
            InvalidArgumentError: A score is not finite.
            DTypeError: An argument has no fitting type.
        """
        array: npt.NDArray[Any] = np.asarray(scores)
        values = drawing.matrix("scores", array if array.ndim == 2 else array[None]).mean(axis=0)
        words = _tokens(tokens, len(values))
        most = min(integer("top_k", top_k, 1, INT32_MAX), len(values))
        order: list[int] = np.argsort(-values, kind="stable")[:most][::-1].tolist()
        with self._styled():
            made = self._figure(6, 1.2 + 0.28 * min(most, 200))
            axes = made.subplots()
            axes.barh(range(most), values[order])
            names = [f"{drawing.readable(words[place])}  ({place})" for place in order]
            shown = range(0, most, -(-most // 200))
            axes.set_yticks(list(shown), [names[place] for place in shown], fontsize=8)
            for text in axes.get_yticklabels():
                text.set_parse_math(False)
            axes.set_xlabel("score")
            return self._done(made, axes, title, save_path)

    @classmethod
    def close_all(cls) -> None:
        """Clears the figures that were made here and are still in use; those of others stay."""
        for made in list(cls._made):
            made.clear()
        cls._made.clear()

    def _styled(self) -> Any:  # noqa: ANN401
        from contextlib import nullcontext

        from matplotlib import style as styles

        return nullcontext() if self.style is None else styles.context(self.style)

    def _figure(self, width: float, height: float) -> Figure:
        made = drawing.figure(width, height)
        self._made.add(made)
        return made

    def _done(self, made: Figure, axes: Any, title: str, save_path: str | os.PathLike[str] | None) -> Figure:  # noqa: ANN401
        if axes is None:
            made.suptitle(title, parse_math=False)
        else:
            axes.set_title(title, parse_math=False)
        drawing.saved(made, save_path, self.dpi)
        return made


def _tokens(tokens: Sequence[str], n: int) -> list[str]:
    if isinstance(tokens, str):
        raise DTypeError("tokens", repr(tokens), "a sequence of strings, one a token")
    words = [str(token) for token in tokens]
    if len(words) != n:
        raise ShapeError("tokens", f"{len(words)} tokens", f"{n}, one for each key")
    return words


def _series(metrics: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    if not isinstance(metrics, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DTypeError("metrics_dict", type(cast("object", metrics)).__name__, "a mapping of metrics")
    if any(isinstance(value, Mapping) for value in metrics.values()):
        return {str(name): _series(cast("Mapping[str, Any]", inner))[""] for name, inner in metrics.items()}
    return {"": {str(name): real("metrics_dict", value) for name, value in metrics.items()}}


def _logs(argument: str, value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if not (np.isfinite(array) & (array > 0)).all():
        raise InvalidArgumentError(argument, "a number that is not above 0", "finite numbers above 0")
    return np.log(array)
