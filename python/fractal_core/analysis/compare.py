"""Two models on one text: at one length, and beside a null model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fractal_core.analysis.provenance import SCHEMA
from fractal_core.analysis.results import analyze_maps
from fractal_core.analysis.supports import on_support
from fractal_core.dimension import box_dimension

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from fractal_core.analysis.maps import AttentionMaps, LayerMaps
    from fractal_core.analysis.measures import Settings

RULE = "both inputs have the same number of tokens; the longer was cut to the length of the shorter"


def same_length(models: Sequence[tuple[Any, Any]], text: Any) -> tuple[list[Any], list[int]]:  # noqa: ANN401
    """The input of each model at the length of the shortest, and how many tokens each has lost.

    Only a text is cut: token numbers and tensors are what their owner gave.
    """
    if not isinstance(text, str):
        return [text for _ in models], [0 for _ in models]
    from fractal_core.analysis.encoded import encode

    each = [encode(model, text, tokenizer, None)["input_ids"][0] for model, tokenizer in models]
    n = min(len(ids) for ids in each)
    cut: list[Any] = []
    for ids, (_, tokenizer) in zip(each, models, strict=True):
        listed = cast("list[int]", ids.tolist())
        special = cast("list[int]", getattr(tokenizer, "all_special_ids", None) or [])
        kept = [*listed[: n - 1], listed[-1]] if n > 1 and listed[-1] in special else listed[:n]
        cut.append(np.array(kept))
    return cut, [len(ids) - n for ids in each]


def compared(
    both: Sequence[tuple[str, AttentionMaps]],
    cut: Sequence[int],
    *,
    layer_idx: int | str,
    head_idx: Any,  # noqa: ANN401
    settings: Settings,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """What `compare_models` returns."""
    found: list[dict[str, Any]] = []
    for name, maps in both:
        result = analyze_maps(maps, layer_idx, head_idx, settings=settings)
        result["name"] = result["model_name"] = name
        layer = maps.layer(int(result["layer_idx"])).only(int(result["head_idx"]))
        result["null"] = _null(result, layer, settings, draws, rng)
        found.append(result)
    first, second = found
    lengths = [int(result["n_tokens"]) for result in found]
    comparable = lengths[0] == lengths[1]
    return {
        "model_1": first,
        "model_2": second,
        "dimension_difference": (
            first["fractal_dimension"] - second["fractal_dimension"] if comparable else float("nan")
        ),
        "rule": RULE if comparable else "the inputs differ in length, so their dimensions have no difference",
        "n_tokens": lengths,
        "cut": list(cut),
        "schema": SCHEMA,
    }


def _null(
    result: dict[str, Any],
    layer: LayerMaps,
    settings: Settings,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    observed = result["fractal_dimension"]
    drawn: list[float] = []
    if np.isfinite(observed):
        cells = on_support(np.asarray(layer.weights), layer.support)[0]
        for _ in range(draws):
            weights = shuffled(np.asarray(layer.weights)[0], cells, rng)
            slope = box_dimension(
                weights,
                layer.support,
                foreground=settings.foreground,
                scales=settings.scales,
                force=settings.force,
            )
            drawn.append(float(slope))
    values = np.array(drawn)
    n = len(values)
    mean, std = (float(values.mean()), float(values.std(ddof=1))) if n > 1 else (float("nan"), float("nan"))
    beyond = int((np.abs(values - mean) >= abs(observed - mean)).sum()) if n > 1 else 0
    return {
        "kind": "row shuffle within the support",
        "draws": n,
        "mean": mean,
        "std": std,
        "z": (observed - mean) / std if n > 1 and std > 0 else float("nan"),
        "p": (1 + beyond) / (1 + n) if n > 1 else float("nan"),
    }


def shuffled(weights: npt.NDArray[Any], cells: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Every row's weights in another order, within its cells: entropy stays, geometry goes."""
    order = np.argsort(~cells, axis=1, kind="stable")
    keys = rng.random(weights.shape)
    # Cells first, in a random order; what is outside stays where it is, behind them.
    mixed = np.argsort(np.where(cells, keys, 2.0 + np.arange(cells.shape[1], dtype=np.float64)), axis=1, kind="stable")
    drawn = np.zeros_like(weights)
    np.put_along_axis(drawn, order, np.take_along_axis(weights, mixed, axis=1), axis=1)
    return drawn
