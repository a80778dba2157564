"""Measures of every head of every layer, as one tidy table."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core.analysis.maps import AttentionMaps, LayerMaps, need_maps, place
from fractal_core.analysis.table import Table
from fractal_core.dimension import (
    EdgeWeights,
    RowStatistics,
    Slope,
    box_dimension,
    column_statistics,
    renyi_dimension,
    row_statistics,
)
from fractal_core.errors import DTypeError, InvalidArgumentError, KeyIndexError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

__all__ = ["DIMENSIONS", "MEASURES", "measure"]

DIMENSIONS = {"D0": 0.0, "D1": 1.0, "D2": 2.0}
"""Generalised dimensions of attention as a measure, by order."""

ROWS = tuple(field.name for field in fields(RowStatistics))

MEASURES = (*DIMENSIONS, "box", "column_gini", *ROWS)
"""What `measure` knows: dimensions, `box` of the weights above the uniform one, evenness of keys, row statistics."""

_COLUMNS = ("layer", "name", "kind", "head", "measure", "value", "stderr", "r2", "spread", "baseline", "reliable",
            "reasons", "n_queries", "n_keys")  # fmt: skip


def measure(
    maps: AttentionMaps,
    measures: Sequence[str] | str = ("D0", "D1", "D2", "normalized_entropy", "gini", "sink", "previous", "distance"),
    *,
    layers: Iterable[SupportsIndex | str] | None = None,
    heads: Iterable[SupportsIndex] | None = None,
) -> Table:
    """Measures heads.

    Args:
        maps: The attention of one input.
        measures: Out of `MEASURES`, one or several, or "all".
        layers: Numbers or names; all by default.
        heads: Numbers, in layers that have them; all by default.

    Returns:
        A row for each layer, head and measure, with the columns `layer`, `name`, `kind`, `head`, `measure`, `value`;
        for dimensions `stderr`, `r2`, `baseline` (uniform attention on the same support), `reliable` and `reasons`; for
        statistics of rows, whose value is the mean over rows, `spread`, their standard deviation; `n_queries`,
        `n_keys`. What a measure does not have is NaN, or "". Below 32 tokens dimensions are NaN, with the reason.

    Raises:
        InvalidArgumentError: An unknown measure.
        KeyIndexError: An unknown layer or head.
        DTypeError: No maps.
    """
    need_maps(maps)
    if isinstance(measures, str):
        measures = MEASURES if measures == "all" else (measures,)
    for name in measures:
        if name not in MEASURES:
            raise InvalidArgumentError("measures", repr(name), ", ".join(MEASURES))
    chosen = list(range(len(maps))) if layers is None else [_layer(maps, which) for which in layers]
    wanted = None if heads is None else list(heads)
    found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _COLUMNS}
    for number in chosen:
        layer = maps.layers[number]
        kept = range(layer.heads) if wanted is None else [place("heads", head, layer.heads) for head in wanted]
        _of_layer(number, layer, np.array(list(kept), np.int64), measures, maps, found)
    return Table({name: np.concatenate(parts) for name, parts in found.items()})


def _layer(maps: AttentionMaps, which: SupportsIndex | str) -> int:
    if isinstance(which, str):
        return maps.layers.index(maps.layer(which))
    try:
        return place("layers", which, len(maps))
    except DTypeError:
        raise DTypeError("layers", repr(which), "numbers or names of layers") from None
    except KeyIndexError:
        raise KeyIndexError("layers", which, f"{-len(maps)} ..= {len(maps) - 1}") from None


def _of_layer(  # noqa: PLR0917
    number: int,
    layer: LayerMaps,
    heads: npt.NDArray[np.int64],
    measures: Sequence[str],
    maps: AttentionMaps,
    found: dict[str, list[npt.NDArray[Any]]],
) -> None:
    weights = layer.weights[heads]
    n = len(heads)
    nothing, everywhere, silent = np.full(n, np.nan), np.ones(n, bool), np.full(n, "", dtype="U120")

    def add(name: str, value: npt.ArrayLike, **others: npt.ArrayLike) -> None:
        row: dict[str, Any] = {
            "layer": np.full(n, number),
            "name": np.full(n, layer.name),
            "kind": np.full(n, layer.kind),
            "head": heads,
            "measure": np.full(n, name),
            "value": np.asarray(value, np.float64),
            "stderr": nothing,
            "r2": nothing,
            "spread": nothing,
            "baseline": nothing,
            "reliable": everywhere,
            "reasons": silent,
            "n_queries": np.full(n, layer.shape[0]),
            "n_keys": np.full(n, layer.shape[1]),
            **others,
        }
        for column, part in row.items():
            found[column].append(np.asarray(part))

    def add_slope(name: str, slope: Slope, at: Any = ...) -> None:  # noqa: ANN401
        baseline = nothing if slope.baseline is None else slope.baseline[at]
        flags = {reason: flag[at] for reason, flag in slope.flags.items()}
        reasons = ["; ".join(reason for reason, flag in flags.items() if flag[i]) for i in range(n)]
        good = np.isfinite(slope.value[at]) & ~np.any([*flags.values(), np.zeros(n, bool)], axis=0)
        add(name, slope.value[at], stderr=slope.stderr[at], r2=slope.r2[at], baseline=baseline, reliable=good,
            reasons=np.array(reasons, dtype="U240"))  # fmt: skip

    orders = [name for name in measures if name in DIMENSIONS]
    if orders:
        slope = renyi_dimension(weights, layer.support, q=[DIMENSIONS[name] for name in orders])
        for i, name in enumerate(orders):
            add_slope(name, slope, (slice(None), i))
    if "box" in measures:
        if isinstance(weights, EdgeWeights):
            raise InvalidArgumentError("measures", "'box'", f"another measure for the sparse weights of {layer.name}")
        add_slope("box", box_dimension(weights, layer.support, foreground=("uniform", 1.0)))
    if "column_gini" in measures:
        columns = column_statistics(weights, layer.support)
        add("column_gini", columns.gini, baseline=columns.baseline)
    asked = [name for name in measures if name in ROWS]
    if asked:
        tokens = maps.ids if layer.kind in {"causal", "decoder"} and layer.shape[0] == layer.shape[1] else None
        spreads = row_statistics(weights, layer.support, tokens=None if tokens is None else list(tokens)).summary()
        for name in asked:
            add(name, spreads[name].mean, spread=spreads[name].std)
