"""Measures of every layer and head, as one tidy table."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from fractal_core import dimension
from fractal_core._arguments import flag, integer
from fractal_core.analysis.numbers import (
    NO_ROW,
    Measured,
    Numbers,
    empty,
    joined,
    of_slope,
    of_spread,
    reasons_of,
    table_of,
)
from fractal_core.errors import DTypeError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from fractal_core.analysis.maps import AttentionMaps, LayerMaps
    from fractal_core.analysis.table import Table
    from fractal_core.dimension import Slope
    from fractal_core.dimension.rows import Spread

ROWS = tuple(f.name for f in fields(dimension.RowStatistics))
DIMENSIONS = ("box", "D1", "D2")
MEASURES = (*DIMENSIONS, *(name for name in ROWS if name not in {"mass", "keys"}), "column_gini")
_MOMENT = re.compile(r"D(-?\d+(?:\.\d+)?)")
_NO_TOKENS = "no tokens"


@dataclass(frozen=True)
class Settings:
    """How the measures are taken; every field goes into the table's provenance."""

    foreground: float | tuple[str, float] = ("mass", 0.9)
    """Which weights the box dimension counts, as `fractal_core.dimension.box_dimension` says."""
    scales: tuple[int, ...] | None = None
    """Sides of boxes; by default those of `fractal_core.dimension`."""
    top_p: float = 0.9
    top_k: int = 5
    below: float = 0.5
    sinks: int = 1
    local: int = 8
    force: bool = False
    """Gives a dimension to sides below 32, too."""


def measure(
    maps: AttentionMaps,
    measures: Sequence[str] | str = MEASURES,
    *,
    layers: Iterable[int | str] | int | str | None = None,
    heads: Iterable[SupportsIndex] | None = None,
    settings: Settings | None = None,
) -> Table:
    """Measures of the heads of an input's attention, all heads of a layer at once.

    `box` is the box dimension of the set of strong weights, and `D<q>` the generalised dimension of order q, such as
    `D1` and `D2`, of attention as a measure. The fields of `fractal_core.dimension.RowStatistics` are means over the
    queries, with their spread. `column_gini` is Gini's index of what the keys receive, each divided by the queries that
    can see it. `spectrum_width` is the width of the spectrum of singularities.

    Args:
        maps: The attention of one input.
        measures: Names, as above.
        layers: Places or names; all by default.
        heads: Places; all by default. Layers must have them.
        settings: How the measures are taken.

    Returns:
        Columns `layer` (place), `name`, `kind`, `head`, `measure`, `value`, `stderr` (of a fit, or of the mean over
        queries), `std` (over queries), `r2`, `reliable`, `reasons` (in words, joined by "; "), `baseline` (the value of
        uniform attention on the same support), `n_queries`, `n_keys`. A value that cannot be had is NaN, with its
        reason.

    Raises:
        InvalidArgumentError: An unknown measure, layer or head, or a setting outside of its range.
        DTypeError: An argument has no fitting type.
    """
    chosen = names(measures)
    how = settings or Settings()
    flag("force", how.force)
    orders = [float(found[1]) for found in map(_MOMENT.fullmatch, chosen) if found]
    measured: list[Measured] = []
    even: dict[Any, _Even] = {}
    for place in maps.chosen(layers):
        layer = maps.layers[place]
        # A query's own token is that of a key only where both are one sequence.
        ids = None if layer.kind == "cross" else maps.key_ids(layer)
        support = layer.support if isinstance(layer.support, (str, tuple)) else id(layer.support)
        uniform = even.setdefault((layer.shape, support, ids is None, layer.kind == "decoder"), _Even(layer, how, ids))
        which, found = _heads(heads, layer), _Layer(layer, how, ids, uniform, orders)
        measured += [
            Measured(place, layer.name, layer.kind, layer.shape, name, found.numbers(name), which) for name in chosen
        ]
    taken = {f.name: getattr(how, f.name) for f in fields(how)}
    return table_of(measured, {**maps.provenance, "measure_settings": taken})


def names(measures: Sequence[str] | str) -> tuple[str, ...]:
    """Measures as a tuple of known names, each once.

    Raises:
        InvalidArgumentError: A name is unknown, or there is none.
        DTypeError: They are no strings.
    """
    listed = [measures] if isinstance(measures, str) else list(measures)
    for name in listed:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DTypeError("measures", repr(name), "names of measures")
        if name not in {"box", "column_gini", "spectrum_width", *ROWS} and not _MOMENT.fullmatch(name):
            raise InvalidArgumentError(
                "measures", repr(name), f"box, D<order>, spectrum_width, column_gini, {', '.join(ROWS)}"
            )
    if not listed:
        raise InvalidArgumentError("measures", "none", "at least one name")
    return tuple(dict.fromkeys(listed))


def _heads(heads: Iterable[SupportsIndex] | None, layer: LayerMaps) -> list[int]:
    if heads is None:
        return list(range(layer.heads))
    try:
        listed = list(heads)
    except TypeError:
        raise DTypeError("heads", repr(heads), "a sequence of integers") from None
    return sorted({integer("heads", h, -layer.heads, layer.heads - 1) % layer.heads for h in listed})


def _is_empty(error: InvalidArgumentError) -> bool:
    return error.argument == "foreground" and "empty" in str(error.given)


@dataclass(frozen=True)
class _Of:
    """One layer's weights, and how measures are taken of them."""

    layer: LayerMaps
    how: Settings
    ids: npt.NDArray[np.int64] | None

    def box(self, layer: LayerMaps | None = None) -> Slope:
        of, how = layer or self.layer, self.how
        return dimension.box_dimension(
            of.weights, of.support, foreground=how.foreground, scales=how.scales, force=how.force
        )

    @cached_property
    def rows(self) -> dict[str, Spread]:
        how = self.how
        return dimension.row_statistics(
            self.layer.weights,
            self.layer.support,
            top_p=how.top_p,
            top_k=how.top_k,
            below=how.below,
            sinks=how.sinks,
            local=how.local,
            tokens=self.ids,
        ).summary()

    @cached_property
    def gini(self) -> npt.NDArray[np.float64]:
        return dimension.column_gini(self.layer.weights, self.layer.support)


class _Even:
    """What uniform attention shows on a support: computed when asked for, once for all layers that have it."""

    def __init__(self, layer: LayerMaps, how: Settings, ids: npt.NDArray[np.int64] | None) -> None:
        self._layer, self._how, self._ids = layer, how, ids

    @cached_property
    def of(self) -> _Of:
        return _Of(replace(self._layer, weights=self._layer.uniform()), self._how, self._ids)

    @cached_property
    def box(self) -> npt.NDArray[np.float64]:
        try:
            return self.of.box().value
        except InvalidArgumentError as error:
            if not _is_empty(error):
                raise
            return np.full(1, np.nan)


@dataclass(frozen=True)
class _Layer(_Of):
    """The measures of one layer."""

    even: _Even
    orders: list[float]

    def numbers(self, name: str) -> Numbers:
        if name == "box":
            return self._box()
        if name == "spectrum_width":
            return self._width()
        if name == "column_gini":
            return self._columns()
        order = _MOMENT.fullmatch(name)
        if order:
            return of_slope(self._moments[:, self.orders.index(float(order[1]))])
        reason = _NO_TOKENS if name == "induction" and self.ids is None else NO_ROW
        return of_spread(self.rows[name], self.even.of.rows[name].mean, reason)

    @cached_property
    def _moments(self) -> Slope:
        """All orders at once."""
        return dimension.renyi_dimension(
            self.layer.weights, self.layer.support, q=self.orders, scales=self.how.scales, force=self.how.force
        )

    def _box(self) -> Numbers:
        baseline = np.broadcast_to(self.even.box, self.layer.heads)
        try:
            return of_slope(self.box(), baseline)
        except InvalidArgumentError as error:
            if not _is_empty(error):
                raise
        each = [empty() for _ in range(self.layer.heads)]
        for head in range(self.layer.heads):
            try:
                each[head] = of_slope(self.box(self.layer.only(head)), baseline[head : head + 1])
            except InvalidArgumentError as error:
                if not _is_empty(error):
                    raise
        return joined(each)

    def _width(self) -> Numbers:
        spectrum = dimension.singularity_spectrum(
            self.layer.weights, self.layer.support, scales=self.how.scales, force=self.how.force
        )
        nothing = np.full(self.layer.heads, np.nan)
        reliable = np.asarray(spectrum.alpha.reliable.all(axis=-1))
        reasons = [reasons_of(spectrum.alpha[head]) for head in range(self.layer.heads)]
        return Numbers(
            spectrum.width,
            nothing,
            nothing,
            spectrum.alpha.r2.min(axis=-1),
            reliable,
            reasons,
            spectrum.baseline_width,
        )

    def _columns(self) -> Numbers:
        value = self.gini
        nothing = np.full(self.layer.heads, np.nan)
        good = np.isfinite(value)
        reasons = ["" if ok else "fewer than two keys with mass" for ok in good]
        baseline = np.broadcast_to(self.even.of.gini, value.shape)
        return Numbers(value, nothing, nothing, nothing, good, reasons, baseline)
