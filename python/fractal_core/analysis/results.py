"""What is said of one head of one input, as a dictionary; and of several inputs, with their aggregate."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core._arguments import INT32_MAX, flag, integer
from fractal_core.analysis.measures import DIMENSIONS, Settings, measure
from fractal_core.analysis.metrics import AttentionMetrics
from fractal_core.analysis.provenance import SCHEMA
from fractal_core.analysis.transforms import FractalTransforms
from fractal_core.dimension import box_dimension
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import SupportsIndex

    from fractal_core.analysis.maps import AttentionMaps, LayerMaps


def analyze_maps(
    maps: AttentionMaps,
    layer_idx: int | str = -1,
    head_idx: SupportsIndex = 0,
    return_visualizations: bool = False,
    save_dir: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    prefix: str = "",
) -> dict[str, Any]:
    """Dimensions, metrics, transforms and, where asked for, figures of one head.

    Args:
        maps: The attention of one input, from a model or from arrays.
        layer_idx: Its layer, by place (negative: from the last) or name.
        head_idx: Its head; negative: from the last.
        return_visualizations: Whether the figures come back, under "visualizations".
        save_dir: A folder for the figures, made where it is missing.
        settings: How the measures are taken.
        prefix: Before the names of the figures' files.

    Returns:
        `fractal_dimension` (of the box, relative to the support; NaN below 32 tokens), `dimensions` (box, D1 and D2,
        each with value, stderr, r2, reliable, reasons, baseline), `self_similarity`, `metrics`; matrices `attention`,
        `transformed_attention`, `golden_ratio_scored`; `position_scores`, `tokens`, `query_tokens`, `n_tokens`,
        `layer_idx` and `head_idx` (as places from 0), `layer_name`, `kind`, `support`, `model_name`,
        `analysis_time` (s), `schema`, `provenance`.

    Raises:
        InvalidArgumentError: There is no such layer or head, or a setting is outside of its range.
        DTypeError: An argument has no fitting type.
    """
    started = time.perf_counter()
    flag("return_visualizations", return_visualizations)
    place = maps.chosen(layer_idx)[0]
    layer = maps.layers[place]
    head = integer("head_idx", head_idx, -layer.heads, layer.heads - 1) % layer.heads
    how = settings or Settings()
    table = measure(maps, DIMENSIONS, layers=place, heads=[head], settings=how)
    dimensions = {row["measure"]: _fit(row) for row in table.rows()}
    array = layer.head(head).astype(np.float64)
    support = layer.only(head).support
    transforms, metrics = FractalTransforms(support=support), AttentionMetrics(support)
    small = min(array.shape) < 4
    result: dict[str, Any] = {
        "fractal_dimension": dimensions["box"]["value"],
        "dimensions": dimensions,
        "self_similarity": float("nan") if small else transforms.compute_self_similarity(array),
        "metrics": metrics.compute_all_metrics(array),
        "attention": array,
        "transformed_attention": transforms.fractal_interpolation_function(array, pieces=min(4, array.shape[1])),
        "golden_ratio_scored": transforms.golden_ratio_scoring(array),
        "position_scores": transforms.position_scores(array),
        "tokens": list(maps.key_tokens(layer)),
        "query_tokens": list(maps.query_tokens(layer)),
        "n_tokens": layer.shape[1],
        "layer_idx": place,
        "layer_name": layer.name,
        "kind": layer.kind,
        "support": label(layer),
        "head_idx": head,
        "model_name": str(maps.provenance.get("model", "arrays")),
        "schema": SCHEMA,
        "provenance": dict(table.provenance),
    }
    if return_visualizations or save_dir is not None:
        figures = _figures(result, layer.only(head), how, _folder(save_dir), prefix)
        if return_visualizations:
            result["visualizations"] = figures
    result["analysis_time"] = time.perf_counter() - started
    return result


def _fit(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("value", "stderr", "r2", "reliable", "baseline")}
    return {**kept, "reasons": [reason for reason in row["reasons"].split("; ") if reason]}


def label(layer: LayerMaps) -> str:
    """The support of a layer in words."""
    support = layer.support
    if isinstance(support, str):
        return support
    if isinstance(support, tuple):
        return f"{support[0]} of {support[1]}"
    return "boolean array" if isinstance(support, np.ndarray) else "index set"


def _folder(save_dir: object) -> Path | None:
    if save_dir is None:
        return None
    if not isinstance(save_dir, (str, os.PathLike)):
        raise DTypeError("save_dir", repr(save_dir), "a path")
    folder = Path(cast("str", save_dir))
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError("save_dir", folder, "a folder, or a name that is free")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _figures(
    result: Mapping[str, Any], layer: LayerMaps, how: Settings, folder: Path | None, prefix: str
) -> dict[str, Any]:
    from fractal_core.analysis.visualizer import AttentionVisualizer

    shown = AttentionVisualizer()
    stem = f"{prefix}layer{result['layer_idx']}_head{result['head_idx']}"
    said = f"{result['model_name']}, {layer.name}, head {result['head_idx']}"

    def path(name: str) -> Path | None:
        return None if folder is None else folder / f"{stem}_{name}.png"

    fit = box_dimension(layer.weights, layer.support, foreground=how.foreground, scales=how.scales, force=how.force)[0]
    tokens = result["tokens"] or None
    return {
        "attention_matrix": shown.plot_attention_matrix(result["attention"], tokens, said, path("attention")),
        "fractal_comparison": shown.plot_fractal_comparison(
            result["attention"], result["transformed_attention"], save_path=path("comparison")
        ),
        "metrics": shown.plot_metrics_comparison(result["metrics"], said, path("metrics")),
        "fractal_dimension": shown.plot_fractal_dimension_analysis(fit, title=said, save_path=path("dimension")),
    }


class BatchResults(list[dict[str, Any]]):
    """Results of several inputs, as a list, with what they say together."""

    def __init__(self, results: Iterable[dict[str, Any]], *, seed: SupportsIndex = 0, draws: int = 1000) -> None:
        super().__init__(results)
        self.seed = integer("seed", seed, 0, INT32_MAX)
        self.draws = draws

    @property
    def aggregate(self) -> dict[str, dict[str, Any]]:
        """Of each number over the inputs: n (those that have it), mean, std, and a 95 % bootstrap interval of the mean.

        The interval is None for fewer than two inputs. Dimensions of inputs of different lengths come with
        `lengths`, since they depend on it.
        """
        names = {"fractal_dimension": [r["fractal_dimension"] for r in self]}
        for measure_ in self[0]["dimensions"] if self else ():
            names[measure_] = [r["dimensions"][measure_]["value"] for r in self]
        for metric in self[0]["metrics"] if self else ():
            names[metric] = [r["metrics"][metric] for r in self]
        lengths = sorted({int(r["n_tokens"]) for r in self})
        rng = np.random.default_rng(self.seed)
        return {name: {**self._said(values, rng), "lengths": lengths} for name, values in names.items()}

    def _said(self, values: Sequence[float], rng: np.random.Generator) -> dict[str, Any]:
        good = np.array([v for v in values if np.isfinite(v)])
        if not good.size:
            return {"n": 0, "mean": float("nan"), "std": float("nan"), "interval": None}
        said: dict[str, Any] = {"n": int(good.size), "mean": float(good.mean())}
        said["std"] = float(good.std(ddof=1)) if good.size > 1 else float("nan")
        means = good[rng.integers(0, good.size, (self.draws, good.size))].mean(axis=1)
        said["interval"] = [float(q) for q in np.quantile(means, (0.025, 0.975))] if good.size > 1 else None
        return said
